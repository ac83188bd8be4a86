//! The interchange format: a folder of csv files with integer ids.

use super::lists::{
    Known, NameList, dense, number_learners, numbers, read_names, read_split, read_time, read_triples,
};
use super::text::{Dialect, Table};
use super::{Loaded, SourceReport, finish, folder_name, require_folder};
use crate::Dataset;
use crate::assemble::Rows;
use base::{Error, Result};
use std::collections::HashSet;
use std::path::Path;

pub const INTERACTIONS: &str = "interactions.csv";
pub const TRIPLES: &str = "triples.csv";
pub const COURSES: &str = "courses.csv";
pub const ENTITIES: &str = "entities.csv";
pub const RELATIONS: &str = "relations.csv";
pub const LEARNERS: &str = "learners.csv";

/// Reads a folder of the interchange format (docs/data.md). Errors: `Error::Data` with file and line for
/// anything that cannot be used, `Error::Io` for files that cannot be read.
pub fn read(folder: &Path) -> Result<Loaded> {
    require_folder(folder)?;
    let mut report = SourceReport { format: "interchange".into(), ..Default::default() };
    let path = folder.join(INTERACTIONS);
    if !path.is_file() {
        let remedy = "the interchange format needs it; other formats are chosen with --format";
        return Err(Error::data(path, None, "the file is missing", remedy));
    }
    report.files.push(INTERACTIONS.into());
    let mut names = |file: &str, column: &str| -> Result<Option<NameList>> {
        let path = folder.join(file);
        if !path.is_file() {
            report.missing.push(file.into());
            return Ok(None);
        }
        report.files.push(file.into());
        read_names(&path, Dialect::CSV, [&column.into(), &"name".into()], column).map(Some)
    };
    let learners = names(LEARNERS, "learner")?;
    let courses = names(COURSES, "course")?;
    let entities = names(ENTITIES, "entity")?;
    let relations = names(RELATIONS, "relation")?;
    let triples_path = folder.join(TRIPLES);
    let has_triples = triples_path.is_file();
    if has_triples { &mut report.files } else { &mut report.missing }.push(TRIPLES.into());

    let listed = |file: &str, list, first, what| dense(&folder.join(file), list, first, what);
    let course_names = courses.map(|list| listed(COURSES, list, 0, "course")).transpose()?;
    let mut known_courses = Known::new("course", COURSES, course_names.as_ref().map(Vec::len));
    let (mut rows, labels) = read_interactions(&path, &mut known_courses, learners.as_deref())?;
    let learner_names = number_learners(&mut rows, learners);
    let courses = known_courses.total(&path)?;
    let mut entity_names = course_names.unwrap_or_else(|| numbers(0, courses));

    let attributes = entities.map(|list| listed(ENTITIES, list, courses as u32, "entity")).transpose()?;
    let relation_names = relations.map(|list| listed(RELATIONS, list, 0, "relation")).transpose()?;
    let mut known_entities = Known::new("entity", ENTITIES, attributes.as_ref().map(|a| courses + a.len()));
    let mut known_relations = Known::new("relation", RELATIONS, relation_names.as_ref().map(Vec::len));
    let mut triples = Vec::new();
    if has_triples {
        let columns = [&"head".into(), &"relation".into(), &"tail".into()];
        let (entities, relations) = (&mut known_entities, &mut known_relations);
        triples = read_triples(&triples_path, Dialect::CSV, columns, entities, relations)?;
    }
    let entities = known_entities.total(&triples_path)?.max(courses);
    entity_names.extend(attributes.unwrap_or_else(|| numbers(courses, entities)));
    let relations = known_relations.total(&triples_path)?;
    let relation_names = relation_names.unwrap_or_else(|| numbers(0, relations));
    report.has_split = !rows.split.is_empty();
    let dataset = Dataset {
        name: folder_name(folder),
        learner_names: learner_names.into(),
        entity_names: entity_names.into(),
        courses,
        relation_names: relation_names.into(),
        triples: triples.into(),
        labels,
        interactions: Default::default(),
    };
    finish(folder, dataset, rows, report)
}

/// The rows and the names of the label columns. `learners`, if given, lists the ids that there are.
fn read_interactions(
    path: &Path,
    courses: &mut Known,
    learners: Option<&[(u32, String)]>,
) -> Result<(Rows, Vec<String>)> {
    let mut table = Table::open(path, Dialect::CSV)?;
    let (learner, course) = (table.require("learner")?, table.require("course")?);
    let (time, split) = (table.column("time"), table.column("split"));
    let fixed = [Some(learner), Some(course), time, split];
    let label_columns: Vec<usize> =
        (0..table.header().len()).filter(|&i| !fixed.contains(&Some(i))).collect();
    let labels: Vec<String> = label_columns.iter().map(|&i| table.header()[i].clone()).collect();
    if let Some(i) = labels.iter().position(|l| l.is_empty()) {
        let why = format!("column {} of the header has no name", label_columns[i] + 1);
        return Err(table.fail(why, "name the column, or delete it"));
    }
    let whats: Vec<String> = labels.iter().map(|name| format!("label '{name}'")).collect();
    let known: Option<HashSet<u32>> = learners.map(|list| list.iter().map(|(id, _)| *id).collect());
    let mut rows = Rows { labels: vec![Vec::new(); labels.len()], ..Default::default() };
    let mut time_kind = None;
    while table.advance()? {
        let id = table.id(learner, "learner")?;
        if known.as_ref().is_some_and(|known| !known.contains(&id)) {
            let why = format!("the learner {id} is unknown: it is not in {LEARNERS}");
            return Err(table.fail(why, format!("add it to {LEARNERS}, or correct or delete this line")));
        }
        rows.learner.push(id);
        let id = table.id(course, "course")?;
        courses.see(id).map_err(|(why, remedy)| table.fail(why, remedy))?;
        rows.course.push(id);
        if let Some(column) = time {
            rows.time.push(read_time(&table, column, &mut time_kind)?);
        }
        if let Some(column) = split {
            rows.split.push(read_split(&table, column)?);
        }
        for ((column, what), values) in label_columns.iter().zip(&whats).zip(&mut rows.labels) {
            values.push(table.label(*column, what)?);
        }
    }
    if rows.len() == 0 {
        return Err(table.fail_file("the file has no rows", "write one row per enrolment"));
    }
    Ok((rows, labels))
}

//! Any folder of tables, read as a map file describes it.

mod map;

pub(super) use map::{Condition, Label, Map};
use map::{IdKind, InteractionsMap, MissingTime, NamesMap, TriplesMap};
pub use map::{ShippedMap, maps};

use super::shared::csv_table::CsvTable;
use super::shared::graph::Graph;
use super::shared::ids::{
    Ids, IntegerIds, NameList, TextIds, check_dense, decimal, dense, number_learners, read_names, read_triples,
};
use super::shared::source::Source;
use super::{Format, Loaded, Request};
use crate::assemble::Rows;
use base::{Error, Result};
use std::path::PathBuf;

pub(super) const FORMAT: Format = Format {
    name: "table",
    about: "Any tables, described by --map",
    options: &["--map"],
    // What --map stands for cannot be seen in the files.
    detect: |_| Ok(false),
    read,
};

/// Reads a folder of tables (docs/data.md, "Maps"). Errors: `Error::Data` with file and line, of the map or of a
/// table; `Error::Io` for files that cannot be read.
fn read(request: &Request) -> Result<Loaded> {
    let Some(map) = request.map else {
        return Err(Error::config(
            "--format table",
            "needs a map that says which column is what",
            "add --map FILE.toml, or the name of a shipped one (data/maps/ has them, docs/data.md describes them)",
        ));
    };
    let map = Map::load(map)?;
    read_mapped(Source::open(request.source, request.options, &FORMAT)?, &map)
}

/// Reads the tables of a source.
pub(super) fn read_mapped(mut source: Source, map: &Map) -> Result<Loaded> {
    let interactions = &map.interactions;
    let (learner_names, mut graph, rows) = match interactions.ids {
        IdKind::Integer => integer_ids(&mut source, map)?,
        IdKind::Text => text_ids(&mut source, map)?,
    };
    if let Some(attributes) = &map.attributes {
        let pattern = &attributes.pattern;
        let unmatched = graph.relate_names(&pattern.groups(), |name| pattern.values(name));
        source.note_if(unmatched, format!("{unmatched} courses do not match the pattern of [attributes]"));
    }
    let name = map.name.clone().unwrap_or_else(|| source.name());
    let mut dataset = graph.dataset(name, learner_names);
    dataset.labels = interactions.labels.iter().map(|label| label.name.clone()).collect();
    source.report.has_split = interactions.has_split();
    source.finish_rows(dataset, rows)
}

type Parts = (Vec<String>, Graph, Rows);

fn integer_ids(source: &mut Source, map: &Map) -> Result<Parts> {
    let file = |names: &Option<NamesMap>| names.as_ref().map_or(String::new(), |names| names.file.clone());
    let learner_list = list(source, &map.learners, "learner")?.map(|(_, list)| list);
    let course_list = list(source, &map.courses, "course")?;
    let course_names = course_list.map(|(path, list)| dense(&path, list, 0, "course")).transpose()?;
    let (count, listed_in) = match &course_names {
        Some(names) => (Some(names.len()), file(&map.courses)),
        None => (map.interactions.courses, "the map (courses)".into()),
    };
    let mut learners = IntegerIds::of("learner", file(&map.learners), learner_list.as_ref());
    let mut courses = IntegerIds::new("course", listed_in, count);
    let mut rows = read_rows(source, &map.interactions, &mut learners, &mut courses)?;
    let learner_names = number_learners(&mut rows, learner_list);
    if let (Some(stated), None) = (map.interactions.courses, &course_names) {
        check_dense(&map.path, "course", stated, rows.len())?;
    }
    let (first_file, _) = map.interactions.files().into_iter().next().unwrap_or_default();
    let courses = courses.count(&source.folder.join(first_file))?;

    let courses_named = course_names.is_some();
    let mut entity_names = course_names.unwrap_or_else(|| decimal(0..courses));
    let mut listed = None;
    if let Some((path, list)) = list(source, &map.entities, "entity")? {
        // The list names all entities, or those after the courses.
        let all = !courses_named && list.iter().any(|(id, _)| *id == 0);
        let first = if all { 0 } else { courses };
        entity_names.truncate(first);
        entity_names.extend(dense(&path, list, first, "entity")?);
        if entity_names.len() < courses {
            let why = format!("names {} entities, but there are {courses} courses", entity_names.len());
            return Err(Error::data(path, None, why, "name the courses too: they are the first entities"));
        }
        listed = Some(entity_names.len());
    }
    let relation_names =
        list(source, &map.relations, "relation")?.map(|(path, list)| dense(&path, list, 0, "relation")).transpose()?;
    let mut entities = IntegerIds::new("entity", file(&map.entities), listed);
    let mut relations = IntegerIds::new("relation", file(&map.relations), relation_names.as_ref().map(Vec::len));
    let (path, triples) = triples(source, &map.triples, &mut entities, &mut relations)?;
    let named = entity_names.len();
    entity_names.extend(decimal(named..entities.count(&path)?.max(named)));
    let relations = relations.count(&path)?;
    let relation_names = relation_names.unwrap_or_else(|| decimal(0..relations));
    Ok((learner_names, Graph { entity_names, relation_names, triples, courses }, rows))
}

fn text_ids(source: &mut Source, map: &Map) -> Result<Parts> {
    let (mut learners, mut entities) = (TextIds::default(), TextIds::default());
    let rows = read_rows(source, &map.interactions, &mut learners, &mut entities)?;
    let courses = entities.names.len();
    let mut relations = TextIds::default();
    let (_, triples) = triples(source, &map.triples, &mut entities, &mut relations)?;
    let (entity_names, relation_names) = (entities.names, relations.names);
    Ok((learners.names, Graph { entity_names, relation_names, triples, courses }, rows))
}

/// The ids and names of a file, and its path. None where the map has no such section or the folder no such file.
fn list(source: &mut Source, map: &Option<NamesMap>, what: &str) -> Result<Option<(PathBuf, NameList)>> {
    let Some(map) = map else { return Ok(None) };
    let Some(path) = source.find(&map.file) else { return Ok(None) };
    let list = read_names(&path, map.dialect(), [&map.id, &map.name], what)?;
    Ok(Some((path, list)))
}

/// The triples, and the path of their file; none where the map has no such section or the folder no such file.
fn triples(
    source: &mut Source,
    map: &Option<TriplesMap>,
    entities: &mut impl Ids,
    relations: &mut impl Ids,
) -> Result<(PathBuf, Vec<[u32; 3]>)> {
    let Some(map) = map else { return Ok(Default::default()) };
    let Some(path) = source.find(&map.file) else { return Ok(Default::default()) };
    let columns = [&map.head, &map.relation, &map.tail];
    let triples = read_triples(&path, map.dialect(), columns, entities, relations)?;
    Ok((path, triples))
}

/// Every row of every file of interactions.
fn read_rows(
    source: &mut Source,
    map: &InteractionsMap,
    learners: &mut impl Ids,
    courses: &mut impl Ids,
) -> Result<Rows> {
    let mut rows = Rows { labels: vec![Vec::new(); map.labels.len()], ..Default::default() };
    let mut time_kind = None;
    for (file, split) in map.files() {
        let path = source.find(file).ok_or_else(|| {
            let remedy = "correct files in [interactions] of the map";
            Error::data(source.folder.join(file), None, "the file is missing", remedy)
        })?;
        let mut table = CsvTable::open(&path, map.dialect(file))?;
        let (learner, course) = (table.find(&map.learner)?, table.find(&map.course)?);
        let time = map.time.as_ref().map(|column| table.find(column)).transpose()?;
        let split_column = map.split.as_ref().map(|column| table.find(column)).transpose()?;
        let only = map.only.as_ref().map(|only| Ok((only.find(&table)?, only))).transpose()?;
        let labels = (map.labels.iter())
            .map(|Label { name, when }| Ok((format!("label '{name}'"), when.find(&table)?, when)))
            .collect::<Result<Vec<_>>>()?;
        let before = rows.len();
        while table.advance()? {
            if let Some((place, only)) = only
                && only.holds(&table, place, "where")? == 0
            {
                continue;
            }
            rows.learner.push(learners.number(&table, table.field(learner), "learner")?);
            rows.course.push(courses.number(&table, table.field(course), "course")?);
            if let Some(column) = time {
                let missing = table.field(column).is_empty() && map.time_missing == MissingTime::First;
                let time = if missing { f64::NEG_INFINITY } else { table.time(column, &mut time_kind)? };
                rows.time.push(time);
            }
            if let Some(split) = split.map(Ok).or(split_column.map(|column| table.split(column))) {
                rows.split.push(split?);
            }
            for ((what, place, when), values) in labels.iter().zip(&mut rows.labels) {
                values.push(when.holds(&table, *place, what)?);
            }
        }
        if rows.len() == before {
            let why = if only.is_some() { "no row is as `where` says" } else { "the file has no rows" };
            return Err(table.fail_file(why, "write one row per enrolment"));
        }
    }
    Ok(rows)
}

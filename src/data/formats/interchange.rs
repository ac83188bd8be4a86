//! The interchange format: a folder of csv files with integer ids.

use super::text::{Dialect, Table};
use super::time::{TimeKind, parse_time};
use super::{ImpliedIds, Loaded, SourceReport, finish, folder_name, require_folder};
use crate::data::assemble::Rows;
use crate::data::{Dataset, Split};
use crate::{Error, Result};
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
    let mut names = |file: &str, column: &str| -> Result<Option<Vec<(u32, String)>>> {
        let path = folder.join(file);
        if !path.is_file() {
            report.missing.push(file.into());
            return Ok(None);
        }
        report.files.push(file.into());
        read_names(&path, column).map(Some)
    };
    let learners = names(LEARNERS, "learner")?;
    let courses = names(COURSES, "course")?;
    let entities = names(ENTITIES, "entity")?;
    let relations = names(RELATIONS, "relation")?;

    let (mut rows, labels, implied_courses) = read_interactions(&path)?;
    let learner_names = number_learners(&path, &mut rows, learners)?;
    let course_names = match courses {
        Some(list) => {
            let names = dense(&folder.join(COURSES), list, 0, "course")?;
            require_below(&path, &rows.course, names.len(), "course", COURSES)?;
            names
        }
        None => numbers(0, implied_courses.dense(&path, "course")?),
    };
    let mut entity_names = course_names;
    let courses = entity_names.len();
    let has_entities = entities.is_some();
    if let Some(list) = entities {
        entity_names.extend(dense(&folder.join(ENTITIES), list, courses as u32, "entity")?);
    }
    let mut relation_names = match &relations {
        Some(list) => dense(&folder.join(RELATIONS), list.clone(), 0, "relation")?,
        None => Vec::new(),
    };
    let mut triples = Vec::new();
    let path = folder.join(TRIPLES);
    if path.is_file() {
        report.files.push(TRIPLES.into());
        let known_entities = has_entities.then_some(entity_names.len());
        let known_relations = relations.is_some().then_some(relation_names.len());
        let (list, implied_entities, implied_relations) =
            read_triples(&path, known_entities, known_relations)?;
        triples = list;
        if !has_entities {
            let count = implied_entities.dense(&path, "entity")?;
            entity_names.extend(numbers(courses, count.max(courses)));
        }
        if relations.is_none() {
            relation_names = numbers(0, implied_relations.dense(&path, "relation")?);
        }
    } else {
        report.missing.push(TRIPLES.into());
    }
    report.has_split = !rows.split.is_empty();
    let dataset = Dataset {
        name: folder_name(folder),
        learner_names,
        entity_names,
        courses,
        relation_names,
        triples,
        labels,
        interactions: Default::default(),
    };
    finish(folder, dataset, rows, report)
}

fn read_interactions(path: &Path) -> Result<(Rows, Vec<String>, ImpliedIds)> {
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
    let mut rows = Rows { labels: vec![Vec::new(); labels.len()], ..Default::default() };
    let mut courses = ImpliedIds::default();
    let mut time_kind = None;
    while table.advance()? {
        rows.learner.push(table.id(learner, "learner")?);
        let id = table.id(course, "course")?;
        courses.see(id);
        rows.course.push(id);
        if let Some(column) = time {
            rows.time.push(read_time(&table, column, &mut time_kind)?);
        }
        if let Some(column) = split {
            rows.split.push(read_split(&table, column)?);
        }
        for ((column, name), values) in label_columns.iter().zip(&labels).zip(&mut rows.labels) {
            values.push(table.label(*column, name)?);
        }
    }
    if rows.len() == 0 {
        return Err(table.fail_file("the file has no rows", "write one row per enrolment"));
    }
    Ok((rows, labels, courses))
}

/// A time of one column; the whole column must be numbers or must be dates.
pub(crate) fn read_time(table: &Table, column: usize, kind: &mut Option<TimeKind>) -> Result<f64> {
    let text = table.text(column)?;
    let Some((time, this)) = parse_time(text) else {
        let why = format!(
            "the time '{}' is neither a finite number nor an ISO date",
            super::text::lossy(text.as_bytes())
        );
        return Err(table.fail(why, "write times as numbers, 2024-01-31 or 2024-01-31T12:30:00"));
    };
    if *kind.get_or_insert(this) != this {
        let remedy = "write all times of the file as numbers, or all as dates";
        return Err(table.fail("numbers and dates are mixed in the time column", remedy));
    }
    Ok(time)
}

fn read_split(table: &Table, column: usize) -> Result<Split> {
    let field = table.field(column);
    Split::ALL.into_iter().find(|s| s.name().as_bytes() == field).ok_or_else(|| {
        let why = format!("the split '{}' is unknown", super::text::lossy(field));
        table.fail(why, "write train, valid or test, or delete the column")
    })
}

/// (id, name) of every row; ids are unique.
fn read_names(path: &Path, id_column: &str) -> Result<Vec<(u32, String)>> {
    let mut table = Table::open(path, Dialect::CSV)?;
    let (id, name) = (table.require(id_column)?, table.require("name")?);
    let mut list = Vec::new();
    let mut seen = HashSet::new();
    while table.advance()? {
        let value = table.id(id, id_column)?;
        if !seen.insert(value) {
            return Err(table
                .fail(format!("the {id_column} id {value} is named twice"), "delete one of the two lines"));
        }
        list.push((value, table.text(name)?.to_string()));
    }
    Ok(list)
}

/// Names in the order of their ids, which must be first, first + 1, ... without a gap.
fn dense(path: &Path, mut list: Vec<(u32, String)>, first: u32, what: &str) -> Result<Vec<String>> {
    list.sort_unstable_by_key(|(id, _)| *id);
    for (expected, (id, _)) in (first as u64..).zip(&list) {
        if expected != *id as u64 {
            let why = format!("the {what} id {expected} is not listed (the next one is {id})");
            let remedy = match first {
                0 => format!("number {what} ids from 0 without gaps"),
                _ => {
                    format!("courses are 0..{first}; number the other entities from {first} on without gaps")
                }
            };
            return Err(Error::data(path, None, why, remedy));
        }
    }
    Ok(list.into_iter().map(|(_, name)| name).collect())
}

/// Decimal names for ids that no file names.
pub(crate) fn numbers(first: usize, end: usize) -> Vec<String> {
    (first..end).map(|id| id.to_string()).collect()
}

/// Replaces learner ids by positions in ascending order of the ids, and returns the names in that order.
fn number_learners(path: &Path, rows: &mut Rows, listed: Option<Vec<(u32, String)>>) -> Result<Vec<String>> {
    let (ids, names): (Vec<u32>, Vec<String>) = match listed {
        Some(mut list) => {
            list.sort_unstable_by_key(|(id, _)| *id);
            list.into_iter().unzip()
        }
        None => {
            let mut ids = rows.learner.clone();
            ids.sort_unstable();
            ids.dedup();
            let names = ids.iter().map(|id| id.to_string()).collect();
            (ids, names)
        }
    };
    // Positions equal ids in the common case of ids without gaps.
    if ids.last().is_some_and(|&last| last as usize + 1 == ids.len()) {
        require_below(path, &rows.learner, ids.len(), "learner", LEARNERS)?;
        return Ok(names);
    }
    for (row, id) in rows.learner.iter_mut().enumerate() {
        *id = match ids.binary_search(id) {
            Ok(position) => position as u32,
            Err(_) => return Err(unknown(path, row, *id, "learner", LEARNERS)),
        };
    }
    Ok(names)
}

fn require_below(path: &Path, ids: &[u32], count: usize, what: &str, file: &str) -> Result<()> {
    match ids.iter().position(|&id| id as usize >= count) {
        None => Ok(()),
        Some(row) => Err(unknown(path, row, ids[row], what, file)),
    }
}

/// The complaint about an id that is not listed; finds the line of the row again.
fn unknown(path: &Path, row: usize, id: u32, what: &str, file: &str) -> Error {
    let (why, remedy) =
        (format!("the {what} id {id} is not in {file}"), format!("add it to {file}, or correct the id"));
    let at_row = || -> Result<Table> {
        let mut table = Table::open(path, Dialect::CSV)?;
        for _ in 0..=row {
            table.advance()?;
        }
        Ok(table)
    };
    at_row().map_or_else(|_| Error::data(path, None, &why, &remedy), |table| table.fail(&why, &remedy))
}

type Triples = (Vec<[u32; 3]>, ImpliedIds, ImpliedIds);

/// Triples; ids at or above a known count are errors, without a known count they are counted.
fn read_triples(path: &Path, entities: Option<usize>, relations: Option<usize>) -> Result<Triples> {
    let mut table = Table::open(path, Dialect::CSV)?;
    let columns = [table.require("head")?, table.require("relation")?, table.require("tail")?];
    let mut implied = [ImpliedIds::default(), ImpliedIds::default()];
    let mut triples = Vec::new();
    while table.advance()? {
        let mut triple = [0; 3];
        for (k, what) in ["head", "relation", "tail"].into_iter().enumerate() {
            let id = table.id(columns[k], what)?;
            let (kind, known, file, counter) = match what {
                "relation" => ("relation", relations, RELATIONS, 1),
                _ => ("entity", entities, ENTITIES, 0),
            };
            if known.is_some_and(|count| id as usize >= count) {
                let why = format!("the triple names an unknown {kind}: {what} {id}");
                return Err(table.fail(why, format!("add {kind} {id} to {file}, or delete the triple")));
            }
            implied[counter].see(id);
            triple[k] = id;
        }
        triples.push(triple);
    }
    let [entities, relations] = implied;
    Ok((triples, entities, relations))
}

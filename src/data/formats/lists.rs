//! The pieces that the readers share: lists of names, triples, times and splits of tables with integer ids.

use super::ImpliedIds;
use super::text::{Dialect, Table, lossy};
use super::time::{TimeKind, parse_time};
use crate::Split;
use crate::assemble::Rows;
use base::{Error, Result};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::Path;

/// Ids and names, in the order of the file.
pub(crate) type NameList = Vec<(u32, String)>;

/// A column by its name in the header, or by its position from 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Column {
    Position(usize),
    Name(String),
}

impl From<&str> for Column {
    fn from(name: &str) -> Column {
        Column::Name(name.into())
    }
}

impl Column {
    /// The position of the column in a table.
    pub fn find(&self, table: &Table) -> Result<usize> {
        match self {
            Column::Position(position) => Ok(*position),
            Column::Name(name) if table.header().is_empty() => Err(table.fail_file(
                format!("the column '{name}' cannot be found: the file is read without a header"),
                "name columns by position, from 0, or set header = true",
            )),
            Column::Name(name) => table.require(name),
        }
    }
}

/// A time of one column; the whole column must be numbers or must be dates.
pub(crate) fn read_time(table: &Table, column: usize, kind: &mut Option<TimeKind>) -> Result<f64> {
    let text = table.text(column)?;
    let Some((time, this)) = parse_time(text) else {
        let why = format!("the time '{}' is neither a finite number nor an ISO date", lossy(text.as_bytes()));
        return Err(table.fail(why, "write times as numbers, 2024-01-31 or 2024-01-31T12:30:00"));
    };
    if *kind.get_or_insert(this) != this {
        let remedy = "write all times of the file as numbers, or all as dates";
        return Err(table.fail("numbers and dates are mixed in the time column", remedy));
    }
    Ok(time)
}

pub(crate) fn read_split(table: &Table, column: usize) -> Result<Split> {
    let field = table.field(column);
    Split::ALL.into_iter().find(|s| s.name().as_bytes() == field).ok_or_else(|| {
        let why = format!("the split '{}' is unknown", lossy(field));
        table.fail(why, "write train, valid or test, or delete the column")
    })
}

/// (id, name) of every row; ids are unique.
pub(crate) fn read_names(
    path: &Path,
    dialect: Dialect,
    columns: [&Column; 2],
    what: &str,
) -> Result<NameList> {
    let mut table = Table::open(path, dialect)?;
    let (id, name) = (columns[0].find(&table)?, columns[1].find(&table)?);
    let mut list = Vec::new();
    let mut seen = HashSet::new();
    while table.advance()? {
        let value = table.id(id, what)?;
        if !seen.insert(value) {
            return Err(
                table.fail(format!("the {what} id {value} is named twice"), "delete one of the two lines")
            );
        }
        list.push((value, table.text(name)?.to_string()));
    }
    Ok(list)
}

/// Names in the order of their ids, which must be first, first + 1, ... without a gap.
pub(crate) fn dense(path: &Path, mut list: NameList, first: u32, what: &str) -> Result<Vec<String>> {
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
/// `listed` must contain every id of the rows.
pub(crate) fn number_learners(rows: &mut Rows, listed: Option<NameList>) -> Vec<String> {
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
    if ids.last().is_some_and(|&last| last as usize + 1 != ids.len()) {
        rows.learner.iter_mut().for_each(|id| *id = ids.partition_point(|known| known < id) as u32);
    }
    names
}

/// Ids that a file lists: what is not among them is an error. Without a list every id is known, and counted.
pub(crate) struct Known<'a> {
    /// What the ids name, for complaints.
    pub what: &'a str,
    /// The file that lists them, for complaints.
    pub file: &'a str,
    /// Ids below this are known.
    pub count: Option<usize>,
    pub implied: ImpliedIds,
}

impl<'a> Known<'a> {
    pub fn new(what: &'a str, file: &'a str, count: Option<usize>) -> Self {
        Known { what, file, count, implied: ImpliedIds::default() }
    }

    /// Takes note of an id. Err: why it cannot be used, and the remedy.
    pub fn see(&mut self, id: u32) -> Result<(), (String, String)> {
        let Known { what, file, .. } = self;
        if self.count.is_some_and(|count| id as usize >= count) {
            let why = format!("the {what} {id} is unknown: it is not in {file}");
            return Err((why, format!("add it to {file}, or correct or delete this line")));
        }
        self.implied.see(id);
        Ok(())
    }

    /// How many ids there are: as listed, or up to the largest seen.
    pub fn total(&self, path: &Path) -> Result<usize> {
        self.count.map_or_else(|| self.implied.dense(path, self.what), Ok)
    }
}

/// Triples of a table with the columns head, relation and tail.
pub(crate) fn read_triples(
    path: &Path,
    dialect: Dialect,
    columns: [&Column; 3],
    entities: &mut Known,
    relations: &mut Known,
) -> Result<Vec<[u32; 3]>> {
    let mut table = Table::open(path, dialect)?;
    let [head, relation, tail] =
        [columns[0].find(&table)?, columns[1].find(&table)?, columns[2].find(&table)?];
    let mut triples = Vec::new();
    while table.advance()? {
        let triple = [table.id(head, "head")?, table.id(relation, "relation")?, table.id(tail, "tail")?];
        let seen = entities
            .see(triple[0])
            .and_then(|_| relations.see(triple[1]))
            .and_then(|_| entities.see(triple[2]));
        seen.map_err(|(why, remedy)| table.fail(why, remedy))?;
        triples.push(triple);
    }
    Ok(triples)
}

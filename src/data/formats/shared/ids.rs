//! Ids and names: integer ids of files that list them or not, and numbers for ids that are texts.

use super::csv_table::{Column, CsvTable, Dialect};
use super::values::Place;
use crate::assemble::Rows;
use base::{Error, Result};
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::path::Path;

/// Ids and names, in the order of the file.
pub type NameList = Vec<(u32, String)>;

/// The number of a key: that of its first appearance, else the next one of `names`, where its name goes.
pub fn intern<Q, K>(
    numbers: &mut HashMap<K, u32>,
    names: &mut Vec<String>,
    key: &Q,
    name: impl FnOnce() -> String,
) -> u32
where
    Q: ToOwned<Owned = K> + Hash + Eq + ?Sized,
    K: Borrow<Q> + Hash + Eq,
{
    if let Some(&number) = numbers.get(key) {
        return number;
    }
    let number = names.len() as u32;
    numbers.insert(key.to_owned(), number);
    names.push(name());
    number
}

/// The ids of a column, as numbers from 0.
pub trait Ids {
    /// The number of the id in a field. `what` names it in complaints.
    fn number(&mut self, at: &impl Place, field: &[u8], what: &str) -> Result<u32>;
}

/// Texts, numbered in the order of first appearance.
#[derive(Default)]
pub struct TextIds {
    numbers: HashMap<String, u32>,
    pub names: Vec<String>,
}

impl TextIds {
    pub fn get(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    pub fn of(&mut self, text: &str) -> u32 {
        intern(&mut self.numbers, &mut self.names, text, || text.into())
    }
}

impl Ids for TextIds {
    fn number(&mut self, at: &impl Place, field: &[u8], what: &str) -> Result<u32> {
        match at.utf8(field, &format!("the {what}"))? {
            "" => Err(at.fail(format!("the {what} is missing"), "complete or delete this line")),
            text => Ok(self.of(text)),
        }
    }
}

/// Integer ids. What is not among those that a file lists is an error; without a list they are 0 to the largest one seen.
#[derive(Default)]
pub struct IntegerIds {
    /// What the ids name, and the file that lists them, for complaints.
    what: &'static str,
    file: String,
    listed: Option<Listed>,
    /// The largest id that was seen, plus 1.
    end: usize,
    /// Rows that named an id: far fewer than ids means that the ids are not numbered from 0.
    seen: usize,
}

enum Listed {
    Below(usize),
    Set(HashSet<u32>),
}

impl IntegerIds {
    /// `count` is the number of ids, if it is known.
    pub fn new(what: &'static str, file: impl Into<String>, count: Option<usize>) -> IntegerIds {
        IntegerIds { what, file: file.into(), listed: count.map(Listed::Below), ..Default::default() }
    }

    /// Ids that may have gaps.
    pub fn of(what: &'static str, file: impl Into<String>, list: Option<&NameList>) -> IntegerIds {
        let set = |list: &NameList| Listed::Set(list.iter().map(|(id, _)| *id).collect());
        IntegerIds { what, file: file.into(), listed: list.map(set), ..Default::default() }
    }

    /// How many ids there are. Errors: `Error::Data` for `path` when those seen are so sparse that a table of them would be
    /// mostly empty (and could exhaust the memory because of one wrong digit).
    pub fn count(&self, path: &Path) -> Result<usize> {
        match self.listed {
            Some(Listed::Below(count)) => Ok(count),
            _ => check_dense(path, self.what, self.end, self.seen),
        }
    }
}

impl Ids for IntegerIds {
    fn number(&mut self, at: &impl Place, field: &[u8], what: &str) -> Result<u32> {
        let id = at.id(field, what)?;
        let known = match &self.listed {
            None => true,
            Some(Listed::Below(count)) => (id as usize) < *count,
            Some(Listed::Set(set)) => set.contains(&id),
        };
        if !known {
            let IntegerIds { what, file, .. } = self;
            let why = format!("the {what} {id} is unknown: it is not in {file}");
            return Err(at.fail(why, format!("add it to {file}, or correct or delete this line")));
        }
        self.end = self.end.max(id as usize + 1);
        self.seen += 1;
        Ok(id)
    }
}

/// `end`, unless ids below it are far more than the `seen` rows that name one.
pub fn check_dense(path: &Path, what: &str, end: usize, seen: usize) -> Result<usize> {
    if end > 1_000_000 && end / 64 > seen {
        let why = format!("the largest {what} id is {}, but only {seen} rows name one", end - 1);
        return Err(Error::data(path, None, why, format!("number {what} ids from 0 without gaps")));
    }
    Ok(end)
}

/// (id, name) of every row; ids are unique.
pub fn read_names(path: &Path, dialect: Dialect, columns: [&Column; 2], what: &str) -> Result<NameList> {
    let mut table = CsvTable::open(path, dialect)?;
    let (id, name) = (table.find(columns[0])?, table.find(columns[1])?);
    let (mut list, mut seen) = (Vec::new(), HashSet::new());
    while table.advance()? {
        let value = table.id(table.field(id), what)?;
        if !seen.insert(value) {
            let why = format!("the {what} id {value} is named twice");
            return Err(table.fail(why, "delete one of the two lines"));
        }
        list.push((value, table.text(name)?.to_string()));
    }
    Ok(list)
}

/// Triples of a table with the columns head, relation and tail.
pub fn read_triples(
    path: &Path,
    dialect: Dialect,
    columns: [&Column; 3],
    entities: &mut impl Ids,
    relations: &mut impl Ids,
) -> Result<Vec<[u32; 3]>> {
    let mut table = CsvTable::open(path, dialect)?;
    let [head, relation, tail] = [table.find(columns[0])?, table.find(columns[1])?, table.find(columns[2])?];
    let mut triples = Vec::new();
    while table.advance()? {
        triples.push([
            entities.number(&table, table.field(head), "head")?,
            relations.number(&table, table.field(relation), "relation")?,
            entities.number(&table, table.field(tail), "tail")?,
        ]);
    }
    Ok(triples)
}

/// Names in the order of their ids, which must be first, first + 1, ... without a gap.
pub fn dense(path: &Path, mut list: NameList, first: usize, what: &str) -> Result<Vec<String>> {
    list.sort_unstable_by_key(|(id, _)| *id);
    for (expected, (id, _)) in (first..).zip(&list) {
        if expected != *id as usize {
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
pub fn decimal(ids: impl Iterator<Item = usize>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}

/// Replaces learner ids by positions in ascending order of the ids, and returns the names in that order.
/// `listed` must contain every id of the rows.
pub fn number_learners(rows: &mut Rows, listed: Option<NameList>) -> Vec<String> {
    let mut list = listed.unwrap_or_else(|| {
        let mut ids = rows.learner.clone();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| (id, id.to_string())).collect()
    });
    list.sort_unstable_by_key(|(id, _)| *id);
    // Positions equal ids in the common case of ids without gaps.
    if list.last().is_some_and(|(last, _)| *last as usize + 1 != list.len()) {
        rows.learner.iter_mut().for_each(|id| *id = list.partition_point(|(known, _)| known < id) as u32);
    }
    list.into_iter().map(|(_, name)| name).collect()
}

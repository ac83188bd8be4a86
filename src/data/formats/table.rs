//! Any folder of tables, read as a map file describes it.

use super::lists::{
    Column, Known, NameList, dense, number_learners, numbers, read_names, read_split, read_time, read_triples,
};
use super::map::{Condition, Ids, InteractionsMap, Map, MissingTime, NamesMap, TriplesMap};
use super::text::{Table, lossy};
use super::{ImpliedIds, Loaded, SourceReport, finish, folder_name, require_folder};
use crate::Dataset;
use crate::assemble::Rows;
use base::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Reads a folder of tables (docs/data.md, "Maps"). Errors: `Error::Data` with file and line, of the map or of a
/// table; `Error::Io` for files that cannot be read.
pub fn read(folder: &Path, map_path: &Path) -> Result<Loaded> {
    let map = Map::read(map_path)?;
    require_folder(folder)?;
    let mut reader = Reader {
        folder,
        map_path,
        report: SourceReport {
            format: "table".into(),
            has_split: map.interactions.has_split(),
            ..Default::default()
        },
    };
    let mut dataset = Dataset {
        name: map.name.clone().unwrap_or_else(|| folder_name(folder)),
        labels: map.interactions.labels.iter().map(|l| l.name().to_string()).collect(),
        ..Default::default()
    };
    if let Some((i, name)) = dataset.labels.iter().enumerate().find(|(i, l)| dataset.labels[..*i].contains(l))
    {
        let why = format!("label {i} has the name '{name}' of an earlier one");
        return Err(Error::data(map_path, None, why, "give every label its own name"));
    }
    let rows = match map.interactions.ids {
        Ids::Integer => reader.integer_ids(&map, &mut dataset)?,
        Ids::Text => reader.text_ids(&map, &mut dataset)?,
    };
    if let Some(attributes) = &map.attributes {
        let (pattern, groups) = attributes.pattern(map_path)?;
        let unmatched = add_attributes(&mut dataset, &pattern, &groups);
        if unmatched > 0 {
            reader.report.notes.push(format!("{unmatched} courses do not match the pattern of [attributes]"));
        }
    }
    finish(folder, dataset, rows, reader.report)
}

struct Reader<'a> {
    folder: &'a Path,
    map_path: &'a Path,
    report: SourceReport,
}

impl Reader<'_> {
    /// The path of an optional file, or None and a note in the report where it is missing.
    fn optional(&mut self, file: &Path) -> Option<PathBuf> {
        let path = self.folder.join(file);
        let there = path.is_file();
        let list = if there { &mut self.report.files } else { &mut self.report.missing };
        list.push(file.display().to_string());
        there.then_some(path)
    }

    fn names(&mut self, map: &Option<NamesMap>, what: &str) -> Result<Option<(PathBuf, NameList)>> {
        let Some(map) = map else { return Ok(None) };
        let Some(path) = self.optional(&map.file) else { return Ok(None) };
        let list = read_names(&path, map.dialect(self.map_path)?, [&map.id, &map.name], what)?;
        Ok(Some((path, list)))
    }

    fn integer_ids(&mut self, map: &Map, dataset: &mut Dataset) -> Result<Rows> {
        let mut courses =
            Known::new("course", "the map (courses)", map.interactions.courses.map(|c| c as usize));
        let mut rows = self.rows(&map.interactions, |table, learner, course| {
            let ids = (table.id(learner, "learner")?, table.id(course, "course")?);
            courses.see(ids.1).map_err(|(why, remedy)| table.fail(why, remedy))?;
            Ok(ids)
        })?;
        dataset.learner_names = number_learners(&mut rows, None).into();
        if let Some(stated) = map.interactions.courses {
            ImpliedIds { count: stated as usize, seen: rows.len() }.dense(self.map_path, "course")?;
        }
        dataset.courses = courses.total(self.folder)?;

        let mut entity_names = numbers(0, dataset.courses);
        let listed = self.names(&map.entities, "entity")?;
        let mut known = None;
        if let Some((path, list)) = listed {
            // The list names all entities, or those after the courses.
            let first = if list.iter().any(|(id, _)| *id == 0) { 0 } else { dataset.courses };
            entity_names.truncate(first);
            entity_names.extend(dense(&path, list, first as u32, "entity")?);
            if entity_names.len() < dataset.courses {
                let why = format!(
                    "names {} entities, but there are {} courses",
                    entity_names.len(),
                    dataset.courses
                );
                return Err(Error::data(
                    path,
                    None,
                    why,
                    "name the courses too: they are the first entities",
                ));
            }
            known = Some(entity_names.len());
        }
        let relations = self.names(&map.relations, "relation")?;
        let relation_names = relations.map(|(path, list)| dense(&path, list, 0, "relation")).transpose()?;
        let mut entities = Known::new("entity", "the file of [entities]", known);
        let mut relations =
            Known::new("relation", "the file of [relations]", relation_names.as_ref().map(Vec::len));
        if let Some(triples) = &map.triples
            && let Some(path) = self.optional(&triples.file)
        {
            let columns = [&triples.head, &triples.relation, &triples.tail];
            let dialect = triples.dialect(self.map_path)?;
            dataset.triples = read_triples(&path, dialect, columns, &mut entities, &mut relations)?.into();
        }
        let named = entity_names.len();
        entity_names.extend(numbers(named, entities.total(self.folder)?.max(named)));
        dataset.entity_names = entity_names.into();
        let count = relations.total(self.folder)?;
        dataset.relation_names = relation_names.unwrap_or_else(|| numbers(0, count)).into();
        Ok(rows)
    }

    fn text_ids(&mut self, map: &Map, dataset: &mut Dataset) -> Result<Rows> {
        let (mut learners, mut entities) = (Numbering::default(), Numbering::default());
        let rows = self.rows(&map.interactions, |table, learner, course| {
            Ok((learners.number(table, learner, "learner")?, entities.number(table, course, "course")?))
        })?;
        dataset.learner_names = learners.names.into();
        dataset.courses = entities.names.len();
        let mut relations = Numbering::default();
        if let Some(triples) = &map.triples
            && let Some(path) = self.optional(&triples.file)
        {
            dataset.triples = self.text_triples(triples, &path, &mut entities, &mut relations)?.into();
        }
        dataset.entity_names = entities.names.into();
        dataset.relation_names = relations.names.into();
        Ok(rows)
    }

    fn text_triples(
        &self,
        map: &TriplesMap,
        path: &Path,
        entities: &mut Numbering,
        relations: &mut Numbering,
    ) -> Result<Vec<[u32; 3]>> {
        let mut table = Table::open(path, map.dialect(self.map_path)?)?;
        let (head, relation, tail) =
            (map.head.find(&table)?, map.relation.find(&table)?, map.tail.find(&table)?);
        let mut triples = Vec::new();
        while table.advance()? {
            triples.push([
                entities.number(&table, head, "head")?,
                relations.number(&table, relation, "relation")?,
                entities.number(&table, tail, "tail")?,
            ]);
        }
        Ok(triples)
    }

    /// Every row of every file of interactions. `ids` turns the learner and course columns into numbers.
    fn rows(
        &mut self,
        map: &InteractionsMap,
        mut ids: impl FnMut(&Table, usize, usize) -> Result<(u32, u32)>,
    ) -> Result<Rows> {
        let mut rows = Rows { labels: vec![Vec::new(); map.labels.len()], ..Default::default() };
        let mut time_kind = None;
        for (file, split) in map.files() {
            let path = self.folder.join(file);
            if !path.is_file() {
                let why = "the file is missing";
                return Err(Error::data(path, None, why, "correct files in [interactions] of the map"));
            }
            self.report.files.push(file.display().to_string());
            let dialect = map.dialect(self.map_path, file)?;
            let mut table = Table::open(&path, dialect)?;
            let find = |column: &Option<Column>| column.as_ref().map(|c| c.find(&table)).transpose();
            let (learner, course) = (map.learner.find(&table)?, map.course.find(&table)?);
            let (time, split_column) = (find(&map.time)?, find(&map.split)?);
            let conditions = (map.labels.iter())
                .map(|label| {
                    let condition = label.condition(self.map_path, dialect.header)?;
                    let what = format!("label '{}'", label.name());
                    Ok((what, condition.column.find(&table)?, condition))
                })
                .collect::<Result<Vec<_>>>()?;
            let only = match map.only(self.map_path, dialect.header)? {
                Some(condition) => Some((condition.column.find(&table)?, condition)),
                None => None,
            };
            let before = rows.len();
            while table.advance()? {
                if let Some((column, condition)) = &only
                    && evaluate(&table, "where", *column, condition)? == 0
                {
                    continue;
                }
                let (u, c) = ids(&table, learner, course)?;
                rows.learner.push(u);
                rows.course.push(c);
                if let Some(column) = time {
                    let missing = table.field(column).is_empty() && map.time_missing == MissingTime::First;
                    rows.time.push(match missing {
                        true => f64::NEG_INFINITY,
                        false => read_time(&table, column, &mut time_kind)?,
                    });
                }
                if let Some(split) = split.map(Ok).or(split_column.map(|c| read_split(&table, c))) {
                    rows.split.push(split?);
                }
                for ((what, column, condition), values) in conditions.iter().zip(&mut rows.labels) {
                    values.push(evaluate(&table, what, *column, condition)?);
                }
            }
            if rows.len() == before {
                let why = if only.is_some() { "no row is as `where` says" } else { "the file has no rows" };
                return Err(table.fail_file(why, "write one row per enrolment"));
            }
        }
        Ok(rows)
    }
}

/// Whether the current row is as the condition of `what` says.
fn evaluate(table: &Table, what: &str, column: usize, condition: &Condition) -> Result<u8> {
    let Some((comparison, limit)) = condition.test else { return table.label(column, what) };
    match table.text(column)?.parse::<f64>() {
        Ok(value) if !value.is_nan() => Ok(comparison.holds(value, limit) as u8),
        _ => {
            let why = format!("{what} compares '{}', which is not a number", lossy(table.field(column)));
            Err(table.fail(why, "correct the value, or choose another column in the map"))
        }
    }
}

/// Numbers for texts, in the order of first appearance.
#[derive(Default)]
pub(super) struct Numbering {
    numbers: HashMap<String, u32>,
    pub names: Vec<String>,
}

impl Numbering {
    fn number(&mut self, table: &Table, column: usize, what: &str) -> Result<u32> {
        match table.text(column)? {
            "" => Err(table.fail(format!("the {what} is missing"), "complete or delete this line")),
            text => Ok(self.of(text)),
        }
    }

    pub fn get(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    pub fn of(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.names.len() as u32;
        self.numbers.insert(text.into(), number);
        self.names.push(text.into());
        number
    }
}

/// Adds one relation per group of the pattern, and for every course that matches a triple to the entity
/// "group:value". Returns how many courses do not match.
pub(super) fn add_attributes(dataset: &mut Dataset, pattern: &regex::Regex, groups: &[String]) -> usize {
    let first_relation = dataset.relation_names.len() as u32;
    dataset.relation_names.extend(groups);
    let mut values = Numbering::default();
    let triples = dataset.triples.to_mut();
    let first_entity = dataset.entity_names.len() as u32;
    let mut unmatched = 0;
    for course in 0..dataset.courses {
        let Some(found) = pattern.captures(&dataset.entity_names[course]) else {
            unmatched += 1;
            continue;
        };
        for (relation, group) in (first_relation..).zip(groups) {
            if let Some(value) = found.name(group).filter(|v| !v.is_empty()) {
                let entity = first_entity + values.of(&format!("{group}:{}", value.as_str()));
                triples.push([course as u32, relation, entity]);
            }
        }
    }
    dataset.entity_names.extend(values.names);
    unmatched
}

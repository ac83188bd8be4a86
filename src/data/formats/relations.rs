//! Knowledge graphs from published tables of two ids, one of them a course's.

use super::raw::{RawFolder, json, pair};
use super::text::lossy;
use base::Result;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;

/// A table, and the JSON lines that name what stands beside the courses.
pub(super) struct Table {
    pub relation: &'static str,
    pub file: &'static str,
    /// Which column has the course: 0 or 1.
    pub course: usize,
    /// What the ids of the other column begin with.
    pub prefix: &'static str,
    /// The file of the entities.
    pub entities: &'static str,
    /// Lines of the two files, where they are published.
    pub published: Option<[u64; 2]>,
}

/// What a text in the column of courses is.
pub(super) enum Course {
    Known(u32),
    /// An id that neither the list of courses nor an enrolment has.
    Unknown,
    NoId,
}

pub(super) struct Graph {
    /// Courses first.
    pub entity_names: Vec<String>,
    pub relation_names: Vec<String>,
    pub triples: Vec<[u32; 3]>,
}

impl Graph {
    pub fn new(course_names: Vec<String>) -> Graph {
        Graph { entity_names: course_names, relation_names: Vec::new(), triples: Vec::new() }
    }

    /// Entities of one kind, numbered as they are met.
    pub fn entity(
        &mut self,
        known: &mut HashMap<String, u32>,
        id: &str,
        name: impl Fn(&str) -> String,
    ) -> u32 {
        if let Some(&entity) = known.get(id) {
            return entity;
        }
        let entity = self.entity_names.len() as u32;
        known.insert(id.into(), entity);
        self.entity_names.push(name(id));
        entity
    }

    /// Adds a relation of (head, tail) pairs, sorted and without repetitions; nothing where there is no pair.
    pub fn relate(&mut self, relation: &str, mut pairs: Vec<(u32, u32)>) {
        pairs.sort_unstable();
        pairs.dedup();
        if pairs.is_empty() {
            return;
        }
        let number = self.relation_names.len() as u32;
        self.relation_names.push(relation.into());
        self.triples.extend(pairs.into_iter().map(|(head, tail)| [head, number, tail]));
    }

    /// Adds the triples of a table and the names of its entities; answers these by their ids.
    pub fn read(
        &mut self,
        raw: &mut RawFolder,
        table: &Table,
        course: impl Fn(&str) -> Course,
    ) -> Result<HashMap<String, u32>> {
        let known = self.read_pairs(raw, table, course)?;
        self.read_names(raw, table, &known)?;
        Ok(known)
    }

    /// The triples of a table; answers its entities by their ids.
    fn read_pairs(
        &mut self,
        raw: &mut RawFolder,
        table: &Table,
        course: impl Fn(&str) -> Course,
    ) -> Result<HashMap<String, u32>> {
        let mut known = HashMap::new();
        let Some(path) = raw.find(table.file) else { return Ok(known) };
        let mut pairs = Vec::new();
        let (mut unknown, mut header) = (0u64, 0u64);
        let lines = raw.lines(&path, |at, line| {
            let columns = pair(line)?;
            let other = columns[1 - table.course];
            let is_id = |text: &&str| text.starts_with("C_") || text.starts_with(table.prefix);
            if at == 1 && !columns.iter().any(is_id) {
                header = 1;
                return Ok(());
            }
            match course(columns[table.course]) {
                Course::Known(course) if other.starts_with(table.prefix) => {
                    pairs.push((course, self.entity(&mut known, other, str::to_string)));
                }
                Course::Unknown if other.starts_with(table.prefix) => unknown += 1,
                _ => {
                    let mut ids = ["C_", table.prefix];
                    ids.rotate_left(table.course);
                    return Err(format!(
                        "'{}' is not an id {}..., a tab and {}...",
                        lossy(line),
                        ids[0],
                        ids[1]
                    ));
                }
            }
            Ok(())
        })?;
        if let Some([published, _]) = table.published {
            raw.count(&format!("lines of {}", file_name(table.file)), lines - header, published);
        }
        if header > 0 {
            raw.note(format!("{}: the first line is a header and was passed over", table.file));
        }
        note_unknown(raw, table.file, unknown);
        self.relate(table.relation, pairs);
        Ok(known)
    }

    /// Adds names to the ids, unless an id has its name in it as those of concepts do.
    fn read_names(&mut self, raw: &mut RawFolder, table: &Table, known: &HashMap<String, u32>) -> Result<()> {
        let Some(path) = raw.find(table.entities) else { return Ok(()) };
        let lines = raw.lines(&path, |_, line| {
            let line: Entity = json(line)?;
            if !line.id.starts_with(table.prefix) {
                return Err(format!(
                    "the id '{}' does not begin with {}",
                    lossy(line.id.as_bytes()),
                    table.prefix
                ));
            }
            let name = line.name.as_deref().map(str::trim).filter(|name| !line.id.contains(name));
            if let (Some(&entity), Some(name)) = (known.get(line.id.as_ref()), name) {
                self.entity_names[entity as usize] = format!("{} {name}", line.id);
            }
            Ok(())
        })?;
        if let Some([_, published]) = table.published {
            raw.count(&format!("entities in {}", file_name(table.entities)), lines, published);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Entity<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

pub(super) fn note_unknown(raw: &mut RawFolder, file: &str, lines: u64) {
    if lines > 0 {
        raw.note(format!(
            "{file}: {lines} lines name a course that neither course.json nor an enrolment has, and are left out"
        ));
    }
}

fn file_name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

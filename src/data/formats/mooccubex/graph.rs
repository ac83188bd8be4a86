//! The knowledge graph: fields, schools, teachers and concepts of the courses.

use super::courses::Courses;
use crate::Result;
use crate::data::formats::raw::{RawFolder, json, number, pair};
use crate::data::formats::text::lossy;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;

const FIELDS: &str = "relations/course-field.json";

/// A table of two ids, one of them a course's.
struct Table {
    relation: &'static str,
    file: &'static str,
    /// Which column has the course.
    course: usize,
    /// What the ids of the other column begin with.
    prefix: &'static str,
    /// Lines, as published; of schools and teachers, as counted in one copy.
    published: u64,
    /// The file of the entities, for their names, and how many it has.
    entities: (&'static str, u64),
}

const TABLES: [Table; 3] = [
    Table {
        relation: "school",
        file: "relations/course-school.txt",
        course: 0,
        prefix: "S_",
        published: 3_748,
        entities: ("entities/school.json", 428),
    },
    Table {
        relation: "teacher",
        file: "relations/course-teacher.txt",
        course: 0,
        prefix: "T_",
        published: 13_312,
        entities: ("entities/teacher.json", 17_018),
    },
    Table {
        relation: "concept",
        file: "relations/concept-course.txt",
        course: 1,
        prefix: "K_",
        published: 406_777,
        entities: ("entities/concept.json", 637_572),
    },
];

pub(super) struct Graph {
    /// Courses first.
    pub entity_names: Vec<String>,
    pub relation_names: Vec<String>,
    pub triples: Vec<[u32; 3]>,
}

impl Graph {
    /// Entities of one kind that are numbered as they are met.
    fn entity(&mut self, known: &mut HashMap<String, u32>, id: &str, name: impl Fn(&str) -> String) -> u32 {
        if let Some(&entity) = known.get(id) {
            return entity;
        }
        let entity = self.entity_names.len() as u32;
        known.insert(id.into(), entity);
        self.entity_names.push(name(id));
        entity
    }

    /// Adds a relation of (course, entity) pairs, sorted and without repetitions; nothing where there is no pair.
    fn relate(&mut self, relation: &str, mut pairs: Vec<(u32, u32)>) {
        pairs.sort_unstable();
        pairs.dedup();
        if pairs.is_empty() {
            return;
        }
        let number = self.relation_names.len() as u32;
        self.relation_names.push(relation.into());
        self.triples.extend(pairs.into_iter().map(|(course, entity)| [course, number, entity]));
    }
}

pub(super) fn read(raw: &mut RawFolder, courses: &Courses) -> Result<Graph> {
    let mut graph =
        Graph { entity_names: courses.names.clone(), relation_names: Vec::new(), triples: Vec::new() };
    fields(raw, courses, &mut graph)?;
    for table in &TABLES {
        let entities = relation(raw, courses, &mut graph, table)?;
        names(raw, &mut graph, table, entities)?;
    }
    Ok(graph)
}

#[derive(Deserialize)]
struct FieldLine {
    /// 584313 for C_584313.
    course_id: u64,
    field: Vec<String>,
}

/// Fields of course.json and of course-field.json: each has some that the other has not.
fn fields(raw: &mut RawFolder, courses: &Courses, graph: &mut Graph) -> Result<()> {
    let mut known = HashMap::new();
    let mut pairs = Vec::new();
    let mut add = |graph: &mut Graph, course: u32, field: &str| {
        let field = field.trim();
        if !field.is_empty() {
            pairs.push((course, graph.entity(&mut known, field, |field| format!("field:{field}"))));
        }
    };
    courses.fields.iter().for_each(|(course, field)| add(graph, *course, field));
    if let Some(path) = raw.find(FIELDS) {
        let mut unknown = 0u64;
        let lines = raw.lines(&path, |_, line| {
            let line: FieldLine = json(line)?;
            match courses.get(line.course_id) {
                Some(course) => line.field.iter().for_each(|field| add(graph, course, field)),
                None => unknown += 1,
            }
            Ok(())
        })?;
        raw.count("courses in course-field.json", lines, 632);
        note_unknown(raw, FIELDS, unknown);
    }
    graph.relate("field", pairs);
    Ok(())
}

/// The triples of one table; answers the entities by their ids.
fn relation(
    raw: &mut RawFolder,
    courses: &Courses,
    graph: &mut Graph,
    table: &Table,
) -> Result<HashMap<String, u32>> {
    let mut known = HashMap::new();
    let Some(path) = raw.find(table.file) else { return Ok(known) };
    let mut pairs = Vec::new();
    let (mut unknown, mut header) = (0u64, 0u64);
    let lines = raw.lines(&path, |at, line| {
        let columns = pair(line)?;
        let (course, other) = (columns[table.course], columns[1 - table.course]);
        let is_id = |text: &&str| text.starts_with("C_") || text.starts_with(table.prefix);
        if at == 1 && !columns.iter().any(is_id) {
            header = 1;
            return Ok(());
        }
        let Some(number) = number(course, "C_").filter(|_| other.starts_with(table.prefix)) else {
            let expected = ["C_ and a number", table.prefix];
            let [a, b] = [expected[table.course], expected[1 - table.course]];
            return Err(format!("'{}' is not {a}, a tab and {b}", lossy(line)));
        };
        match courses.get(number) {
            Some(course) => pairs.push((course, graph.entity(&mut known, other, str::to_string))),
            None => unknown += 1,
        }
        Ok(())
    })?;
    raw.count(&format!("lines of {}", file_name(table.file)), lines - header, table.published);
    if header > 0 {
        raw.note(format!("{}: the first line is a header and was passed over", table.file));
    }
    note_unknown(raw, table.file, unknown);
    graph.relate(table.relation, pairs);
    Ok(known)
}

#[derive(Deserialize)]
struct Entity<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

/// Adds the names of schools, teachers and concepts to their ids, unless the id has the name in it as those of
/// concepts do.
fn names(
    raw: &mut RawFolder,
    graph: &mut Graph,
    table: &Table,
    entities: HashMap<String, u32>,
) -> Result<()> {
    let (file, published) = table.entities;
    let Some(path) = raw.find(file) else { return Ok(()) };
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
        if let (Some(&entity), Some(name)) = (entities.get(line.id.as_ref()), name) {
            graph.entity_names[entity as usize] = format!("{} {name}", line.id);
        }
        Ok(())
    })?;
    raw.count(&format!("entities in {}", file_name(file)), lines, published);
    Ok(())
}

fn note_unknown(raw: &mut RawFolder, file: &str, lines: u64) {
    if lines > 0 {
        raw.note(format!(
            "{file}: {lines} lines name a course that neither course.json nor an enrolment has, and are left out"
        ));
    }
}

fn file_name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

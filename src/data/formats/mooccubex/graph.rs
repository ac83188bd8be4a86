//! The knowledge graph: fields, schools, teachers and concepts of the courses, and which concept comes before which.

use super::courses::Courses;
use super::prerequisites;
use crate::formats::raw::{RawFolder, json, number};
use crate::formats::relations::{Course, Graph, Table, note_unknown};
use base::Result;
use serde::Deserialize;
use std::collections::HashMap;

const FIELDS: &str = "relations/course-field.json";

/// The lines of schools and teachers are those of one copy.
const TABLES: [Table; 2] = [
    Table {
        relation: "school",
        file: "relations/course-school.txt",
        course: 0,
        prefix: "S_",
        entities: "entities/school.json",
        published: Some([3_748, 428]),
    },
    Table {
        relation: "teacher",
        file: "relations/course-teacher.txt",
        course: 0,
        prefix: "T_",
        entities: "entities/teacher.json",
        published: Some([13_312, 17_018]),
    },
];

const CONCEPTS: Table = Table {
    relation: "concept",
    file: "relations/concept-course.txt",
    course: 1,
    prefix: "K_",
    entities: "entities/concept.json",
    published: Some([406_777, 637_572]),
};

pub(super) fn read(raw: &mut RawFolder, courses: &Courses) -> Result<Graph> {
    let mut graph = Graph::new(courses.names.clone());
    fields(raw, courses, &mut graph)?;
    let course = |id: &str| match number(id, "C_") {
        Some(number) => courses.get(number).map_or(Course::Unknown, Course::Known),
        None => Course::NoId,
    };
    for table in &TABLES {
        graph.read(raw, table, course)?;
    }
    let concepts = graph.read(raw, &CONCEPTS, course)?;
    prerequisites::read(raw, &mut graph, &concepts)?;
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

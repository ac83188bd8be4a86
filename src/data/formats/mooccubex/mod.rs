//! MOOCCubeX (Yu et al., CIKM 2021) as it is published: JSON lines in `entities/` and `relations/`, and tables in
//! *.txt. docs/data.md says what becomes of each file.
//!
//! Every file is read once, line by line, so memory grows with enrolments and courses but not with the logs. Of a
//! learner nothing but the id and the enrolments is ever taken out of a line.

mod completion;
mod courses;
mod graph;
mod learners;
mod prerequisites;

use super::raw::{RawFolder, RawOptions};
use super::{Loaded, checked, folder_name};
use crate::Dataset;
use crate::assemble::assemble;
use base::{Error, Result};
use std::path::Path;

pub const USERS: &str = "entities/user.json";
const COURSES: &str = "entities/course.json";

/// Reads a folder of MOOCCubeX; only `entities/user.json` must be there. Errors: `Error::Data` with file and line
/// for too many malformed lines, `Error::Io` for files that cannot be read.
pub fn read(folder: &Path, options: &RawOptions) -> Result<Loaded> {
    let mut raw = RawFolder::open(folder, options, "mooccubex")?;
    let users = raw.require(USERS)?;
    let mut courses = courses::read(&mut raw)?;
    let learners::Learners { known, names: learner_names, rows } =
        learners::read(&mut raw, &users, &mut courses)?;
    if rows.len() == 0 {
        let remedy = "check that the file is whole, and that it is MOOCCubeX's";
        return Err(Error::data(users, None, "no learner has an enrolment", remedy));
    }
    let graph = graph::read(&mut raw, &courses)?;
    let (interactions, duplicates) = assemble(rows, learner_names.len(), courses.len());
    raw.report.duplicates = duplicates;
    let mut dataset = Dataset {
        name: folder_name(folder),
        learner_names: learner_names.into(),
        entity_names: graph.entity_names.into(),
        courses: courses.len(),
        relation_names: graph.relation_names.into(),
        triples: graph.triples.into(),
        labels: Vec::new(),
        interactions,
    };
    if let Some(values) = completion::read(&mut raw, options, &courses, &known, &dataset.interactions)? {
        dataset.labels.push("completed".into());
        dataset.interactions.label_values.push(values.into());
    }
    checked(folder, dataset, raw.finish())
}

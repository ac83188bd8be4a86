//! Writes a data set in the interchange format.

use super::interchange::{COURSES, ENTITIES, INTERACTIONS, LEARNERS, RELATIONS, TRIPLES};
use crate::{Dataset, Split};
use base::{Error, Result, files};
use std::io::{self, Write};
use std::path::Path;

/// Writes a new folder that [`super::interchange::read`] reads back: all of it or nothing. Times are written as
/// positions in the learner's sequence, the split only where not all is train. Errors: `Error::Data` when the
/// folder exists (with `force`: when it is not an interchange folder), `Error::Io` when it cannot be written.
pub fn write(dataset: &Dataset, folder: &Path, force: bool) -> Result<()> {
    files::write_folder(folder, force, INTERACTIONS, |temp| {
        let put = |file: &str, bytes: io::Result<Vec<u8>>| {
            let path = temp.join(file);
            let bytes = bytes.map_err(Error::io(&path, "writing"))?;
            files::write(&path, &bytes)
        };
        put(INTERACTIONS, interactions(dataset))?;
        put(TRIPLES, triples(dataset))?;
        let (entities, courses) = (&dataset.entity_names, dataset.courses);
        put(COURSES, names("course", 0, entities.iter().take(courses)))?;
        put(ENTITIES, names("entity", courses, entities.iter().skip(courses)))?;
        put(RELATIONS, names("relation", 0, dataset.relation_names.iter()))?;
        // Without the file a learner is named by its id and exists by its rows.
        let implied = |u: usize| !dataset.rows(u).is_empty() && dataset.learner_names[u] == *u.to_string();
        if !(0..dataset.learners()).all(implied) {
            put(LEARNERS, names("learner", 0, dataset.learner_names.iter()))?;
        }
        Ok(())
    })
}

fn interactions(dataset: &Dataset) -> io::Result<Vec<u8>> {
    let i = &dataset.interactions;
    let with_split = i.split.iter().any(|&s| s != Split::Train);
    let mut out = Vec::with_capacity(dataset.enrolments() * 16 + 64);
    write!(out, "learner,course")?;
    if i.has_time {
        write!(out, ",time")?;
    }
    if with_split {
        write!(out, ",split")?;
    }
    let mut header = csv::Writer::from_writer(Vec::new());
    if !dataset.labels.is_empty() {
        header.write_record(&dataset.labels)?;
        out.push(b',');
        out.extend(header.into_inner().map_err(|e| e.into_error())?.trim_ascii_end());
    }
    out.push(b'\n');
    for learner in 0..dataset.learners() {
        for (position, row) in dataset.rows(learner).enumerate() {
            write!(out, "{learner},{}", i.course[row])?;
            if i.has_time {
                write!(out, ",{position}")?;
            }
            if with_split {
                write!(out, ",{}", i.split[row].name())?;
            }
            for label in &i.label_values {
                write!(out, ",{}", label[row])?;
            }
            out.push(b'\n');
        }
    }
    Ok(out)
}

fn triples(dataset: &Dataset) -> io::Result<Vec<u8>> {
    let mut out = b"head,relation,tail\n".to_vec();
    for [head, relation, tail] in &dataset.triples {
        writeln!(out, "{head},{relation},{tail}")?;
    }
    Ok(out)
}

fn names<'a>(column: &str, first: usize, names: impl Iterator<Item = &'a str>) -> io::Result<Vec<u8>> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record([column, "name"])?;
    for (id, name) in (first..).zip(names) {
        out.write_record([id.to_string().as_str(), name])?;
    }
    out.into_inner().map_err(|e| e.into_error())
}

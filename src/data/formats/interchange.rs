//! The interchange format: a folder of csv files with integer ids, read as a map would describe them; and written.

use super::shared::csv_table::{CsvTable, Dialect};
use super::shared::source::Source;
use super::shared::values::Place;
use super::table::{Condition, Label, Map, read_mapped};
use super::{Format, Loaded, Request};

use crate::{Dataset, Split};
use base::{Error, Result, files};
use std::io::{self, Write};
use std::path::Path;

pub const INTERACTIONS: &str = "interactions.csv";
const TRIPLES: &str = "triples.csv";
const COURSES: &str = "courses.csv";
const ENTITIES: &str = "entities.csv";
const RELATIONS: &str = "relations.csv";
const LEARNERS: &str = "learners.csv";

/// The format as a map, but for what the header of interactions.csv says.
const MAP: &str = r#"
interactions = { files = "interactions.csv", ids = "integer", learner = "learner", course = "course" }
triples = { file = "triples.csv", head = "head", relation = "relation", tail = "tail" }
learners = { file = "learners.csv", id = "learner", name = "name" }
courses = { file = "courses.csv", id = "course", name = "name" }
entities = { file = "entities.csv", id = "entity", name = "name" }
relations = { file = "relations.csv", id = "relation", name = "name" }
"#;

pub(super) const FORMAT: Format = Format {
    name: "interchange",
    about: "csv files of this program's own format",
    options: &[],
    detect: |source| Ok(source.join(INTERACTIONS).is_file()),
    read,
};

/// Reads a folder of the interchange format (docs/data.md). Errors: `Error::Data` with file and line for
/// anything that cannot be used, `Error::Io` for files that cannot be read.
fn read(request: &Request) -> Result<Loaded> {
    let path = Source::open(request.source, request.options, &FORMAT)?.require(INTERACTIONS)?;
    let table = CsvTable::open(&path, Dialect { delimiter: b',', header: true, quote: true })?;
    if let Some(at) = table.header().iter().position(String::is_empty) {
        let why = format!("column {} of the header has no name", at + 1);
        return Err(table.fail(why, "name the column, or delete it"));
    }
    let has = |name: &str| table.header().iter().any(|h| h == name).then(|| name.into());
    let is_label = |name: &&String| !["learner", "course", "time", "split"].contains(&name.as_str());
    let label = |name: &String| Label { name: name.clone(), when: Condition::column(name) };
    let mut map = Map::parse(MAP, path)?;
    map.interactions.time = has("time");
    map.interactions.split = has("split");
    map.interactions.labels = table.header().iter().filter(is_label).map(label).collect();
    read_mapped(Source::open(request.source, request.options, &FORMAT)?, &map)
}

/// Writes a new folder of the interchange format: all of it or nothing. Times are written as positions in the learner's
/// sequence, the split only where not all is train. Errors: `Error::Data` when the folder exists (with `force`: when it is
/// not an interchange folder), `Error::Io` when it cannot be written.
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
    let mut columns = vec!["learner", "course"];
    columns.extend(i.has_time.then_some("time"));
    columns.extend(with_split.then_some("split"));
    columns.extend(dataset.labels.iter().map(String::as_str));
    let mut header = csv::Writer::from_writer(Vec::with_capacity(dataset.enrolments() * 16 + 64));
    header.write_record(&columns)?;
    let mut out = header.into_inner().map_err(|e| e.into_error())?;
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

//! The prepared data set on disk: arrays in a safetensors file, which is mapped into memory, and a manifest.
//!
//! `manifest.json` counts what there is and has a checksum of each array; `manifest.sha256` has that of the manifest (as
//! `sha256sum -c` reads it). So a change of any byte is found, and at the speed of memory: a data set is opened without
//! reading it into memory of its own. What takes longer to check is [`verify`]'s.

mod file;
mod folder;

pub use file::{Array, DataFile, Sum};
pub use folder::{check_output, has_written, is_writing};
pub(crate) use folder::{write_file, write_folder};

use super::dataset::{Dataset, Interactions, hex};
use super::names::Names;
use super::sections::{self, label_array, names_array};
use base::{Error, Result};
use file::Opened;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

pub const SCHEMA_VERSION: u32 = 2;
pub const ARRAYS: &str = "data.safetensors";
pub const MANIFEST: &str = "manifest.json";
pub const MANIFEST_SUM: &str = "manifest.sha256";

const PREPARE_AGAIN: &str = "prepare the data set again from its source";

/// Where the data came from and how it was split; kept in the manifest for people and for `inspect`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Format of the source, or "synth".
    pub format: String,
    /// The split policy, as text such as "random 0.6/0.2/0.2".
    pub split: String,
    pub seed: u64,
    pub duplicates_merged: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub schema_version: u32,
    pub name: String,
    pub learners: u64,
    pub courses: u64,
    pub enrolments: u64,
    pub entities: u64,
    pub relations: u64,
    pub triples: u64,
    pub labels: Vec<String>,
    pub has_time: bool,
    /// See [`Dataset::fingerprint`].
    pub fingerprint: String,
    pub source: Provenance,
    /// The file of the arrays.
    pub data: DataFile,
}

impl Dataset {
    /// Opens a prepared data set and checks the checksum, shape and range of each array; the arrays stay in the file, and
    /// the file must not be changed in the meantime (it may be replaced or deleted). Errors: `Error::Data` when `dir` is
    /// not a prepared data set at all, `Error::Corrupt`
    /// when it is one but damaged, `Error::Config` when another version wrote it.
    pub fn open(dir: &Path) -> Result<Dataset> {
        Ok(open(dir)?.0)
    }
}

/// [`Dataset::open`] together with the manifest.
pub fn open(dir: &Path) -> Result<(Dataset, Manifest)> {
    let manifest = read_manifest(dir)?;
    let path = dir.join(ARRAYS);
    let file = file::open(&path, &manifest.data)?;
    let dataset = in_place(&file, &manifest)?;
    dataset.check_shapes().map_err(|why| corrupt(&path, why))?;
    let stated = stated_sums(&dataset, &manifest, file.arrays()).map_err(|why| corrupt(&path, why))?;
    sections::check(&dataset, Some(&stated)).map_err(|why| corrupt(&path, why))?;
    Ok((dataset, manifest))
}

/// [`open`], and what it leaves out since it takes several times as long: the SHA-256 of the file, the fingerprint, the order
/// of the names, and that no learner has a course twice.
pub fn verify(dir: &Path) -> Result<(Dataset, Manifest)> {
    let (dataset, manifest) = open(dir)?;
    let path = dir.join(ARRAYS);
    let (sum, fingerprint) = rayon::join(|| file::sha256(&path), || dataset.fingerprint());
    if sum? != manifest.data.sha256 {
        return Err(corrupt(&path, "does not have the SHA-256 that the manifest states"));
    }
    if fingerprint != manifest.fingerprint {
        return Err(corrupt(&path, "does not have the fingerprint that the manifest states"));
    }
    dataset.check_courses_once().map_err(|why| corrupt(&path, why))?;
    if let Some((what, _)) = dataset.names().iter().find(|(_, names)| !names.is_ordered()) {
        return Err(corrupt(&path, format!("the names of {what} are not in order: some would not be found")));
    }
    Ok((dataset, manifest))
}

/// The data set whose columns are the arrays of the file, of the shapes that follow from the manifest.
fn in_place(file: &Opened, manifest: &Manifest) -> Result<Dataset> {
    let n = manifest.enrolments as usize;
    let learners = manifest.learners as usize;
    let names = |what: &str, count: u64| -> Result<Names> {
        let count = count as usize;
        let [offsets, bytes, order] = ["offsets", "bytes", "order"].map(|column| names_array(what, column));
        Ok(Names::from_columns(
            file.column(&offsets, Dtype::U64, &[count.saturating_add(1)])?,
            file.column(&bytes, Dtype::U8, &[file.length(&bytes)?])?,
            file.column(&order, Dtype::U32, &[count])?,
        ))
    };
    let label_values = manifest.labels.iter().map(|l| file.column(&label_array(l), Dtype::U8, &[n]));
    Ok(Dataset {
        name: manifest.name.clone(),
        learner_names: names("learners", manifest.learners)?,
        entity_names: names("entities", manifest.entities)?,
        relation_names: names("relations", manifest.relations)?,
        courses: manifest.courses as usize,
        triples: file.column("triples", Dtype::U32, &[manifest.triples as usize, 3])?,
        labels: manifest.labels.clone(),
        interactions: Interactions {
            offsets: file.column("offsets", Dtype::U64, &[learners.saturating_add(1)])?,
            course: file.column("course", Dtype::U32, &[n])?,
            label_values: label_values.collect::<Result<_>>()?,
            split: file.column("split", Dtype::U8, &[n])?,
            has_time: manifest.has_time,
        },
    })
}

/// The checksum that the manifest states of each section. The file has no other arrays.
fn stated_sums(dataset: &Dataset, manifest: &Manifest, arrays: usize) -> Result<Vec<u64>, String> {
    let sections = sections::of(dataset);
    let listed = &manifest.data.arrays;
    if sections.len() != arrays || sections.len() != listed.len() {
        let (own, stated) = (sections.len(), listed.len());
        return Err(format!("has {arrays} arrays, the manifest lists {stated}, and there should be {own}"));
    }
    let sum = |s: &sections::Section| match listed.get(&s.name) {
        Some(array) if (array.dtype, &array.shape) == (s.dtype, &s.shape) => Ok(array.xxh3.0),
        Some(array) => Err(format!(
            "array '{}' is {:?} {:?}, the manifest lists {:?} {:?}",
            s.name, s.dtype, s.shape, array.dtype, array.shape
        )),
        None => Err(format!("the manifest does not list array '{}'", s.name)),
    };
    sections.iter().map(sum).collect()
}

/// Reads and checks the manifest alone: fast, whatever the size of the data.
pub fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    if !dir.is_dir() {
        let why = if dir.exists() { "is not a folder" } else { "does not exist" };
        return Err(Error::data(
            dir,
            None,
            why,
            "name a prepared data set: waata prepare SOURCE -o DIR makes one",
        ));
    }
    if !path.exists() {
        return Err(match dir.join(ARRAYS).exists() || dir.join(MANIFEST_SUM).exists() {
            true => corrupt(&path, "the file is missing"),
            false => {
                let remedy = "make one first: waata prepare SOURCE -o DIR";
                Error::data(dir, None, format!("is not a prepared data set (no {MANIFEST})"), remedy)
            }
        });
    }
    let text = read_file(&path)?;
    let sum = read_file(&dir.join(MANIFEST_SUM))?;
    if sum != sum_line(&text).as_bytes() {
        return Err(corrupt(&path, format!("does not have the checksum that {MANIFEST_SUM} states")));
    }
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| corrupt(&path, format!("is not JSON: {e}")))?;
    let version = value.get("schema_version").and_then(|v| v.as_u64()).unwrap_or(0);
    if version != SCHEMA_VERSION as u64 {
        return Err(Error::config(
            path.display().to_string(),
            format!("has schema version {version}, this program reads {SCHEMA_VERSION}"),
            format!("use the version of the program that wrote it, or {PREPARE_AGAIN}"),
        ));
    }
    serde_json::from_value(value).map_err(|e| corrupt(&path, format!("is not a manifest: {e}")))
}

/// Writes a data set to a new folder: all of it or nothing. With `force` an existing data set is replaced; who has opened
/// that one keeps it. Errors: `Error::Data` when the folder exists, `Error::Io` when it cannot be written.
pub fn write(dataset: &Dataset, dir: &Path, source: Provenance, force: bool) -> Result<Manifest> {
    write_folder(dir, force, MANIFEST, |temp| {
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            name: dataset.name.clone(),
            learners: dataset.learners() as u64,
            courses: dataset.courses as u64,
            enrolments: dataset.enrolments() as u64,
            entities: dataset.entities() as u64,
            relations: dataset.relations() as u64,
            triples: dataset.triples.len() as u64,
            labels: dataset.labels.clone(),
            has_time: dataset.interactions.has_time,
            fingerprint: dataset.fingerprint(),
            source,
            data: file::write(dataset, &temp.join(ARRAYS))?,
        };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| corrupt(dir, format!("the manifest cannot be written as JSON: {e}")))?;
        write_file(&temp.join(MANIFEST), &text)?;
        write_file(&temp.join(MANIFEST_SUM), sum_line(&text).as_bytes())?;
        Ok(manifest)
    })
}

fn corrupt(path: &Path, why: impl Into<String>) -> Error {
    Error::corrupt(path, why, PREPARE_AGAIN)
}

/// One line as sha256sum writes it.
fn sum_line(manifest: &[u8]) -> String {
    format!("{}  {MANIFEST}\n", hex(&Sha256::digest(manifest)))
}

/// A file of a store: one that is missing means that the store is damaged.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(corrupt(path, "the file is missing")),
        other => other.map_err(Error::io(path, "reading")),
    }
}

//! The prepared data set on disk: arrays in a safetensors file, which is mapped into memory, and a manifest.
//!
//! `manifest.json` has the counts and a checksum of each array; `manifest.sha256` has that of the manifest (as
//! `sha256sum -c` reads it). Opening copies nothing and still finds every changed byte, at the speed of memory; [`verify`]
//! checks what takes longer.

mod file;

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::Dataset;
use crate::schema::{self, hex};
use base::{Error, Result, files};

pub use file::{ArrayEntry, Checksum, DataFile};

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
    /// Opens a prepared data set and checks checksum, shape and range of each array. The arrays stay in the file, which
    /// must not be changed in the meantime (it may be replaced or deleted). Errors: `Error::Data` when `dir` is not a
    /// prepared data set at all, `Error::Corrupt` when it is one but damaged, `Error::Config` when another version wrote
    /// it.
    pub fn open(dir: &Path) -> Result<Dataset> {
        Ok(open(dir)?.0)
    }
}

/// [`Dataset::open`] together with the manifest.
pub fn open(dir: &Path) -> Result<(Dataset, Manifest)> {
    let manifest = read_manifest(dir)?;
    let path = dir.join(ARRAYS);
    let file = file::open(&path, &manifest.data)?;
    let Manifest { name, labels, has_time, data, .. } = &manifest;
    let dataset = schema::read(&file, name.clone(), manifest.courses as usize, labels.clone(), *has_time)?;
    check_counts(&dataset, &manifest)
        .and_then(|()| schema::check(&dataset, |array| data.arrays.get(array).map(|a| a.xxh3.0)))
        .map_err(|why| corrupt(&path, why))?;
    Ok((dataset, manifest))
}

/// That there is as much of everything as the manifest says. The number of courses stands in the manifest alone.
fn check_counts(data: &Dataset, manifest: &Manifest) -> Result<(), String> {
    let counts = [
        ("learners", data.learners(), manifest.learners),
        ("enrolments", data.enrolments(), manifest.enrolments),
        ("entities", data.entities(), manifest.entities),
        ("relations", data.relations(), manifest.relations),
        ("triples", data.triples.len(), manifest.triples),
        ("arrays", schema::arrays(data).len(), manifest.data.arrays.len() as u64),
    ];
    match counts.into_iter().find(|&(_, found, stated)| found as u64 != stated) {
        Some((what, found, stated)) => Err(format!("has {found} {what}, the manifest says {stated}")),
        None => Ok(()),
    }
}

/// [`open`], and the checks that take several times as long: the SHA-256 of the file, the fingerprint, the order of the
/// names, and that no learner has a course twice.
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

/// Reads and checks the manifest alone: fast, whatever the size of the data.
pub fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    if !dir.is_dir() {
        let why = if dir.exists() { "is not a folder" } else { "does not exist" };
        return Err(Error::data(dir, None, why, "name a prepared data set: waata prepare SOURCE -o DIR makes one"));
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
    let read_file = |path: &Path| fs::read(path).map_err(missing_or_unreadable(path, "reading"));
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

/// Writes a data set to a new folder, as a whole or not at all. With `force` an existing data set is replaced; programs
/// that have it open keep it. Errors: `Error::Data` when the folder exists, `Error::Io` when it cannot be written.
pub fn write(dataset: &Dataset, dir: &Path, source: Provenance, force: bool) -> Result<Manifest> {
    files::write_folder(dir, force, MANIFEST, |temp| {
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
        files::write(&temp.join(MANIFEST), &text)?;
        files::write(&temp.join(MANIFEST_SUM), sum_line(&text).as_bytes())?;
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

/// For `map_err` on reading a file of a store: one that is missing means that the store is damaged.
fn missing_or_unreadable(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => corrupt(path, "the file is missing"),
        _ => Error::io(path, doing)(error),
    }
}

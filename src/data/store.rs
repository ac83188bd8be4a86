//! The prepared data set on disk: arrays in safetensors, names in JSON, and a manifest with checksums.
//!
//! `data.safetensors` holds offsets u64 (learners + 1), course u32 (n), split u8 (n), label/<name> u8 (n) and
//! triples u32 (T, 3). `manifest.json` has the SHA-256 of the other files, and `manifest.sha256` that of the
//! manifest (as `sha256sum -c` reads it), so a change of any byte is found.

use super::dataset::{Dataset, Interactions, Split, hex};
use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

pub const SCHEMA_VERSION: u32 = 1;
pub const ARRAYS: &str = "data.safetensors";
pub const NAMES: &str = "names.json";
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
pub struct FileSum {
    pub bytes: u64,
    pub sha256: String,
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
    pub files: BTreeMap<String, FileSum>,
}

#[derive(Serialize)]
struct NamesOut<'a> {
    learners: &'a [String],
    entities: &'a [String],
    relations: &'a [String],
}

#[derive(Deserialize)]
struct NamesIn {
    learners: Vec<String>,
    entities: Vec<String>,
    relations: Vec<String>,
}

impl Dataset {
    /// Reads a prepared data set and checks checksums, shapes and ranges. Errors: `Error::Data` when `dir` is
    /// not a prepared data set at all, `Error::Corrupt` when it is one but damaged, `Error::Config` when a newer
    /// version wrote it.
    pub fn open(dir: &Path) -> Result<Dataset> {
        Ok(open(dir)?.0)
    }
}

/// [`Dataset::open`] together with the manifest.
pub fn open(dir: &Path) -> Result<(Dataset, Manifest)> {
    let manifest = read_manifest(dir)?;
    let arrays = read_summed(dir, ARRAYS, &manifest)?;
    let mut dataset = read_arrays(&arrays, &manifest).map_err(|why| corrupt(&dir.join(ARRAYS), why))?;
    drop(arrays);
    let names: NamesIn = serde_json::from_slice(&read_summed(dir, NAMES, &manifest)?)
        .map_err(|e| corrupt(&dir.join(NAMES), format!("is not the expected JSON: {e}")))?;
    dataset.learner_names = names.learners;
    dataset.entity_names = names.entities;
    dataset.relation_names = names.relations;
    dataset.validate().map_err(|why| corrupt(dir, why))?;
    let counts = [dataset.learners(), dataset.enrolments(), dataset.entities(), dataset.relations()];
    let stated = [manifest.learners, manifest.enrolments, manifest.entities, manifest.relations];
    if counts.map(|c| c as u64) != stated || dataset.triples.len() as u64 != manifest.triples {
        return Err(corrupt(&dir.join(MANIFEST), "the counts of the manifest are not those of the arrays"));
    }
    if dataset.fingerprint() != manifest.fingerprint {
        return Err(corrupt(&dir.join(MANIFEST), "the fingerprint is not that of the arrays"));
    }
    Ok((dataset, manifest))
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

/// Refuses an output folder that exists, unless `force` is set and it is empty or has the file `marker`, by which
/// a folder that this program wrote is known.
pub fn check_output(dir: &Path, force: bool, marker: &str) -> Result<()> {
    if !dir.exists() && !dir.is_symlink() {
        return Ok(());
    }
    if !force {
        return Err(Error::data(
            dir,
            None,
            "already exists",
            "choose another folder, or replace it with --force",
        ));
    }
    let empty = fs::read_dir(dir).map(|mut entries| entries.next().is_none()).unwrap_or(false);
    if empty || dir.join(marker).is_file() {
        return Ok(());
    }
    let why = format!("exists and is not a folder that this command wrote (no {marker})");
    Err(Error::data(dir, None, why, "choose another folder: --force replaces only what the command wrote"))
}

/// Writes a data set to a new folder: all of it or nothing. With `force` an existing data set is replaced.
/// Errors: `Error::Data` when the folder exists, `Error::Io` when it cannot be written.
pub fn write(dataset: &Dataset, dir: &Path, source: Provenance, force: bool) -> Result<Manifest> {
    write_folder(dir, force, MANIFEST, |temp| {
        let mut files = BTreeMap::new();
        let mut put = |file: &str, bytes: &[u8]| -> Result<()> {
            write_file(&temp.join(file), bytes)?;
            files.insert(
                file.into(),
                FileSum { bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) },
            );
            Ok(())
        };
        put(ARRAYS, &array_bytes(dataset).map_err(|why| corrupt(dir, why))?)?;
        let names = NamesOut {
            learners: &dataset.learner_names,
            entities: &dataset.entity_names,
            relations: &dataset.relation_names,
        };
        put(NAMES, &json(&names, dir, false)?)?;
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
            files,
        };
        let text = json(&manifest, dir, true)?;
        write_file(&temp.join(MANIFEST), &text)?;
        write_file(&temp.join(MANIFEST_SUM), sum_line(&text).as_bytes())?;
        Ok(manifest)
    })
}

/// Fills a new folder next to `dir` and moves it into place when everything is on disk; a failure leaves nothing.
/// `marker` is as in [`check_output`].
pub(crate) fn write_folder<T>(
    dir: &Path,
    force: bool,
    marker: &str,
    fill: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    check_output(dir, force, marker)?;
    let temp = TempFolder::create(sibling(dir, "tmp")?)?;
    let value = fill(&temp.0)?;
    sync(&temp.0)?;
    if dir.exists() {
        // Rename cannot replace a filled folder: the old one steps aside first, and returns when the move fails.
        let old = sibling(dir, "old")?;
        fs::rename(dir, &old).map_err(Error::io(dir, "moving aside"))?;
        if let Err(source) = fs::rename(&temp.0, dir) {
            let _ = fs::rename(&old, dir);
            return Err(Error::io(dir, "replacing")(source));
        }
        fs::remove_dir_all(&old).map_err(Error::io(&old, "deleting"))?;
    } else {
        fs::rename(&temp.0, dir).map_err(Error::io(dir, "moving into place"))?;
    }
    if let Some(parent) = absolute(dir)?.parent() {
        sync(parent)?;
    }
    Ok(value)
}

/// Writes a file and waits until it is on disk.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io(path, "creating"))?;
    file.write_all(bytes).map_err(Error::io(path, "writing"))?;
    file.sync_all().map_err(Error::io(path, "writing"))
}

/// A folder that is deleted again unless it was moved away.
struct TempFolder(PathBuf);

impl TempFolder {
    fn create(path: PathBuf) -> Result<TempFolder> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io(parent, "creating"))?;
        }
        // The name has this process's number: what is there was left by one that was killed.
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::io(&path, "deleting"))?;
        }
        fs::create_dir(&path).map_err(Error::io(&path, "creating"))?;
        Ok(TempFolder(path))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn absolute(dir: &Path) -> Result<PathBuf> {
    std::path::absolute(dir).map_err(Error::io(dir, "resolving"))
}

/// A hidden name next to `dir`, of this process only.
fn sibling(dir: &Path, purpose: &str) -> Result<PathBuf> {
    let full = absolute(dir)?;
    match (full.parent(), full.file_name()) {
        (Some(parent), Some(name)) => {
            Ok(parent.join(format!(".{}.{purpose}-{}", name.to_string_lossy(), std::process::id())))
        }
        _ => Err(Error::data(dir, None, "cannot be an output folder", "name a new folder")),
    }
}

fn sync(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|f| f.sync_all()).map_err(Error::io(dir, "writing"))
}

fn corrupt(path: &Path, why: impl Into<String>) -> Error {
    Error::corrupt(path, why, PREPARE_AGAIN)
}

/// One line as sha256sum writes it.
fn sum_line(manifest: &[u8]) -> String {
    format!("{}  {MANIFEST}\n", hex(&Sha256::digest(manifest)))
}

fn json<T: Serialize>(value: &T, dir: &Path, pretty: bool) -> Result<Vec<u8>> {
    let bytes = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    bytes.map_err(|e| corrupt(dir, format!("cannot be written as JSON: {e}")))
}

/// A file of a store: one that is missing means that the store is damaged.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(corrupt(path, "the file is missing")),
        other => other.map_err(Error::io(path, "reading")),
    }
}

fn read_summed(dir: &Path, file: &str, manifest: &Manifest) -> Result<Vec<u8>> {
    let path = dir.join(file);
    let bytes = read_file(&path)?;
    let Some(sum) = manifest.files.get(file) else {
        return Err(corrupt(&dir.join(MANIFEST), format!("has no checksum of {file}")));
    };
    if bytes.len() as u64 != sum.bytes {
        return Err(corrupt(&path, format!("has {} bytes instead of {}", bytes.len(), sum.bytes)));
    }
    if hex(&Sha256::digest(&bytes)) != sum.sha256 {
        return Err(corrupt(&path, format!("does not have the checksum that {MANIFEST} states")));
    }
    Ok(bytes)
}

fn array_bytes(dataset: &Dataset) -> Result<Vec<u8>, String> {
    let i = &dataset.interactions;
    let n = i.course.len();
    let offsets: Vec<u8> = i.offsets.iter().flat_map(|v| v.to_le_bytes()).collect();
    let course: Vec<u8> = i.course.iter().flat_map(|v| v.to_le_bytes()).collect();
    let split: Vec<u8> = i.split.iter().map(|&s| s as u8).collect();
    let triples: Vec<u8> = dataset.triples.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    let view = |dtype, shape, data| TensorView::new(dtype, shape, data).map_err(|e| e.to_string());
    let mut tensors = vec![
        ("offsets".to_string(), view(Dtype::U64, vec![i.offsets.len()], &offsets)?),
        ("course".to_string(), view(Dtype::U32, vec![n], &course)?),
        ("split".to_string(), view(Dtype::U8, vec![n], &split)?),
        ("triples".to_string(), view(Dtype::U32, vec![dataset.triples.len(), 3], &triples)?),
    ];
    for (name, values) in dataset.labels.iter().zip(&i.label_values) {
        tensors.push((format!("label/{name}"), view(Dtype::U8, vec![n], values)?));
    }
    safetensors::serialize(tensors, None).map_err(|e| e.to_string())
}

fn read_arrays(bytes: &[u8], manifest: &Manifest) -> Result<Dataset, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| format!("is not a safetensors file: {e}"))?;
    let get = |name: &str, dtype: Dtype, shape: &[usize]| -> Result<&[u8], String> {
        let tensor = tensors.tensor(name).map_err(|e| format!("array '{name}': {e}"))?;
        if tensor.dtype() != dtype || tensor.shape() != shape {
            let (d, s) = (tensor.dtype(), tensor.shape());
            return Err(format!("array '{name}' is {d:?} {s:?} instead of {dtype:?} {shape:?}"));
        }
        Ok(tensor.data())
    };
    let (n, triples) = (manifest.enrolments as usize, manifest.triples as usize);
    let offset_count = (manifest.learners as usize).saturating_add(1);
    let split = get("split", Dtype::U8, &[n])?.iter();
    let split: Option<Vec<Split>> = split.map(|&v| Split::from_u8(v)).collect();
    let label_values =
        manifest.labels.iter().map(|l| get(&format!("label/{l}"), Dtype::U8, &[n]).map(<[u8]>::to_vec));
    let interactions = Interactions {
        offsets: read_u64(get("offsets", Dtype::U64, &[offset_count])?),
        course: read_u32(get("course", Dtype::U32, &[n])?),
        label_values: label_values.collect::<Result<_, _>>()?,
        split: split.ok_or("array 'split' has a value other than 0, 1 and 2")?,
        has_time: manifest.has_time,
    };
    let triples = read_u32(get("triples", Dtype::U32, &[triples, 3])?);
    Ok(Dataset {
        name: manifest.name.clone(),
        courses: manifest.courses as usize,
        triples: triples.chunks_exact(3).map(|t| [t[0], t[1], t[2]]).collect(),
        labels: manifest.labels.clone(),
        interactions,
        ..Default::default()
    })
}

fn read_u64(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect()
}

fn read_u32(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

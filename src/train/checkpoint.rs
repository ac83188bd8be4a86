//! Checkpoints: one safetensors file of all tensors, and a manifest with what they are and their hash.
//!
//! Both are written beside their place and renamed into it, the manifest last: it names the file that it belongs
//! to, so a kill at any moment leaves the old checkpoint or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::{Device, Tensor};
use crate::{Error, Result};

/// Where a run stands. `epoch` and `step` count what is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are done.
    pub epoch: u64,
    /// Steps done in the epoch after those.
    pub step_in_epoch: u64,
    /// Optimizer steps of the whole run.
    pub step: u64,
    /// Optimizer steps by state: counts that bias corrections need.
    pub optimizer_steps: BTreeMap<String, u64>,
    pub best_metric: Option<f64>,
    pub best_epoch: u64,
    /// Sums of the unfinished epoch's losses, so that its log line is the same after a resume.
    pub sums: BTreeMap<String, f64>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema_version: u32,
    file: String,
    sha256: String,
    /// Fingerprint of the data set that the run trains on.
    data: String,
    progress: Progress,
    /// SHA-256 of this manifest with an empty seal.
    seal: String,
}

impl Manifest {
    fn sealed(&self) -> serde_json::Result<String> {
        Ok(hash(&serde_json::to_vec(&Manifest { seal: String::new(), ..self.clone() })?))
    }
}

pub struct Checkpoint {
    pub tensors: BTreeMap<String, Tensor>,
    pub progress: Progress,
    pub data: String,
}

/// Writes `<dir>/<name>.json` and the tensor file that it names.
pub fn save(
    dir: &Path,
    name: &str,
    data: &str,
    progress: &Progress,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io(dir, "creating the folder"))?;
    let values: Vec<(String, Vec<usize>, Vec<f32>)> = tensors
        .iter()
        .map(|(name, t)| Ok((name.clone(), vec![t.rows(), t.cols()], t.to_vec()?)))
        .collect::<Result<_>>()?;
    let views: Vec<(&str, TensorView)> = values
        .iter()
        .map(|(name, shape, v)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(v));
            view.map(|view| (name.as_str(), view)).map_err(|e| unwritable(dir, &e))
        })
        .collect::<Result<_>>()?;
    let bytes = safetensors::serialize(views, None).map_err(|e| unwritable(dir, &e))?;
    let sha256 = hash(&bytes);
    let file = format!("{name}-{}.safetensors", &sha256[..12]);
    let old = read_manifest(&dir.join(format!("{name}.json"))).ok().map(|m| m.file);
    write_atomically(&dir.join(&file), &bytes)?;
    let mut manifest = Manifest {
        schema_version: 1,
        file: file.clone(),
        sha256,
        data: data.into(),
        progress: progress.clone(),
        seal: String::new(),
    };
    manifest.seal = manifest.sealed().map_err(|e| unwritable(dir, &e))?;
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| unwritable(dir, &e))?;
    write_atomically(&dir.join(format!("{name}.json")), &text)?;
    if let Some(old) = old.filter(|old| *old != file) {
        // The new checkpoint is complete; an old file that cannot be removed only costs room.
        let _ = fs::remove_file(dir.join(old));
    }
    Ok(())
}

/// The progress that `<dir>/<name>.json` states, without reading the tensors.
pub fn progress(dir: &Path, name: &str) -> Result<Progress> {
    Ok(read_manifest(&dir.join(format!("{name}.json")))?.progress)
}

pub fn load(dir: &Path, name: &str, device: &Device) -> Result<Checkpoint> {
    let manifest = read_manifest(&dir.join(format!("{name}.json")))?;
    let path = dir.join(&manifest.file);
    let bytes = fs::read(&path).map_err(Error::io(&path, "reading"))?;
    let remedy = "restore the file from a copy, or train again";
    if hash(&bytes) != manifest.sha256 {
        return Err(Error::corrupt(path, "the checkpoint's checksum does not match its manifest", remedy));
    }
    let file = SafeTensors::deserialize(&bytes).map_err(|e| Error::corrupt(&path, e.to_string(), remedy))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let (&[rows, cols], Dtype::F32) = (view.shape(), view.dtype()) else {
            return Err(Error::corrupt(&path, format!("`{name}` is no matrix of 32-bit floats"), remedy));
        };
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        tensors.insert(name, Tensor::new(device, rows, cols, &values)?);
    }
    Ok(Checkpoint { tensors, progress: manifest.progress, data: manifest.data })
}

fn read_manifest(path: &Path) -> Result<Manifest> {
    let text = fs::read(path).map_err(Error::io(path, "reading"))?;
    let corrupt = |why: String| Error::corrupt(path, why, "restore the file from a copy, or train again");
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|e| corrupt(format!("not a checkpoint's manifest: {e}")))?;
    match manifest.sealed() {
        Ok(seal) if seal == manifest.seal => Ok(manifest),
        _ => Err(corrupt("the manifest is not the one that was written: its checksum differs".into())),
    }
}

/// Writes beside `path`, flushes to the disk, and renames.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part: PathBuf = path.with_file_name(name);
    let mut file = File::create(&part).map_err(Error::io(&part, "creating"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io(&part, "writing"))?;
    fs::rename(&part, path).map_err(Error::io(path, "renaming into place"))
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn unwritable(dir: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::corrupt(
        dir,
        format!("the checkpoint cannot be written: {error}"),
        "report this with the run's run.toml",
    )
}

//! Checkpoints: one safetensors file of all tensors, and a manifest with what they are and their hash.
//!
//! Both are written beside their place and renamed into it, the manifest last: it names the file that it belongs
//! to, so a kill at any moment leaves the old checkpoint or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;

use base::files;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::{DType, Device, Tensor};
use crate::models::{ClosedForm, Model};
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

/// Prefixes of the keys of parameters, and of what a model keeps beside them.
const PARAM: &str = "param/";
const MODEL: &str = "model/";

impl Checkpoint {
    /// `Error::Config` where the data set with this fingerprint is not the one that was trained on.
    pub fn belongs_to(&self, fingerprint: &str) -> Result<()> {
        match self.data == fingerprint {
            true => Ok(()),
            false => Err(Error::config(
                "--data",
                "the run was trained on another data set, or another split of it",
                "give the data set that run.json names",
            )),
        }
    }

    /// Puts parameters and the model's own state in place. `file` is named in errors.
    pub fn restore(&self, model: &mut dyn Model, file: &Path) -> Result<()> {
        for param in model.params_mut().iter_mut() {
            let found = self.tensors.get(&format!("{PARAM}{}", param.name));
            param.value = found
                .filter(|t| t.shape() == param.value.shape())
                .cloned()
                .ok_or_else(|| other_settings(file, format!("`{}` is missing or has another shape", param.name)))?;
        }
        for (key, tensor) in &self.tensors {
            if let Some(state) = key.strip_prefix(MODEL) {
                model.set_state(state, tensor.clone())?;
            }
        }
        Ok(())
    }

    /// As `restore`, for a model in closed form.
    pub fn restore_closed_form(&self, model: &mut ClosedForm, file: &Path) -> Result<()> {
        let table = self.tensors.get("param/courses").cloned();
        model.set_table(table.ok_or_else(|| other_settings(file, "it holds no courses".into()))?)
    }
}

fn other_settings(file: &Path, why: String) -> Error {
    Error::corrupt(file, why, "the run's run.toml was changed; restore it")
}

/// Writes `<dir>/<name>.json` and the tensor file that it names.
pub fn save(dir: &Path, name: &str, data: &str, progress: &Progress, tensors: &[(String, Tensor)]) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io(dir, "creating the folder"))?;
    let part = dir.join(format!("{name}.safetensors.part"));
    let sha256 = write_tensors(&part, tensors)?;
    let file = format!("{name}-{}.safetensors", &sha256[..12]);
    let old = read_manifest(&dir.join(format!("{name}.json"))).ok().map(|m| m.file);
    let whole = dir.join(&file);
    fs::rename(&part, &whole).map_err(Error::io(&whole, "renaming into place"))?;
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
    files::write(&dir.join(format!("{name}.json")), &text)?;
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
    load_where(dir, name, device, |_| true)
}

/// As `load`, without the optimizer's states.
pub fn load_parameters(dir: &Path, name: &str, device: &Device) -> Result<Checkpoint> {
    load_where(dir, name, device, |key| key.starts_with(PARAM) || key.starts_with(MODEL))
}

fn load_where(dir: &Path, name: &str, device: &Device, keep: fn(&str) -> bool) -> Result<Checkpoint> {
    let manifest = read_manifest(&dir.join(format!("{name}.json")))?;
    let path = dir.join(&manifest.file);
    let corrupt = |why: String| Error::corrupt(&path, why, "restore the file from a copy, or train again");
    let mut file = File::open(&path).map_err(Error::io(&path, "opening"))?;
    if hash_of(&mut file).map_err(Error::io(&path, "reading"))? != manifest.sha256 {
        return Err(corrupt("the checkpoint's checksum does not match its manifest".into()));
    }
    let read = |file: &mut File, bytes: &mut [u8]| file.read_exact(bytes).map_err(|e| corrupt(e.to_string()));
    let mut length = [0; 8];
    read(&mut file, &mut length)?;
    // The file is what was written, so its header fits memory.
    let mut header = vec![0; u64::from_le_bytes(length) as usize];
    read(&mut file, &mut header)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|e| corrupt(e.to_string()))?;
    let mut infos: Vec<(String, &TensorInfo)> = header.tensors().into_iter().collect();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut tensors = BTreeMap::new();
    for (name, info) in infos {
        let (&[rows, cols], Dtype::F32) = (&info.shape[..], info.dtype) else {
            return Err(corrupt(format!("`{name}` is no matrix of 32-bit floats")));
        };
        if !keep(&name) {
            file.seek_relative((rows * cols * size_of::<f32>()) as i64).map_err(Error::io(&path, "reading"))?;
            continue;
        }
        let mut values = vec![0f32; rows * cols];
        read(&mut file, bytemuck::cast_slice_mut(&mut values))?;
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

/// Writes a safetensors file, tensor by tensor and sorted by name, and gives its SHA-256. A copy of all tensors would not
/// fit beside those of a large run.
fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<String> {
    let mut sorted: Vec<&(String, Tensor)> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut end = 0;
    let info = |(name, t): &&(String, Tensor)| {
        let first = end;
        end += t.len() * size_of::<f32>();
        let (shape, data_offsets) = (vec![t.rows(), t.cols()], (first, end));
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape, data_offsets })
    };
    let header = Metadata::new(None, sorted.iter().map(info).collect()).map_err(|e| unwritable(path, &e))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| unwritable(path, &e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = File::create(path).map_err(Error::io(path, "creating"))?;
    let mut sha = Sha256::new();
    let mut write = |bytes: &[u8]| {
        sha.update(bytes);
        file.write_all(bytes).map_err(Error::io(path, "writing"))
    };
    write(&(header.len() as u64).to_le_bytes())?;
    write(&header)?;
    for (_, t) in sorted {
        match t.gpu().is_none() && t.dtype() == DType::F32 {
            true => write(bytemuck::cast_slice(t.host::<f32>()))?,
            false => write(bytemuck::cast_slice(&t.to_vec()?))?,
        }
    }
    file.sync_all().map_err(Error::io(path, "writing"))?;
    Ok(hex(&sha.finalize()))
}

/// SHA-256 of a file, which is then at its beginning again.
fn hash_of(file: &mut File) -> std::io::Result<String> {
    let (mut sha, mut block) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut block)? {
            0 => break,
            n => sha.update(&block[..n]),
        }
    }
    file.rewind()?;
    Ok(hex(&sha.finalize()))
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unwritable(dir: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::corrupt(dir, format!("the checkpoint cannot be written: {error}"), "report this with the run's run.toml")
}

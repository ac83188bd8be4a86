//! The folder of an experiment: its files, its lock, and what everything in it has in common.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{Config, EvalConfig, Idcg};
use crate::data::Dataset;
use crate::{Error, Result};

/// In the folder of a comparison, with the folders of its runs.
pub const MANIFEST: &str = "compare.toml";
pub const COMMAND: &str = "command.json";
pub const RESULTS: &str = "results.csv";
pub const SLICES: &str = "slices.csv";
pub const SUMMARY: &str = "summary.csv";
pub const RUNS: &str = "runs";

/// In the folder of a run: its test metrics, which are written last.
pub const TEST_RESULT: &str = "test.json";
pub const LEARNERS: &str = "learners.csv";
pub const TIMING: &str = "timing.json";
pub const FAILED: &str = "failed.json";

const LOCK: &str = "lock";

/// What all runs of a folder share; runs that differ in it cannot be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The data set's name.
    pub data: String,
    pub data_fingerprint: String,
    pub split_fingerprint: String,
    pub eval: Protocol,
}

/// How runs are evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    pub k: Vec<usize>,
    pub mask_valid: bool,
    pub ndcg_idcg: Idcg,
    pub metric: String,
}

impl Protocol {
    fn new(eval: &EvalConfig) -> Protocol {
        let EvalConfig { k, mask_valid, ndcg_idcg, metric, .. } = eval.clone();
        Protocol { k, mask_valid, ndcg_idcg, metric }
    }
}

impl Identity {
    /// `Error::Config` if the settings disagree on the evaluation.
    pub fn new<'a>(data: &Dataset, configs: impl IntoIterator<Item = (String, &'a Config)>) -> Result<Identity> {
        let mut protocol: Option<(String, Protocol)> = None;
        for (name, config) in configs {
            let own = Protocol::new(&config.eval);
            match &protocol {
                None => protocol = Some((name, own)),
                Some((_, first)) if *first == own => {}
                Some((other, _)) => {
                    return Err(Error::config(
                        "eval",
                        format!("{name} and {other} would be evaluated differently"),
                        "give all models the same eval.k, eval.mask_valid, eval.ndcg_idcg and eval.metric, by --set",
                    ));
                }
            }
        }
        Ok(Identity {
            data: data.name.clone(),
            data_fingerprint: data.fingerprint(),
            split_fingerprint: data.split_fingerprint(),
            eval: protocol.map_or_else(|| Protocol::new(&EvalConfig::default()), |(_, own)| own),
        })
    }

    /// Fails if `other`, the identity of `path`, has other data, another split or another evaluation.
    pub fn check(&self, other: &Identity, path: &Path) -> Result<()> {
        let differs = match () {
            _ if self.split_fingerprint != other.split_fingerprint => {
                format!("holds runs on another split ({}...)", short(&other.split_fingerprint))
            }
            _ if self.data_fingerprint != other.data_fingerprint => {
                let of = short(&other.data_fingerprint);
                format!("holds runs on another data set, `{}` ({of}...)", other.data)
            }
            _ if self.eval != other.eval => {
                format!("holds runs that were evaluated differently: {:?}, now {:?}", other.eval, self.eval)
            }
            _ => return Ok(()),
        };
        Err(Error::data(path, None, differs, "runs that cannot be compared need a folder of their own: --out"))
    }
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

/// Identifies settings: 16 hexadecimal digits of the SHA-256 of their run.toml.
pub fn settings_fingerprint(config: &Config) -> String {
    Sha256::digest(config.to_toml()).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Creates `dir` and locks it against other processes until the file is dropped, even by a kill.
///
/// Only a folder that is new, empty or contains `own` is accepted. `Error::Data` for others, and if another process
/// holds the lock.
pub fn lock(dir: &Path, own: &str) -> Result<File> {
    if dir.is_dir() && !dir.join(own).is_file() {
        let entries = fs::read_dir(dir).map_err(Error::io(dir, "listing"))?;
        let ours = [LOCK.to_string(), format!("{own}.part")];
        for entry in entries {
            let name = entry.map_err(Error::io(dir, "listing"))?.file_name().to_string_lossy().into_owned();
            if !ours.contains(&name) {
                let why = format!("exists and has no {own}: it is another kind of folder");
                return Err(Error::data(dir, None, why, "choose another --out"));
            }
        }
    }
    fs::create_dir_all(dir).map_err(Error::io(dir, "creating the folder"))?;
    let path = dir.join(LOCK);
    let file = File::create(&path).map_err(Error::io(&path, "creating"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::data(
            dir,
            None,
            "another process is working in this folder",
            "wait for it to end, or choose another --out",
        )),
        Err(TryLockError::Error(error)) => Err(Error::io(&path, "locking")(error)),
    }
}

/// The settings in a file (a run.toml, or the best.toml of a search) as `key=value`.
pub fn settings_of(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "reading"))?;
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| Error::config(path.display().to_string(), e.message(), "it must be TOML"))?;
    let mut settings = vec![];
    flatten(&table, "", &mut settings);
    Ok(settings)
}

fn flatten(table: &toml::Table, prefix: &str, settings: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => flatten(inner, &format!("{prefix}{key}."), settings),
            value => settings.push(format!("{prefix}{key}={value}")),
        }
    }
}

pub fn write_toml(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = toml::to_string(value)
        .map_err(|e| Error::corrupt(path, format!("cannot be written: {e}"), "report this bug"))?;
    base::files::write(path, text.as_bytes())
}

pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "reading"))?;
    toml::from_str(&text)
        .map_err(|e| Error::corrupt(path, e.message().to_string(), "restore the file, or choose another --out"))
}

pub fn read_json<T: DeserializeOwned>(path: &Path, remedy: &str) -> Result<T> {
    let text = fs::read(path).map_err(Error::io(path, "reading"))?;
    serde_json::from_slice(&text).map_err(|e| Error::corrupt(path, e.to_string(), remedy))
}

pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::corrupt(path, format!("cannot be written: {e}"), "report this bug"))?;
    base::files::write(path, &text)
}

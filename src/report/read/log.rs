//! log.jsonl of a run: one line per epoch.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use base::{Error, Result};

/// One epoch. What was not finite when it was written is `null` there and has no value here.
#[derive(Clone, Debug, Deserialize)]
pub struct Epoch {
    pub epoch: u64,
    /// Means over the epoch's steps: `loss/..`, `weight/..`, `cosine/..`, `norm/..`, `gate/..`.
    #[serde(default)]
    pub values: BTreeMap<String, Option<f64>>,
    /// Validation metrics, where the epoch had a validation.
    #[serde(default)]
    pub valid: Option<BTreeMap<String, Option<f64>>>,
}

impl Epoch {
    /// A value of training, or `valid:METRIC`.
    pub fn value(&self, key: &str) -> Option<f64> {
        match key.strip_prefix("valid:") {
            Some(metric) => self.valid.as_ref().and_then(|valid| valid.get(metric).copied().flatten()),
            None => self.values.get(key).copied().flatten(),
        }
    }
}

/// None where there is no such file.
pub fn read(path: &Path, remedy: &str) -> Result<Option<Vec<Epoch>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).map_err(Error::io(path, "reading"))?;
    let mut epochs: Vec<Epoch> = vec![];
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let refuse = |why: String| Error::data(path, Some(i as u64 + 1), why, remedy);
        let epoch: Epoch =
            serde_json::from_str(line).map_err(|e| refuse(format!("is no line of a training log: {e}")))?;
        if let Some(before) = epochs.last().filter(|before| before.epoch >= epoch.epoch) {
            return Err(refuse(format!("epoch {} follows epoch {}", epoch.epoch, before.epoch)));
        }
        epochs.push(epoch);
    }
    Ok(Some(epochs))
}

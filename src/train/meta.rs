//! run.json: what a run belongs to.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RunFiles;
use crate::data::Dataset;
use crate::{Error, Result};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    schema_version: u32,
    version: String,
    /// Where the data set was.
    pub data: PathBuf,
    pub data_name: String,
    pub fingerprint: String,
}

impl Meta {
    /// Makes the folder of a run on `data`, which lies at `path`, and writes its run.json.
    pub fn write(dir: &Path, path: &Path, data: &Dataset) -> Result<()> {
        fs::create_dir_all(dir).map_err(Error::io(dir, "creating the folder"))?;
        let meta = Meta {
            schema_version: 1,
            version: env!("CARGO_PKG_VERSION").into(),
            data: path.canonicalize().unwrap_or_else(|_| path.into()),
            data_name: data.name.clone(),
            fingerprint: data.fingerprint(),
        };
        let text = serde_json::to_vec_pretty(&meta)
            .map_err(|e| Error::corrupt(dir, format!("run.json cannot be written: {e}"), "report this"))?;
        base::files::write(&RunFiles { dir: dir.into() }.meta(), &text)
    }

    /// `Error::Data` where `dir` is not the folder of a run.
    pub fn read(dir: &Path) -> Result<Meta> {
        let path = RunFiles { dir: dir.into() }.meta();
        if !path.is_file() {
            return Err(Error::data(
                dir,
                None,
                "is not the folder of a run (it has no run.json)",
                "name the --out of a waata train",
            ));
        }
        let text = fs::read(&path).map_err(Error::io(&path, "reading"))?;
        serde_json::from_slice(&text).map_err(|e| Error::corrupt(&path, e.to_string(), "train again"))
    }
}

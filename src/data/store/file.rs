//! `data.safetensors`: the arrays of a data set one after another, behind a header that says where each one lies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{SCHEMA_VERSION, corrupt};
use crate::column::Column;
use crate::dataset::{Dataset, hex};
use crate::sections::{self, Section};
use base::Mapped;
use base::{Error, Result};

/// What the first array's place in the file is a multiple of: a line of the cache.
const ALIGN: usize = 64;

/// Bytes that are hashed and written at once.
const CHUNK: usize = 1 << 20;

/// What the manifest says about the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    pub bytes: u64,
    pub sha256: String,
    /// Checksum of what is before the first array.
    pub header: Sum,
    pub arrays: BTreeMap<String, Array>,
}

/// One array of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Array {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub xxh3: Sum,
}

/// A checksum: XXH3-64 over the little-endian XXH3-64 sums of pieces of 196,608 bytes. RowSplits, so that one array is
/// checked by all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sum(pub u64);

impl From<Sum> for String {
    fn from(sum: Sum) -> String {
        format!("{:016x}", sum.0)
    }
}

impl TryFrom<String> for Sum {
    type Error = String;

    fn try_from(text: String) -> Result<Sum, String> {
        u64::from_str_radix(&text, 16).map(Sum).map_err(|e| format!("`{text}` is not a checksum: {e}"))
    }
}

/// Writes the arrays of a data set straight from where they are, and waits until they are on disk.
pub(super) fn write(dataset: &Dataset, path: &Path) -> Result<DataFile> {
    let sections = sections::of(dataset);
    let header = header(&sections);
    let mut file = File::create(path).map_err(Error::io(path, "creating"))?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    for part in std::iter::once(&header[..]).chain(sections.iter().map(|s| s.bytes)) {
        for chunk in part.chunks(CHUNK) {
            hash.update(chunk);
            file.write_all(chunk).map_err(Error::io(path, "writing"))?;
        }
        bytes += part.len() as u64;
    }
    file.sync_all().map_err(Error::io(path, "writing"))?;
    let sums = sections::checksums(&sections);
    let arrays = sections.into_iter().zip(sums);
    let arrays = arrays.map(|(s, sum)| (s.name, Array { dtype: s.dtype, shape: s.shape, xxh3: Sum(sum) }));
    Ok(DataFile {
        bytes,
        sha256: hex(&hash.finalize()),
        header: Sum(sections::checksum(&header)),
        arrays: arrays.collect(),
    })
}

/// The length of the JSON that follows, the JSON, and blanks up to where the first array begins.
fn header(sections: &[Section]) -> Vec<u8> {
    let mut fields = serde_json::Map::new();
    let version = SCHEMA_VERSION.to_string();
    fields.insert("__metadata__".into(), json!({"format": "waata data set", "version": version}));
    let mut at = 0;
    for s in sections {
        let end = at + s.bytes.len();
        let entry = json!({"dtype": s.dtype, "shape": s.shape, "data_offsets": [at, end]});
        fields.insert(s.name.clone(), entry);
        at = end;
    }
    let mut text = serde_json::Value::Object(fields).to_string().into_bytes();
    text.resize((8 + text.len()).next_multiple_of(ALIGN) - 8, b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

/// The file as memory, with its header read: no array has been looked at yet.
pub(super) struct Opened<'a> {
    path: &'a Path,
    file: Arc<Mapped>,
    /// Where the arrays begin.
    start: usize,
    arrays: Metadata,
}

fn map(path: &Path) -> Result<Mapped> {
    match Mapped::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(corrupt(path, "the file is missing")),
        other => other.map_err(Error::io(path, "opening")),
    }
}

/// The SHA-256 of the whole file.
pub(super) fn sha256(path: &Path) -> Result<String> {
    Ok(hex(&Sha256::digest(&map(path)?[..])))
}

/// Errors: `Error::Corrupt` for a file that is missing, and for a size or a header other than the manifest's.
pub(super) fn open<'a>(path: &'a Path, stated: &DataFile) -> Result<Opened<'a>> {
    let file = map(path)?;
    if file.len() as u64 != stated.bytes {
        return Err(corrupt(path, format!("has {} bytes instead of {}", file.len(), stated.bytes)));
    }
    // It allocates no more than there are bytes, and holds the places of the arrays to the size of the file.
    let (length, arrays) = SafeTensors::read_metadata(&file)
        .map_err(|e| corrupt(path, format!("is not a safetensors file: {e}")))?;
    let start = length + 8;
    if sections::checksum(&file[..start]) != stated.header.0 {
        return Err(corrupt(path, "the header does not have the checksum that the manifest states"));
    }
    Ok(Opened { path, file: Arc::new(file), start, arrays })
}

impl Opened<'_> {
    pub fn arrays(&self) -> usize {
        self.arrays.tensors().len()
    }

    /// The values of one array. Errors: `Error::Corrupt` when it is not there, or has another type or shape.
    pub fn column<T: Pod>(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Column<T>> {
        let fail = |why: String| corrupt(self.path, format!("array '{name}' {why}"));
        let info = self.arrays.info(name).ok_or_else(|| fail("is missing".into()))?;
        if info.dtype != dtype || info.shape != shape {
            let (d, s) = (info.dtype, &info.shape);
            return Err(fail(format!("is {d:?} {s:?} instead of {dtype:?} {shape:?}")));
        }
        let (begin, end) = info.data_offsets;
        Column::mapped(&self.file, self.start + begin..self.start + end).map_err(fail)
    }

    /// The length of an array that the manifest does not count.
    pub fn length(&self, name: &str) -> Result<usize> {
        let info = self.arrays.info(name);
        let shape = info.map(|info| &info.shape[..]);
        match shape {
            Some(&[length]) => Ok(length),
            _ => Err(corrupt(self.path, format!("array '{name}' is missing or not a list"))),
        }
    }
}

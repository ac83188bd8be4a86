//! `data.safetensors`: the arrays of a data set one after another, behind a header that says where each one lies.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{SCHEMA_VERSION, corrupt, missing_or_unreadable};
use crate::column::Column;
use crate::dataset::Dataset;
use crate::schema::{self, Array, Element, Source, checksum, hex};
use base::{Error, Mapped, Result, files};

/// The first array begins at a multiple of this many bytes: a cache line.
const ALIGN: usize = 64;

/// Bytes that are hashed and written at once.
const CHUNK: usize = 1 << 20;

/// What the manifest says about the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    pub bytes: u64,
    pub sha256: String,
    /// Checksum of everything before the first array.
    pub header: Checksum,
    pub arrays: BTreeMap<String, ArrayEntry>,
}

/// What the manifest says about one array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrayEntry {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub xxh3: Checksum,
}

/// XXH3-64 over the little-endian XXH3-64 sums of pieces of 196,608 bytes: pieces, so that all cores check one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum(pub u64);

impl From<Checksum> for String {
    fn from(sum: Checksum) -> String {
        format!("{:016x}", sum.0)
    }
}

impl TryFrom<String> for Checksum {
    type Error = String;

    fn try_from(text: String) -> Result<Checksum, String> {
        u64::from_str_radix(&text, 16).map(Checksum).map_err(|e| format!("`{text}` is not a checksum: {e}"))
    }
}

/// Writes the arrays of a data set straight from where they are.
pub(super) fn write(dataset: &Dataset, path: &Path) -> Result<DataFile> {
    let arrays = schema::arrays(dataset);
    let header = header(&arrays);
    let mut hash = Sha256::new();
    files::write_with(path, |file| {
        let chunks = header.chunks(CHUNK).chain(arrays.iter().flat_map(|a| a.bytes.chunks(CHUNK)));
        chunks.into_iter().try_for_each(|chunk| {
            hash.update(chunk);
            file.write_all(chunk).map_err(Error::io(path, "writing"))
        })
    })?;
    let entry = |a: &Array| {
        let xxh3 = Checksum(checksum(a.bytes));
        (a.name.clone(), ArrayEntry { dtype: a.dtype, shape: a.shape.clone(), xxh3 })
    };
    Ok(DataFile {
        bytes: (header.len() + arrays.iter().map(|a| a.bytes.len()).sum::<usize>()) as u64,
        sha256: hex(&hash.finalize()),
        header: Checksum(checksum(&header)),
        arrays: arrays.iter().map(entry).collect(),
    })
}

/// The length of the JSON that follows, the JSON, and blanks up to where the first array begins.
fn header(arrays: &[Array]) -> Vec<u8> {
    let mut fields = serde_json::Map::new();
    let version = SCHEMA_VERSION.to_string();
    fields.insert("__metadata__".into(), json!({"format": "waata data set", "version": version}));
    let mut at = 0;
    for a in arrays {
        let end = at + a.bytes.len();
        let entry = json!({"dtype": a.dtype, "shape": a.shape, "data_offsets": [at, end]});
        fields.insert(a.name.clone(), entry);
        at = end;
    }
    let mut text = serde_json::Value::Object(fields).to_string().into_bytes();
    text.resize((8 + text.len()).next_multiple_of(ALIGN) - 8, b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

fn map(path: &Path) -> Result<Mapped> {
    Mapped::open(path).map_err(missing_or_unreadable(path, "opening"))
}

/// The SHA-256 of the whole file.
pub(super) fn sha256(path: &Path) -> Result<String> {
    Ok(hex(&Sha256::digest(&map(path)?[..])))
}

/// The file in memory, with its header read. No array has been looked at yet.
pub(super) struct OpenFile<'a> {
    path: &'a Path,
    file: Arc<Mapped>,
    /// Where the arrays begin.
    start: usize,
    arrays: Metadata,
}

/// Errors: `Error::Corrupt` for a file that is missing, and for a size, a header or a list of arrays other than the
/// manifest's.
pub(super) fn open<'a>(path: &'a Path, stated: &DataFile) -> Result<OpenFile<'a>> {
    let file = map(path)?;
    if file.len() as u64 != stated.bytes {
        return Err(corrupt(path, format!("has {} bytes instead of {}", file.len(), stated.bytes)));
    }
    // It allocates no more than there are bytes, and checks that the arrays lie within the file.
    let (length, arrays) =
        SafeTensors::read_metadata(&file).map_err(|e| corrupt(path, format!("is not a safetensors file: {e}")))?;
    let start = length + 8;
    if checksum(&file[..start]) != stated.header.0 {
        return Err(corrupt(path, "the header does not have the checksum that the manifest states"));
    }
    let listed = |name: &str| stated.arrays.get(name).map(|a| (a.dtype, &a.shape));
    let tensors = arrays.tensors();
    if let Some((name, info)) = tensors.iter().find(|(name, i)| listed(name) != Some((i.dtype, &i.shape))) {
        let (d, s) = (info.dtype, &info.shape);
        return Err(corrupt(path, format!("the manifest does not list array '{name}' as {d:?} {s:?}")));
    }
    if tensors.len() != stated.arrays.len() {
        let (found, listed) = (tensors.len(), stated.arrays.len());
        return Err(corrupt(path, format!("has {found} arrays, the manifest lists {listed}")));
    }
    Ok(OpenFile { path, file: Arc::new(file), start, arrays })
}

impl Source for OpenFile<'_> {
    fn column<T: Element>(&self, name: &str) -> Result<Column<T>> {
        let fail = |why: String| corrupt(self.path, format!("array '{name}' {why}"));
        let info = self.arrays.info(name).ok_or_else(|| fail("is missing".into()))?;
        if info.dtype != T::DTYPE || info.shape.split_first().map(|(_, rest)| rest) != Some(T::SHAPE) {
            let (d, s) = (info.dtype, &info.shape);
            return Err(fail(format!("is {d:?} {s:?}, not a list of {:?} {:?}", T::DTYPE, T::SHAPE)));
        }
        let (begin, end) = info.data_offsets;
        Column::mapped(&self.file, self.start + begin..self.start + end).map_err(fail)
    }
}

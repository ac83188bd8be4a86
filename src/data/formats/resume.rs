//! How far a long log has been read, in a file beside the output: the same command on the same files goes on there after
//! an interrupt.
//!
//! Everything else of a source is read anew: it takes seconds, where logs take minutes. A file that cannot be used, for
//! whatever reason, is as good as none.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytemuck::{Pod, pod_collect_to_vec};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::SourceReport;
use super::raw::{RawFolder, locate};
use base::{Error, Result};

/// Goes up when readers make something else of the same lines.
const READING: u32 = 1;

/// What names of files end in: of what was saved, and of what is being saved.
const READ: &str = ".read";
const NEW: &str = ".new";

/// Where the readings of a data set are saved, and how often.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub folder: PathBuf,
    pub every: Duration,
}

/// What the reader of a log knows at some place in it.
#[derive(Debug, PartialEq)]
pub(super) struct Saved {
    pub counts: Vec<u64>,
    pub rows: Vec<u32>,
    pub bits: Vec<u64>,
}

pub(super) trait Resumable {
    /// What is known so far. None for what is not worth it.
    fn save(&self) -> Option<Saved>;

    /// Goes on from what was saved. None, and nothing has changed, where it is of something else.
    fn restore(&mut self, saved: Saved) -> Option<()>;
}

/// What is read so fast that nothing of it is saved.
impl Resumable for () {
    fn save(&self) -> Option<Saved> {
        None
    }

    fn restore(&mut self, _: Saved) -> Option<()> {
        None
    }
}

/// The reading of one log.
pub(super) struct Saving {
    folder: PathBuf,
    file: PathBuf,
    every: Duration,
    /// Of the source's files and of what was asked for.
    source: String,
    last: Instant,
    /// Whether anything was saved, or taken up.
    begun: bool,
}

/// What is saved beside what the log's reader knows.
#[derive(Serialize, Deserialize)]
struct Header<P> {
    source: String,
    place: P,
}

impl RawFolder<'_> {
    /// None where nothing is to be saved.
    pub(super) fn saving(&self, log: &Path) -> Option<Saving> {
        let Journal { folder, every } = self.options.control.journal()?;
        let mut name = OsString::from(log.file_name()?);
        name.push(READ);
        let (folder, every) = (folder.clone(), *every);
        let (file, source) = (folder.join(name), self.fingerprint().ok()?);
        Some(Saving { folder, file, every, source, last: Instant::now(), begun: false })
    }

    /// Of how files are read, the options, and the name, size and time of every file that was found so far: of all that
    /// what is known of a log follows from.
    fn fingerprint(&self) -> std::io::Result<String> {
        let o = self.options;
        let asked = (o.completed_share.map(f64::to_bits), o.malformed_share.to_bits(), o.strict);
        let mut hash = XxHash3_64::new();
        let SourceReport { format, files, missing, .. } = &self.report;
        hash.write(format!("{READING} {format} {asked:?} {missing:?}").as_bytes());
        for file in files {
            let Some(path) = locate(self.folder, file) else { continue };
            let about = fs::metadata(path)?;
            let time = about.modified()?.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
            hash.write(format!("{file} {} {time}\n", about.len()).as_bytes());
        }
        Ok(format!("{:016x}", hash.finish()))
    }
}

/// Deletes what was saved. What cannot be deleted, or is not of this kind, stays: it does no harm.
pub(crate) fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if [READ, NEW].iter().any(|ending| name.to_string_lossy().ends_with(ending)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

impl Saving {
    /// Goes on from what was saved of this log, and gives the place where that was.
    pub fn load<P: for<'a> Deserialize<'a>>(&mut self, log: &mut impl Resumable) -> Option<P> {
        let bytes = fs::read(&self.file).ok()?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
        let metadata = metadata.metadata().as_ref()?;
        let text = metadata.get("header")?;
        let header: Header<P> = serde_json::from_str(text).ok()?;
        let arrays = SafeTensors::deserialize(&bytes).ok()?;
        let array = |name: &str| arrays.tensor(name).ok();
        let (counts, rows, bits) = (array("counts")?, array("rows")?, array("bits")?);
        if header.source != self.source || metadata.get("sum")? != &sum(text, [&counts, &rows, &bits]) {
            return None;
        }
        let saved = Saved { counts: values(&counts)?, rows: values(&rows)?, bits: values(&bits)? };
        log.restore(saved)?;
        self.begun = true;
        Some(header.place)
    }

    /// Saves, unless that was done a moment ago; and once more at the end of the log.
    pub fn save<P: Serialize>(
        &mut self,
        log: &impl Resumable,
        ended: bool,
        place: impl FnOnce() -> P,
    ) -> Result<()> {
        let due = self.last.elapsed() >= self.every || (ended && self.begun);
        if !due {
            return Ok(());
        }
        let Some(saved) = log.save() else { return Ok(()) };
        let fail = |e: &dyn std::fmt::Display| {
            Error::io(&self.file, "writing")(std::io::Error::other(e.to_string()))
        };
        let header = Header { source: self.source.clone(), place: place() };
        let header = serde_json::to_string(&header).map_err(|e| fail(&e))?;
        let counts = view(Dtype::U64, &saved.counts).map_err(|e| fail(&e))?;
        let rows = view(Dtype::U32, &saved.rows).map_err(|e| fail(&e))?;
        let bits = view(Dtype::U64, &saved.bits).map_err(|e| fail(&e))?;
        let sum = sum(&header, [&counts, &rows, &bits]);
        let metadata = HashMap::from([("header".to_string(), header), ("sum".to_string(), sum)]);
        let bytes =
            safetensors::serialize([("counts", counts), ("rows", rows), ("bits", bits)], Some(metadata))
                .map_err(|e| fail(&e))?;
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder, "creating"))?;
        // Another process may be reading for the same output.
        let new = self.file.with_extension(format!("{}{NEW}", std::process::id()));
        base::files::write(&new, &bytes)?;
        fs::rename(&new, &self.file).map_err(Error::io(&self.file, "moving into place"))?;
        self.last = Instant::now();
        self.begun = true;
        Ok(())
    }
}

fn view<T: Pod>(dtype: Dtype, values: &[T]) -> Result<TensorView<'_>, safetensors::SafeTensorError> {
    TensorView::new(dtype, vec![values.len()], bytemuck::cast_slice(values))
}

fn values<T: Pod>(array: &TensorView) -> Option<Vec<T>> {
    array.data().len().is_multiple_of(size_of::<T>()).then(|| pod_collect_to_vec(array.data()))
}

fn sum(header: &str, arrays: [&TensorView; 3]) -> String {
    let mut hash = XxHash3_64::new();
    hash.write(header.as_bytes());
    arrays.iter().for_each(|array| hash.write(array.data()));
    format!("{:016x}", hash.finish())
}

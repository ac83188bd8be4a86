//! Folders that are there as a whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use base::system;
use base::{Error, Result};

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

/// Fills a new folder next to `dir` and moves it into place when everything is on disk; a failure leaves nothing.
/// `marker` is as in [`check_output`].
pub(crate) fn write_folder<T>(
    dir: &Path,
    force: bool,
    marker: &str,
    fill: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    check_output(dir, force, marker)?;
    let _writing = Writing::begin();
    remove_abandoned(dir)?;
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
    WRITTEN.fetch_add(1, Ordering::SeqCst);
    if let Some(parent) = absolute(dir)?.parent() {
        sync(parent)?;
    }
    Ok(value)
}

/// Folders that are being written, and those that are there.
static WRITING: AtomicUsize = AtomicUsize::new(0);
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Whether this process is writing a folder, which an interrupt had better await.
pub fn is_writing() -> bool {
    WRITING.load(Ordering::SeqCst) > 0
}

/// Whether this process has written a folder.
pub fn has_written() -> bool {
    WRITTEN.load(Ordering::SeqCst) > 0
}

struct Writing;

impl Writing {
    fn begin() -> Writing {
        WRITING.fetch_add(1, Ordering::SeqCst);
        Writing
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Deletes what writers of `dir` left that were killed. Those of processes that run are theirs.
fn remove_abandoned(dir: &Path) -> Result<()> {
    let full = absolute(dir)?;
    let (Some(parent), Some(name)) = (full.parent(), full.file_name()) else { return Ok(()) };
    let prefix = format!(".{}.tmp-", name.to_string_lossy());
    // A folder that is not there, or not to be listed, has nothing to clear.
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let process =
            entry.file_name().to_string_lossy().strip_prefix(&prefix).and_then(|id| id.parse().ok());
        if process.is_some_and(|id| system::is_running(id) == Some(false)) {
            fs::remove_dir_all(entry.path()).map_err(Error::io(entry.path(), "deleting"))?;
        }
    }
    Ok(())
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
    beside(dir, &format!("{purpose}-{}", std::process::id()))
}

/// A hidden name next to `dir`.
fn beside(dir: &Path, purpose: &str) -> Result<PathBuf> {
    let full = absolute(dir)?;
    match (full.parent(), full.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.join(format!(".{}.{purpose}", name.to_string_lossy()))),
        _ => Err(Error::data(dir, None, "cannot be an output folder", "name a new folder")),
    }
}

fn sync(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|f| f.sync_all()).map_err(Error::io(dir, "writing"))
}

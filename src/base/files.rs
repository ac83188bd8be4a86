//! Writes files and folders as a whole or not at all.
//!
//! Content goes to a temporary place beside its target, is flushed to the disk and is renamed into place; then the folder
//! around it is flushed, so that the new name survives a crash too.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, Result, system};

/// Writes a file. A file that is there already stays as it is until the new one is on disk.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes).map_err(Error::io(path, "writing")))
}

/// [`write`] for content that comes in parts: `fill` writes them. An error leaves nothing behind.
pub fn write_with<T>(path: &Path, fill: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut file = File::create(&part).map_err(Error::io(&part, "creating"))?;
    let written = fill(&mut file).and_then(|value| {
        file.sync_all().map_err(Error::io(&part, "writing"))?;
        fs::rename(&part, path).map_err(Error::io(path, "renaming into place"))?;
        Ok(value)
    });
    match written {
        Ok(value) => sync_parent(path).map(|()| value),
        Err(error) => {
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

/// Refuses an output folder that exists, unless `force` is set and it is empty or has the file `marker`, by which
/// folders that this program wrote are recognized. Errors: `Error::Data`.
pub fn check_output(dir: &Path, force: bool, marker: &str) -> Result<()> {
    let refuse = |why: String, remedy: &str| Err(Error::data(dir, None, why, remedy));
    if !dir.exists() && !dir.is_symlink() {
        return Ok(());
    }
    if !force {
        return refuse("already exists".into(), "choose another folder, or replace it with --force");
    }
    let empty = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    if empty || dir.join(marker).is_file() {
        return Ok(());
    }
    let why = format!("exists and is not a folder that this command wrote (no {marker})");
    refuse(why, "choose another folder: --force replaces only what the command wrote")
}

/// Lets `fill` fill a new folder beside `dir` and moves it into place once everything is on disk. `force` and `marker` are
/// those of [`check_output`]. An error leaves nothing behind, and an existing folder as it was.
pub fn write_folder<T>(dir: &Path, force: bool, marker: &str, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    check_output(dir, force, marker)?;
    remove_abandoned(dir)?;
    let new = NewFolder::create(beside(dir, &format!("tmp-{}", std::process::id()))?)?;
    let value = fill(&new.path)?;
    sync(&new.path)?;
    if dir.exists() {
        // Rename cannot replace a folder with content: the old one steps aside, and returns if the move fails.
        let old = beside(dir, &format!("old-{}", std::process::id()))?;
        fs::rename(dir, &old).map_err(Error::io(dir, "moving aside"))?;
        if let Err(source) = fs::rename(&new.path, dir) {
            let _ = fs::rename(&old, dir);
            return Err(Error::io(dir, "replacing")(source));
        }
        fs::remove_dir_all(&old).map_err(Error::io(&old, "deleting"))?;
    } else {
        fs::rename(&new.path, dir).map_err(Error::io(dir, "moving into place"))?;
    }
    WRITTEN.fetch_add(1, Ordering::SeqCst);
    sync_parent(dir)?;
    Ok(value)
}

/// A hidden name beside `path`: `.NAME.PURPOSE`. Errors: `Error::Data` for a path without a name, such as `/`.
pub fn beside(path: &Path, purpose: &str) -> Result<PathBuf> {
    let full = absolute(path)?;
    match (full.parent(), full.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.join(format!(".{}.{purpose}", name.to_string_lossy()))),
        _ => Err(Error::data(path, None, "cannot be an output folder", "name a new folder")),
    }
}

/// Folders being written by this process, and folders it has written.
static WRITING: AtomicUsize = AtomicUsize::new(0);
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Whether this process is writing a folder: an interrupt should wait for it.
pub fn is_writing() -> bool {
    WRITING.load(Ordering::SeqCst) > 0
}

/// Whether this process has written a folder.
pub fn has_written() -> bool {
    WRITTEN.load(Ordering::SeqCst) > 0
}

/// A folder being filled. It is deleted when dropped, unless it was moved into place.
struct NewFolder {
    path: PathBuf,
}

impl NewFolder {
    fn create(path: PathBuf) -> Result<NewFolder> {
        // The name has this process's id: what is there was left by a process that was killed and had the same one.
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::io(&path, "deleting"))?;
        }
        fs::create_dir_all(&path).map_err(Error::io(&path, "creating"))?;
        WRITING.fetch_add(1, Ordering::SeqCst);
        Ok(NewFolder { path })
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        WRITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Deletes what killed processes left of `dir`; folders of processes that still run are theirs.
fn remove_abandoned(dir: &Path) -> Result<()> {
    let prefix = beside(dir, "tmp-")?;
    let (Some(parent), Some(prefix)) = (prefix.parent(), prefix.file_name()) else { return Ok(()) };
    // A parent that does not exist or cannot be listed has nothing to clear.
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let (name, prefix) = (entry.file_name(), prefix.to_string_lossy());
        let process = name.to_string_lossy().strip_prefix(&*prefix).and_then(|id| id.parse().ok());
        if process.is_some_and(|id| system::is_running(id) == Some(false)) {
            fs::remove_dir_all(entry.path()).map_err(Error::io(entry.path(), "deleting"))?;
        }
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io(path, "resolving"))
}

fn sync(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|f| f.sync_all()).map_err(Error::io(dir, "flushing"))
}

fn sync_parent(path: &Path) -> Result<()> {
    absolute(path)?.parent().map_or(Ok(()), sync)
}

//! What a long reading tells, and the memory that it may take.

use super::resume::Journal;
use base::system::{self, size};
use base::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A file, how many bytes of it have been read, and how many it has.
type OnRead = dyn Fn(&Path, u64, u64) + Send + Sync;

/// What watches over a reading.
#[derive(Clone, Default)]
pub struct Control {
    on_read: Option<Arc<OnRead>>,
    memory_limit: Option<u64>,
    journal: Option<Journal>,
}

impl Control {
    /// Tells `on_read` after every few megabytes of a raw file: the file, bytes read, bytes in all.
    pub fn telling(mut self, on_read: impl Fn(&Path, u64, u64) + Send + Sync + 'static) -> Control {
        self.on_read = Some(Arc::new(on_read));
        self
    }

    /// Ends a reading that takes the process beyond so many bytes of memory. Errors: `Error::Config` where the system does
    /// not say how many it has, or has more already.
    pub fn within(mut self, bytes: u64) -> Result<Control> {
        let key = "--memory-limit";
        match system::resident().map(|own| own.now) {
            Some(now) if now < bytes => self.memory_limit = Some(bytes),
            Some(now) => {
                let why = format!("the program has {} before it reads anything", size(now));
                return Err(Error::config(key, why, "allow more, such as 2GiB"));
            }
            None => {
                let why = "this system does not say how much memory a process has";
                return Err(Error::config(
                    key,
                    why,
                    "leave it out, and limit the process by the system's means",
                ));
            }
        }
        Ok(self)
    }

    /// Saves in `folder`, `every` so often, how far long logs have been read. A reading of the same files with the same
    /// options goes on from there; the folder is the caller's to delete.
    pub fn saving(mut self, folder: PathBuf, every: Duration) -> Control {
        self.journal = Some(Journal { folder, every });
        self
    }

    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Tells how far the reading of a file is. Errors: as [`Control::memory`].
    pub(super) fn at(&self, file: &Path, done: u64, of: u64) -> Result<()> {
        if let Some(on_read) = &self.on_read {
            on_read(file, done, of);
        }
        self.memory()
    }

    /// `Error::Memory` where the process has more than it may have.
    pub fn memory(&self) -> Result<()> {
        match (self.memory_limit, system::resident().map(|own| own.now)) {
            (Some(limit), Some(now)) if now > limit => Err(Error::Memory {
                why: format!("reading has come to {}, and may take {}", size(now), size(limit)),
                remedy:
                    "allow more with --memory-limit, or take fewer learners with --limit; nothing was written"
                        .into(),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Control").field("memory_limit", &self.memory_limit).finish_non_exhaustive()
    }
}

//! Progress reports of a long reading, and its memory limit.

use base::system::{self, size};
use base::{Error, Result};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A file, how many bytes of it have been read, and how many it has.
type OnRead = dyn Fn(&Path, u64, u64) + Send + Sync;

/// A callback for progress, and a memory limit.
#[derive(Clone, Default)]
pub struct Progress {
    on_read: Option<Arc<OnRead>>,
    memory_limit: Option<u64>,
}

impl Progress {
    /// Calls `on_read` after every few megabytes of a file: the file, bytes read, bytes in all.
    pub fn on_read(mut self, on_read: impl Fn(&Path, u64, u64) + Send + Sync + 'static) -> Progress {
        self.on_read = Some(Arc::new(on_read));
        self
    }

    /// Stops a reading once the process uses more than `bytes` of memory. Errors: `Error::Config` if the system does not
    /// report memory use, or the process uses more already.
    pub fn memory_limit(mut self, bytes: u64) -> Result<Progress> {
        let (why, remedy) = match system::resident().map(|own| own.now) {
            Some(now) if now < bytes => {
                self.memory_limit = Some(bytes);
                return Ok(self);
            }
            Some(now) => {
                (format!("the process uses {} before it reads anything", size(now)), "allow more, such as 2GiB")
            }
            None => (
                "this system does not report the memory of a process".into(),
                "leave it out, and limit the process by the system's means",
            ),
        };
        Err(Error::config("--memory-limit", why, remedy))
    }

    /// Reports how far the reading of a file is. Errors: as [`Progress::check_memory`].
    pub(crate) fn at(&self, file: &Path, done: u64, of: u64) -> Result<()> {
        if let Some(on_read) = &self.on_read {
            on_read(file, done, of);
        }
        self.check_memory()
    }

    /// `Error::Memory` if the process is above the limit.
    pub fn check_memory(&self) -> Result<()> {
        match (self.memory_limit, system::resident().map(|own| own.now)) {
            (Some(limit), Some(now)) if now > limit => Err(Error::Memory {
                why: format!("reading uses {}, and the limit is {}", size(now), size(limit)),
                remedy: "allow more with --memory-limit, or take fewer learners with --limit; nothing was written"
                    .into(),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Progress").field("memory_limit", &self.memory_limit).finish_non_exhaustive()
    }
}

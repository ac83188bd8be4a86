//! The library's one error type. Every variant says what was wrong, where, and what to do about it.

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Tensors that do not fit together: a bug in the caller, never in a user's data.
    #[error("{op}: expected {expected}, got {got}")]
    Shape { op: &'static str, expected: String, got: String },

    /// A file whose content cannot be used. `line` counts from 1.
    #[error("{}{}: {why}\n  {remedy}", path.display(), line.map(|l| format!(":{l}")).unwrap_or_default())]
    Data { path: PathBuf, line: Option<u64>, why: String, remedy: String },

    /// The operating system refused a file operation.
    #[error("{}: {doing} failed: {source}", path.display())]
    Io { path: PathBuf, doing: &'static str, source: std::io::Error },

    /// A flag, a `--set` or a key of run.toml that cannot be used.
    #[error("{key}: {why}\n  {remedy}")]
    Config { key: String, why: String, remedy: String },

    /// No usable device, or the driver refused a call.
    #[error("device: {why}\n  {remedy}")]
    Device { why: String, remedy: String },

    /// The work does not fit the memory of the device.
    #[error("out of memory: {why}\n  {remedy}")]
    Memory { why: String, remedy: String },

    /// A loss, gradient or parameter stopped being finite.
    #[error("training diverged: {what} is not finite at step {step}\n  {remedy}")]
    Diverged { what: String, step: u64, remedy: String },

    /// A store or checkpoint that fails its checksums or does not have the shape its manifest states.
    #[error("{}: {why}\n  {remedy}", path.display())]
    Corrupt { path: PathBuf, why: String, remedy: String },

    /// What was measured does not meet what was asked for.
    #[error("threshold not met: {why}\n  {remedy}")]
    Threshold { why: String, remedy: String },

    /// Some runs of an experiment failed, and the others are done. `code` is the exit code of the first failure.
    #[error("{why}\n  {remedy}")]
    Runs { why: String, remedy: String, code: u8 },

    /// The run was interrupted after its state had been saved.
    #[error("interrupted: {why}\n  {remedy}")]
    Interrupted { why: String, remedy: String },
}

impl Error {
    pub fn data(
        path: impl Into<PathBuf>,
        line: Option<u64>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Error::Data { path: path.into(), line, why: why.into(), remedy: remedy.into() }
    }

    pub fn config(key: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::Config { key: key.into(), why: why.into(), remedy: remedy.into() }
    }

    pub fn device(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::Device { why: why.into(), remedy: remedy.into() }
    }

    pub fn corrupt(path: impl Into<PathBuf>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::Corrupt { path: path.into(), why: why.into(), remedy: remedy.into() }
    }

    pub fn shape(op: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Error::Shape { op, expected: expected.into(), got: got.into() }
    }

    /// For `map_err` on file operations: `fs::read(p).map_err(Error::io(p, "reading"))`.
    pub fn io(path: impl AsRef<Path>, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, doing, source }
    }

    /// The process exit code that the command line promises for this kind of error (README, "Exit codes").
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Shape { .. } => 1,
            Error::Config { .. } => 2,
            Error::Data { .. } => 3,
            // A missing or unreadable input is bad input; a failing disk is too far from the user to be told apart.
            Error::Io { .. } => 3,
            Error::Device { .. } => 4,
            Error::Memory { .. } => 5,
            Error::Diverged { .. } => 6,
            Error::Corrupt { .. } => 7,
            Error::Threshold { .. } => 8,
            Error::Runs { code, .. } => *code,
            Error::Interrupted { .. } => 130,
        }
    }
}

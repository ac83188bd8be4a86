//! Experiments: many runs on one data set, compared honestly, and searches for the settings to compare with.
//!
//! `plan` turns models, optimizers, weightings and seeds into runs; `compare` makes them, resumably, one folder each;
//! `table` writes and reads what they leave; `stats` and `summary` say which differences mean something; `search` finds
//! settings by validation alone. docs/compare.md has the files and the formulas.

mod compare;
mod files;
mod job;
mod plan;
mod search;
mod space;
pub mod stats;
mod summary;
pub mod table;

pub use compare::{Compare, Report, Watcher};
pub use files::{Identity, settings_of};
pub use job::Failure;
pub use plan::{NONE, Plan, Request, Spec, model_names};
pub use search::{Search, SearchWatcher, Trial, rungs};
pub use space::{Range, Space};
pub use summary::{Resampling, summarize};

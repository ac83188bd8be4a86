//! Experiments: many runs on one data set, compared honestly, and searches for the settings to compare with.
//!
//! `plan` turns models, optimizers, weightings and seeds into runs; `compare` makes them, resumably, one folder each,
//! and writes their tables with `report::tables`; `stats` and `summary` test which differences are significant;
//! `search` finds settings by validation alone. docs/compare.md has the files and the formulas.

mod compare;
mod files;
mod job;
mod plan;
mod search;
mod space;
pub mod stats;
mod summary;

pub use compare::{Compare, CompareObserver, Comparison};
pub use files::{Identity, settings_of};
pub use job::Failure;
pub use plan::{ComparePlan, Request, RunSpec, model_names};
pub use search::{Search, SearchObserver, Trial, rungs};
pub use space::{Range, Space};
pub use summary::{Resampling, summarize};

//! Course data: formats, the prepared store, splits, negatives, synthetic data.
//!
//! `formats` read a folder into a [`Dataset`]; `split` assigns train, valid and test; `store` keeps the result
//! on disk, checksummed; `prepare` is those three in a row. docs/data.md documents every file.

mod assemble;
mod dataset;
pub mod formats;
pub mod negatives;
pub mod prepare;
pub mod split;
pub mod stats;
pub mod store;
pub mod synth;

pub use dataset::{CourseLists, Dataset, Interactions, Split};
pub use stats::Counts;

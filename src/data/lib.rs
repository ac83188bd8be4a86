//! Course data: formats, splits, the prepared data set, negatives, synthetic data, export.
//!
//! `formats` reads a folder into a [`Dataset`]; `split` assigns train, valid and test; `store` keeps the result on disk,
//! with checksums, and opens it in place; `prepare` does these three in a row; `schema` describes the arrays of a data set;
//! `export` writes tables for other programs. docs/data.md documents every file.

mod assemble;
mod column;
mod dataset;
pub mod export;
pub mod formats;
mod names;
pub mod negatives;
pub mod prepare;
mod schema;
pub mod split;
pub mod stats;
pub mod store;
pub mod synth;

pub use column::Column;
pub use dataset::{CourseLists, Dataset, Interactions, Split};
pub use names::Names;
pub use stats::Counts;

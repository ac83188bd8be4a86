//! waata: hand-written kernels that train and serve WAA-TA, a course recommender that joins a knowledge
//! graph with multi-task learning.

pub mod data;
pub mod engine;
pub mod graph;
pub mod ops;
mod error;

pub use error::{Error, Result};

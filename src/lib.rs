//! waata: hand-written kernels that train and serve WAA-TA, a course recommender that joins a knowledge
//! graph with multi-task learning.

pub mod config;
pub mod data;
pub mod engine;
mod error;
pub mod eval;
pub mod graph;
pub mod ops;

pub use error::{Error, Result};

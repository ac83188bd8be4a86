//! waata: hand-written kernels that train and serve WAA-TA, a course recommender that joins a knowledge
//! graph with multi-task learning.

pub mod bench;
pub mod cli;
pub mod config;
pub mod data;
pub mod engine;
mod error;
pub mod eval;
pub mod experiment;
pub mod graph;
pub mod layers;
pub mod models;
pub mod ops;
pub mod report;
pub mod train;

pub use error::{Error, Result};

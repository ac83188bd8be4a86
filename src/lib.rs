//! waata: hand-written kernels that train and serve WAA-TA, a course recommender that joins a knowledge
//! graph with multi-task learning.

pub mod bench;
pub mod config;
pub mod eval;
pub mod experiment;
pub mod layers;
pub mod models;
pub mod train;

pub use {data, engine, graph, ops};

pub use base::{Error, Result};

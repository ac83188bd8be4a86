//! Hand-written CUDA kernels and Rust that train and serve WAA-TA, a course recommender that combines attention over a
//! knowledge graph with multi-task learning, and the baselines that it is compared with.
//!
//! [`Recommender`] loads the folder of a trained run and recommends courses. [`train::Run`] trains one;
//! `examples/train_and_recommend.rs` does both. `docs/architecture.md` explains the modules and a training step.

pub mod bench;
pub mod config;
pub mod eval;
pub mod experiment;
pub mod layers;
pub mod models;
pub mod serve;
pub mod train;

pub use {data, engine, graph, ops};

pub use base::{Error, Result};
pub use serve::{Recommendation, Recommender};

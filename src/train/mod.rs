//! Training: epochs of batches, weighted task gradients, validation, checkpoints.

mod captured_steps;
pub mod checkpoint;
mod gradients;
pub mod memory_estimate;
mod meta;
mod run;
mod sampler;
mod step;
mod step_metrics;

pub use memory_estimate::MemoryEstimate;
pub use meta::Meta;
pub use run::{Best, EpochLog, LAST, Observer, Outcome, Run, RunFiles};
pub use sampler::{Sampler, TripleSampler};
pub use step::{StepLog, TrainStep};

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
pub(crate) use run::use_math_mode;
pub use run::{BEST, Best, EpochLog, LAST, Observer, Outcome, Run, RunFiles, train_splits};
pub use sampler::{Sampler, TripleSampler};
pub use step::{StepLog, TrainStep};

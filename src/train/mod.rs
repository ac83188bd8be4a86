//! Training: epochs of batches, weighted task gradients, validation, checkpoints.

pub mod checkpoint;
mod meta;
pub mod plan;
mod readings;
mod recording;
mod run;
mod sampler;
mod step;
mod weighting;

pub use meta::Meta;
pub use plan::MemoryPlan;
pub(crate) use run::use_math_mode;
pub use run::{BEST, Best, EpochLog, LAST, Observer, Outcome, Run, RunFiles, train_splits};
pub use sampler::{Sampler, TripleSampler};
pub use step::{StepLog, TrainStep};

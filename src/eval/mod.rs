//! Full ranking and its metrics.

mod evaluate;
pub mod export;
mod exposure;
mod metrics;
mod recommend;
mod slices;
mod tasks;

pub use crate::config::Idcg;
pub use crate::ops::{MAX_K, NO_COURSE, Scorer, TopK};
pub(crate) use evaluate::BLOCK;
pub use evaluate::{Evaluation, PerLearner, Ranker, known_before, sample_learners};
pub use metrics::{AtCutoff, RankingMetrics, auc, log_loss, ranking_metrics};
pub use recommend::top_courses;
pub use slices::{RANKING, Slice};

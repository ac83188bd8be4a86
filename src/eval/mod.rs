//! Full ranking and its metrics.

mod evaluate;
mod metrics;
mod recommend;

pub use crate::ops::{MAX_K, NO_COURSE, Scorer, TopK};
pub use evaluate::{Evaluation, Ranker, known_before, sample_learners};
pub use metrics::{AtCutoff, Idcg, RankingMetrics, auc, ranking_metrics};
pub use recommend::top_courses;

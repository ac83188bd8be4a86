//! Full ranking and its metrics.

mod evaluate;
mod metrics;
mod recommend;
mod topk;

pub use evaluate::{Evaluation, Ranker, known_before, sample_learners};
pub use metrics::{AtCutoff, Idcg, RankingMetrics, auc, ranking_metrics};
pub use recommend::top_courses;
pub use topk::{MAX_K, NO_COURSE, TopK, top_k};

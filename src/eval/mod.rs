//! Full ranking and its metrics.

mod metrics;
mod topk;

pub use metrics::{AtCutoff, Idcg, RankingMetrics, auc, ranking_metrics};
pub use topk::{MAX_K, NO_COURSE, TopK, top_k};

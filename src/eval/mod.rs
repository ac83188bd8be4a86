//! Evaluation: ranking of the full catalogue, the metrics of the ranking and of each task, and the export of vectors.

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
pub use exposure::{Exposure, percentiles};
pub use metrics::{AtCutoff, RANKING, RankingMetrics, auc, log_loss, ranking_metrics};
pub use recommend::{Catalogue, top_courses};
pub use slices::{Slice, Slicer, popularity_parts};

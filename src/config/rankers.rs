//! Settings of the rankers that are not trained by gradients.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankersConfig {
    /// Weight of EASE's L2 penalty.
    pub ease_lambda: f64,
    /// Most similar courses that ItemKNN keeps for each; 0 keeps all.
    pub itemknn_neighbours: usize,
    /// Added to the denominator of ItemKNN's cosine: courses of few learners count less.
    pub itemknn_shrink: f64,
}

impl Default for RankersConfig {
    fn default() -> Self {
        RankersConfig { ease_lambda: 200.0, itemknn_neighbours: 0, itemknn_shrink: 0.0 }
    }
}

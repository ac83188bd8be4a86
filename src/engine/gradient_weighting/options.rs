//! What a run asks of the weighting.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::optim::{Rule, Sgd};

/// docs/model.md has the formulas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Plain addition, formula (18) as printed.
    Sum,
    /// Auxiliary gradients scaled towards the target's length.
    #[serde(rename = "metabalance")]
    MetaBalance,
    /// Auxiliary gradients weighted by their cosine with the target's.
    Cosine,
    /// The product of both factors.
    #[default]
    #[serde(rename = "metabalance_x_cosine")]
    MetaBalanceCosine,
    /// Losses weighted by learned variances.
    Uncertainty,
    /// Losses weighted by how fast they fell over the last epochs.
    #[serde(rename = "dwa")]
    DynamicAverage,
    /// Losses weighted so that their gradients have lengths that make them fall at the same rate.
    #[serde(rename = "gradnorm")]
    GradNorm,
    /// Each gradient without its part against another.
    #[serde(rename = "pcgrad")]
    PcGrad,
    /// The direction near the mean gradient that serves the worst-served loss best.
    #[serde(rename = "cagrad")]
    CaGrad,
}

/// Which auxiliary gradients MetaBalance scales, by the moving averages m of the gradients' lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only those that are longer than the target's.
    A,
    /// Only those that are shorter.
    B,
    /// All.
    #[default]
    C,
}

/// What lengths and cosines are taken of: each parameter tensor alone, or all of them as one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    #[default]
    Tensor,
    Global,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CosineKind {
    /// max(0, cos)
    #[default]
    Weighted,
    /// 1 where cos >= 0, else 0
    Unweighted,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub combine: Combine,
    pub strategy: Strategy,
    /// r: 0 leaves lengths as they are, 1 makes them the target's.
    pub relax: f64,
    /// Memory of the moving averages.
    pub beta: f64,
    /// Added to m_i in m_0 / m_i; public implementations have 1e-5. Not needed: m_i = 0 is guarded.
    pub eps: f64,
    pub granularity: Granularity,
    pub cosine: CosineKind,
    pub cosine_granularity: Granularity,
    /// What moves log-variances and GradNorm's weights.
    pub learner: Rule,
    /// T of the dynamic average.
    pub temperature: f64,
    /// alpha of GradNorm: how strongly losses that have fallen less are favoured.
    pub alpha: f64,
    /// c of CAGrad: how far from the mean gradient it may go, in lengths of it.
    pub c: f64,
    /// Of the order in which PCGrad visits the losses.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            combine: Combine::default(),
            strategy: Strategy::default(),
            relax: 0.7,
            beta: 0.9,
            eps: 0.0,
            granularity: Granularity::Tensor,
            cosine: CosineKind::default(),
            cosine_granularity: Granularity::Global,
            learner: Arc::new(Sgd::default()),
            temperature: 2.0,
            alpha: 1.5,
            c: 0.4,
            seed: 1,
        }
    }
}

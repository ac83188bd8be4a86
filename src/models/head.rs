//! What judges a learner and a course once both have a vector: the part in which multi-task models differ.

use crate::Result;
use crate::config::{BottomKind, HeadActivation, HeadConfig};
use crate::engine::{ParamId, Params, Tensor, Var};
use crate::layers::{ForwardCtx, Mlp};
use crate::ops::{Activation, PairFeatures, PairHead};

/// Logits and what losses beside the cross-entropies need.
#[derive(Default)]
pub struct HeadOutput {
    /// (B, 1) of each task that `Head::learns`, for its cross-entropy.
    pub logits: Vec<Var>,
    /// (B, 1) of each task, where it is not what the loss is about: what the model says when it is asked. Of tasks after
    /// the first that is the logit given enrolment.
    pub answers: Option<Vec<Var>>,
    /// (B, 1) of each entry of `Head::auxiliary`: logits of (15).
    pub auxiliary: Vec<Var>,
    /// (S_k^m, T_k^m), each (B, d): what (14) keeps apart.
    pub pairs: Vec<(Var, Var)>,
    /// Gate values of each task, (B, width); none without gates.
    pub gates: Vec<Var>,
}

impl HeadOutput {
    /// Of a model that learns every task's logit.
    pub fn of(logits: Vec<Var>) -> HeadOutput {
        HeadOutput { logits, ..Default::default() }
    }
}

/// A head with parameters of its own, made by a model's file.
pub trait Head {
    /// z_u, z_i (B, D)
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput>;

    /// The first task's logit for rankings, of vectors with `dim` columns. `None` where it is the match score (8).
    fn first_task(&self, params: &Params, dim: usize) -> Result<Option<PairHead>>;

    /// The tasks of `HeadOutput::logits`.
    fn learns(&self, tasks: usize) -> Vec<usize> {
        (0..tasks).collect()
    }

    /// The tasks of `HeadOutput::auxiliary`.
    fn auxiliary(&self) -> Vec<usize> {
        vec![]
    }

    /// Whether the first task has a logit of its own, to which `head.score_residual` may add the match score.
    fn first_logit_is_learned(&self) -> bool {
        true
    }

    /// Weights that `loss.l1_specific` decays (11).
    fn specific_weights(&self) -> Vec<ParamId> {
        vec![]
    }
}

/// How the two vectors become one.
pub fn bottom(config: &HeadConfig) -> PairFeatures {
    match config.bottom {
        BottomKind::Concat => PairFeatures::Concat,
        BottomKind::Hadamard => PairFeatures::Hadamard,
        BottomKind::ConcatHadamard => PairFeatures::ConcatHadamard,
    }
}

pub fn activation(config: &HeadConfig) -> Activation {
    match config.activation {
        HeadActivation::Relu => Activation::Relu,
        HeadActivation::Elu => Activation::Elu,
    }
}

/// `config.tower` and the logit.
pub fn tower_widths(config: &HeadConfig) -> Vec<usize> {
    config.tower.iter().copied().chain([1]).collect()
}

/// A head's first task, step by step, as rankings run it: rows of values, later ones made from earlier ones.
pub struct Ranked<'a> {
    pub steps: PairHead,
    params: &'a Params,
}

/// A dense layer's W (input, outputs) and b (1, outputs).
pub type Layer = (Tensor, Tensor);

impl<'a> Ranked<'a> {
    /// Begins with the first layers of `mlps` on the bottom vector, side by side, and after them layers without
    /// activation (gates' logits).
    pub fn new(
        config: &HeadConfig,
        params: &'a Params,
        dim: usize,
        mlps: &[&Mlp],
        plain: &[Layer],
    ) -> Result<Ranked<'a>> {
        let first = mlps.iter().map(|mlp| layer(params, mlp, 0)).collect::<Result<Vec<_>>>()?;
        let steps = PairHead::new(bottom(config), dim, &first, plain, activation(config))?;
        Ok(Ranked { steps, params })
    }

    /// The layers after the first of MLPs that stand side by side from row `at`, `width` rows each. Returns where their
    /// outputs begin, and their width.
    pub fn rest(&mut self, mlps: &[&Mlp], mut at: usize, mut width: usize) -> Result<(usize, usize)> {
        let layers = mlps.first().map_or(0, |mlp| mlp.depth());
        for i in 1..layers {
            let from: Vec<usize> = (0..mlps.len()).map(|j| at + j * width).collect();
            (at, width) = self.side_by_side(mlps, i, &from)?;
        }
        Ok((at, width))
    }

    /// All layers of MLPs, each on its rows from `from`, side by side. Returns as `rest`.
    pub fn bank(&mut self, mlps: &[&Mlp], from: &[usize]) -> Result<(usize, usize)> {
        let (at, width) = self.side_by_side(mlps, 0, from)?;
        self.rest(mlps, at, width)
    }

    fn side_by_side(&mut self, mlps: &[&Mlp], i: usize, from: &[usize]) -> Result<(usize, usize)> {
        let layers = mlps.iter().map(|mlp| layer(self.params, mlp, i)).collect::<Result<Vec<_>>>()?;
        let width = layers.first().map_or(0, |(w, _)| w.cols());
        let to = self.steps.reserve(mlps.len() * width);
        for (j, ((w, b), mlp)) in layers.iter().zip(mlps).enumerate() {
            self.steps.dense(from[j], (w, b), mlp.activation(i), to + j * width)?;
        }
        Ok((to, width))
    }

    /// All layers of one MLP on the rows from `at`. Returns where its output begins.
    pub fn whole(&mut self, mlp: &Mlp, at: usize) -> Result<usize> {
        Ok(self.bank(&[mlp], &[at])?.0)
    }

    /// One layer on the rows from `at`, without activation. Returns where its output begins.
    pub fn plain(&mut self, (w, b): &Layer, at: usize) -> Result<usize> {
        let to = self.steps.reserve(w.cols());
        self.steps.dense(at, (w, b), Activation::Identity, to)?;
        Ok(to)
    }

    /// The mixture of `parts` blocks of `width` rows from `at` by the softmax of the rows from `logits`. Returns where
    /// it begins.
    pub fn mixed(&mut self, at: usize, parts: usize, width: usize, logits: usize) -> Result<usize> {
        let to = self.steps.reserve(width);
        self.steps.softmax(at, parts, width, logits, to)?;
        Ok(to)
    }
}

/// W and b of layer `i`; zeros where it has no b.
pub fn layer(params: &Params, mlp: &Mlp, i: usize) -> Result<Layer> {
    let (w, b) = mlp.layer(i);
    let w = params.get(w).value.clone();
    let b = match b {
        Some(b) => params.get(b).value.clone(),
        None => Tensor::zeros(&w.device(), w.dtype(), 1, w.cols())?,
    };
    Ok((w, b))
}

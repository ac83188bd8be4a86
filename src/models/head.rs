//! What judges a learner and a course once both have a vector: the part in which multi-task models differ.
//!
//! A head is written once, as `Head::forward`: operations of a `HeadCtx`, which run on the tape. For rankings
//! (`pair_head.rs`) it runs on one pair, its operations are recorded, and those that the first logit depends on become
//! the steps of a `PairHead`.

use crate::Result;
use crate::config::HeadConfig;
use crate::engine::{Op, Owner, ParamId, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::{Activation, Combine, Concat, Gate, RowDot, SoftmaxMixture};

/// A head with parameters of its own, made by a model's file.
pub trait Head {
    /// The logits of a batch of pairs. The first task's logit is what rankings go by (`HeadOutput::logits[0]`): it has to
    /// be made by operations of `HeadCtx` other than `apply`.
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput>;

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

/// Logits and what losses beside the cross-entropies need.
#[derive(Default)]
pub struct HeadOutput {
    /// (B, 1) of each task that `Head::learns`, for its cross-entropy.
    pub logits: Vec<Var>,
    /// (B, 1) of each task: the model's predictions, where they are not what the losses are about. Of tasks after the
    /// first that is the logit given enrolment.
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

/// The width of the pair's features.
pub fn input_width(config: &HeadConfig, dim: usize) -> usize {
    config.bottom.width(dim)
}

/// A network of `config.widths`, activated throughout: an expert, a shared or a specific network.
pub fn expert(b: &mut ParamBuilder, name: &str, owner: Owner, input: usize, config: &HeadConfig) -> Result<Mlp> {
    Mlp::new(b, name, owner, input, &config.widths, config.activation, config.activation)
}

/// The tower of task `k`: `config.tower` and the logit.
pub fn tower(b: &mut ParamBuilder, k: usize, input: usize, config: &HeadConfig) -> Result<Mlp> {
    let widths = [&config.tower[..], &[1]].concat();
    let (name, act) = (format!("tower.{k}"), config.activation);
    Mlp::new(b, &name, Owner::Task(k), input, &widths, act, Activation::Identity)
}

/// The last of `config.widths`, d.
pub fn expert_width(config: &HeadConfig) -> usize {
    config.widths.last().copied().unwrap_or_default()
}

/// The operations that heads are made of, on a batch of pairs.
pub struct HeadCtx<'c, 't> {
    ctx: &'c mut ForwardCtx<'t>,
    config: &'c HeadConfig,
    /// Z_u and Z_i of the pairs, (B, D) each.
    z: [Var; 2],
    pub(super) recorded: Option<Vec<Recorded>>,
}

/// An operation of a `HeadCtx` and what it made.
pub(super) struct Recorded {
    pub step: Step,
    pub outputs: Vec<Var>,
}

pub(super) enum Step {
    MatchScore,
    Features,
    /// One output each; one input each, or one for all.
    Mlps(Vec<Mlp>, Vec<Var>),
    /// Experts, and their logits.
    Mixture(Vec<Var>, Var),
    /// S, T, and the layer that makes the gate's logits.
    Gate([Var; 2], Mlp),
    Mean(Vec<Var>),
    Concat(Vec<Var>),
}

impl<'c, 't> HeadCtx<'c, 't> {
    pub fn new(ctx: &'c mut ForwardCtx<'t>, config: &'c HeadConfig, z: [Var; 2]) -> Self {
        HeadCtx { ctx, config, z, recorded: None }
    }

    fn record(&mut self, step: impl FnOnce() -> Step, outputs: &[Var]) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Recorded { step: step(), outputs: outputs.to_vec() });
        }
    }

    /// The match score (8), (B, 1).
    pub fn match_score(&mut self) -> Result<Var> {
        let score = self.ctx.tape.apply(RowDot, &self.z)?;
        self.record(|| Step::MatchScore, &[score]);
        Ok(score)
    }

    /// The features of the pairs, (B, `input_width`).
    pub fn features(&mut self) -> Result<Var> {
        let x = self.ctx.tape.apply(self.config.bottom, &self.z)?;
        self.record(|| Step::Features, &[x]);
        Ok(x)
    }

    pub fn mlp(&mut self, mlp: &Mlp, x: Var) -> Result<Var> {
        let y = mlp.forward(self.ctx, x)?;
        self.record(|| Step::Mlps(vec![mlp.clone()], vec![x]), &[y]);
        Ok(y)
    }

    /// MLPs of the same widths and activations, over one input or one input each: one output each.
    pub fn mlps<'a>(&mut self, mlps: impl IntoIterator<Item = &'a Mlp>, inputs: &[Var]) -> Result<Vec<Var>> {
        let mlps: Vec<&Mlp> = mlps.into_iter().collect();
        let y = Mlp::grouped(self.ctx, mlps.iter().copied(), inputs)?;
        self.record(|| Step::Mlps(mlps.into_iter().cloned().collect(), inputs.to_vec()), &y);
        Ok(y)
    }

    /// The experts (B, d) mixed by the softmax of each task's logits (B, experts).
    pub fn mixture(&mut self, logits: &[Var], experts: &[Var]) -> Result<Vec<Var>> {
        let y = self.ctx.tape.apply_all(SoftmaxMixture::new(logits.len()), &[logits, experts].concat())?;
        for (logits, y) in logits.iter().zip(&y) {
            self.record(|| Step::Mixture(experts.to_vec(), *logits), &[*y]);
        }
        Ok(y)
    }

    /// (12) and (13): F = g S + (1 - g) T and g, the sigmoid of `logits` on [S | T].
    pub fn gate(&mut self, s: Var, t: Var, logits: &Mlp) -> Result<[Var; 2]> {
        let [w, b] = logits.on_tape(self.ctx, 0)?;
        let y = self.ctx.tape.apply_all(Gate, &[s, t, w, b])?;
        self.record(|| Step::Gate([s, t], logits.clone()), &y[..1]);
        Ok([y[0], y[1]])
    }

    pub fn mean(&mut self, parts: &[Var]) -> Result<Var> {
        let y = self.ctx.tape.apply(Combine::mean(parts.len()), parts)?;
        self.record(|| Step::Mean(parts.to_vec()), &[y]);
        Ok(y)
    }

    pub fn concat(&mut self, parts: &[Var]) -> Result<Var> {
        let y = self.ctx.tape.apply(Concat, parts)?;
        self.record(|| Step::Concat(parts.to_vec()), &[y]);
        Ok(y)
    }

    /// An operation that the first task's logit does not depend on.
    pub fn apply(&mut self, op: impl Op + 'static, inputs: &[Var]) -> Result<Var> {
        self.ctx.tape.apply(op, inputs)
    }
}

//! The multi-task head: shared and specific representations under a gate, towers and auxiliary heads.
//! Formulas (9) to (13) and the heads of (15).

use super::{Builder, Mlp, Pass};
use crate::Result;
use crate::config::{BottomKind, Fusion, GateWidth, HeadActivation, HeadConfig, PairMerge};
use crate::engine::{Owner, ParamId, Var};
use crate::ops::{Activation, Bottom, Combine, Concat, Gate, Linear, SoftmaxMix};

pub struct Head {
    pub(super) config: HeadConfig,
    tasks: usize,
    /// S^m: one for all tasks when M = 1, else one for each task and pair, task by task.
    pub(super) shared: Vec<Mlp>,
    /// T_k^m, task by task.
    pub(super) specific: Vec<Mlp>,
    /// Joins the pairs' outputs when `pair_merge = concat_project`: of S, then of each task.
    pub(super) projections: Vec<Mlp>,
    pub(super) gates: Vec<(ParamId, ParamId)>,
    pub(super) towers: Vec<Mlp>,
    /// One linear head for each specific MLP (15).
    auxiliary: Vec<Mlp>,
}

pub struct HeadOutput {
    /// (B, 1) of each task.
    pub logits: Vec<Var>,
    /// (B, 1) of each task and pair, task by task: logits of (15).
    pub auxiliary: Vec<Var>,
    /// (S_k^m, T_k^m), each (B, d): what (14) keeps apart.
    pub pairs: Vec<(Var, Var)>,
    /// Gate values of each task, (B, d) or (B, 1); none without a sigmoid gate.
    pub gates: Vec<Var>,
}

impl Head {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut Builder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<Head> {
        let act = match config.activation {
            HeadActivation::Relu => Activation::Relu,
            HeadActivation::Elu => Activation::Elu,
        };
        let input = match config.bottom {
            BottomKind::Concat => 2 * dim,
            BottomKind::Hadamard => dim,
            BottomKind::ConcatHadamard => 3 * dim,
        };
        let d = config.widths.last().copied().unwrap_or(input);
        let m = config.pairs;
        let shared_count = if m == 1 { 1 } else { tasks * m };
        let mlp =
            |b: &mut Builder, name: String, owner| Mlp::new(b, &name, owner, input, &config.widths, act, act);
        let shared = (0..shared_count)
            .map(|i| {
                mlp(
                    b,
                    if m == 1 { "shared".into() } else { format!("shared.{}.{}", i / m, i % m) },
                    Owner::Shared,
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let mut specific = vec![];
        let mut auxiliary = vec![];
        let mut gates = vec![];
        let mut towers = vec![];
        let mut projections = vec![];
        let project =
            m > 1 && config.pair_merge == PairMerge::ConcatProject && config.fusion != Fusion::FdnConcat;
        if project {
            let linear = Activation::Identity;
            projections.push(Mlp::new(
                b,
                "shared.project",
                Owner::Shared,
                shared_count * d,
                &[d],
                linear,
                linear,
            )?);
        }
        for k in 0..tasks {
            let task = Owner::Task(k);
            for i in 0..m {
                let name = if m == 1 { format!("specific.{k}") } else { format!("specific.{k}.{i}") };
                specific.push(mlp(b, name, task)?);
                let name = if m == 1 { format!("aux.{k}") } else { format!("aux.{k}.{i}") };
                auxiliary.push(Mlp::new(
                    b,
                    &name,
                    task,
                    d,
                    &[1],
                    Activation::Identity,
                    Activation::Identity,
                )?);
            }
            if project {
                let linear = Activation::Identity;
                let name = format!("specific.{k}.project");
                projections.push(Mlp::new(b, &name, task, m * d, &[d], linear, linear)?);
            }
            if config.fusion != Fusion::FdnConcat && (k == 0 || !config.shared_gate) {
                let (name, owner) = if config.shared_gate {
                    ("gate".into(), Owner::Shared)
                } else {
                    (format!("gate.{k}"), task)
                };
                let width = match (config.fusion, config.gate) {
                    (Fusion::SoftmaxGate, _) => 2,
                    (_, GateWidth::Vector) => d,
                    (_, GateWidth::Scalar) => 1,
                };
                let w = b.xavier(&format!("{name}.w"), owner, 2 * d, width)?;
                gates.push((w, b.zeros(&format!("{name}.b"), owner, 1, width)?));
            }
            let fused = if config.fusion == Fusion::FdnConcat { (m + shared_count) * d } else { d };
            let widths: Vec<usize> = config.tower.iter().copied().chain([1]).collect();
            towers.push(Mlp::new(b, &format!("tower.{k}"), task, fused, &widths, act, Activation::Identity)?);
        }
        Ok(Head { config: config.clone(), tasks, shared, specific, projections, gates, towers, auxiliary })
    }

    /// z_u, z_i (B, D)
    pub fn forward(&self, pass: &mut Pass, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let bottom = match self.config.bottom {
            BottomKind::Concat => Bottom::Concat,
            BottomKind::Hadamard => Bottom::Hadamard,
            BottomKind::ConcatHadamard => Bottom::ConcatHadamard,
        };
        let bottom = pass.tape.apply(bottom, &[z_u, z_i])?;
        let m = self.config.pairs;
        let s_and_t = Mlp::bank(pass, self.shared.iter().chain(&self.specific), &[bottom])?;
        let (s, t) = s_and_t.split_at(self.shared.len());
        let s_all = self.merge(pass, s, 0)?;
        let (mut fused, mut gates, mut pairs) = (vec![], vec![], vec![]);
        for k in 0..self.tasks {
            let own = &t[k * m..(k + 1) * m];
            for (i, &t) in own.iter().enumerate() {
                pairs.push((if m == 1 { s[0] } else { s[k * m + i] }, t));
            }
            fused.push(if self.config.fusion == Fusion::FdnConcat {
                let parts: Vec<Var> = own.iter().chain(s).copied().collect();
                pass.tape.apply(Concat, &parts)?
            } else {
                let t_k = self.merge(pass, own, 1 + k)?;
                let (w, b) = self.gates[if self.config.shared_gate { 0 } else { k }];
                let (w, b) = (pass.param(w), pass.param(b));
                if self.config.fusion == Fusion::SoftmaxGate {
                    let both = pass.tape.apply(Concat, &[s_all, t_k])?;
                    let activation = Activation::Identity;
                    let choice = pass.tape.apply(Linear { activation }, &[both, w, b])?;
                    pass.tape.apply(SoftmaxMix::default(), &[choice, s_all, t_k])?
                } else {
                    let outputs = pass.tape.apply_all(Gate, &[s_all, t_k, w, b])?;
                    gates.push(outputs[1]);
                    outputs[0]
                }
            });
        }
        let logits = Mlp::bank(pass, &self.towers, &fused)?;
        let auxiliary = Mlp::bank(pass, &self.auxiliary, t)?;
        Ok(HeadOutput { logits, auxiliary, pairs, gates })
    }

    /// One (B, d) out of the pairs'.
    fn merge(&self, pass: &mut Pass, parts: &[Var], projection: usize) -> Result<Var> {
        match parts {
            [one] => Ok(*one),
            _ if self.projections.is_empty() => pass.tape.apply(Combine::mean(parts.len()), parts),
            _ => {
                let joined = pass.tape.apply(Concat, parts)?;
                self.projections[projection].forward(pass, joined)
            }
        }
    }

    /// Weights of the specific MLPs, which (11) may decay.
    pub fn specific_weights(&self) -> impl Iterator<Item = ParamId> + '_ {
        self.specific.iter().flat_map(Mlp::weights)
    }
}

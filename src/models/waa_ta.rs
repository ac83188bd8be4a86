//! WAA-TA: shared and specific representations under a gate, towers and auxiliary heads, formulas (9) to (13) and the
//! heads of (15).
//!
//! With `fusion = "fdn_concat"` it is the head of FDN (Zhou et al. 2023): several pairs of shared and specific experts for
//! each task; a task reads its own specific experts and all shared ones, side by side, through one linear layer
//! (`head.tower = []`). Losses: cross-entropies, (14) and (15). The authors' code forms (14) from one sample at a time and
//! so penalises norms, not angles: that is `loss.orth = "fdn_code"`, for comparison. Here it is what (14) says.

use super::head::{Head, HeadCtx, HeadOutput, expert, expert_width, input_width, tower};
use crate::Result;
use crate::config::{Fusion, GateWidth, HeadConfig, PairMerge};
use crate::engine::{Owner, ParamId, Var};
use crate::layers::{Mlp, ParamBuilder};
use crate::ops::Activation::Identity;

pub struct WaaTaHead {
    config: HeadConfig,
    tasks: usize,
    /// S^m: one for all tasks when M = 1, else one for each task and pair, task by task.
    shared: Vec<Mlp>,
    /// T_k^m, task by task.
    specific: Vec<Mlp>,
    /// Joins the pairs' outputs when `pair_merge = concat_project`: of S, then of each task.
    projections: Vec<Mlp>,
    /// One for each task, or one for all.
    gates: Vec<Mlp>,
    towers: Vec<Mlp>,
    /// One linear head for each specific MLP (15).
    auxiliary: Vec<Mlp>,
}

impl WaaTaHead {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<WaaTaHead> {
        let (input, d, m) = (input_width(config, dim), expert_width(config), config.pairs);
        let fdn = config.fusion == Fusion::FdnConcat;
        let project = m > 1 && config.pair_merge == PairMerge::ConcatProject && !fdn;
        let shared_count = if m == 1 { 1 } else { tasks * m };
        let shared_name = |i| if m == 1 { "shared".into() } else { format!("shared.{}.{}", i / m, i % m) };
        let shared = (0..shared_count)
            .map(|i| expert(b, &shared_name(i), Owner::Shared, input, config))
            .collect::<Result<Vec<_>>>()?;
        let (mut specific, mut auxiliary, mut projections) = (vec![], vec![], vec![]);
        let (mut gates, mut towers) = (vec![], vec![]);
        let linear = |b: &mut ParamBuilder, name: &str, owner, input, width| {
            Mlp::new(b, name, owner, input, &[width], Identity, Identity)
        };
        if project {
            projections.push(linear(b, "shared.project", Owner::Shared, shared_count * d, d)?);
        }
        for k in 0..tasks {
            let task = Owner::Task(k);
            for i in 0..m {
                let place = if m == 1 { format!("{k}") } else { format!("{k}.{i}") };
                specific.push(expert(b, &format!("specific.{place}"), task, input, config)?);
                auxiliary.push(linear(b, &format!("aux.{place}"), task, d, 1)?);
            }
            if project {
                projections.push(linear(b, &format!("specific.{k}.project"), task, m * d, d)?);
            }
            if !fdn && (k == 0 || !config.shared_gate) {
                let (name, owner) = match config.shared_gate {
                    true => ("gate".into(), Owner::Shared),
                    false => (format!("gate.{k}"), task),
                };
                let width = match (config.fusion, config.gate) {
                    (Fusion::SoftmaxGate, _) => 2,
                    (_, GateWidth::Vector) => d,
                    (_, GateWidth::Scalar) => 1,
                };
                gates.push(Mlp::linear(b, &name, owner, (2 * d, width), true)?);
            }
            towers.push(tower(b, k, if fdn { (m + shared_count) * d } else { d }, config)?);
        }
        Ok(WaaTaHead { config: config.clone(), tasks, shared, specific, projections, gates, towers, auxiliary })
    }

    /// FDN's, whatever `config.fusion` says.
    pub fn fdn(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<WaaTaHead> {
        WaaTaHead::new(b, &HeadConfig { fusion: Fusion::FdnConcat, ..config.clone() }, dim, tasks)
    }

    /// One (B, d) out of the pairs'.
    fn merge(&self, c: &mut HeadCtx, parts: &[Var], projection: usize) -> Result<Var> {
        match parts {
            [one] => Ok(*one),
            _ if self.projections.is_empty() => c.mean(parts),
            _ => {
                let joined = c.concat(parts)?;
                c.mlp(&self.projections[projection], joined)
            }
        }
    }
}

impl Head for WaaTaHead {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        let (m, fusion) = (self.config.pairs, self.config.fusion);
        let x = c.features()?;
        let s_and_t = c.mlps(self.shared.iter().chain(&self.specific), &[x])?;
        let (s, t) = s_and_t.split_at(self.shared.len());
        let s_all = self.merge(c, s, 0)?;
        let (mut fused, mut gates, mut pairs) = (vec![], vec![], vec![]);
        for k in 0..self.tasks {
            let own = &t[k * m..(k + 1) * m];
            pairs.extend(own.iter().enumerate().map(|(i, &t)| (if m == 1 { s[0] } else { s[k * m + i] }, t)));
            if fusion == Fusion::FdnConcat {
                fused.push(c.concat(&[own, s].concat())?);
                continue;
            }
            let t_k = self.merge(c, own, 1 + k)?;
            let gate = &self.gates[if self.config.shared_gate { 0 } else { k }];
            if fusion == Fusion::SoftmaxGate {
                let both = c.concat(&[s_all, t_k])?;
                let choice = c.mlp(gate, both)?;
                fused.extend(c.mixture(&[choice], &[s_all, t_k])?);
            } else {
                let [mixed, values] = c.gate(s_all, t_k, gate)?;
                fused.push(mixed);
                gates.push(values);
            }
        }
        let logits = c.mlps(&self.towers, &fused)?;
        let auxiliary = c.mlps(&self.auxiliary, t)?;
        Ok(HeadOutput { auxiliary, pairs, gates, ..HeadOutput::of(logits) })
    }

    fn auxiliary(&self) -> Vec<usize> {
        (0..self.auxiliary.len()).map(|i| i / self.config.pairs).collect()
    }

    fn specific_weights(&self) -> Vec<ParamId> {
        self.specific.iter().flat_map(Mlp::weights).collect()
    }
}

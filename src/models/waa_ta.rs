//! WAA-TA: shared and specific representations under a gate, towers and auxiliary heads, formulas (9) to (13) and the
//! heads of (15). With `fusion = "fdn_concat"` it is the head of FDN (fdn.rs).

use super::head::{Head, HeadOutput, Ranked, activation, bottom, layer, tower_widths};
use crate::Result;
use crate::config::{Fusion, GateWidth, HeadConfig, PairMerge};
use crate::engine::{Owner, ParamId, Params, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::{Activation, Combine, Concat, Gate, Linear, PairHead, SoftmaxMixture};

pub struct WaaTaHead {
    config: HeadConfig,
    tasks: usize,
    /// S^m: one for all tasks when M = 1, else one for each task and pair, task by task.
    shared: Vec<Mlp>,
    /// T_k^m, task by task.
    specific: Vec<Mlp>,
    /// Joins the pairs' outputs when `pair_merge = concat_project`: of S, then of each task.
    projections: Vec<Mlp>,
    gates: Vec<(ParamId, ParamId)>,
    towers: Vec<Mlp>,
    /// One linear head for each specific MLP (15).
    auxiliary: Vec<Mlp>,
}

impl WaaTaHead {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<WaaTaHead> {
        let (act, input) = (activation(config), bottom(config).width(dim));
        let d = config.widths.last().copied().unwrap_or(input);
        let m = config.pairs;
        let shared_count = if m == 1 { 1 } else { tasks * m };
        let mlp = |b: &mut ParamBuilder, name: String, owner| {
            Mlp::new(b, &name, owner, input, &config.widths, act, act)
        };
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
            let (name, widths) = (format!("tower.{k}"), tower_widths(config));
            towers.push(Mlp::new(b, &name, task, fused, &widths, act, Activation::Identity)?);
        }
        Ok(WaaTaHead {
            config: config.clone(),
            tasks,
            shared,
            specific,
            projections,
            gates,
            towers,
            auxiliary,
        })
    }
}

impl Head for WaaTaHead {
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let bottom = pass.tape.apply(bottom(&self.config), &[z_u, z_i])?;
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
                    pass.tape.apply(SoftmaxMixture::default(), &[choice, s_all, t_k])?
                } else {
                    let outputs = pass.tape.apply_all(Gate, &[s_all, t_k, w, b])?;
                    gates.push(outputs[1]);
                    outputs[0]
                }
            });
        }
        let logits = Mlp::bank(pass, &self.towers, &fused)?;
        let auxiliary = Mlp::bank(pass, &self.auxiliary, t)?;
        Ok(HeadOutput { auxiliary, pairs, gates, ..HeadOutput::of(logits) })
    }

    fn first_task(&self, params: &Params, dim: usize) -> Result<Option<PairHead>> {
        let config = &self.config;
        let (m, fdn) = (config.pairs, config.fusion == Fusion::FdnConcat);
        // Side by side as the fusion reads them: [S | T], or the codes [T | S].
        let (shared, specific) = (self.shared.iter(), self.specific[..m].iter());
        let mlps: Vec<&Mlp> =
            if fdn { specific.chain(shared).collect() } else { shared.chain(specific).collect() };
        let mut ranked = Ranked::new(config, params, dim, &mlps, &[])?;
        let (mut at, width) = ranked.rest(&mlps, 0, config.widths[0])?;
        if !fdn {
            let shared = self.shared.len();
            if m > 1 {
                let to = ranked.steps.reserve(2 * width);
                for (part, from, parts) in [(0, at, shared), (1, at + shared * width, m)] {
                    match self.projections.get(part) {
                        Some(mlp) => {
                            let (w, b) = layer(params, mlp, 0)?;
                            let to = to + part * width;
                            ranked.steps.dense(from, (&w, &b), Activation::Identity, to)?
                        }
                        None => ranked.steps.mean(from, parts, width, to + part * width)?,
                    }
                }
                at = to;
            }
            let (w, b) = self.gates[0];
            let gate = (params.get(w).value.clone(), params.get(b).value.clone());
            let logits = ranked.plain(&gate, at)?;
            at = match config.fusion {
                Fusion::SoftmaxGate => ranked.mixed(at, 2, width, logits)?,
                _ => {
                    let to = ranked.steps.reserve(width);
                    ranked.steps.gate(at, width, logits, gate.0.cols(), to)?;
                    to
                }
            };
        }
        ranked.whole(&self.towers[0], at)?;
        Ok(Some(ranked.steps))
    }

    fn auxiliary(&self) -> Vec<usize> {
        (0..self.auxiliary.len()).map(|i| i / self.config.pairs).collect()
    }

    fn specific_weights(&self) -> Vec<ParamId> {
        self.specific.iter().flat_map(Mlp::weights).collect()
    }
}

impl WaaTaHead {
    /// One (B, d) out of the pairs'.
    fn merge(&self, pass: &mut ForwardCtx, parts: &[Var], projection: usize) -> Result<Var> {
        match parts {
            [one] => Ok(*one),
            _ if self.projections.is_empty() => pass.tape.apply(Combine::mean(parts.len()), parts),
            _ => {
                let joined = pass.tape.apply(Concat, parts)?;
                self.projections[projection].forward(pass, joined)
            }
        }
    }
}

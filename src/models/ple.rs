//! PLE (Tang et al. 2020): levels of experts, some of each task's own and some for all. One level is CGC.
//!
//! At level j task k mixes its own m_s experts and the m_sh shared ones by softmax(x_k G_k); below the last level the
//! shared stream mixes all experts of all tasks by softmax(x_sh G_sh). All streams begin as the bottom vector. Gates
//! are softmaxes over experts, without bias.

use super::head::{Head, HeadOutput, Layer, Ranked, activation, bottom, layer, tower_widths};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::{Owner, Params, Tensor, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::{Activation, PairHead, SoftmaxMixture};

struct Level {
    /// m_s of each task, task by task.
    specific: Vec<Mlp>,
    shared: Vec<Mlp>,
    /// Of each task, over the shared experts and then its own.
    gates: Vec<Mlp>,
    /// Over the shared experts and then those of all tasks; not at the last level.
    shared_gate: Option<Mlp>,
}

pub struct Ple {
    config: HeadConfig,
    tasks: usize,
    levels: Vec<Level>,
    towers: Vec<Mlp>,
}

impl Ple {
    /// `dim` is D, the width of Z_u and Z_i. Every level's experts have `config.widths`.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<Ple> {
        let act = activation(config);
        let (own, shared) = (config.specific_experts, config.shared_experts);
        let mut input = bottom(config).width(dim);
        let mut levels = vec![];
        for j in 0..config.levels {
            let mut expert = |name: String, owner| Mlp::new(b, &name, owner, input, &config.widths, act, act);
            let specific = (0..tasks * own)
                .map(|i| expert(format!("level.{j}.specific.{}.{}", i / own, i % own), Owner::Task(i / own)))
                .collect::<Result<Vec<_>>>()?;
            let shared_experts = (0..shared)
                .map(|i| expert(format!("level.{j}.shared.{i}"), Owner::Shared))
                .collect::<Result<Vec<_>>>()?;
            let gates = (0..tasks)
                .map(|k| Mlp::linear(b, &format!("level.{j}.gate.{k}"), Owner::Task(k), input, own + shared))
                .collect::<Result<Vec<_>>>()?;
            let shared_gate = match j + 1 < config.levels {
                true => {
                    let (name, all) = (format!("level.{j}.gate.shared"), tasks * own + shared);
                    Some(Mlp::linear(b, &name, Owner::Shared, input, all)?)
                }
                false => None,
            };
            levels.push(Level { specific, shared: shared_experts, gates, shared_gate });
            input = config.widths.last().copied().unwrap_or(input);
        }
        let tower = |k| {
            let (name, widths) = (format!("tower.{k}"), tower_widths(config));
            Mlp::new(b, &name, Owner::Task(k), input, &widths, act, Activation::Identity)
        };
        let towers = (0..tasks).map(tower).collect::<Result<_>>()?;
        Ok(Ple { config: config.clone(), tasks, levels, towers })
    }
}

impl Head for Ple {
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let own = self.config.specific_experts;
        let x = pass.tape.apply(bottom(&self.config), &[z_u, z_i])?;
        // The streams of the tasks, then the shared one.
        let mut streams = vec![x; self.tasks + 1];
        for (j, level) in self.levels.iter().enumerate() {
            let inputs: Vec<Var> = match j {
                // One input: the experts' first layers are one product.
                0 => vec![x],
                _ => {
                    let shared = level.shared.iter().map(|_| streams[self.tasks]);
                    shared.chain((0..level.specific.len()).map(|i| streams[i / own])).collect()
                }
            };
            let made = Mlp::bank(pass, level.shared.iter().chain(&level.specific), &inputs)?;
            let (shared, specific) = made.split_at(level.shared.len());
            let mut next = vec![];
            for (k, gate) in level.gates.iter().enumerate() {
                let mut mixed = vec![gate.forward(pass, streams[k])?];
                mixed.extend(shared.iter().chain(&specific[k * own..(k + 1) * own]));
                next.push(pass.tape.apply(SoftmaxMixture::default(), &mixed)?);
            }
            next.push(match &level.shared_gate {
                Some(gate) => {
                    let mut mixed = vec![gate.forward(pass, streams[self.tasks])?];
                    mixed.extend(&made);
                    pass.tape.apply(SoftmaxMixture::default(), &mixed)?
                }
                None => streams[self.tasks],
            });
            streams = next;
        }
        Ok(HeadOutput::of(Mlp::bank(pass, &self.towers, &streams[..self.tasks])?))
    }

    fn first_task(&self, params: &Params, dim: usize) -> Result<Option<PairHead>> {
        let (config, own, shared) = (&self.config, self.config.specific_experts, self.config.shared_experts);
        // Below the last level the shared stream mixes the experts of all tasks; at the last, the first task's count.
        let tasks = |j: usize| if j + 1 < self.levels.len() { self.tasks } else { 1 };
        let experts = |j: usize| -> Vec<&Mlp> {
            let level = &self.levels[j];
            level.shared.iter().chain(&level.specific[..tasks(j) * own]).collect()
        };
        // The gates whose streams the next level reads: of its tasks, then the shared one.
        let gates = |j: usize| -> Result<Vec<Layer>> {
            let level = &self.levels[j];
            let read = if j + 1 < self.levels.len() { tasks(j + 1) } else { 1 };
            let mut gates = vec![];
            for (k, gate) in level.gates[..read].iter().enumerate() {
                gates.push(over_all(layer(params, gate, 0)?, shared, own, k, tasks(j))?);
            }
            gates.extend(level.shared_gate.as_ref().map(|gate| layer(params, gate, 0)).transpose()?);
            Ok(gates)
        };
        let (first, all) = (gates(0)?, experts(0));
        let mut ranked = Ranked::new(config, params, dim, &all, &first)?;
        let mut logits: Vec<usize> = vec![];
        let mut at = all.len() * config.widths[0];
        for (w, _) in &first {
            logits.push(at);
            at += w.cols();
        }
        let (mut at, mut width) = ranked.rest(&all, 0, config.widths[0])?;
        for j in 0..self.levels.len() {
            if j > 0 {
                // `streams` of the level before stand where `logits` pointed.
                let streams = logits.clone();
                let shared_stream = streams[streams.len() - 1];
                let all = experts(j);
                let from: Vec<usize> = (0..all.len())
                    .map(|i| if i < shared { shared_stream } else { streams[(i - shared) / own] })
                    .collect();
                (at, width) = ranked.bank(&all, &from)?;
                logits.clear();
                let gates = gates(j)?;
                // The shared gate is the last, however many tasks the next level reads.
                let of_tasks = gates.len() - usize::from(self.levels[j].shared_gate.is_some());
                for (g, gate) in gates.iter().enumerate() {
                    let stream = if g < of_tasks { streams[g] } else { shared_stream };
                    logits.push(ranked.plain(gate, stream)?);
                }
            }
            for logits in &mut logits {
                *logits = ranked.mixed(at, experts(j).len(), width, *logits)?;
            }
        }
        ranked.whole(&self.towers[0], logits[0])?;
        Ok(Some(ranked.steps))
    }
}

/// A task's gate over the shared experts and all tasks' own: those of other tasks get no weight.
fn over_all((w, b): Layer, shared: usize, own: usize, task: usize, tasks: usize) -> Result<Layer> {
    // exp of it is 0 beside any logit that a gate has.
    const NEVER: f32 = -1e30;
    let (rows, all) = (w.rows(), shared + tasks * own);
    let (mut wide, mut bias) = (vec![0.0; rows * all], vec![NEVER; all]);
    let (from, offsets) = (w.to_vec()?, b.to_vec()?);
    for (e, offset) in offsets.into_iter().enumerate() {
        let to = if e < shared { e } else { e + task * own };
        bias[to] = offset;
        (0..rows).for_each(|r| wide[r * all + to] = from[r * (shared + own) + e]);
    }
    Ok((Tensor::new(&w.device(), rows, all, &wide)?, Tensor::new(&w.device(), 1, all, &bias)?))
}

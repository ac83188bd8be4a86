//! PLE (Tang et al. 2020): levels of experts, some of each task's own and some for all. One level is CGC.
//!
//! At level j task k mixes its own m_s experts and the m_sh shared ones by softmax(x_k G_k); below the last level the
//! shared stream mixes all experts of all tasks by softmax(x_sh G_sh). All streams begin as the features of the pair.
//! Gates are softmaxes over experts, without bias.

use super::head::{Head, HeadCtx, HeadOutput, expert, expert_width, input_width, tower};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::{Owner, Var};
use crate::layers::{Mlp, ParamBuilder};

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
    tasks: usize,
    /// m_s
    own: usize,
    levels: Vec<Level>,
    towers: Vec<Mlp>,
}

impl Ple {
    /// `dim` is D, the width of Z_u and Z_i. Every level's experts have `config.widths`.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<Ple> {
        let (own, shared) = (config.specific_experts, config.shared_experts);
        let mut input = input_width(config, dim);
        let mut levels = vec![];
        for j in 0..config.levels {
            let mut net = |name: String, owner| expert(b, &format!("level.{j}.{name}"), owner, input, config);
            let specific = (0..tasks * own)
                .map(|i| net(format!("specific.{}.{}", i / own, i % own), Owner::Task(i / own)))
                .collect::<Result<_>>()?;
            let shared_experts =
                (0..shared).map(|i| net(format!("shared.{i}"), Owner::Shared)).collect::<Result<_>>()?;
            let mut gate = |of: String, owner, experts| {
                Mlp::linear(b, &format!("level.{j}.gate.{of}"), owner, (input, experts), false)
            };
            let gates = (0..tasks).map(|k| gate(k.to_string(), Owner::Task(k), own + shared)).collect::<Result<_>>()?;
            let shared_gate = match j + 1 < config.levels {
                true => Some(gate("shared".into(), Owner::Shared, tasks * own + shared)?),
                false => None,
            };
            levels.push(Level { specific, shared: shared_experts, gates, shared_gate });
            input = expert_width(config);
        }
        let towers = (0..tasks).map(|k| tower(b, k, input, config)).collect::<Result<_>>()?;
        Ok(Ple { tasks, own, levels, towers })
    }
}

impl Head for Ple {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        let (tasks, own) = (self.tasks, self.own);
        let x = c.features()?;
        // The streams of the tasks, then the shared one.
        let mut streams = vec![x; tasks + 1];
        for (j, level) in self.levels.iter().enumerate() {
            let inputs: Vec<Var> = match j {
                // One input: the experts' first layers are one product.
                0 => vec![x],
                _ => {
                    let shared = level.shared.iter().map(|_| streams[tasks]);
                    shared.chain((0..level.specific.len()).map(|i| streams[i / own])).collect()
                }
            };
            let experts = c.mlps(level.shared.iter().chain(&level.specific), &inputs)?;
            let (shared, specific) = experts.split_at(level.shared.len());
            let mut next = vec![];
            for (k, gate) in level.gates.iter().enumerate() {
                let logits = c.mlp(gate, streams[k])?;
                next.extend(c.mixture(&[logits], &[shared, &specific[k * own..][..own]].concat())?);
            }
            match &level.shared_gate {
                Some(gate) => {
                    let logits = c.mlp(gate, streams[tasks])?;
                    next.extend(c.mixture(&[logits], &experts)?);
                }
                None => next.push(streams[tasks]),
            }
            streams = next;
        }
        Ok(HeadOutput::of(c.mlps(&self.towers, &streams[..tasks])?))
    }
}

//! MMoE (Ma et al. 2018): experts for all tasks, and a softmax gate and a tower for each task.
//!
//!   f_e = act(Bm W_e + b_e),  w_k = softmax(Bm G_k),  h_k = sum_e w_ke f_e,  z_k = tower_k(h_k)
//!
//! Gates see the input itself, have no bias and no normalization before their softmax.

use super::head::{Head, HeadOutput, Ranked, activation, bottom, layer, tower_widths};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::{Owner, Params, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::{Activation, PairHead, SoftmaxMixture};

pub struct Mmoe {
    config: HeadConfig,
    experts: Vec<Mlp>,
    gates: Vec<Mlp>,
    towers: Vec<Mlp>,
}

impl Mmoe {
    /// `dim` is D, the width of Z_u and Z_i; `config.experts` experts of `config.widths`.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<Mmoe> {
        let (act, input) = (activation(config), bottom(config).width(dim));
        let experts = (0..config.experts)
            .map(|e| Mlp::new(b, &format!("expert.{e}"), Owner::Shared, input, &config.widths, act, act))
            .collect::<Result<Vec<_>>>()?;
        let gates = (0..tasks)
            .map(|k| Mlp::linear(b, &format!("gate.{k}"), Owner::Task(k), input, config.experts))
            .collect::<Result<Vec<_>>>()?;
        let d = config.widths.last().copied().unwrap_or(input);
        let tower = |k| {
            let (name, widths) = (format!("tower.{k}"), tower_widths(config));
            Mlp::new(b, &name, Owner::Task(k), d, &widths, act, Activation::Identity)
        };
        let towers = (0..tasks).map(tower).collect::<Result<_>>()?;
        Ok(Mmoe { config: config.clone(), experts, gates, towers })
    }
}

impl Head for Mmoe {
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let x = pass.tape.apply(bottom(&self.config), &[z_u, z_i])?;
        let experts = Mlp::bank(pass, &self.experts, &[x])?;
        let mut inputs = Mlp::bank(pass, &self.gates, &[x])?;
        let tasks = inputs.len();
        inputs.extend(&experts);
        let mixed = pass.tape.apply_all(SoftmaxMixture::new(tasks), &inputs)?;
        Ok(HeadOutput::of(Mlp::bank(pass, &self.towers, &mixed)?))
    }

    fn first_task(&self, params: &Params, dim: usize) -> Result<Option<PairHead>> {
        let experts: Vec<&Mlp> = self.experts.iter().collect();
        let gate = layer(params, &self.gates[0], 0)?;
        let mut ranked = Ranked::new(&self.config, params, dim, &experts, &[gate])?;
        let first = self.config.widths[0];
        let (at, width) = ranked.rest(&experts, 0, first)?;
        let mixed = ranked.mixed(at, experts.len(), width, experts.len() * first)?;
        ranked.whole(&self.towers[0], mixed)?;
        Ok(Some(ranked.steps))
    }
}

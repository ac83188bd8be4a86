//! MMoE (Ma et al. 2018): experts for all tasks, and a softmax gate and a tower for each task.
//!
//!   f_e = act(Bm W_e + b_e),  w_k = softmax(Bm G_k),  h_k = sum_e w_ke f_e,  z_k = tower_k(h_k)
//!
//! Gates see the input itself, have no bias and no normalization before their softmax.

use super::head::{Head, HeadCtx, HeadOutput, expert, expert_width, input_width, tower};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::Owner;
use crate::layers::{Mlp, ParamBuilder};

pub struct Mmoe {
    experts: Vec<Mlp>,
    gates: Vec<Mlp>,
    towers: Vec<Mlp>,
}

impl Mmoe {
    /// `dim` is D, the width of Z_u and Z_i; `config.experts` experts of `config.widths`.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<Mmoe> {
        let input = input_width(config, dim);
        let experts = (0..config.experts)
            .map(|e| expert(b, &format!("expert.{e}"), Owner::Shared, input, config))
            .collect::<Result<_>>()?;
        let gates = (0..tasks)
            .map(|k| Mlp::linear(b, &format!("gate.{k}"), Owner::Task(k), (input, config.experts), false))
            .collect::<Result<_>>()?;
        let towers = (0..tasks).map(|k| tower(b, k, expert_width(config), config)).collect::<Result<_>>()?;
        Ok(Mmoe { experts, gates, towers })
    }
}

impl Head for Mmoe {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        let x = c.features()?;
        let experts = c.mlps(&self.experts, &[x])?;
        let logits = c.mlps(&self.gates, &[x])?;
        let mixed = c.mixture(&logits, &experts)?;
        Ok(HeadOutput::of(c.mlps(&self.towers, &mixed)?))
    }
}

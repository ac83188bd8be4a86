//! The model of docs/adding-a-model.md: that page quotes this file.

use waata::Result;
use waata::config::HeadConfig;
use waata::engine::Owner;
use waata::layers::{Mlp, ParamBuilder};
use waata::models::head::{Head, HeadCtx, HeadOutput, expert, expert_width, input_width, tower};

/// One expert and one tower for each task: nothing but the embeddings is shared.
pub struct TwoTowers {
    experts: Vec<Mlp>,
    towers: Vec<Mlp>,
}

impl TwoTowers {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<TwoTowers> {
        let input = input_width(config, dim);
        let experts = (0..tasks)
            .map(|k| expert(b, &format!("expert.{k}"), Owner::Task(k), input, config))
            .collect::<Result<_>>()?;
        let towers = (0..tasks).map(|k| tower(b, k, expert_width(config), config)).collect::<Result<_>>()?;
        Ok(TwoTowers { experts, towers })
    }
}

impl Head for TwoTowers {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        let x = c.features()?;
        let own = c.mlps(&self.experts, &[x])?;
        Ok(HeadOutput::of(c.mlps(&self.towers, &own)?))
    }
}

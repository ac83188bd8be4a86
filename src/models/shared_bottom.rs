//! Shared bottom: one MLP for all tasks, a tower for each. The control of every multi-task model, and WAA-TA without
//! its decomposition of features (ablation TA2: F_k = S).

use super::head::{Head, HeadCtx, HeadOutput, expert, expert_width, input_width, tower};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::Owner;
use crate::layers::{Mlp, ParamBuilder};

pub struct SharedBottom {
    shared: Mlp,
    towers: Vec<Mlp>,
}

impl SharedBottom {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<SharedBottom> {
        let shared = expert(b, "shared", Owner::Shared, input_width(config, dim), config)?;
        let towers = (0..tasks).map(|k| tower(b, k, expert_width(config), config)).collect::<Result<_>>()?;
        Ok(SharedBottom { shared, towers })
    }
}

impl Head for SharedBottom {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        let x = c.features()?;
        let x = c.mlp(&self.shared, x)?;
        Ok(HeadOutput::of(c.mlps(&self.towers, &[x])?))
    }
}

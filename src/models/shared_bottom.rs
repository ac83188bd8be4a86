//! Shared bottom: one MLP for all tasks, a tower for each. The control of every multi-task model, and WAA-TA without
//! its decomposition of features (ablation TA2: F_k = S).

use super::head::{Head, HeadOutput, Ranked, activation, bottom, tower_widths};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::{Owner, Params, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::{Activation, PairHead};

pub struct SharedBottom {
    config: HeadConfig,
    shared: Mlp,
    towers: Vec<Mlp>,
}

impl SharedBottom {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<SharedBottom> {
        let (act, input) = (activation(config), bottom(config).width(dim));
        let shared = Mlp::new(b, "shared", Owner::Shared, input, &config.widths, act, act)?;
        let d = config.widths.last().copied().unwrap_or(input);
        let tower = |k| {
            let (name, widths) = (format!("tower.{k}"), tower_widths(config));
            Mlp::new(b, &name, Owner::Task(k), d, &widths, act, Activation::Identity)
        };
        Ok(SharedBottom {
            config: config.clone(),
            shared,
            towers: (0..tasks).map(tower).collect::<Result<_>>()?,
        })
    }
}

impl Head for SharedBottom {
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let x = pass.tape.apply(bottom(&self.config), &[z_u, z_i])?;
        let x = self.shared.forward(pass, x)?;
        Ok(HeadOutput::of(Mlp::bank(pass, &self.towers, &[x])?))
    }

    fn first_task(&self, params: &Params, dim: usize) -> Result<Option<PairHead>> {
        let mlp = [&self.shared];
        let mut ranked = Ranked::new(&self.config, params, dim, &mlp, &[])?;
        let (at, _) = ranked.rest(&mlp, 0, self.config.widths[0])?;
        ranked.whole(&self.towers[0], at)?;
        Ok(Some(ranked.steps))
    }
}

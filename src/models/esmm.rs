//! ESMM (Ma et al. 2018): what an enrolment leads to, learned over all pairs through products of probabilities.
//!
//!   p_1 = s(a_1),  p_k = s(a_1) s(a_2) ... s(a_k)
//!
//! Tasks stand in the order of the funnel, enrolment first; with two of them this is the paper's CTR and CTCVR. The loss
//! is on the products alone: a_2 .. a_K, the logits given the step before, have none of their own. The product's logit
//! is formed from logits (`Funnel::Both`), so nothing saturates.

use super::head::{Head, HeadOutput, Ranked, activation, bottom, tower_widths};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::{Owner, Params, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::{Activation, Funnel, PairHead};

pub struct Esmm {
    config: HeadConfig,
    /// One for each task, on the bottom vector: the embeddings are what the tasks share.
    nets: Vec<Mlp>,
}

/// MLPs of `config.widths` and `config.tower` on the bottom vector, one for each of `names`.
pub(super) fn nets(
    b: &mut ParamBuilder,
    config: &HeadConfig,
    dim: usize,
    names: &[(String, Owner)],
) -> Result<Vec<Mlp>> {
    let (act, input) = (activation(config), bottom(config).width(dim));
    let widths: Vec<usize> = config.widths.iter().copied().chain(tower_widths(config)).collect();
    names
        .iter()
        .map(|(name, owner)| Mlp::new(b, name, *owner, input, &widths, act, Activation::Identity))
        .collect()
}

/// The logit of a net on the bottom vector, for rankings.
pub(super) fn ranked(config: &HeadConfig, params: &Params, dim: usize, net: &Mlp) -> Result<PairHead> {
    let mut ranked = Ranked::new(config, params, dim, &[net], &[])?;
    ranked.rest(&[net], 0, config.widths[0])?;
    Ok(ranked.steps)
}

impl Esmm {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<Esmm> {
        // Every net but the last is reached by several losses.
        let owner = |k| if k + 1 < tasks { Owner::Shared } else { Owner::Task(k) };
        let names: Vec<_> = (0..tasks).map(|k| (format!("net.{k}"), owner(k))).collect();
        Ok(Esmm { config: config.clone(), nets: nets(b, config, dim, &names)? })
    }
}

impl Head for Esmm {
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let x = pass.tape.apply(bottom(&self.config), &[z_u, z_i])?;
        let steps = Mlp::bank(pass, &self.nets, &[x])?;
        let mut logits = vec![steps[0]];
        // Of tasks after the first, given enrolment.
        let mut given: Vec<Var> = vec![steps[0]];
        for (k, &step) in steps.iter().enumerate().skip(1) {
            logits.push(pass.tape.apply(Funnel::Both, &[logits[k - 1], step])?);
            given.push(match k {
                1 => step,
                _ => pass.tape.apply(Funnel::Both, &[given[k - 1], step])?,
            });
        }
        Ok(HeadOutput { answers: Some(given), ..HeadOutput::of(logits) })
    }

    fn first_task(&self, params: &Params, dim: usize) -> Result<Option<PairHead>> {
        ranked(&self.config, params, dim, &self.nets[0]).map(Some)
    }

    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

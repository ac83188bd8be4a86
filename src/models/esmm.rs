//! ESMM (Ma et al. 2018): what an enrolment leads to, learned over all pairs through products of probabilities.
//!
//!   p_1 = s(a_1),  p_k = s(a_1) s(a_2) ... s(a_k)
//!
//! Tasks stand in the order of the funnel, enrolment first; with two of them this is the paper's CTR and CTCVR. The loss
//! is on the products alone: a_2 .. a_K, the logits given the step before, have none of their own. The product's logit
//! is formed from logits (`Funnel::Both`), so nothing saturates.

use super::head::{Head, HeadCtx, HeadOutput, input_width};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::{Owner, Var};
use crate::layers::{Mlp, ParamBuilder};
use crate::ops::{Activation, Funnel};

pub struct Esmm {
    /// One for each task, on the features of the pair: the embeddings are what the tasks share.
    nets: Vec<Mlp>,
}

/// MLPs of `config.widths` and `config.tower` on the features of the pair, one for each of `names`.
pub(super) fn nets(
    b: &mut ParamBuilder,
    config: &HeadConfig,
    dim: usize,
    names: impl IntoIterator<Item = (String, Owner)>,
) -> Result<Vec<Mlp>> {
    let (act, input) = (config.activation, input_width(config, dim));
    let widths = [&config.widths[..], &config.tower, &[1]].concat();
    let net = |(name, owner): (String, Owner)| Mlp::new(b, &name, owner, input, &widths, act, Activation::Identity);
    names.into_iter().map(net).collect()
}

impl Esmm {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<Esmm> {
        // Every net but the last is reached by several losses.
        let owner = |k| if k + 1 < tasks { Owner::Shared } else { Owner::Task(k) };
        let names = (0..tasks).map(|k| (format!("net.{k}"), owner(k)));
        Ok(Esmm { nets: nets(b, config, dim, names)? })
    }
}

impl Head for Esmm {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        let x = c.features()?;
        let steps = c.mlps(&self.nets, &[x])?;
        let mut logits = vec![steps[0]];
        // Of tasks after the first, given enrolment.
        let mut given: Vec<Var> = vec![steps[0]];
        for (k, &step) in steps.iter().enumerate().skip(1) {
            logits.push(c.apply(Funnel::Both, &[logits[k - 1], step])?);
            given.push(match k {
                1 => step,
                _ => c.apply(Funnel::Both, &[given[k - 1], step])?,
            });
        }
        Ok(HeadOutput { answers: Some(given), ..HeadOutput::of(logits) })
    }

    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

//! Single task: one network for the target alone, the control of every multi-task model. What it misses against a shared
//! bottom is what the other tasks teach.
//!
//!   p = s(tower(MLP(Bm))),  loss BCE(y_1, p) over all pairs
//!
//! Labels of other tasks are not looked at; its only output answers for them, too.

use super::esmm::{nets, ranked};
use super::head::{Head, HeadOutput, bottom};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::{Owner, Params, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::PairHead;

pub struct SingleTask {
    config: HeadConfig,
    tasks: usize,
    net: Mlp,
}

impl SingleTask {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<SingleTask> {
        let net = nets(b, config, dim, &[("net".into(), Owner::Task(0))])?.remove(0);
        Ok(SingleTask { config: config.clone(), tasks, net })
    }
}

impl Head for SingleTask {
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let x = pass.tape.apply(bottom(&self.config), &[z_u, z_i])?;
        let z = self.net.forward(pass, x)?;
        Ok(HeadOutput { answers: Some(vec![z; self.tasks]), ..HeadOutput::of(vec![z]) })
    }

    fn learns(&self, _tasks: usize) -> Vec<usize> {
        vec![0]
    }

    fn first_task(&self, params: &Params, dim: usize) -> Result<Option<PairHead>> {
        ranked(&self.config, params, dim, &self.net).map(Some)
    }

    // The match score would join the logit that has the loss, and not the answers.
    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

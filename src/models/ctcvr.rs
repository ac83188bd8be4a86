//! CTCVR: one net for the whole way from being shown a course to the last behaviour of the funnel, without any step
//! between. The paper names this baseline in one line ("conversion from exposure to a specific behaviour"); this is the
//! direct estimator that the ESMM family compares itself with.
//!
//!   p = s(tower(MLP(Bm))),  loss BCE(y_K, p) over all pairs
//!
//! Its only output ranks enrolments, too, and answers for every task.

use super::esmm::{nets, ranked};
use super::head::{Head, HeadOutput, bottom};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::{Owner, Params, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::PairHead;

pub struct Ctcvr {
    config: HeadConfig,
    tasks: usize,
    net: Mlp,
}

impl Ctcvr {
    /// `dim` is D, the width of Z_u and Z_i.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<Ctcvr> {
        let net = nets(b, config, dim, &[("net".into(), Owner::Task(tasks - 1))])?.remove(0);
        Ok(Ctcvr { config: config.clone(), tasks, net })
    }
}

impl Head for Ctcvr {
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let x = pass.tape.apply(bottom(&self.config), &[z_u, z_i])?;
        let z = self.net.forward(pass, x)?;
        Ok(HeadOutput { answers: Some(vec![z; self.tasks]), ..HeadOutput::of(vec![z]) })
    }

    fn learns(&self, tasks: usize) -> Vec<usize> {
        vec![tasks - 1]
    }

    fn first_task(&self, params: &Params, dim: usize) -> Result<Option<PairHead>> {
        ranked(&self.config, params, dim, &self.net).map(Some)
    }

    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

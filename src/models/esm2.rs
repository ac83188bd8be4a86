//! ESM2 (Wen et al. 2020): between enrolment and completion stands a purposeful act, taken or not.
//!
//!   y1 = P(enrol), y2 = P(act | enrol), y3 = P(complete | act), y4 = P(complete | no act)
//!   p_enrol = y1,  p_act = y1 y2,  p_complete = y1 (y2 y3 + (1 - y2) y4)
//!
//! Three tasks in that order. The losses are on the three probabilities over all pairs. With fewer there is no act or no
//! completion, and the model is refused: what would be left is ESMM.

use super::esmm::{nets, ranked};
use super::head::{Head, HeadOutput, bottom};
use crate::config::HeadConfig;
use crate::engine::{Owner, Params, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::{Funnel, PairHead};
use crate::{Error, Result};

pub struct Esm2 {
    config: HeadConfig,
    /// y1 to y4
    nets: Vec<Mlp>,
}

impl Esm2 {
    /// `dim` is D, the width of Z_u and Z_i. `Error::Config` unless there are three tasks.
    pub fn new(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<Esm2> {
        if tasks != 3 {
            return Err(Error::config(
                "loss.tasks",
                format!("esm2 is about three tasks (enrolment, an act, completion), and there are {tasks}"),
                "name three in the order of the funnel, or take model.name=esmm, which has no act",
            ));
        }
        let owners = [Owner::Shared, Owner::Shared, Owner::Task(2), Owner::Task(2)];
        let names = ["enrol", "act", "after_act", "without_act"].map(|name| format!("net.{name}"));
        let names: Vec<_> = names.into_iter().zip(owners).collect();
        Ok(Esm2 { config: config.clone(), nets: nets(b, config, dim, &names)? })
    }
}

impl Head for Esm2 {
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        let x = pass.tape.apply(bottom(&self.config), &[z_u, z_i])?;
        let y = Mlp::bank(pass, &self.nets, &[x])?;
        let acts = pass.tape.apply(Funnel::Both, &[y[0], y[1]])?;
        let completes = pass.tape.apply(Funnel::Either, &[y[1], y[2], y[3]])?;
        let all = pass.tape.apply(Funnel::Both, &[y[0], completes])?;
        let given = vec![y[0], y[1], completes];
        Ok(HeadOutput { answers: Some(given), ..HeadOutput::of(vec![y[0], acts, all]) })
    }

    fn first_task(&self, params: &Params, dim: usize) -> Result<Option<PairHead>> {
        ranked(&self.config, params, dim, &self.nets[0]).map(Some)
    }

    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

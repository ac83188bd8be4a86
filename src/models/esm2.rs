//! ESM2 (Wen et al. 2020): between enrolment and completion stands a purposeful act, taken or not.
//!
//!   y1 = P(enrol), y2 = P(act | enrol), y3 = P(complete | act), y4 = P(complete | no act)
//!   p_enrol = y1,  p_act = y1 y2,  p_complete = y1 (y2 y3 + (1 - y2) y4)
//!
//! Three tasks in that order. The losses are on the three probabilities over all pairs. With fewer there is no act or no
//! completion, and the model is refused: what would be left is ESMM.

use super::esmm::nets;
use super::head::{Head, HeadCtx, HeadOutput};
use crate::config::HeadConfig;
use crate::engine::Owner;
use crate::layers::{Mlp, ParamBuilder};
use crate::ops::Funnel;
use crate::{Error, Result};

pub struct Esm2 {
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
        Ok(Esm2 { nets: nets(b, config, dim, names.into_iter().zip(owners))? })
    }
}

impl Head for Esm2 {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        let x = c.features()?;
        let y = c.mlps(&self.nets, &[x])?;
        let acts = c.apply(Funnel::Both, &[y[0], y[1]])?;
        let completes = c.apply(Funnel::Either, &[y[1], y[2], y[3]])?;
        let all = c.apply(Funnel::Both, &[y[0], completes])?;
        Ok(HeadOutput { answers: Some(vec![y[0], y[1], completes]), ..HeadOutput::of(vec![y[0], acts, all]) })
    }

    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

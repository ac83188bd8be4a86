//! One network for one task, whose only output answers for every task.
//!
//!   p = s(tower(MLP(Bm))),  loss BCE(y, p) over all pairs
//!
//! Single-task: the target alone, the control of every multi-task model. What it misses against a shared bottom is what
//! the other tasks teach.
//!
//! CTCVR: the last behaviour of the funnel, without any step between. The paper names this baseline in one line
//! ("conversion from exposure to a specific behaviour"); this is the direct estimator that the ESMM family compares
//! itself with. Its output ranks enrolments, too.

use super::esmm::nets;
use super::head::{Head, HeadCtx, HeadOutput};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::Owner;
use crate::layers::{Mlp, ParamBuilder};

pub struct SingleNet {
    tasks: usize,
    task: usize,
    net: Vec<Mlp>,
}

impl SingleNet {
    /// For the first task. `dim` is D, the width of Z_u and Z_i.
    pub fn target(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<SingleNet> {
        let net = nets(b, config, dim, [("net".into(), Owner::Task(0))])?;
        Ok(SingleNet { tasks, task: 0, net })
    }

    /// For the last task.
    pub fn ctcvr(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<SingleNet> {
        let task = tasks.saturating_sub(1);
        Ok(SingleNet { tasks, task, net: nets(b, config, dim, [("net".into(), Owner::Task(task))])? })
    }
}

impl Head for SingleNet {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        let x = c.features()?;
        let z = c.mlp(&self.net[0], x)?;
        Ok(HeadOutput { answers: Some(vec![z; self.tasks]), ..HeadOutput::of(vec![z]) })
    }

    fn learns(&self, _tasks: usize) -> Vec<usize> {
        vec![self.task]
    }

    // The match score would join the logit that has the loss, and not the answers.
    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

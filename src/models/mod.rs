//! Models: each one file, registered here by name.

mod batch;
mod graphs;
mod plan;
mod waa_ta;

use crate::config::Config;
use crate::data::Dataset;
use crate::engine::{DType, Device, Params, Philox, Tape, Tensor, Var};
use crate::ops::Scorer;
use crate::{Error, Result};

pub use batch::{Batch, Learners, TripleBatch, keep_latest, learners_for};
pub use graphs::{TrainGraph, triples_for_training};
pub use plan::{Inputs, Plan};
pub use waa_ta::WaaTa;

/// What part a loss has in the weighting of gradients (MetaBalance's target and auxiliaries).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Target,
    Auxiliary,
    /// Added as it is: orthogonality and the norms.
    Constraint,
}

/// A named loss on the tape. Losses stay apart until their gradients are weighted.
#[derive(Clone, Debug)]
pub struct Loss {
    pub name: String,
    pub role: Role,
    /// A row of losses, of which this is column `column`.
    pub var: Var,
    pub column: usize,
    /// Its weight in formula (16).
    pub weight: f64,
}

/// Means of gate values over a batch, one per task, for the log.
pub type GateMeans = Vec<f64>;

pub struct Losses {
    pub losses: Vec<Loss>,
    pub gates: Vec<Var>,
}

/// Everything about courses and nodes that scoring needs, computed once for many blocks of learners.
pub struct Encoded {
    /// Layer states of the graph's nodes.
    pub nodes: Vec<Tensor>,
    /// Z of all nodes, under `full` propagation.
    pub z_nodes: Option<Tensor>,
    /// (courses, D)
    pub z_courses: Tensor,
}

pub trait Model {
    fn name(&self) -> &'static str;
    fn tasks(&self) -> &[String];
    fn params(&self) -> &Params;
    fn params_mut(&mut self) -> &mut Params;
    /// Places of the multi-task head's parameters, which may learn at a rate of their own.
    fn head_params(&self) -> std::ops::Range<usize>;

    /// Why the work of a step differs by more than its inputs from that of another with as many learners and pairs, so
    /// that it cannot be recorded and replayed: a few words, with the setting that brings it about.
    fn varies(&self) -> Option<&'static str> {
        Some("the model does not say that it has steps of one shape")
    }

    /// What the losses of a batch will read: the rows of large tables, the neighbourhoods that the step draws, and the
    /// batch on the device. `random` are the step's own random numbers. Where steps do not vary, it only uploads.
    fn plan(&self, _batch: &Batch, _random: Option<Philox>) -> Result<Plan> {
        Ok(Plan::default())
    }

    /// All losses of a batch; the target comes first. Parameters stand on the tape as `plan.rows` says.
    fn losses(&self, tape: &mut Tape, vars: &[Var], batch: &Batch, plan: &Plan) -> Result<Losses>;

    /// As `plan`, for `triple_loss`.
    fn triple_plan(&self, _batch: &TripleBatch) -> Result<Plan> {
        Ok(Plan::default())
    }

    /// The knowledge graph's loss on a batch of triples, (1, 1).
    fn triple_loss(&self, tape: &mut Tape, vars: &[Var], batch: &TripleBatch, plan: &Plan) -> Result<Var>;

    /// Work between epochs: refreshed attention.
    fn begin_epoch(&mut self) -> Result<()>;

    /// Constants that training changes outside the parameters, for checkpoints.
    fn state(&self) -> Vec<(String, Tensor)>;
    fn set_state(&mut self, name: &str, value: Tensor) -> Result<()>;

    /// Clamps and the like after an optimizer step.
    fn after_step(&mut self) -> Result<()>;

    fn encode(&self) -> Result<Encoded>;

    /// What ranks all courses, as `eval.rank_by` says, for rows of `represent_learners`.
    fn scorer(&self, encoded: &Encoded) -> Result<Scorer>;

    /// Z of a block of learners, (rows, D).
    fn represent_learners(&self, encoded: &Encoded, learners: &Learners) -> Result<Tensor>;

    /// Logits of all tasks for pairs (row of `learners`, course), (pairs, K).
    fn logits(&self, encoded: &Encoded, learners: &Learners, pairs: &[(u32, u32)]) -> Result<Tensor>;
}

type Build = fn(&Config, &Dataset, &TrainGraph, &Device, DType) -> Result<Box<dyn Model>>;

/// Every model by its name in `model.name`.
pub const MODELS: &[(&str, Build)] =
    &[("waa-ta", |c, d, g, device, dtype| Ok(Box::new(WaaTa::new(c, d, g, device, dtype)?)))];

/// The model that `config.model.name` names, with fresh parameters.
pub fn build(
    config: &Config,
    data: &Dataset,
    graph: &TrainGraph,
    device: &Device,
    dtype: DType,
) -> Result<Box<dyn Model>> {
    let names: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
    let (_, build) = MODELS.iter().find(|(name, _)| *name == config.model.name).ok_or_else(|| {
        let why = format!("there is no model `{}`", config.model.name);
        Error::config("model.name", why, format!("models: {}", names.join(", ")))
    })?;
    build(config, data, graph, device, dtype)
}

/// The tasks of a run: those that are named, else enrolment and then every label.
pub fn task_names(config: &Config, data: &Dataset) -> Result<Vec<String>> {
    if config.loss.tasks.is_empty() {
        return Ok(std::iter::once(ENROLLED.to_string()).chain(data.labels.iter().cloned()).collect());
    }
    for name in &config.loss.tasks {
        if name != ENROLLED {
            data.require_label(name)?;
        }
    }
    Ok(config.loss.tasks.clone())
}

/// The task that every data set has: 1 for an enrolment, 0 for a sampled course that was not taken.
pub const ENROLLED: &str = "enrolled";

//! Models: each a file, and an entry in `registry.rs`.

mod batch;
mod closed_form;
mod ease;
mod esm2;
mod esmm;
mod graphs;
pub mod head;
mod itemknn;
mod match_score;
mod mmoe;
mod neural;
mod pair_head;
mod ple;
mod popularity;
mod registry;
mod shared_bottom;
mod single_net;
mod step_inputs;
mod waa_ta;

use crate::config::Config;
use crate::data::Dataset;
use crate::engine::{DType, Device, Params, Philox, Tape, Tensor, Var};
use crate::layers::ParamBuilder;
use crate::ops::Scorer;
use crate::{Error, Result};

pub use batch::{Batch, Learners, TripleBatch, history, learners_for};
pub use closed_form::ClosedForm;
pub use graphs::{TrainGraph, triples_for_training};
pub use neural::{MakeHead, Neural};
pub use pair_head::pair_head;
pub use registry::{Entry, Kind, Make, find, models};
pub use step_inputs::{BatchLearners, DeviceBatch, StepInputs};
pub use waa_ta::WaaTaHead;

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
    /// (courses, D)
    pub z_courses: Tensor,
}

/// What ranks courses and judges pairs, however it was learned.
pub trait Recommender {
    fn name(&self) -> &str;
    fn tasks(&self) -> &[String];
    fn params(&self) -> &Params;
    fn params_mut(&mut self) -> &mut Params;

    fn encode(&self) -> Result<Encoded>;

    /// What ranks all courses, as `eval.rank_by` says, for rows of `represent_learners`.
    fn scorer(&self, encoded: &Encoded) -> Result<Scorer>;

    /// Z of a block of learners, (rows, D).
    fn represent_learners(&self, encoded: &Encoded, learners: &Learners) -> Result<Tensor>;

    /// Logits of all tasks for pairs (row of `learners`, course), (pairs, K).
    fn logits(&self, encoded: &Encoded, learners: &Learners, pairs: &[(u32, u32)]) -> Result<Tensor>;
}

/// A recommender that is trained by gradients.
pub trait Model: Recommender {
    /// Places of the multi-task head's parameters, which may learn at a rate of their own.
    fn head_params(&self) -> std::ops::Range<usize>;

    /// Why a step cannot be captured as a CUDA graph: its work depends on more than the sizes of its inputs. A few words,
    /// with the setting responsible; `None` where steps can be captured.
    fn graph_blocker(&self) -> Option<&'static str> {
        Some("the model does not say that its steps can be captured")
    }

    /// Uploads all that the losses of a batch will read, and decides which rows of large tables and which sampled
    /// neighbourhoods those are. `random` are the step's own random numbers. Without a `graph_blocker` it does nothing but
    /// upload.
    fn upload(&self, batch: &Batch, random: Option<Philox>) -> Result<StepInputs>;

    /// All losses of what was uploaded; the target comes first. `vars` are the parameters, by `inputs.rows`.
    fn losses(&self, tape: &mut Tape, vars: &[Var], inputs: &StepInputs) -> Result<Losses>;

    /// As `upload`, for `triple_loss`.
    fn upload_triples(&self, batch: &TripleBatch) -> Result<StepInputs>;

    /// The knowledge graph's loss on a batch of triples, (1, 1).
    fn triple_loss(&self, tape: &mut Tape, vars: &[Var], inputs: &StepInputs) -> Result<Var>;

    /// Work between epochs: refreshed attention.
    fn begin_epoch(&mut self) -> Result<()>;

    /// Constants that training changes outside the parameters, for checkpoints.
    fn state(&self) -> Vec<(String, Tensor)>;
    fn set_state(&mut self, name: &str, value: Tensor) -> Result<()>;

    /// Clamps and the like after an optimizer step.
    fn after_step(&mut self) -> Result<()>;
}

/// The model that `config.model.name` names, with fresh parameters. `Error::Config` for one that gradients do not train.
pub fn build(
    config: &Config,
    data: &Dataset,
    graph: &TrainGraph,
    device: &Device,
    dtype: DType,
) -> Result<Box<dyn Model>> {
    build_from(config, data, graph, ParamBuilder::new(device, dtype, config.seed))
}

/// As `build`, with parameters of 0 for a checkpoint to replace: nothing is drawn.
pub fn build_blank(config: &Config, data: &Dataset, graph: &TrainGraph, device: &Device) -> Result<Box<dyn Model>> {
    build_from(config, data, graph, ParamBuilder::blank(device, DType::F32))
}

fn build_from(config: &Config, data: &Dataset, graph: &TrainGraph, b: ParamBuilder) -> Result<Box<dyn Model>> {
    let entry = find(&config.model.name)?;
    match entry.make {
        Make::Neural(head) => Ok(Box::new(Neural::new((entry.name, head), config, data, graph, b)?)),
        Make::ClosedForm(_) => {
            let why = format!("`{}` has a solution in closed form and no steps", entry.name);
            Err(Error::config("model.name", why, "fit it with waata train or compare"))
        }
    }
}

/// The parameters of the head that `config.model.name` names, on vectors of `dim` columns: all zeros that nobody has
/// written, which take no memory.
pub fn head_params(config: &Config, dim: usize, tasks: usize) -> Result<Params> {
    let mut b = ParamBuilder::blank(&Device::Cpu, DType::F32);
    if let Make::Neural(head) = find(&config.model.name)?.make {
        head(&mut b, &config.head, dim, tasks)?;
    }
    Ok(b.params)
}

/// The model that `config.model.name` names where it has a solution in closed form, not yet solved.
pub fn closed_form(config: &Config, data: &Dataset, device: &Device) -> Result<Option<ClosedForm>> {
    let entry = find(&config.model.name)?;
    match entry.make {
        Make::Neural(_) => Ok(None),
        Make::ClosedForm(solve) => ClosedForm::new((entry.name, solve), config, data, device).map(Some),
    }
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

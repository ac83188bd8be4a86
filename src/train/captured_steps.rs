//! The captured step of a run: whether steps can be captured, whether one is, and whether a batch fits it.

use super::step_metrics::StepMetrics;
use crate::config::CudaGraph;
use crate::engine::device::{CapturedGraph, StagedInputs};

/// Batches in a row that do not fit the captured step, after which none is captured any more.
const MOST_MISFITS: usize = 16;

/// A training step as a CUDA graph.
pub(super) struct CapturedStep {
    /// The device memory that a replay reads its inputs from.
    pub inputs: StagedInputs,
    pub graph: CapturedGraph,
    pub metrics: StepMetrics,
    /// The memory that a replay reads or updates beside its inputs.
    pub addresses: Vec<u64>,
    /// What a step adds to the step counts of the optimizers.
    pub counted: Vec<Vec<u64>>,
}

pub(super) struct CapturedSteps {
    setting: CudaGraph,
    /// Why steps are not captured any more.
    refused: Option<String>,
    /// Sizes of the inputs of the last step that ran eagerly: its kernels are loaded, and its optimizers have their
    /// state.
    last: Option<StagedInputs>,
    step: Option<CapturedStep>,
    misfits: usize,
    /// What the user has not been told yet, and whether replays have been announced.
    note: Option<String>,
    announced: bool,
}

impl CapturedSteps {
    pub fn new(setting: CudaGraph) -> CapturedSteps {
        CapturedSteps { setting, refused: None, last: None, step: None, misfits: 0, note: None, announced: false }
    }

    /// Whether steps may be captured where nothing blocks it; a reason against it is noted once.
    pub fn allowed(&mut self, blocker: Option<&str>) -> bool {
        if self.refused.is_some() {
            return false;
        }
        let blocker = match self.setting {
            CudaGraph::Off => Some("train.cuda_graph is off"),
            CudaGraph::Auto => blocker,
        };
        if let Some(why) = blocker {
            self.refuse(why.into());
        }
        blocker.is_none()
    }

    /// Drops the captured step; the next steps capture another.
    pub fn forget(&mut self) {
        (self.last, self.step, self.misfits) = (None, None, 0);
    }

    pub fn refuse(&mut self, why: String) {
        self.forget();
        self.note = Some(format!("steps are launched kernel by kernel: {why}"));
        self.refused = Some(why);
    }

    /// How a GPU runs the steps, where that is known and has not been told yet.
    pub fn take_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// The captured step, where it still belongs to the memory at these addresses: parameters may have been replaced from
    /// outside, or a phase of triples has begun states of its own. `put_back` follows.
    pub fn take(&mut self, addresses: &[u64]) -> Option<CapturedStep> {
        self.step.take().filter(|step| step.addresses == addresses)
    }

    /// `fits`: whether the last batch had the sizes of the captured step.
    pub fn put_back(&mut self, step: CapturedStep, fits: bool) {
        self.step = Some(step);
        self.misfits = if fits { 0 } else { self.misfits + 1 };
        if self.misfits >= MOST_MISFITS {
            self.refuse("batches vary in size".into());
        }
    }

    /// Whether a step with these inputs is to be captured: the second of one shape in a row.
    pub fn is_due(&self, inputs: &StagedInputs) -> bool {
        self.step.is_none() && self.last.as_ref().is_some_and(|last| last.same_sizes(inputs))
    }

    /// A step with these inputs has run eagerly.
    pub fn ran_eagerly(&mut self, inputs: StagedInputs) {
        self.last = Some(inputs);
    }

    /// Keeps a step that was captured and replayed once; `addresses` are those after it.
    pub fn keep(&mut self, step: CapturedStep, addresses: &[u64]) {
        if step.addresses != addresses {
            // What it has computed is right, but a replay would compute it again from what was there before.
            return self.refuse("a step moves parameters to other memory".into());
        }
        if !std::mem::replace(&mut self.announced, true) {
            self.note = Some("steps are replayed as one CUDA graph each".into());
        }
        self.step = Some(step);
    }
}

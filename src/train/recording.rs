//! Steps that are recorded once and replayed: on a GPU, a CUDA graph of the whole of a step.
//!
//! All that differs from step to step stands in memory that the host writes before a replay, in one transfer: the batch,
//! the counter of dropout, learning rates, bias corrections, weights of losses (`TrainStep::prepare`). Weights of gradients are
//! computed where the gradients are. What the host wants to know it reads after the replay. So the recorded work and the same work
//! kernel by kernel are the same launches with the same arguments, and give the same bits.

use super::readings::StepMetrics;
use super::{StepLog, TrainStep};
use crate::Result;
use crate::config::CudaGraph;
use crate::engine::device::{CapturedGraph, StagedInputs};
use crate::engine::{Gpu, Tensor};
use crate::models::{Batch, Model};

/// Batches in a row that do not fit the recording, after which there are no more recordings.
const MISFITS: usize = 16;

/// Recorded work of one shape of step, or why there is none.
pub(super) struct Recordings {
    setting: CudaGraph,
    /// Why steps are not recorded any more.
    refused: Option<String>,
    /// Sizes of the inputs of the last step that was launched kernel by kernel: its kernels are loaded, and its
    /// optimizers have their state.
    last: Option<StagedInputs>,
    recording: Option<Recording>,
    misfits: usize,
    /// What has not been said yet, and whether replays have been announced.
    note: Option<String>,
    announced: bool,
}

struct Recording {
    /// Where the inputs lie.
    inputs: StagedInputs,
    work: CapturedGraph,
    readings: StepMetrics,
    /// The memory that a replay reads or moves beside its inputs.
    addresses: Vec<u64>,
    /// What a step adds to the counts of `main` and `head`.
    counted: [Vec<u64>; 2],
}

impl Recordings {
    pub fn new(setting: CudaGraph) -> Recordings {
        Recordings {
            setting,
            refused: None,
            last: None,
            recording: None,
            misfits: 0,
            note: None,
            announced: false,
        }
    }

    /// Drops what is recorded; the next steps record again.
    pub fn forget(&mut self) {
        (self.last, self.recording, self.misfits) = (None, None, 0);
    }

    fn refuse(&mut self, why: String) {
        self.forget();
        self.note = Some(format!("steps are launched kernel by kernel: {why}"));
        self.refused = Some(why);
    }
}

impl TrainStep {
    /// How a GPU runs the steps, where that is known and has not been told yet: as recorded work, or why not.
    pub fn take_note(&mut self) -> Option<String> {
        self.recordings.note.take()
    }

    /// The GPU of the model, where its steps can be recorded.
    pub(super) fn device_of_recordings(&mut self, model: &dyn Model) -> Option<Gpu> {
        let gpu = model.params().iter().next().and_then(|p| p.value.gpu())?.clone();
        if self.recordings.refused.is_some() {
            return None;
        }
        let why = match self.recordings.setting {
            CudaGraph::Off => "train.cuda_graph is off",
            CudaGraph::Auto => match self.balancer.waits().or(model.varies()) {
                Some(why) => why,
                None => return Some(gpu),
            },
        };
        self.recordings.refuse(why.into());
        None
    }

    /// A step by a replay where the batch fits what is recorded, else kernel by kernel; the second of one shape in a row
    /// is recorded.
    pub(super) fn recorded(&mut self, gpu: &Gpu, model: &mut dyn Model, batch: &Batch) -> Result<StepLog> {
        if let Some(recording) = self.recordings.recording.take() {
            // Parameters may have been exchanged from outside, or a phase of triples has begun states of its own; then a
            // step is recorded anew.
            if recording.addresses == self.addresses(model) {
                let fits = gpu.restage(&recording.inputs, || self.prepare(model, batch))?.is_some();
                let log = fits.then(|| self.replay(&recording)).transpose();
                self.recordings.recording = Some(recording);
                if let Some(log) = log? {
                    self.recordings.misfits = 0;
                    return Ok(log);
                }
                self.recordings.misfits += 1;
                if self.recordings.misfits >= MISFITS {
                    self.recordings.refuse("batches vary in size".into());
                }
            }
        }
        let (plan, inputs) = gpu.pack(|| self.prepare(model, batch))?;
        let again = self.recordings.last.as_ref().is_some_and(|last| last.same_sizes(&inputs));
        if !again || self.recordings.recording.is_some() {
            let log = self.launched(model, batch, &plan)?;
            self.recordings.last = Some(inputs);
            return Ok(log);
        }
        // Written in place from here on.
        for param in model.params_mut().iter_mut() {
            param.value.make_unique()?;
        }
        let (addresses, counts) = (self.addresses(model), self.counts());
        let recorded = gpu.capture(|| {
            let (readings, sums) = self.gradients(model, batch, &plan)?;
            self.update(model, sums)?;
            Ok(readings)
        });
        let (readings, work) = match recorded {
            Ok(recorded) => recorded,
            Err(error) => {
                // Nothing of it has run.
                self.set_counts(&counts);
                self.recordings.refuse(format!("recording one failed ({error})"));
                let plan = self.prepare(model, batch)?;
                return self.launched(model, batch, &plan);
            }
        };
        let counted =
            std::array::from_fn(|i| self.counts()[i].iter().zip(&counts[i]).map(|(a, b)| a - b).collect());
        self.set_counts(&counts);
        let recording = Recording { inputs, work, readings, addresses, counted };
        let log = self.replay(&recording)?;
        match recording.addresses == self.addresses(model) {
            true => {
                if !std::mem::replace(&mut self.recordings.announced, true) {
                    self.recordings.note = Some("steps are replayed as one CUDA graph each".into());
                }
                self.recordings.recording = Some(recording);
            }
            // What it has computed is right, but a replay would compute it again from what was there before.
            false => self.recordings.refuse("a step moves parameters to other memory".into()),
        }
        Ok(log)
    }

    fn replay(&mut self, recording: &Recording) -> Result<StepLog> {
        recording.work.replay()?;
        let counts = self.counts();
        self.set_counts(&std::array::from_fn(|i| {
            counts[i].iter().zip(&recording.counted[i]).map(|(count, more)| count + more).collect()
        }));
        self.log_of(&recording.readings)
    }

    /// Of every tensor that steps read and that is not made by them.
    fn addresses(&self, model: &dyn Model) -> Vec<u64> {
        let state = model.state();
        let params = model.params().iter().map(|p| &p.value);
        let optimizers = std::iter::once(&self.main).chain(&self.head).flat_map(|o| o.tensors());
        let all = params.chain(optimizers).chain(state.iter().map(|(_, t)| t));
        all.filter_map(Tensor::buffer).map(|buffer| buffer.address()).collect()
    }

    fn counts(&self) -> [Vec<u64>; 2] {
        [self.main.counts(), self.head.as_ref().map(|head| head.counts()).unwrap_or_default()]
    }

    fn set_counts(&mut self, [main, head]: &[Vec<u64>; 2]) {
        self.main.set_counts(main);
        if let Some(optimizer) = &mut self.head {
            optimizer.set_counts(head);
        }
    }
}

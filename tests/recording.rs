//! Training steps that are recorded once and replayed: the bits of steps that are launched kernel by kernel, and nothing
//! launched or allocated in a replayed one.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use waata::Result;
use waata::config::Config;
use waata::data::{Dataset, Split};
use waata::engine::device::{DeviceInfo, Driver, Graph, Grid, Kernel};
use waata::engine::{DType, Device, Gpu, Tensor};
use waata::models::{self, Model, TrainGraph, triples_for_training};
use waata::train::{Sampler, TrainStep, TripleSampler};

use common::{HostDriver, Order, tiny};

/// The executor, with a count of what is asked of it. Replays ask nothing.
struct Counting(HostDriver, Arc<Counts>);

#[derive(Default)]
struct Counts {
    allocations: AtomicUsize,
    uploads: AtomicUsize,
    downloads: AtomicUsize,
    launches: AtomicUsize,
}

impl Counts {
    /// Allocations, uploads, downloads, launches.
    fn now(&self) -> [usize; 4] {
        [&self.allocations, &self.uploads, &self.downloads, &self.launches].map(|n| n.load(Ordering::Relaxed))
    }
}

fn count(what: &AtomicUsize) {
    what.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: everything is the executor's.
unsafe impl Driver for Counting {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        count(&self.1.allocations);
        self.0.allocate(bytes)
    }

    unsafe fn free(&self, address: u64, bytes: usize) {
        // SAFETY: the caller's promise, here and below.
        unsafe { self.0.free(address, bytes) }
    }

    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        count(&self.1.uploads);
        unsafe { self.0.upload(to, from) }
    }

    unsafe fn download(&self, to: &mut [u8], from: u64) -> Result<()> {
        count(&self.1.downloads);
        unsafe { self.0.download(to, from) }
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        count(&self.1.launches);
        unsafe { self.0.copy(to, from, bytes) }
    }

    unsafe fn zero(&self, to: u64, bytes: usize) -> Result<()> {
        count(&self.1.launches);
        unsafe { self.0.zero(to, bytes) }
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[&[u8]]) -> Result<()> {
        count(&self.1.launches);
        unsafe { self.0.launch(kernel, grid, arguments) }
    }

    fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f32> {
        self.0.time(work)
    }

    fn memory(&self) -> Result<(u64, u64)> {
        self.0.memory()
    }

    fn begin_capture(&self) -> Result<()> {
        self.0.begin_capture()
    }

    fn end_capture(&self) -> Result<Box<dyn Graph>> {
        self.0.end_capture()
    }
}

/// Positives of a step. The training part of `data` is two such batches and a shorter one.
const BATCH: usize = 24;

const SPLITS: &[Split] = &[Split::Train];

fn data() -> Dataset {
    let mut data = waata::data::synth::generate(24, 16, 110, 5).unwrap();
    let policy = waata::data::split::SplitPolicy::Random { ratios: Default::default(), per_learner: false };
    waata::data::split::assign(&mut data, policy, false, 1).unwrap();
    data
}

fn config(settings: &[&str]) -> Config {
    let batch = format!("train.batch_size={BATCH}");
    let small = [
        "model.dim=4",
        "model.layers=[4]",
        "model.message_dropout=0.2",
        "head.widths=[4]",
        "train.negatives=1",
        "train.lr=0.02",
        "kg.batch_size=32",
        &batch,
    ];
    tiny::config(&small.iter().chain(settings).copied().collect::<Vec<_>>()).unwrap()
}

/// What a training left behind.
#[derive(Debug, PartialEq)]
struct Trained {
    /// Bits of every parameter, optimizer state and moving average, by name.
    tensors: BTreeMap<String, Vec<u32>>,
    steps: BTreeMap<String, u64>,
    /// Bits of what each step said.
    logs: Vec<BTreeMap<String, u64>>,
}

struct Training<'a> {
    data: &'a Dataset,
    config: &'a Config,
    counts: Arc<Counts>,
    graph: TrainGraph,
    model: Box<dyn Model>,
    stepper: TrainStep,
    logs: Vec<BTreeMap<String, u64>>,
    notes: Vec<String>,
}

impl<'a> Training<'a> {
    fn new(data: &'a Dataset, config: &'a Config) -> Training<'a> {
        let counts = Arc::new(Counts::default());
        let device = Device::Gpu(Gpu::new(Counting(HostDriver::new(Order::Forward), counts.clone())));
        let graph = TrainGraph::new(config, data, SPLITS);
        let model = models::build(config, data, &graph, &device, DType::F32).unwrap();
        let mut stepper = TrainStep::new(config).unwrap();
        stepper.total_steps = 16;
        Training { data, config, counts, graph, model, stepper, logs: vec![], notes: vec![] }
    }

    fn sampler(&self) -> Sampler<'a> {
        Sampler::new(self.data, self.config, SPLITS, self.model.tasks()).unwrap()
    }

    /// The steps of an epoch; what each of them asked of the driver.
    fn epoch(&mut self, epoch: u64) -> Vec<[usize; 4]> {
        let sampler = self.sampler();
        self.model.begin_epoch().unwrap();
        self.stepper.begin_epoch();
        let mut asked = vec![];
        for chosen in sampler.epoch(epoch).chunks(BATCH) {
            let batch = sampler.batch(epoch, chosen);
            let before = self.counts.now();
            let log = self.stepper.interaction_step(&mut *self.model, &batch).unwrap();
            let after = self.counts.now();
            asked.push(std::array::from_fn(|i| after[i] - before[i]));
            self.logs.push(log.values.into_iter().map(|(name, x)| (name, x.to_bits())).collect());
            self.notes.extend(self.stepper.take_note());
        }
        asked
    }

    /// A step on triples, as between epochs.
    fn triples(&mut self) {
        let triples = triples_for_training(self.config, &self.graph);
        let (nodes, relations) = (self.graph.nodes, self.graph.relations.count());
        let sampler = TripleSampler::new(self.config, triples, nodes, relations).unwrap();
        let batch = sampler.batch(0, &sampler.epoch(0), 0, 32).unwrap();
        self.stepper.kg_step(&mut *self.model, &batch).unwrap();
    }

    fn end(self) -> Trained {
        let bits = |t: &Tensor| t.to_vec().unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let mut tensors: BTreeMap<String, Vec<u32>> =
            self.model.params().iter().map(|p| (p.name.clone(), bits(&p.value))).collect();
        let state = self.stepper.state(&*self.model).unwrap();
        tensors.extend(state.iter().map(|(name, t)| (name.clone(), bits(t))));
        Trained { tensors, steps: self.stepper.optimizer_steps(), logs: self.logs }
    }
}

const REPLAYED: &str = "steps are replayed as one CUDA graph each";

/// Three epochs with triples after the first. `off`: kernel by kernel.
fn train(data: &Dataset, settings: &[&str], off: bool) -> (Trained, Vec<String>) {
    let mut settings = settings.to_vec();
    if off {
        settings.push("train.cuda_graph=off");
    }
    let config = config(&settings);
    let mut training = Training::new(data, &config);
    training.epoch(0);
    training.triples();
    training.epoch(1);
    training.epoch(2);
    let notes = std::mem::take(&mut training.notes);
    (training.end(), notes)
}

fn same_bits(settings: &[&str]) {
    let data = data();
    let (got, notes) = train(&data, settings, false);
    assert_eq!(notes, [REPLAYED], "{settings:?}");
    let (want, notes) = train(&data, settings, true);
    assert_eq!(notes, ["steps are launched kernel by kernel: train.cuda_graph is off"]);
    for (name, want) in &want.tensors {
        assert_eq!(&got.tensors[name], want, "{settings:?}: {name}");
    }
    assert_eq!(got, want, "{settings:?}");
}

#[test]
fn every_optimizer() {
    for optimizer in ["sgd", "adagrad", "rmsprop", "adam", "adamw"] {
        let optimizer = format!("train.optimizer={optimizer}");
        same_bits(&[&optimizer, "train.weight_decay=0.01", "train.schedule=linear"]);
    }
}

#[test]
fn sums_and_weightings() {
    same_bits(&["weighting.combine=sum", "loss.ranking=bpr", "attention.mode=differentiated"]);
    same_bits(&["weighting.granularity=global", "weighting.cosine_granularity=tensor", "loss.ranking=bpr"]);
}

/// Weights of losses that the host knows before a step are written before its replay.
#[test]
fn weights_of_whole_losses() {
    for rule in ["uncertainty", "dwa", "gradnorm"] {
        let rule = format!("weighting.combine={rule}");
        same_bits(&[&rule, "weighting.lr=0.05", "train.schedule=linear"]);
    }
}

/// Two optimizers, one of them shared with the triples' phase, and clamped entities.
#[test]
fn what_else_changes_with_steps() {
    same_bits(&["train.head_lr=0.005", "kg.shared_state=true", "kg.entity_norm=clamp1"]);
    same_bits(&["attention.mode=refreshed", "head.pairs=2", "model.aggregator=gcn"]);
}

#[test]
fn a_replay_launches_and_allocates_nothing() {
    let data = data();
    let config = config(&[]);
    let mut training = Training::new(&data, &config);
    let steps = [training.epoch(0), training.epoch(1)].concat();
    let shorter = [2, 5];
    assert_eq!(steps.len(), 6);
    for (i, [allocations, uploads, downloads, launches]) in steps.into_iter().enumerate() {
        match i {
            // The first is launched, the second recorded and replayed.
            0 | 1 => assert!(launches > 50 && allocations > 50),
            _ if shorter.contains(&i) => assert!(launches > 50),
            _ => assert_eq!([allocations, uploads, downloads, launches], [0, 1, 1, 0], "step {i}"),
        }
    }
}

/// Parameters that somebody has put in place of the old ones are trained, not those.
#[test]
fn exchanged_parameters_are_noticed() {
    let data = data();
    let run = |setting: &str| {
        let config = config(&[setting]);
        let mut training = Training::new(&data, &config);
        training.epoch(0);
        for param in training.model.params_mut().iter_mut() {
            let (rows, cols) = param.value.shape();
            let halves: Vec<f32> = param.value.to_vec().unwrap().into_iter().map(|x| x / 2.0).collect();
            param.value = Tensor::new(&param.value.device(), rows, cols, &halves).unwrap();
        }
        training.epoch(1);
        training.end()
    };
    assert_eq!(run("train.cuda_graph=auto"), run("train.cuda_graph=off"));
}

#[test]
fn what_varies_is_launched_and_says_why() {
    let data = data();
    for (settings, why) in [
        (&["model.fan_out=[2]", "loss.ranking=bpr"][..], "model.fan_out"),
        (&["model.propagation=history"], "model.propagation"),
        (&["loss.ranking=softmax", "loss.softmax_mask_seen=true"], "loss.softmax_mask_seen"),
        (&["kg.phase=joint"], "kg.phase"),
        (&["weighting.combine=pcgrad"], "pcgrad"),
        (&["weighting.combine=cagrad"], "cagrad"),
    ] {
        let config = config(settings);
        let mut training = Training::new(&data, &config);
        training.epoch(0);
        let [note] = &training.notes[..] else { panic!("{:?}", training.notes) };
        assert!(note.starts_with("steps are launched kernel by kernel: ") && note.contains(why), "{note}");
    }
    // A CPU has nothing to say.
    let config = config(&[]);
    let graph = TrainGraph::new(&config, &data, SPLITS);
    let mut model = models::build(&config, &data, &graph, &Device::Cpu, DType::F32).unwrap();
    let mut stepper = TrainStep::new(&config).unwrap();
    let sampler = Sampler::new(&data, &config, SPLITS, model.tasks()).unwrap();
    let batch = sampler.batch(0, &sampler.epoch(0)[..BATCH]);
    stepper.interaction_step(&mut *model, &batch).unwrap();
    assert_eq!(stepper.take_note(), None);
}

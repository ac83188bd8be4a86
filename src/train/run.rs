//! A whole run: where its files lie, its epochs, and what it tells whoever watches.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Progress};
use super::{Sampler, TrainStep, TripleSampler};
use crate::config::{Config, KgPhase};
use crate::data::{Dataset, Split};
use crate::engine::{DType, Device, Tensor, memory};
use crate::eval::{Evaluation, Ranker, sample_learners};
use crate::models::{self, ClosedForm, Model, Recommender, TrainGraph, triples_for_training};
use crate::{Error, Result};

/// Files of a run's folder.
pub struct RunFiles {
    pub dir: PathBuf,
}

impl RunFiles {
    pub fn config(&self) -> PathBuf {
        self.dir.join("run.toml")
    }

    pub fn meta(&self) -> PathBuf {
        self.dir.join("run.json")
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("log.jsonl")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// The checkpoint that a finished run is used from: the one that validated best, else the last.
    pub fn best_or_last(&self) -> &'static str {
        if self.checkpoints().join(format!("{BEST}.json")).is_file() { BEST } else { LAST }
    }
}

/// One line of log.jsonl.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochLog {
    pub epoch: u64,
    pub step: u64,
    /// Absent where times are kept elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Means over the epoch's steps of losses, gradient norms, cosines, weights and gates.
    pub values: BTreeMap<String, f64>,
    /// Validation metrics, where the epoch had a validation.
    pub valid: Option<BTreeMap<String, f64>>,
    pub best: bool,
}

/// Follows a run; decides whether it goes on.
pub trait Observer {
    fn begin(&mut self, _model: &dyn Recommender, _steps_per_epoch: u64, _epochs: u64) {}
    /// After each step. `true` asks the run to save its state and stop.
    fn step(&mut self, _epoch: u64, _step: u64, _of: u64, _values: &BTreeMap<String, f64>) -> bool {
        false
    }
    /// How a GPU runs the steps, in one line, when it is known.
    fn note(&mut self, _text: &str) {}
    fn validating(&mut self, _done: usize, _of: usize) {}
    fn epoch(&mut self, _log: &EpochLog) {}
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    pub metric: f64,
    pub epoch: u64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub epochs: u64,
    pub steps: u64,
    pub best: Option<Best>,
    /// Stopped before its last epoch because validation no longer improved.
    pub early: bool,
}

/// What a run makes.
enum Learned {
    Neural(Box<dyn Model>),
    ClosedForm(Box<ClosedForm>),
}

impl Learned {
    fn recommender(&self) -> &dyn Recommender {
        match self {
            Learned::Neural(model) => &**model,
            Learned::ClosedForm(model) => &**model,
        }
    }

    /// The model that steps train. `Error::Config` where there are none to take.
    fn steps(&mut self) -> Result<&mut dyn Model> {
        match self {
            Learned::Neural(model) => Ok(&mut **model),
            Learned::ClosedForm(model) => {
                let why = format!("`{}` has a solution in closed form and no steps", model.name());
                Err(Error::config("model.name", why, "fit it with waata train"))
            }
        }
    }
}

pub struct Run<'a> {
    data: &'a Dataset,
    config: &'a Config,
    device: &'a Device,
    files: RunFiles,
    fingerprint: String,
    learned: Learned,
    /// Without its edges.
    graph: TrainGraph,
    stepper: TrainStep,
    progress: Progress,
    /// Write how long each epoch took into the log, which then differs from run to run.
    pub timed: bool,
}

/// Name of the checkpoint to resume from, and of the one that validated best.
pub const LAST: &str = "last";
pub const BEST: &str = "best";

impl<'a> Run<'a> {
    /// A fresh run. Nothing is written before training begins.
    pub fn new(data: &'a Dataset, config: &'a Config, device: &'a Device, dir: &Path) -> Result<Run<'a>> {
        use_math_mode(config, device);
        let mut graph = TrainGraph::new(config, data, train_splits(config));
        let learned = match models::closed_form(config, data, device)? {
            Some(model) => Learned::ClosedForm(Box::new(model)),
            None => Learned::Neural(models::build(config, data, &graph, device, DType::F32)?),
        };
        // The model has them in an order of its own.
        graph.edges = vec![];
        Ok(Run {
            data,
            config,
            device,
            files: RunFiles { dir: dir.to_path_buf() },
            fingerprint: data.fingerprint(),
            learned,
            graph,
            stepper: TrainStep::new(config)?,
            progress: Progress::default(),
            timed: true,
        })
    }

    /// The run that was saved in `dir`, at one of its checkpoints.
    pub fn load(data: &'a Dataset, config: &'a Config, device: &'a Device, dir: &Path, name: &str) -> Result<Run<'a>> {
        let mut run = Run::new(data, config, device, dir)?;
        run.restore(name)?;
        Ok(run)
    }

    /// Goes back to one of the run's checkpoints.
    pub fn restore(&mut self, name: &str) -> Result<()> {
        // What is replaced does not stand beside what replaces it.
        memory::empty_cache();
        self.stepper = TrainStep::new(self.config)?;
        let folder = self.files.checkpoints();
        let saved = checkpoint::load(&folder, name, self.device)?;
        saved.belongs_to(&self.fingerprint)?;
        let file = folder.join(name);
        let model = match &mut self.learned {
            Learned::Neural(model) => &mut **model,
            Learned::ClosedForm(model) => {
                saved.restore_closed_form(model, &file)?;
                self.progress = saved.progress;
                return Ok(());
            }
        };
        saved.restore(model, &file)?;
        self.stepper.restore(&*model, &saved.progress.optimizer_steps, &saved.tensors)?;
        self.stepper.step = saved.progress.step;
        self.progress = saved.progress;
        Ok(())
    }

    pub fn model(&self) -> &dyn Recommender {
        self.learned.recommender()
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub fn evaluate(
        &self,
        split: Split,
        only: Option<&[u32]>,
        show: &mut dyn FnMut(usize, usize),
    ) -> Result<Evaluation> {
        self.ranker().evaluate(split, only, show)
    }

    /// What the model propagates on, made anew: the run itself keeps no edges.
    pub fn graph(&self) -> TrainGraph {
        TrainGraph::new(self.config, self.data, train_splits(self.config))
    }

    pub fn ranker(&self) -> Ranker<'_> {
        Ranker { model: self.model(), data: self.data, config: self.config, device: self.device }
    }

    /// Trains to the end, or until the observer stops it (`Error::Interrupted`, after saving).
    pub fn train(&mut self, observer: &mut dyn Observer) -> Result<Outcome> {
        self.train_until(self.config.train.epochs as u64, observer)
    }

    /// Trains until `epochs` are done, or to the end where that is sooner; a later call goes on from there. The schedule
    /// of the learning rate is that of the whole run; the last epoch of each call has a validation.
    pub fn train_until(&mut self, epochs: u64, observer: &mut dyn Observer) -> Result<Outcome> {
        if let Learned::ClosedForm(_) = self.learned {
            return self.solve(observer);
        }
        let sampler = self.sampler()?;
        let triples = self.triple_sampler()?;
        let joint = self.config.kg.is_joint(self.model().tasks().len()) && triples.is_some();
        let train = &self.config.train;
        let batches = sampler.epoch(0).len().div_ceil(train.batch_size) as u64;
        let total = batches * train.epochs as u64;
        self.stepper.total_steps = if train.max_steps > 0 { total.min(train.max_steps) } else { total };
        let valid = self.valid_learners();
        self.files_begin()?;
        let epochs = epochs.min(train.epochs as u64);
        observer.begin(self.model(), batches, epochs);
        while self.progress.epoch < epochs && !self.out_of_steps() && !self.out_of_patience() {
            let (epoch, started) = (self.progress.epoch, Instant::now());
            if self.progress.step_in_epoch == 0 {
                self.learned.steps()?.begin_epoch()?;
                self.stepper.begin_epoch();
                self.progress.sums.clear();
            }
            let order = sampler.epoch(epoch);
            let triple_order = triples.as_ref().map(|t| t.epoch(epoch));
            for (i, chosen) in order.chunks(train.batch_size).enumerate().skip(self.progress.step_in_epoch as usize) {
                if self.out_of_steps() {
                    break;
                }
                let mut batch = sampler.batch(epoch, chosen);
                if let (true, Some(triples), Some(order)) = (joint, &triples, &triple_order) {
                    let size = self.config.kg.batch_size;
                    batch.triples = Some(triples.batch(epoch, order, i * size, size)?);
                }
                let log = self.stepper.interaction_step(self.learned.steps()?, &batch)?;
                if let Some(text) = self.stepper.take_note() {
                    observer.note(&text);
                }
                for (name, value) in &log.values {
                    *self.progress.sums.entry(name.clone()).or_default() += value;
                }
                self.progress.step_in_epoch += 1;
                if observer.step(epoch, i as u64 + 1, batches, &log.values) {
                    self.save(LAST)?;
                    return Err(Error::Interrupted {
                        why: format!("saved after step {} of epoch {}", i + 1, epoch + 1),
                        remedy: format!("go on with: waata train --resume {}", self.files.dir.display()),
                    });
                }
            }
            let steps = self.progress.step_in_epoch.max(1) as f64;
            let mut values: BTreeMap<String, f64> =
                self.progress.sums.iter().map(|(name, sum)| (name.clone(), sum / steps)).collect();
            if let (false, Some(triples), Some(order)) = (joint, &triples, &triple_order) {
                values.insert("loss/kg".into(), self.kg_phase(epoch, triples, order)?);
            }
            let last = self.progress.epoch + 1 == epochs || self.out_of_steps();
            let validates = last || (self.progress.epoch + 1).is_multiple_of(train.valid_every as u64);
            self.end_epoch(values, if validates { &valid } else { &[] }, started, observer)?;
        }
        let early = self.progress.epoch < epochs && !self.out_of_steps();
        Ok(self.outcome(early))
    }

    fn outcome(&self, early: bool) -> Outcome {
        let best = self.progress.best_metric.map(|metric| Best { metric, epoch: self.progress.best_epoch });
        Outcome { epochs: self.progress.epoch, steps: self.stepper.step, best, early }
    }

    /// Validates on the learners of `valid`, if any, logs the epoch and saves the run.
    fn end_epoch(
        &mut self,
        values: BTreeMap<String, f64>,
        valid: &[u32],
        started: Instant,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        self.progress.epoch += 1;
        self.progress.step_in_epoch = 0;
        let (epoch, step) = (self.progress.epoch, self.stepper.step);
        let mut log = EpochLog { epoch, step, seconds: None, values, valid: None, best: false };
        if !valid.is_empty() {
            let found = self.evaluate(Split::Valid, Some(valid), &mut |done, of| observer.validating(done, of))?;
            memory::empty_cache();
            let metric = found.metric(&self.config.eval.metric)?;
            if self.progress.best_metric.is_none_or(|best| metric > best) {
                (self.progress.best_metric, self.progress.best_epoch) = (Some(metric), epoch);
                log.best = true;
                self.save(BEST)?;
            }
            log.valid = Some(found.metrics);
        }
        log.seconds = Some(started.elapsed().as_secs_f64());
        // The line first: one of an epoch that is done again after a kill is replaced, a missing one would stay so.
        self.append(&log)?;
        self.save(LAST)?;
        observer.epoch(&log);
        Ok(())
    }

    /// Learners that are asked between epochs.
    fn valid_learners(&self) -> Vec<u32> {
        match self.config.train.include_valid {
            true => vec![],
            false => sample_learners(self.data, Split::Valid, self.config.train.valid_learners, self.config.seed),
        }
    }

    /// The whole training of a model in closed form: one epoch without steps.
    fn solve(&mut self, observer: &mut dyn Observer) -> Result<Outcome> {
        let started = Instant::now();
        self.files_begin()?;
        observer.begin(self.model(), 0, 1);
        if let Learned::ClosedForm(model) = &mut self.learned {
            model.fit(self.data, train_splits(self.config))?;
        }
        self.end_epoch(BTreeMap::new(), &self.valid_learners(), started, observer)?;
        Ok(self.outcome(false))
    }

    fn out_of_steps(&self) -> bool {
        self.config.train.max_steps > 0 && self.stepper.step >= self.config.train.max_steps
    }

    /// Validation has not improved for as many epochs as the run waits.
    fn out_of_patience(&self) -> bool {
        let patience = self.config.train.patience as u64;
        let waited = self.progress.epoch - self.progress.best_epoch;
        patience > 0 && self.progress.best_metric.is_some() && waited >= patience
    }

    /// Fails where `train` could not begin: the data set has nothing to train on. Writes nothing.
    pub fn check(&self) -> Result<()> {
        self.sampler().map(|_| ())
    }

    fn sampler(&self) -> Result<Sampler<'a>> {
        Sampler::new(self.data, self.config, train_splits(self.config), self.model().tasks())
    }

    fn triple_sampler(&self) -> Result<Option<TripleSampler>> {
        if self.config.kg.phase == KgPhase::Off {
            return Ok(None);
        }
        let triples = triples_for_training(self.config, &self.graph());
        if triples.is_empty() {
            return Ok(None);
        }
        TripleSampler::new(self.config, triples, self.graph.nodes, self.graph.relations.count()).map(Some)
    }

    fn kg_phase(&mut self, epoch: u64, triples: &TripleSampler, order: &[u32]) -> Result<f64> {
        let size = self.config.kg.batch_size;
        let all = order.len().div_ceil(size);
        let steps = match self.config.kg.steps_per_epoch {
            0 => all,
            n => n.min(all),
        };
        memory::empty_cache();
        let mut sum = 0.0;
        for i in 0..steps {
            let first = i * size;
            let batch = triples.batch(epoch, order, first, size.min(order.len() - first))?;
            sum += self.stepper.kg_step(self.learned.steps()?, &batch)?;
        }
        Ok(sum / steps as f64)
    }

    fn files_begin(&self) -> Result<()> {
        let dir = &self.files.dir;
        fs::create_dir_all(dir).map_err(Error::io(dir, "creating the folder"))?;
        if self.progress == Progress::default() {
            base::files::write(&self.files.config(), self.config.to_toml().as_bytes())?;
        }
        Ok(())
    }

    fn save(&mut self, name: &str) -> Result<()> {
        self.progress.step = self.stepper.step;
        self.progress.optimizer_steps = self.stepper.optimizer_steps();
        let mut tensors: Vec<(String, Tensor)> =
            self.model().params().iter().map(|p| (format!("param/{}", p.name), p.value.clone())).collect();
        if let Learned::Neural(model) = &self.learned {
            tensors.extend(model.state().into_iter().map(|(name, t)| (format!("model/{name}"), t)));
            if name == LAST {
                tensors.extend(self.stepper.state(&**model)?);
            }
        }
        checkpoint::save(&self.files.checkpoints(), name, &self.fingerprint, &self.progress, &tensors)
    }

    /// Adds a line to the log; lines of epochs that a resume does again are dropped first.
    fn append(&self, log: &EpochLog) -> Result<()> {
        let path = self.files.log();
        let kept: Vec<String> = fs::read_to_string(&path)
            .unwrap_or_default()
            .lines()
            .filter(|l| serde_json::from_str::<EpochLog>(l).is_ok_and(|old| old.epoch < log.epoch))
            .map(str::to_string)
            .collect();
        let log = EpochLog { seconds: log.seconds.filter(|_| self.timed), ..log.clone() };
        let line = serde_json::to_string(&log)
            .map_err(|e| Error::corrupt(&path, format!("a log line cannot be written: {e}"), "report this"))?;
        let lines: String = kept.iter().chain([&line]).map(|line| format!("{line}\n")).collect();
        base::files::write(&path, lines.as_bytes())
    }
}

/// Sets how the GPU multiplies matrices.
pub(crate) fn use_math_mode(config: &Config, device: &Device) {
    if let Device::Gpu(gpu) = device {
        gpu.set_matrix_unit(config.train.matmul);
    }
}

/// The parts that training learns from.
pub fn train_splits(config: &Config) -> &'static [Split] {
    match config.train.include_valid {
        true => &[Split::Train, Split::Valid],
        false => &[Split::Train],
    }
}

//! One training step: upload, forward, backward, weigh, step.
//!
//! All that differs from step to step lies in device memory that the host writes before the work begins, in one transfer:
//! the batch, the counter of dropout, learning rates, bias corrections, weights of losses (`TrainStep::upload`). What the
//! host wants to know it reads after the work. So a captured step and the same step kernel by kernel are the same launches
//! with the same arguments, and give the same bits.

use std::collections::BTreeMap;
use std::mem::take;

use super::captured_steps::{CapturedStep, CapturedSteps};
use super::gradients::{Terms, gradients, triple_gradients};
use super::step_metrics::{Seeds, StepMetrics};
use crate::config::{Config, Schedule};
use crate::engine::device::StagedInputs;
use crate::engine::gradient_weighting::{GradientWeighting, Options};
use crate::engine::optim::{self, Optimizer};
use crate::engine::{Gpu, Philox, Tensor};
use crate::models::{Batch, Model, StepInputs, TripleBatch};
use crate::{Error, Result};

/// What a step reports: losses, and on the shared parameters the norms of the weighted losses' gradients, their cosines
/// with the target's and the weights that they got.
#[derive(Clone, Debug, Default)]
pub struct StepLog {
    pub values: BTreeMap<String, f64>,
}

/// Parameters' optimizer states and the weighting's memory: what, beside the model, changes with each step.
pub struct TrainStep {
    config: Config,
    weighting: GradientWeighting,
    main: Optimizer,
    /// Of the head's parameters, where they have a learning rate of their own.
    head: Option<Optimizer>,
    /// State of the separate knowledge-graph phase.
    kg: Option<Optimizer>,
    seeds: Seeds,
    captured: CapturedSteps,
    /// Steps of the whole run, for the learning rate's schedule.
    pub total_steps: u64,
    pub step: u64,
}

const DROPOUT_STREAM: u64 = 0x6D61_736B;

fn weighting_options(config: &Config) -> Result<Options> {
    let w = &config.weighting;
    Ok(Options {
        combine: w.combine,
        strategy: w.strategy,
        relax: w.relax,
        beta: w.beta,
        granularity: w.granularity,
        cosine_granularity: w.cosine_granularity,
        cosine: w.cosine,
        learner: optim::named(&config.train.optimizer)?,
        temperature: w.dwa_temperature,
        alpha: w.gradnorm_alpha,
        c: w.cagrad_c,
        seed: config.seed,
        ..Options::default()
    })
}

/// A step's own random numbers.
fn step_random(config: &Config, step: u64) -> Philox {
    Philox::new(config.seed, DROPOUT_STREAM ^ (step << 24))
}

impl TrainStep {
    pub fn new(config: &Config) -> Result<TrainStep> {
        let make = || Optimizer::new(&config.train.optimizer, config.train.lr, config.train.weight_decay);
        Ok(TrainStep {
            config: config.clone(),
            weighting: GradientWeighting::new(weighting_options(config)?),
            main: make()?,
            head: if config.train.head_lr > 0.0 { Some(make()?) } else { None },
            kg: if config.kg.shared_state { None } else { Some(make()?) },
            seeds: Seeds::default(),
            captured: CapturedSteps::new(config.train.cuda_graph),
            total_steps: 0,
            step: 0,
        })
    }

    /// What the schedule makes of a learning rate in the step to come.
    fn scheduled(&self, lr: f64) -> f64 {
        match self.config.train.schedule {
            Schedule::Constant => lr,
            Schedule::Linear => lr * (1.0 - self.step as f64 / self.total_steps.max(1) as f64).max(0.0),
        }
    }

    /// Every optimizer by its name in checkpoints.
    fn optimizers(&self) -> impl Iterator<Item = (&'static str, &Optimizer)> {
        let others = [("head", &self.head), ("kg", &self.kg)];
        std::iter::once(("main", &self.main))
            .chain(others.into_iter().filter_map(|(name, optimizer)| Some((name, optimizer.as_ref()?))))
    }

    /// To be called before the first step of each epoch: weightings may go by whole epochs.
    pub fn begin_epoch(&mut self) {
        self.weighting.begin_epoch();
    }

    /// One step on a batch of interactions: upload, forward, backward, weigh, step. On a GPU the work after the upload is
    /// captured once and then replayed, where nothing blocks that; both ways give the same bits.
    pub fn interaction_step(&mut self, model: &mut dyn Model, batch: &Batch) -> Result<StepLog> {
        let gpu = model.params().iter().next().and_then(|p| p.value.gpu()).cloned();
        let blocker = self.weighting.graph_blocker().or(model.graph_blocker());
        let log = match gpu.filter(|_| self.captured.allowed(blocker)) {
            Some(gpu) => self.run_captured(&gpu, model, batch)?,
            None => {
                let inputs = self.upload(model, batch)?;
                self.run_eager(model, &inputs)?
            }
        };
        self.step += 1;
        Ok(log)
    }

    /// One step on triples, in a phase of their own; its loss.
    pub fn kg_step(&mut self, model: &mut dyn Model, batch: &TripleBatch) -> Result<f64> {
        let inputs = model.upload_triples(batch)?;
        let (loss, grads) = triple_gradients(model, &inputs, &mut self.seeds)?;
        self.finite("loss kg", loss)?;
        let lr = self.scheduled(self.config.train.lr);
        let optimizer = self.kg.as_mut().unwrap_or(&mut self.main);
        optimizer.set_lr(lr);
        optimizer.step(model.params_mut(), &grads)?;
        model.after_step()?;
        Ok(loss)
    }

    /// How a GPU runs the steps, where that is known and has not been told yet: by replays, or why not.
    pub fn take_note(&mut self) -> Option<String> {
        self.captured.take_note()
    }

    /// What the host gives to a step: the batch and its random numbers, learning rates, what optimizers need to know of
    /// the step's number, and weights of losses. Where steps are captured it does nothing but upload, and may be done
    /// again.
    fn upload(&mut self, model: &dyn Model, batch: &Batch) -> Result<StepInputs> {
        let inputs = model.upload(batch, Some(step_random(&self.config, self.step)))?;
        self.main.set_lr(self.scheduled(self.config.train.lr));
        self.main.prepare(model.params())?;
        let head_lr = self.scheduled(self.config.train.head_lr);
        if let Some(head) = &mut self.head {
            head.set_lr(head_lr);
            head.prepare(model.params())?;
        }
        if let Some(param) = model.params().iter().next() {
            self.weighting.prepare(&param.value.device(), self.step)?;
        }
        Ok(inputs)
    }

    /// Forward, backward and weigh.
    fn gradients(&mut self, model: &dyn Model, inputs: &StepInputs) -> Result<(StepMetrics, Vec<Terms>)> {
        gradients(model, inputs, self.config.weighting.combine, &mut self.weighting, &mut self.seeds)
    }

    /// A step kernel by kernel.
    fn run_eager(&mut self, model: &mut dyn Model, inputs: &StepInputs) -> Result<StepLog> {
        let (metrics, terms) = self.gradients(model, inputs)?;
        // Before the update: parameters that diverge stay as they were.
        let log = self.log_of(&metrics)?;
        self.update(model, terms)?;
        Ok(log)
    }

    /// A step by a replay where the batch fits the captured step, else kernel by kernel; the second of one shape in a row
    /// is captured.
    fn run_captured(&mut self, gpu: &Gpu, model: &mut dyn Model, batch: &Batch) -> Result<StepLog> {
        if let Some(captured) = self.captured.take(&self.addresses(model)) {
            let fits = gpu.restage(&captured.inputs, || self.upload(model, batch))?.is_some();
            let log = fits.then(|| self.replay(&captured));
            self.captured.put_back(captured, fits);
            if let Some(log) = log {
                return log;
            }
        }
        let (inputs, staged) = gpu.pack(|| self.upload(model, batch))?;
        if self.captured.is_due(&staged) {
            return self.capture(gpu, model, batch, (inputs, staged));
        }
        let log = self.run_eager(model, &inputs)?;
        self.captured.ran_eagerly(staged);
        Ok(log)
    }

    /// Captures a step, and runs it by its first replay.
    fn capture(
        &mut self,
        gpu: &Gpu,
        model: &mut dyn Model,
        batch: &Batch,
        (inputs, staged): (StepInputs, StagedInputs),
    ) -> Result<StepLog> {
        // Written in place from here on.
        for param in model.params_mut().iter_mut() {
            param.value.make_unique()?;
        }
        let (addresses, counts) = (self.addresses(model), self.counts());
        let captured = gpu.capture(|| {
            let (metrics, terms) = self.gradients(model, &inputs)?;
            self.update(model, terms)?;
            Ok(metrics)
        });
        let after = self.counts();
        let more = |(a, b): (&Vec<u64>, &Vec<u64>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
        let counted = after.iter().zip(&counts).map(more).collect();
        self.set_counts(&counts);
        let (metrics, graph) = match captured {
            Ok(captured) => captured,
            Err(error) => {
                // Nothing of it has run.
                self.captured.refuse(format!("capturing one failed ({error})"));
                let inputs = self.upload(model, batch)?;
                return self.run_eager(model, &inputs);
            }
        };
        let captured = CapturedStep { inputs: staged, graph, metrics, addresses, counted };
        let log = self.replay(&captured)?;
        let addresses = self.addresses(model);
        self.captured.keep(captured, &addresses);
        Ok(log)
    }

    fn replay(&mut self, captured: &CapturedStep) -> Result<StepLog> {
        captured.graph.replay()?;
        let mut counts = self.counts();
        for (count, more) in counts.iter_mut().flatten().zip(captured.counted.iter().flatten()) {
            *count += more;
        }
        self.set_counts(&counts);
        self.log_of(&captured.metrics)
    }

    /// Addresses of every tensor that steps read and that is not made by them.
    fn addresses(&self, model: &dyn Model) -> Vec<u64> {
        let state = model.state();
        let params = model.params().iter().map(|p| &p.value);
        let optimizers = std::iter::once(&self.main).chain(&self.head).flat_map(|o| o.tensors());
        let all = params.chain(optimizers).chain(state.iter().map(|(_, t)| t));
        all.filter_map(Tensor::buffer).map(|buffer| buffer.address()).collect()
    }

    /// Step counts of the optimizers of interaction steps.
    fn counts(&self) -> Vec<Vec<u64>> {
        std::iter::once(&self.main).chain(&self.head).map(Optimizer::counts).collect()
    }

    fn set_counts(&mut self, counts: &[Vec<u64>]) {
        let optimizers = std::iter::once(&mut self.main).chain(&mut self.head);
        optimizers.zip(counts).for_each(|(optimizer, counts)| optimizer.set_counts(counts));
    }

    /// Moves the parameters.
    fn update(&mut self, model: &mut dyn Model, mut terms: Vec<Terms>) -> Result<()> {
        if let Some(head) = &mut self.head {
            let own: Vec<Terms> = (0..terms.len())
                .map(|i| if model.head_params().contains(&i) { take(&mut terms[i]) } else { vec![] })
                .collect();
            head.step_sums(model.params_mut(), &own)?;
        }
        self.main.step_sums(model.params_mut(), &terms)?;
        model.after_step()
    }

    /// The log of a step that has run; waits for it. The weighting learns from it. `Error::Diverged` where a value is not
    /// finite.
    fn log_of(&mut self, metrics: &StepMetrics) -> Result<StepLog> {
        let (mut values, balance) = metrics.read(&mut self.weighting)?;
        for (name, value) in &values {
            if let Some(loss) = name.strip_prefix("loss/") {
                self.finite(&format!("loss {loss}"), *value)?;
            }
        }
        let mut weighted = vec![];
        for (i, (loss, weight)) in metrics.weighted.iter().enumerate() {
            let Some(balance) = &balance else { break };
            self.finite(&format!("gradient of {loss}"), balance.norms[i])?;
            weighted.extend(values.get(&format!("loss/{loss}")).map(|value| value * weight));
            values.insert(format!("norm/{loss}"), balance.norms[i]);
            if i > 0 {
                values.insert(format!("cosine/{loss}"), balance.cosines[i]);
            }
            if i > 0 || self.weighting.weights_target() {
                values.insert(format!("weight/{loss}"), balance.weights[i]);
            }
        }
        if let Some(balance) = &balance {
            let own = self.config.weighting.lr;
            let lr = self.scheduled(if own > 0.0 { own } else { self.config.train.lr });
            self.weighting.observe(&weighted, balance, lr)?;
        }
        values.insert("lr".into(), self.scheduled(self.config.train.lr));
        Ok(StepLog { values })
    }

    fn finite(&self, what: &str, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        Err(Error::Diverged {
            what: what.into(),
            step: self.step,
            remedy: "lower train.lr; the last checkpoint before this step is good".into(),
        })
    }

    /// Optimizer and weighting state by name, for checkpoints.
    pub fn state(&self, model: &dyn Model) -> Result<Vec<(String, Tensor)>> {
        let mut state = vec![];
        for (prefix, optimizer) in self.optimizers() {
            let own = optimizer.state(model.params())?;
            state.extend(own.into_iter().map(|(name, t)| (format!("{prefix}/{name}"), t)));
        }
        let memory = self.weighting.state()?;
        state.extend(memory.into_iter().map(|(name, t)| (format!("weighting/{name}"), t)));
        Ok(state)
    }

    /// Counts that go with `state`.
    pub fn optimizer_steps(&self) -> BTreeMap<String, u64> {
        self.optimizers().map(|(name, optimizer)| (name.to_string(), optimizer.steps())).collect()
    }

    pub fn restore(
        &mut self,
        model: &dyn Model,
        steps: &BTreeMap<String, u64>,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        self.captured.forget();
        let part = |prefix: &str| -> BTreeMap<String, Tensor> {
            let strip = |(name, t): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_string(), t.clone()));
            tensors.iter().filter_map(strip).collect()
        };
        let count = |name: &str| steps.get(name).copied().unwrap_or(0);
        self.main.restore(model.params(), count("main"), &part("main/"))?;
        for (name, optimizer) in [("head", &mut self.head), ("kg", &mut self.kg)] {
            if let Some(optimizer) = optimizer {
                optimizer.restore(model.params(), count(name), &part(&format!("{name}/")))?;
            }
        }
        self.weighting.restore(&part("weighting/"))
    }
}

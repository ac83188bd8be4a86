//! One optimizer step: losses, each task's gradient, their weighted sum, the update.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::Arc;

use super::readings::{Seeds, StepMetrics, weighted};
use super::recording::Recordings;
use super::weighting;
use crate::config::{Combine, Config, Schedule};
use crate::engine::gradient_weighting::{GradientWeighting, Report, Weighing};
use crate::engine::optim::Optimizer;
use crate::engine::{Factor, Gradient, Gradients, Owner, Philox, RowSet, Tape, Tensor, Var, take_gradient};
use crate::models::{Batch, Loss, Model, Plan, Role, TripleBatch};
use crate::{Error, Result};

/// A gradient as factors times gradients.
pub(super) type Terms = Vec<(Factor, Gradient)>;

/// What a step says of itself: losses, and on the shared parameters the norms of the weighted losses' gradients,
/// their cosines with the target's and the weights that they got.
#[derive(Clone, Debug, Default)]
pub struct StepLog {
    pub values: BTreeMap<String, f64>,
}

/// Parameters' optimizer states and the weighting's memory: what, beside the model, changes with each step.
pub struct TrainStep {
    pub(super) config: Config,
    pub(super) balancer: GradientWeighting,
    pub(super) main: Optimizer,
    /// Of the head's parameters, where they have a learning rate of their own.
    pub(super) head: Option<Optimizer>,
    /// State of the separate knowledge-graph phase.
    kg: Option<Optimizer>,
    seeds: Seeds,
    pub(super) recordings: Recordings,
    /// Steps of the whole run, for the learning rate's schedule.
    pub total_steps: u64,
    pub step: u64,
}

const DROPOUT_STREAM: u64 = 0x6D61_736B;

/// A step's own random numbers.
pub(super) fn step_random(config: &Config, step: u64) -> Philox {
    Philox::new(config.seed, DROPOUT_STREAM ^ (step << 24))
}

impl TrainStep {
    pub fn new(config: &Config) -> Result<TrainStep> {
        let make = || Optimizer::new(&config.train.optimizer, config.train.lr, config.train.weight_decay);
        Ok(TrainStep {
            config: config.clone(),
            balancer: GradientWeighting::new(weighting::options(config)?),
            main: make()?,
            head: if config.train.head_lr > 0.0 { Some(make()?) } else { None },
            kg: if config.kg.shared_state { None } else { Some(make()?) },
            seeds: Seeds::default(),
            recordings: Recordings::new(config.train.cuda_graph),
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
        self.balancer.begin_epoch();
    }

    /// One step on enrolments. On a GPU, where steps do not vary, it is recorded once and then replayed.
    pub fn enrolments(&mut self, model: &mut dyn Model, batch: &Batch) -> Result<StepLog> {
        let log = match self.device_of_recordings(model) {
            Some(gpu) => self.recorded(&gpu, model, batch)?,
            None => {
                let plan = self.prepare(model, batch)?;
                self.launched(model, batch, &plan)?
            }
        };
        self.step += 1;
        Ok(log)
    }

    /// A step kernel by kernel.
    pub(super) fn launched(&mut self, model: &mut dyn Model, batch: &Batch, plan: &Plan) -> Result<StepLog> {
        let (readings, sums) = self.gradients(model, batch, plan)?;
        // Before the update: parameters that diverge stay as they were.
        let log = self.log_of(&readings)?;
        self.update(model, sums)?;
        Ok(log)
    }

    /// What the host gives to a step: the batch and its random numbers, learning rates, what optimizers need to know of
    /// the step's number, and weights of losses. It uploads and does nothing else where steps do not vary, and may be done again.
    pub(super) fn prepare(&mut self, model: &dyn Model, batch: &Batch) -> Result<Plan> {
        let random = step_random(&self.config, self.step);
        let plan = model.plan(batch, Some(random))?;
        self.main.set_lr(self.scheduled(self.config.train.lr));
        self.main.prepare(model.params())?;
        let head_lr = self.scheduled(self.config.train.head_lr);
        if let Some(head) = &mut self.head {
            head.set_lr(head_lr);
            head.prepare(model.params())?;
        }
        if let Some(param) = model.params().iter().next() {
            self.balancer.prepare(&param.value.device(), self.step)?;
        }
        Ok(plan)
    }

    /// Losses, and each parameter's gradient as a sum.
    pub(super) fn gradients(
        &mut self,
        model: &dyn Model,
        batch: &Batch,
        plan: &Plan,
    ) -> Result<(StepMetrics, Vec<Terms>)> {
        let mut tape = Tape::new();
        let rows = &plan.rows;
        let vars = model.params().rows_on_tape(&mut tape, rows)?;
        let losses = model.losses(&mut tape, &vars, batch, plan)?;
        let (sums, report) = match self.config.weighting.combine {
            Combine::Sum => {
                let all: Vec<&Loss> = losses.losses.iter().collect();
                let mut grads = self.seeds.gradients(&tape, &all)?;
                let own = |(i, v): (usize, &Var)| take_gradient(&mut grads, (i, *v), rows);
                let own = vars.iter().enumerate().map(own);
                (own.map(|g| g.into_iter().map(|g| (Factor::Known(1.0), g)).collect()).collect(), None)
            }
            _ => {
                let (sums, report) = self.weigh(model, &tape, (&vars, rows), &losses.losses)?;
                (sums, Some(report))
            }
        };
        Ok((StepMetrics::new(model.tasks(), &tape, &losses, report)?, sums))
    }

    /// Moves the parameters.
    pub(super) fn update(&mut self, model: &mut dyn Model, mut sums: Vec<Terms>) -> Result<()> {
        if let Some(head) = &mut self.head {
            let own: Vec<Terms> = (0..sums.len())
                .map(|i| if model.head_params().contains(&i) { take(&mut sums[i]) } else { vec![] })
                .collect();
            head.step_sums(model.params_mut(), &own)?;
        }
        self.main.step_sums(model.params_mut(), &sums)?;
        model.after_step()
    }

    /// The log of the work that readings belong to, which has run; waits for it. The weighting learns from it. Fails where a
    /// value is not finite.
    pub(super) fn log_of(&mut self, readings: &StepMetrics) -> Result<StepLog> {
        let (mut values, balance) = readings.read(&mut self.balancer)?;
        for (name, value) in &values {
            if let Some(loss) = name.strip_prefix("loss/") {
                self.finite(&format!("loss {loss}"), *value)?;
            }
        }
        let mut weighted = vec![];
        for (i, (loss, weight)) in readings.weighted.iter().enumerate() {
            let Some(balance) = &balance else { break };
            self.finite(&format!("gradient of {loss}"), balance.norms[i])?;
            weighted.extend(values.get(&format!("loss/{loss}")).map(|value| value * weight));
            values.insert(format!("norm/{loss}"), balance.norms[i]);
            if i > 0 {
                values.insert(format!("cosine/{loss}"), balance.cosines[i]);
            }
            if i > 0 || self.balancer.weights_target() {
                values.insert(format!("weight/{loss}"), balance.weights[i]);
            }
        }
        if let Some(balance) = &balance {
            let own = self.config.weighting.lr;
            let lr = self.scheduled(if own > 0.0 { own } else { self.config.train.lr });
            self.balancer.observe(&weighted, balance, lr)?;
        }
        values.insert("lr".into(), self.scheduled(self.config.train.lr));
        Ok(StepLog { values })
    }

    /// Each weighted loss's own gradient with its weight by the rule of the run; constraints are added as they are.
    /// Parameters of one task get the plain sum, unless the rule weights whole losses.
    fn weigh(
        &mut self,
        model: &dyn Model,
        tape: &Tape,
        (vars, rows): (&[Var], &[Option<Arc<RowSet>>]),
        losses: &[Loss],
    ) -> Result<(Vec<Terms>, Report)> {
        let constraints: Vec<&Loss> = losses.iter().filter(|l| l.role == Role::Constraint).collect();
        let mut by_loss =
            weighted(losses).map(|l| self.seeds.gradients(tape, &[l])).collect::<Result<Vec<Gradients>>>()?;
        let mut plain = match constraints.is_empty() {
            true => None,
            false => Some(self.seeds.gradients(tape, &constraints)?),
        };
        let one = |gradient: Gradient| (Factor::Known(1.0), gradient);
        let mut sums: Vec<Terms> = vec![];
        let (mut shared, mut shared_grads, mut of_tasks) = (vec![], vec![], vec![]);
        for (i, (param, var)) in model.params().iter().zip(vars).enumerate() {
            let own: Vec<Option<Gradient>> =
                by_loss.iter_mut().map(|g| take_gradient(g, (i, *var), rows)).collect();
            sums.push(vec![]);
            match param.owner {
                Owner::Shared => {
                    shared.push(i);
                    shared_grads.push(own);
                }
                Owner::Task(_) => of_tasks.push((i, own)),
            }
        }
        let Weighing { factors, whole, report } = self.balancer.begin(&shared_grads)?;
        for (i, own) in of_tasks {
            sums[i] = whole.iter().zip(own).filter_map(|(w, g)| Some((w.clone(), g?))).collect();
        }
        for ((i, grads), factors) in shared.into_iter().zip(shared_grads).zip(factors) {
            let terms = factors.into_iter().zip(grads).filter_map(|(w, g)| Some((w, g?)));
            sums[i] = terms.collect();
            // A term of weight 0 need not be read, but a parameter whose terms all have it is still moved by its state.
            let zero = |w: &Factor| matches!(w, Factor::Known(0.0));
            if sums[i].iter().any(|(w, _)| !zero(w)) {
                sums[i].retain(|(w, _)| !zero(w));
            }
        }
        if let Some(plain) = &mut plain {
            for (i, (terms, var)) in sums.iter_mut().zip(vars).enumerate() {
                terms.extend(take_gradient(plain, (i, *var), rows).map(one));
            }
        }
        Ok((sums, report))
    }

    /// One step on triples, in a phase of their own.
    pub fn triples(&mut self, model: &mut dyn Model, batch: &TripleBatch) -> Result<f64> {
        let mut tape = Tape::new();
        let plan = model.triple_plan(batch)?;
        let vars = model.params().rows_on_tape(&mut tape, &plan.rows)?;
        let loss = model.triple_loss(&mut tape, &vars, batch, &plan)?;
        let value = tape.value(loss).scalar()?;
        self.finite("loss kg", value)?;
        let seed = self.seeds.one_hot(&tape, loss, 0, 1.0)?;
        let mut grads = tape.backward(&[(loss, seed)])?;
        let grads: Vec<Option<Gradient>> =
            vars.iter().enumerate().map(|(i, v)| take_gradient(&mut grads, (i, *v), &plan.rows)).collect();
        drop(tape);
        let lr = self.scheduled(self.config.train.lr);
        let optimizer = self.kg.as_mut().unwrap_or(&mut self.main);
        optimizer.set_lr(lr);
        optimizer.step(model.params_mut(), &grads)?;
        model.after_step()?;
        Ok(value)
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
        let memory = self.balancer.state()?;
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
        self.recordings.forget();
        let part = |prefix: &str| -> BTreeMap<String, Tensor> {
            let strip =
                |(name, t): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_string(), t.clone()));
            tensors.iter().filter_map(strip).collect()
        };
        let count = |name: &str| steps.get(name).copied().unwrap_or(0);
        self.main.restore(model.params(), count("main"), &part("main/"))?;
        for (name, optimizer) in [("head", &mut self.head), ("kg", &mut self.kg)] {
            if let Some(optimizer) = optimizer {
                optimizer.restore(model.params(), count(name), &part(&format!("{name}/")))?;
            }
        }
        self.balancer.restore(&part("weighting/"))
    }
}

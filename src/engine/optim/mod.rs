//! Optimizers: what a gradient does to a parameter. The updates are torch's. Under a dense gradient a row whose
//! gradient is zero still moves by what its moments remember; under a row-sparse one only its rows move, and only
//! their state changes, as torch's SparseAdam has it (but for its eps, which stands before bias correction there).

mod adam;
mod cpu;
mod gpu;
mod scaled;
mod sgd;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use base::{Error, Result};

use super::bits;
use super::device::{Device, Kernel};
use super::params::Params;
use super::rows::Gradient;
use super::sum::Factor;
use super::tensor::Tensor;
pub use adam::Adam;
pub use cpu::Update;
pub use scaled::{Adagrad, RmsProp};
pub use sgd::Sgd;

/// Every optimizer by its name in `train.optimizer`, with torch's constants.
pub const OPTIMIZERS: &[(&str, Make)] = &[
    ("sgd", || Arc::new(Sgd::default())),
    ("adagrad", || Arc::new(Adagrad::default())),
    ("rmsprop", || Arc::new(RmsProp::default())),
    ("adam", || Arc::new(Adam::default())),
    ("adamw", || Arc::new(Adam { decoupled: true, ..Adam::default() })),
];

/// Makes a rule with its usual constants.
pub type Make = fn() -> Rule;

/// An update rule with its constants.
pub type Rule = Arc<dyn Optim>;

/// The rule of that name in `OPTIMIZERS`. Fails for another name.
pub fn named(name: &str) -> Result<Rule> {
    match OPTIMIZERS.iter().find(|(known, _)| *known == name) {
        Some((_, rule)) => Ok(rule()),
        None => {
            let names: Vec<&str> = OPTIMIZERS.iter().map(|(name, _)| *name).collect();
            let remedy = format!("optimizers: {}", names.join(", "));
            Err(Error::config("train.optimizer", format!("there is no optimizer `{name}`"), remedy))
        }
    }
}

/// Numbers that an update reads, the same for all elements of a parameter.
pub const SCALARS: usize = 9;
pub type Scalars = [f64; SCALARS];

/// An update rule: a file of its own, a line in `OPTIMIZERS`, and a functor with an instance in kernels/optim.cu.
pub trait Optim: Debug + Send + Sync {
    /// Names of the state tensors, as in checkpoints; two at most.
    fn states(&self) -> &'static [&'static str];

    /// Value of the states before the first step.
    fn initial(&self) -> f64 {
        0.0
    }

    /// What the update reads at a parameter's step, which counts from 1. On a GPU it finds them in memory.
    fn scalars(&self, lr: f64, weight_decay: f64, step: u64) -> Scalars;

    fn kernel(&self) -> Kernel;

    /// The update on the CPU.
    fn update(&self, scalars: Scalars, update: &mut Update) -> Result<()>;
}

/// What a rule remembers of one parameter.
#[derive(Clone, Debug, Default)]
struct State {
    /// Steps that this parameter had a gradient in.
    steps: u64,
    /// As many as `Optim::states`; empty before the first step.
    tensors: Vec<Tensor>,
}

/// A rule with its learning rate and the state of every parameter.
#[derive(Clone, Debug)]
pub struct Optimizer {
    rule: Rule,
    lr: f64,
    /// Added to the gradient as weight_decay * theta; for AdamW, theta *= 1 - lr * weight_decay.
    weight_decay: f64,
    steps: u64,
    states: Vec<State>,
    /// Scalars of the step to come, a row for each parameter, where a GPU reads them.
    table: Option<Tensor>,
}

impl Optimizer {
    /// `name` as in `OPTIMIZERS`.
    pub fn new(name: &str, lr: f64, weight_decay: f64) -> Result<Optimizer> {
        Ok(Optimizer::with_rule(named(name)?, lr, weight_decay))
    }

    pub fn with_rule(rule: Rule, lr: f64, weight_decay: f64) -> Optimizer {
        Optimizer { rule, lr, weight_decay, steps: 0, states: vec![], table: None }
    }

    pub fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    /// Sends what the step to come depends on by its number to the GPU where the parameters live, if they do: the
    /// learning rate as it is set, and bias corrections. A step that finds nothing prepared does it itself; recorded
    /// work reads what is written there before its replay.
    pub fn prepare(&mut self, params: &Params) -> Result<()> {
        let Some(gpu) = params.iter().next().and_then(|p| p.value.gpu()) else { return Ok(()) };
        let steps = |i: usize| self.states.get(i).map_or(0, |state| state.steps) + 1;
        let rows = (0..params.len()).map(|i| self.rule.scalars(self.lr, self.weight_decay, steps(i)));
        let values: Vec<f32> = rows.flatten().map(|x| x as f32).collect();
        self.table = Some(Tensor::new(&Device::Gpu(gpu.clone()), params.len(), SCALARS, &values)?);
        Ok(())
    }

    /// The counts of steps: of all, then of each parameter.
    pub fn counts(&self) -> Vec<u64> {
        std::iter::once(self.steps).chain(self.states.iter().map(|state| state.steps)).collect()
    }

    /// Sets what `counts` gave. For steps that were recorded, and for those that were replayed.
    pub fn set_counts(&mut self, counts: &[u64]) {
        self.steps = counts[0];
        self.states.iter_mut().zip(&counts[1..]).for_each(|(state, steps)| state.steps = *steps);
        self.table = None;
    }

    /// Every state tensor.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.states.iter().flat_map(|state| &state.tensors)
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every parameter that has a gradient; one without (`None`) keeps its value and state, as in torch.
    /// `grads` are in the order of `params` and of their shapes.
    ///
    /// A row-sparse gradient moves its rows alone: weight decay, too, concerns no other row. A parameter counts its
    /// steps as a whole, whichever rows they moved, and bias corrections follow that count.
    pub fn step(&mut self, params: &mut Params, grads: &[Option<Gradient>]) -> Result<()> {
        let sums: Vec<Vec<(f64, Gradient)>> =
            grads.iter().map(|g| g.iter().map(|g| (1.0, g.clone())).collect()).collect();
        self.step_sums(params, &sums)
    }

    /// As `step` with the gradients `sum_i factor_i g_i`, which are formed where they are used and never stored. An
    /// empty list is no gradient. The terms of a parameter must be of the same rows.
    pub fn step_sums<F>(&mut self, params: &mut Params, sums: &[Vec<(F, Gradient)>]) -> Result<()>
    where
        F: Clone + Into<Factor>,
    {
        if sums.len() != params.len() {
            let (expected, got) = (format!("{} gradients", params.len()), format!("{}", sums.len()));
            return Err(Error::shape("optimizer", expected, got));
        }
        if self.table.is_none() {
            self.prepare(params)?;
        }
        let table = self.table.take();
        self.states.resize_with(params.len(), State::default);
        for (param, terms) in params.iter().zip(sums) {
            let odd = |g: &Gradient| g.shape() != param.value.shape() || !g.whole() || !g.matches(&terms[0].1);
            if let Some((_, odd)) = terms.iter().find(|(_, g)| odd(g)) {
                let expected = format!("gradient of {} as {:?}", param.name, param.value.shape());
                return Err(Error::shape("optimizer", expected, odd.describe()));
            }
        }
        let mut updates = vec![];
        for (row, ((param, terms), state)) in params.iter_mut().zip(sums).zip(&mut self.states).enumerate() {
            let Some((_, first)) = terms.first() else { continue };
            while state.tensors.len() < self.rule.states().len() {
                state.tensors.push(start(self.rule.initial(), &param.value)?);
            }
            state.steps += 1;
            param.value.make_unique()?;
            for tensor in &mut state.tensors {
                tensor.make_unique()?;
            }
            if !first.tensor().is_empty() {
                let (rows, value) = (first.rows().map(|rows| &**rows), &mut param.value);
                let terms = terms.iter().map(|(factor, g)| (factor.clone().into(), g.tensor())).collect();
                updates.push(Update { step: state.steps, row, value, rows, terms, state: &mut state.tensors });
            }
        }
        self.steps += 1;
        if let Some(table) = table {
            return gpu::run(self.rule.kernel(), &table, updates);
        }
        updates
            .iter_mut()
            .try_for_each(|update| self.rule.update(self.rule.scalars(self.lr, self.weight_decay, update.step), update))
    }

    /// State tensors for a checkpoint: `m.<param>`, `v.<param>` and the like, and `steps`, the count of each parameter.
    pub fn state(&self, params: &Params) -> Result<Vec<(String, Tensor)>> {
        let mut out = vec![];
        for (param, state) in params.iter().zip(&self.states) {
            for (name, tensor) in self.rule.states().iter().zip(&state.tensors) {
                out.push((format!("{name}.{}", param.name), tensor.clone()));
            }
        }
        out.push(("steps".into(), bits::store(self.states.iter().map(|s| s.steps))?));
        Ok(out)
    }

    /// Puts back what `state` and `steps` gave. Fails where a tensor has another shape than its parameter.
    pub fn restore(&mut self, params: &Params, steps: u64, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let counts = tensors.get("steps").map(bits::load).transpose()?.unwrap_or_default();
        let mut states = vec![];
        for (i, param) in params.iter().enumerate() {
            let mut state = State { steps: counts.get(i).copied().unwrap_or(0), tensors: vec![] };
            for name in self.rule.states() {
                let Some(tensor) = tensors.get(&format!("{name}.{}", param.name)) else { continue };
                if tensor.shape() != param.value.shape() {
                    let (expected, got) = (format!("{:?}", param.value.shape()), format!("{:?}", tensor.shape()));
                    return Err(Error::shape("optimizer", format!("{name}.{} as {expected}", param.name), got));
                }
                state.tensors.push(tensor.to_device(&param.value.device())?);
            }
            if state.steps > 0 && state.tensors.len() != self.rule.states().len() {
                let expected = format!("{:?} of {}", self.rule.states(), param.name);
                return Err(Error::shape("optimizer", expected, format!("{} tensors", state.tensors.len())));
            }
            states.push(state);
        }
        if steps == 0 {
            // As before its first step, so that a checkpoint after a resume has the bytes of one without.
            states.clear();
        }
        (self.steps, self.states) = (steps, states);
        Ok(())
    }
}

/// A state tensor before the first step, for a parameter like `value`.
fn start(initial: f64, value: &Tensor) -> Result<Tensor> {
    if initial == 0.0 {
        return value.zeros_like();
    }
    let values = vec![initial; value.len()];
    Tensor::from_f64(&value.device(), value.dtype(), value.rows(), value.cols(), &values)
}

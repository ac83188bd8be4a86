//! Optimizers: what a gradient does to a parameter. The updates are torch's. Under a dense gradient a row whose
//! gradient is zero still moves by what its moments remember; under a row-sparse one only its rows move, and only
//! their state changes, as torch's SparseAdam has it (but for its eps, which stands before bias correction there).

mod gpu;
mod update;

use std::collections::BTreeMap;

use super::bits;
use super::device::Device;
use super::params::Params;
use super::rows::Gradient;
use super::sum::Factor;
use super::tensor::Tensor;
use base::{Error, Result};

/// The update rule and its constants. `eps` stands outside the root, after bias correction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// b = mu b + (1 - dampening) g (b = g at first); theta -= lr b, or lr (g + mu b) for Nesterov
    Sgd { momentum: f64, dampening: f64, nesterov: bool },
    /// s += g^2; theta -= lr / (1 + (k - 1) lr_decay) g / (sqrt(s) + eps)
    Adagrad { lr_decay: f64, initial: f64, eps: f64 },
    /// v = alpha v + (1 - alpha) g^2; theta -= lr g / (sqrt(v) + eps)
    RmsProp { alpha: f64, eps: f64 },
    /// m, v moving averages of g and g^2; theta -= lr m^ / (sqrt(v^) + eps) with bias-corrected m^, v^
    Adam { beta1: f64, beta2: f64, eps: f64 },
    /// Adam with weight decay applied to theta first, not added to g
    AdamW { beta1: f64, beta2: f64, eps: f64 },
}

impl Rule {
    /// sgd, adagrad, rmsprop, adam or adamw, with torch's constants. Fails for another name.
    pub fn named(name: &str) -> Result<Rule> {
        Ok(match name {
            "sgd" => Rule::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false },
            "adagrad" => Rule::Adagrad { lr_decay: 0.0, initial: 0.0, eps: 1e-10 },
            "rmsprop" => Rule::RmsProp { alpha: 0.99, eps: 1e-8 },
            "adam" => Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 },
            "adamw" => Rule::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8 },
            _ => {
                let why = format!("unknown optimizer `{name}`");
                return Err(Error::config(
                    "train.optimizer",
                    why,
                    "use sgd, adagrad, rmsprop, adam or adamw",
                ));
            }
        })
    }

    /// Names of the state tensors, as in checkpoints.
    fn state_names(self) -> &'static [&'static str] {
        match self {
            Rule::Sgd { momentum: 0.0, .. } => &[],
            Rule::Sgd { .. } => &["b"],
            Rule::Adagrad { .. } => &["s"],
            Rule::RmsProp { .. } => &["v"],
            Rule::Adam { .. } | Rule::AdamW { .. } => &["m", "v"],
        }
    }
}

/// What a rule remembers of one parameter.
#[derive(Clone, Debug, Default)]
struct State {
    /// Steps that this parameter had a gradient in.
    steps: u64,
    /// As many as `Rule::state_names`; empty before the first step.
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
    /// `name` as of `Rule::named`.
    pub fn new(name: &str, lr: f64, weight_decay: f64) -> Result<Optimizer> {
        Ok(Optimizer::with_rule(Rule::named(name)?, lr, weight_decay))
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
        let rows = (0..params.len()).map(|i| self.rule.scalars(self.lr, self.weight_decay, steps(i)).row());
        let values: Vec<f32> = rows.flatten().collect();
        self.table = Some(Tensor::new(&Device::Gpu(gpu.clone()), params.len(), update::SCALARS, &values)?);
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
            let odd =
                |g: &Gradient| g.shape() != param.value.shape() || !g.whole() || !g.matches(&terms[0].1);
            if let Some((_, odd)) = terms.iter().find(|(_, g)| odd(g)) {
                let expected = format!("gradient of {} as {:?}", param.name, param.value.shape());
                return Err(Error::shape("optimizer", expected, odd.describe()));
            }
        }
        let mut updates = vec![];
        for (row, ((param, terms), state)) in params.iter_mut().zip(sums).zip(&mut self.states).enumerate() {
            let Some((_, first)) = terms.first() else { continue };
            while state.tensors.len() < self.rule.state_names().len() {
                state.tensors.push(self.rule.start(&param.value)?);
            }
            state.steps += 1;
            param.value.make_unique()?;
            for tensor in &mut state.tensors {
                tensor.make_unique()?;
            }
            if !first.tensor().is_empty() {
                let (rows, value) = (first.rows().map(|rows| &**rows), &mut param.value);
                let terms = terms.iter().map(|(factor, g)| (factor.clone().into(), g.tensor())).collect();
                updates.push(update::Update {
                    steps: state.steps,
                    row,
                    value,
                    rows,
                    terms,
                    state: &mut state.tensors,
                });
            }
        }
        self.steps += 1;
        update::run((self.rule, self.lr, self.weight_decay), table.as_ref(), updates)
    }

    /// State tensors for a checkpoint: `m.<param>`, `v.<param>` and the like, and `steps`, the count of each parameter.
    pub fn state(&self, params: &Params) -> Result<Vec<(String, Tensor)>> {
        let mut out = vec![];
        for (param, state) in params.iter().zip(&self.states) {
            for (name, tensor) in self.rule.state_names().iter().zip(&state.tensors) {
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
            for name in self.rule.state_names() {
                let Some(tensor) = tensors.get(&format!("{name}.{}", param.name)) else { continue };
                if tensor.shape() != param.value.shape() {
                    let (expected, got) =
                        (format!("{:?}", param.value.shape()), format!("{:?}", tensor.shape()));
                    return Err(Error::shape(
                        "optimizer",
                        format!("{name}.{} as {expected}", param.name),
                        got,
                    ));
                }
                state.tensors.push(tensor.to_device(&param.value.device())?);
            }
            if state.steps > 0 && state.tensors.len() != self.rule.state_names().len() {
                let expected = format!("{:?} of {}", self.rule.state_names(), param.name);
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

//! Rules that weight whole losses (docs/model.md, 17d to 17f). Their weights follow from losses and norms of the steps
//! before, so no step waits for them, and a recorded one reads them where the host has written them.

use std::collections::BTreeMap;

use super::{Combine, Options};
use crate::optim::Optimizer;
use crate::{Device, Gradient, Owner, ParamId, Params, Tensor, bits};
use base::{Error, Result};

/// A rule and its memory. Everything is empty before the first step, which all rules take with weights of 1.
pub(super) struct LossWeights {
    rule: Rule,
    losses: usize,
    learned: Learned,
    epochs: Epochs,
    /// L_i of the first step.
    first: Vec<f64>,
}

#[derive(Clone, Copy)]
enum Rule {
    /// Kendall et al. 2018
    Uncertainty,
    /// Liu et al. 2019
    DynamicAverage { temperature: f64 },
    /// Chen et al. 2018
    GradNorm { alpha: f64 },
}

/// GradNorm's weights do not fall below this share of the mean weight: a loss of weight 0 would have no gradient to be
/// brought back by.
const LEAST: f64 = 1e-4;

type State = BTreeMap<String, Tensor>;

impl LossWeights {
    /// `None` for a rule about gradients.
    pub fn new(options: &Options) -> Option<LossWeights> {
        let rule = match options.combine {
            Combine::Uncertainty => Rule::Uncertainty,
            Combine::DynamicAverage => Rule::DynamicAverage { temperature: options.temperature },
            Combine::GradNorm => Rule::GradNorm { alpha: options.alpha },
            _ => return None,
        };
        let learned =
            Learned { params: Params::default(), optimizer: Optimizer::with_rule(options.learner.clone(), 0.0, 0.0) };
        Some(LossWeights { rule, losses: 0, learned, epochs: Epochs::default(), first: vec![] })
    }

    /// Makes sure of the number of losses. Fails where it is not that of the steps before.
    pub fn expect(&mut self, losses: usize) -> Result<()> {
        if self.losses == 0 {
            self.losses = losses;
            match self.rule {
                Rule::Uncertainty => self.learned.set(&vec![0.0; losses])?,
                Rule::GradNorm { .. } => self.learned.set(&vec![1.0; losses])?,
                Rule::DynamicAverage { .. } => {}
            }
        }
        if self.losses == losses {
            return Ok(());
        }
        Err(Error::shape("loss weighting", format!("{} losses", self.losses), format!("{losses}")))
    }

    /// Of each loss, in the step to come; none before the number of losses is known.
    pub fn weights(&self) -> Result<Vec<f64>> {
        Ok(match self.rule {
            Rule::Uncertainty => self.learned.values()?.into_iter().map(|s| (-s).exp()).collect(),
            Rule::GradNorm { .. } => self.learned.values()?,
            Rule::DynamicAverage { temperature } => self.epochs.weights(self.losses, temperature),
        })
    }

    /// Learns from a step: its losses L_i, and the norms |G_i| of their gradients, unweighted both.
    pub fn observe(&mut self, losses: &[f64], norms: &[f64], lr: f64) -> Result<()> {
        self.expect(losses.len())?;
        match self.rule {
            Rule::Uncertainty => {
                // Of exp(-s_i) L_i + s_i / 2.
                let gradient = |(s, loss): (f64, &f64)| 0.5 - (-s).exp() * loss;
                let gradients: Vec<f64> = self.learned.values()?.into_iter().zip(losses).map(gradient).collect();
                self.learned.step(&gradients, lr)
            }
            Rule::DynamicAverage { .. } => {
                self.epochs.add(losses);
                Ok(())
            }
            Rule::GradNorm { alpha } => self.towards_one_rate(losses, norms, alpha, lr),
        }
    }

    /// One step of GradNorm's weights on sum_i |w_i |G_i| - goal_i|, whose goals are constants of it.
    fn towards_one_rate(&mut self, losses: &[f64], norms: &[f64], alpha: f64, lr: f64) -> Result<()> {
        if self.first.is_empty() {
            self.first = losses.to_vec();
        }
        let count = losses.len() as f64;
        let fallen = |(now, first): (&f64, &f64)| if *first > 0.0 { now / first } else { 1.0 };
        let ratios: Vec<f64> = losses.iter().zip(&self.first).map(fallen).collect();
        let mean_ratio = ratios.iter().sum::<f64>() / count;
        let lengths: Vec<f64> = self.learned.values()?.iter().zip(norms).map(|(w, n)| w * n).collect();
        let mean_length = lengths.iter().sum::<f64>() / count;
        let gradient = |i: usize| {
            let rate = if mean_ratio > 0.0 { ratios[i] / mean_ratio } else { 1.0 };
            let off = lengths[i] - mean_length * rate.powf(alpha);
            if off == 0.0 { 0.0 } else { off.signum() * norms[i] }
        };
        self.learned.step(&(0..losses.len()).map(gradient).collect::<Vec<_>>(), lr)?;
        // Their sum stays the number of losses.
        let moved: Vec<f64> = self.learned.values()?.into_iter().map(|w| w.max(LEAST)).collect();
        let sum: f64 = moved.iter().sum();
        self.learned.set(&moved.iter().map(|w| w * count / sum).collect::<Vec<_>>())
    }

    pub fn begin_epoch(&mut self) {
        self.epochs.begin();
    }

    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = self.learned.state()?;
        for (name, values) in [
            ("first", &self.first),
            ("epoch", &self.epochs.now),
            ("epoch_1", &self.epochs.last),
            ("epoch_2", &self.epochs.before),
        ] {
            if !values.is_empty() {
                state.push((name.into(), bits::store(values.iter().map(|v| v.to_bits()))?));
            }
        }
        state.push(("counts".into(), bits::store([self.losses as u64, self.epochs.steps].into_iter())?));
        Ok(state)
    }

    /// Puts back what `state` gave. Fails where that is of another rule.
    pub fn restore(&mut self, tensors: &State) -> Result<()> {
        let list = |name: &str| -> Result<Vec<f64>> {
            let values = tensors.get(name).map(bits::load).transpose()?.unwrap_or_default();
            Ok(values.into_iter().map(f64::from_bits).collect())
        };
        let counts = tensors.get("counts").map(bits::load).transpose()?.unwrap_or_default();
        self.losses = counts.first().map_or(0, |&n| n as usize);
        self.epochs = Epochs {
            now: list("epoch")?,
            steps: counts.get(1).copied().unwrap_or(0),
            last: list("epoch_1")?,
            before: list("epoch_2")?,
        };
        self.first = list("first")?;
        self.learned.restore(tensors)?;
        let lists = [&self.first, &self.epochs.now, &self.epochs.last, &self.epochs.before];
        let learns = matches!(self.rule, Rule::Uncertainty | Rule::GradNorm { .. });
        let learned = if learns { self.learned.values()?.len() } else { self.losses };
        if let Some(odd) = lists.iter().map(|l| l.len()).filter(|&n| n > 0).chain([learned]).find(|&n| n != self.losses)
        {
            return Err(Error::shape("loss weighting", format!("{} losses", self.losses), format!("{odd}")));
        }
        Ok(())
    }
}

/// One number for each loss, moved by the run's optimizer: log-variances or weights, in single precision as parameters.
struct Learned {
    /// (1, losses); no parameter before the first step.
    params: Params,
    optimizer: Optimizer,
}

const NAME: &str = "learned";

impl Learned {
    fn values(&self) -> Result<Vec<f64>> {
        self.params.iter().next().map_or(Ok(vec![]), |p| p.value.to_f64())
    }

    fn set(&mut self, values: &[f64]) -> Result<()> {
        let single: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        self.put(Tensor::new(&Device::Cpu, 1, single.len(), &single)?);
        Ok(())
    }

    fn put(&mut self, value: Tensor) {
        match self.params.is_empty() {
            true => _ = self.params.add(NAME, Owner::Shared, value),
            false => self.params.get_mut(ParamId(0)).value = value,
        }
    }

    fn step(&mut self, gradients: &[f64], lr: f64) -> Result<()> {
        let gradients: Vec<f32> = gradients.iter().map(|&g| g as f32).collect();
        let gradient = Tensor::new(&Device::Cpu, 1, gradients.len(), &gradients)?;
        self.optimizer.set_lr(lr);
        self.optimizer.step(&mut self.params, &[Some(Gradient::Dense(gradient))])
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = self.optimizer.state(&self.params)?;
        state.extend(self.params.iter().map(|p| (p.name.clone(), p.value.clone())));
        Ok(state)
    }

    fn restore(&mut self, tensors: &State) -> Result<()> {
        self.params = Params::default();
        if let Some(value) = tensors.get(NAME) {
            self.put(value.to_device(&Device::Cpu)?);
        }
        // There is one parameter, so its count of steps is that of all.
        let steps = tensors.get("steps").map(bits::load).transpose()?.unwrap_or_default();
        self.optimizer.restore(&self.params, steps.first().copied().unwrap_or(0), tensors)
    }
}

/// Sums of losses in the epoch that runs, and their means in the two before it.
#[derive(Default)]
struct Epochs {
    now: Vec<f64>,
    steps: u64,
    last: Vec<f64>,
    before: Vec<f64>,
}

impl Epochs {
    fn add(&mut self, losses: &[f64]) {
        self.now.resize(losses.len(), 0.0);
        self.now.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
        self.steps += 1;
    }

    /// Does nothing in an epoch without steps, so that an epoch may begin twice.
    fn begin(&mut self) {
        if self.steps == 0 {
            return;
        }
        let steps = self.steps as f64;
        let means = std::mem::take(&mut self.now).into_iter().map(|sum| sum / steps).collect();
        self.before = std::mem::replace(&mut self.last, means);
        self.steps = 0;
    }

    /// K softmax(r / T) with r_i = L_i(t - 1) / L_i(t - 2); 1 each in the first two epochs.
    fn weights(&self, losses: usize, temperature: f64) -> Vec<f64> {
        if self.before.is_empty() {
            return vec![1.0; losses];
        }
        let ratio = |(last, before): (&f64, &f64)| if *before > 0.0 { last / before } else { 1.0 };
        let rates: Vec<f64> = self.last.iter().zip(&self.before).map(|l| ratio(l) / temperature).collect();
        let most = rates.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = rates.iter().map(|r| (r - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.iter().map(|p| p * losses as f64 / sum).collect()
    }
}

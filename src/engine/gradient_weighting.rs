//! How the gradients of several losses meet on shared parameters (docs/model.md, 17b to 17h). Three kinds of rules:
//! against the target's gradient, weights of whole losses, and weights from the inner products of all gradients.
//!
//! Every loss's gradient is taken apart first; so one pass measures them and a second forms the weighted sum, and
//! no loss can be lost because another does not reach a tensor.

mod against_target;
mod conflict;
mod device;
mod gram;
mod loss_weights;
mod moments;
mod options;

use std::collections::BTreeMap;

use super::bits;
use super::device::{Device, Gpu, GpuBuffer};
use super::random::Philox;
use super::rows::Gradient;
use super::sum::Factor;
use super::tensor::Tensor;
use base::{Error, Result};

use against_target::cosine;
use gram::Gram;
use loss_weights::LossWeights;
use moments::Moments;
pub use options::{Combine, CosineKind, Granularity, Options, Strategy};

/// Of each loss, over all shared tensors together; loss 0 is the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BalanceLog {
    /// |G_i|
    pub norms: Vec<f64>,
    /// cos(G_0, G_i); 0 where either length is below 1e-12.
    pub cosines: Vec<f64>,
    /// By how much weighting changed the length of G_i: the root mean square of its weights over the tensors, each
    /// counted by |G_i|^2 there.
    pub weights: Vec<f64>,
    /// Weight of loss i in tensor t: `by_tensor[t][i]`.
    pub by_tensor: Vec<Vec<f64>>,
}

/// The gradients' factors, and what is to be known of them.
pub struct Weighing {
    /// Factor of loss i on tensor t: `factors[t][i]`. On a GPU it stands there, and the host does not know it yet.
    pub factors: Vec<Vec<Factor>>,
    /// Factor of loss i on the parameters of one task: 1, unless the rule weights whole losses.
    pub whole: Vec<Factor>,
    pub report: Report,
}

/// What `GradientWeighting::finish` makes a log of.
pub struct Report(Outcome);

enum Outcome {
    Known(BalanceLog),
    OnDevice(device::OnDevice),
}

impl Report {
    /// What a GPU has found, in doubles: read it and give it to `GradientWeighting::finish`. `None` on the CPU.
    pub fn on_device(&self) -> Option<&GpuBuffer> {
        match &self.0 {
            Outcome::Known(_) => None,
            Outcome::OnDevice(device) => Some(&device.found),
        }
    }
}

/// The rule and its memory.
pub struct GradientWeighting {
    options: Options,
    /// Moving averages m of |G_i|: losses of one tensor, then of the next; of one tensor only under `Global`. Empty
    /// before the first step.
    moving: Vec<f64>,
    /// The same on the GPU that weighs, where recorded work finds it; the host's copy follows with each report.
    moving_on_gpu: Option<GpuBuffer>,
    /// Of rules that weight whole losses.
    losses: Option<LossWeights>,
    /// Their weights in the step to come, (1, losses), on the GPU that weighs.
    weights_on_gpu: Option<Tensor>,
    /// Number of the step to come.
    step: u64,
}

/// Of the orders in which PCGrad visits losses.
const ORDER_STREAM: u64 = 0x6F72_6465_7200_0000;

impl GradientWeighting {
    pub fn new(options: Options) -> GradientWeighting {
        let losses = LossWeights::new(&options);
        GradientWeighting { options, moving: vec![], moving_on_gpu: None, losses, weights_on_gpu: None, step: 0 }
    }

    /// Why a step cannot be captured as a CUDA graph: the rule computes weights on the host, in the middle of a step.
    pub fn graph_blocker(&self) -> Option<&'static str> {
        match self.options.combine {
            Combine::PcGrad => Some("pcgrad projects by inner products that the host reads (weighting.combine)"),
            Combine::CaGrad => Some("cagrad is solved on the host in each step (weighting.combine)"),
            _ => None,
        }
    }

    /// Whether the target's weight may differ from 1, too.
    pub fn weights_target(&self) -> bool {
        self.losses.is_some() || self.graph_blocker().is_some()
    }

    /// What the host gives to the step to come, number `step` of the run: it uploads to the GPU of `device` and does
    /// nothing else that lasts, and may be done again.
    pub fn prepare(&mut self, device: &Device, step: u64) -> Result<()> {
        self.step = step;
        self.weights_on_gpu = match (&self.losses, device) {
            (Some(rule), Device::Gpu(_)) => {
                let weights: Vec<f32> = rule.weights()?.into_iter().map(|w| w as f32).collect();
                // How many losses there are shows in the first step.
                let known = !weights.is_empty();
                known.then(|| Tensor::new(device, 1, weights.len(), &weights)).transpose()?
            }
            _ => None,
        };
        Ok(())
    }

    /// Learns from a step that has run, where the rule does: its losses before the rule's weights, its log, and the
    /// learning rate of the rule's own numbers.
    pub fn observe(&mut self, losses: &[f64], log: &BalanceLog, lr: f64) -> Result<()> {
        match &mut self.losses {
            Some(rule) => rule.observe(losses, &log.norms, lr),
            None => Ok(()),
        }
    }

    /// To be called before the first step of each epoch.
    pub fn begin_epoch(&mut self) {
        if let Some(rule) = &mut self.losses {
            rule.begin_epoch();
        }
    }

    /// Weights of the losses in the step to come, where the rule knows them before it.
    pub fn loss_weights(&self) -> Result<Option<Vec<f64>>> {
        self.losses.as_ref().map(LossWeights::weights).transpose()
    }

    /// Weights the gradients and adds them up. Returns the combined gradient of each tensor, `None` where no loss
    /// reaches it; else as `weigh`.
    pub fn combine(&mut self, grads: Vec<Vec<Option<Gradient>>>) -> Result<(Vec<Option<Gradient>>, BalanceLog)> {
        let log = self.weigh(&grads)?;
        let combined = grads.iter().zip(&log.by_tensor).map(|(g, w)| sum(g, w)).collect::<Result<_>>()?;
        Ok((combined, log))
    }

    /// `grads[t][i]` is the gradient of loss i on shared tensor t, the target first; `None` where the loss does not
    /// reach the tensor. The weights are `by_tensor` of what is returned.
    ///
    /// A tensor that the target does not reach has nothing to be measured against: its gradients keep the factor 1
    /// of every rule that is applied tensor by tensor. A loss that misses a tensor keeps its moving average there.
    /// Row-sparse gradients of a tensor must all speak of the same rows; lengths and cosines are those of the dense
    /// gradients that they stand for. Fails where they do not, and where tensors or losses are not as many, or
    /// gradients not of the shapes, of the step before.
    pub fn weigh(&mut self, grads: &[Vec<Option<Gradient>>]) -> Result<BalanceLog> {
        let Weighing { report, .. } = self.begin(grads)?;
        let found = report.on_device().map(GpuBuffer::read).transpose()?;
        self.finish(&report, &found.unwrap_or_default())
    }

    /// As `weigh`, without waiting for a GPU: `finish` follows when what it found has been read.
    pub fn begin(&mut self, grads: &[Vec<Option<Gradient>>]) -> Result<Weighing> {
        let losses = grads.first().map_or(0, Vec::len);
        let places = if self.options.granularity == Granularity::Global { 1 } else { grads.len() };
        if let Some(odd) = grads.iter().find(|g| g.len() != losses) {
            return Err(Error::shape("gradient weighting", format!("{losses} losses"), format!("{}", odd.len())));
        }
        moments::check(grads)?;
        let tensors = moments::tensors(grads);
        if self.graph_blocker().is_some() {
            return self.by_gram(&tensors, losses);
        }
        if self.moving.is_empty() {
            self.moving = vec![0.0; places * losses];
        }
        if self.moving.len() != places * losses {
            let (expected, got) = (format!("{} moving averages", places * losses), format!("{}", self.moving.len()));
            return Err(Error::shape("gradient weighting", expected, got));
        }
        if let Some(rule) = &mut self.losses {
            rule.expect(losses)?;
        }
        let whole = self.whole(&tensors, losses)?;
        if let Some(gpu) = tensors.iter().flatten().flatten().next().and_then(Tensor::gpu) {
            let options = self.options.clone();
            let (mut factors, found) = device::weigh(gpu, &options, &tensors, self.moving_on(gpu)?)?;
            if self.losses.is_some() {
                factors.fill(whole.clone());
            }
            return Ok(Weighing { factors, whole, report: Report(Outcome::OnDevice(found)) });
        }
        let moments = moments::measure(&tensors);
        let reached: Vec<Vec<bool>> = grads.iter().map(|g| g.iter().map(Option::is_some).collect()).collect();
        let total: Vec<Moments> = (0..losses).map(|i| moments.iter().map(|m| m[i]).sum()).collect();
        let anywhere: Vec<bool> = (0..losses).map(|i| reached.iter().any(|r| r[i])).collect();

        let mut weights = vec![vec![1.0; losses]; grads.len()];
        if matches!(self.options.combine, Combine::MetaBalance | Combine::MetaBalanceCosine) {
            self.apply_balance(&mut weights, (&moments, &reached), (&total, &anywhere));
        }
        if matches!(self.options.combine, Combine::Cosine | Combine::MetaBalanceCosine) {
            self.apply_cosine(&mut weights, (&moments, &reached), (&total, &anywhere));
        }
        if let Some(of_losses) = self.loss_weights()? {
            weights.fill(of_losses);
        }
        let factors = weights.iter().map(|w| w.iter().copied().map(Factor::Known).collect()).collect();
        let log = log_of(&moments, &total, weights);
        Ok(Weighing { factors, whole, report: Report(Outcome::Known(log)) })
    }

    /// Factors of whole losses, the same on every parameter.
    fn whole(&mut self, grads: &[Vec<Option<Tensor>>], losses: usize) -> Result<Vec<Factor>> {
        let Some(weights) = self.loss_weights()? else { return Ok(vec![Factor::Known(1.0); losses]) };
        let Some(gpu) = grads.iter().flatten().flatten().next().and_then(Tensor::gpu) else {
            return Ok(weights.into_iter().map(Factor::Known).collect());
        };
        let single: Vec<f32> = weights.into_iter().map(|w| w as f32).collect();
        let list = match self.weights_on_gpu.take().filter(|list| list.len() == losses) {
            Some(list) => list,
            None => Tensor::new(&Device::Gpu(gpu.clone()), 1, losses, &single)?,
        };
        Ok((0..losses).map(|i| Factor::OnDevice(list.clone(), i)).collect())
    }

    /// The weights of a rule about the gradients' inner products: the same on every shared tensor.
    fn by_gram(&self, grads: &[Vec<Option<Tensor>>], losses: usize) -> Result<Weighing> {
        let gram = Gram::measure(grads)?;
        let order = |i: usize| {
            let mut order: Vec<usize> = (0..losses).collect();
            Philox::new(self.options.seed, ORDER_STREAM ^ (self.step << 24) ^ i as u64).shuffle(&mut order);
            order
        };
        let weights = match self.options.combine {
            Combine::CaGrad => conflict::cagrad(&gram, self.options.c),
            _ => conflict::pcgrad(&gram, order),
        };
        let moments = |i: usize| Moments { square: gram.at(i, i), inner: gram.at(0, i) };
        let total: Vec<Moments> = (0..losses).map(moments).collect();
        let log = BalanceLog {
            norms: total.iter().map(|m| m.square.sqrt()).collect(),
            cosines: total.iter().map(|m| cosine(&total[0], m)).collect(),
            weights: weights.clone(),
            by_tensor: vec![weights.clone(); grads.len()],
        };
        let factors: Vec<Factor> = weights.into_iter().map(Factor::Known).collect();
        Ok(Weighing {
            factors: vec![factors; grads.len()],
            whole: vec![Factor::Known(1.0); losses],
            report: Report(Outcome::Known(log)),
        })
    }

    /// The log of a weighing; `found` are the values of `Report::on_device`, of the last run of that work.
    pub fn finish(&mut self, report: &Report, found: &[f64]) -> Result<BalanceLog> {
        let device = match &report.0 {
            Outcome::Known(log) => return Ok(log.clone()),
            Outcome::OnDevice(device) => device,
        };
        let found = device.parse(found);
        self.moving = found.moving;
        let losses = found.moments.first().map_or(0, Vec::len);
        let total: Vec<Moments> = (0..losses).map(|i| found.moments.iter().map(|m| m[i]).sum()).collect();
        let weights = match self.loss_weights()? {
            // Those that the step has had: the rule learns from it afterwards.
            Some(weights) => vec![weights; found.weights.len()],
            None => found.weights,
        };
        Ok(log_of(&found.moments, &total, weights))
    }

    fn moving_on(&mut self, gpu: &Gpu) -> Result<&mut GpuBuffer> {
        let buffer = match self.moving_on_gpu.take() {
            Some(buffer) if buffer.gpu() == gpu => buffer,
            _ => gpu.upload(&self.moving)?,
        };
        Ok(self.moving_on_gpu.insert(buffer))
    }

    /// The moving averages m, tensor by tensor (one tensor under `Global`), losses within.
    pub fn moving_norms(&self) -> &[f64] {
        &self.moving
    }

    /// For checkpoints: every bit of the moving averages, and what rules about losses have learned.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = vec![("moving_norms".into(), bits::store(self.moving.iter().map(|m| m.to_bits()))?)];
        if let Some(rule) = &self.losses {
            state.extend(rule.state()?);
        }
        Ok(state)
    }

    /// Puts back what `state` gave.
    pub fn restore(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let moving = tensors.get("moving_norms").map(bits::load).transpose()?.unwrap_or_default();
        self.moving = moving.into_iter().map(f64::from_bits).collect();
        (self.moving_on_gpu, self.weights_on_gpu) = (None, None);
        match &mut self.losses {
            Some(rule) => rule.restore(tensors),
            None => Ok(()),
        }
    }
}

fn log_of(moments: &[Vec<Moments>], total: &[Moments], by_tensor: Vec<Vec<f64>>) -> BalanceLog {
    let after = |i: usize| -> f64 { moments.iter().zip(&by_tensor).map(|(m, w)| w[i] * w[i] * m[i].square).sum() };
    let weight = |(i, m): (usize, &Moments)| if m.square > 0.0 { (after(i) / m.square).sqrt() } else { 1.0 };
    BalanceLog {
        norms: total.iter().map(|m| m.square.sqrt()).collect(),
        cosines: total.iter().map(|m| cosine(&total[0], m)).collect(),
        weights: total.iter().enumerate().map(weight).collect(),
        by_tensor,
    }
}

/// G = sum_i w_i G_i over the losses that reach the tensor.
fn sum(grads: &[Option<Gradient>], weights: &[f64]) -> Result<Option<Gradient>> {
    let reached = weights.iter().zip(grads).filter_map(|(&w, g)| Some((w, g.as_ref()?)));
    let terms: Vec<(f64, &Tensor)> = reached.clone().filter(|(w, _)| *w != 0.0).map(|(w, g)| (w, g.tensor())).collect();
    let Some((_, first)) = reached.clone().next() else { return Ok(None) };
    let sum = if terms.is_empty() { first.tensor().zeros_like()? } else { Tensor::weighted_sum(&terms)? };
    Ok(Some(first.with(sum)))
}

//! How the gradients of several losses meet on shared parameters: MetaBalance (docs/model.md, 17b), cosine similarity
//! to the target's gradient (17c), or both.
//!
//! Every loss's gradient is taken apart first; so one pass measures them and a second forms the weighted sum, and
//! no loss can be lost because another does not reach a tensor.

mod device;
mod moments;

use std::collections::BTreeMap;

use super::bits;
use super::device::{Gpu, GpuBuffer};
use super::rows::Gradient;
use super::sum::Factor;
use super::tensor::Tensor;
use crate::{Error, Result};

use moments::Moments;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Combine {
    /// Plain addition, formula (18) as printed.
    Sum,
    /// Auxiliary gradients scaled towards the target's length.
    MetaBalance,
    /// Auxiliary gradients weighted by their cosine with the target's.
    Cosine,
    /// The product of both factors.
    #[default]
    MetaBalanceCosine,
}

/// Which auxiliary gradients MetaBalance scales, by the moving averages m of the gradients' lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Only those that are longer than the target's.
    A,
    /// Only those that are shorter.
    B,
    /// All.
    #[default]
    C,
}

/// What lengths and cosines are taken of: each parameter tensor alone, or all of them as one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    #[default]
    Tensor,
    Global,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CosineKind {
    /// max(0, cos)
    #[default]
    Weighted,
    /// 1 where cos >= 0, else 0
    Unweighted,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    pub combine: Combine,
    pub strategy: Strategy,
    /// r: 0 leaves lengths as they are, 1 makes them the target's.
    pub relax: f64,
    /// Memory of the moving averages.
    pub beta: f64,
    /// Added to m_i in m_0 / m_i; public implementations have 1e-5. Not needed: m_i = 0 is guarded.
    pub eps: f64,
    pub granularity: Granularity,
    pub cosine: CosineKind,
    pub cosine_granularity: Granularity,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            combine: Combine::default(),
            strategy: Strategy::default(),
            relax: 0.7,
            beta: 0.9,
            eps: 0.0,
            granularity: Granularity::Tensor,
            cosine: CosineKind::default(),
            cosine_granularity: Granularity::Global,
        }
    }
}

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
    pub report: Report,
}

/// What `Balancer::finish` makes a log of.
pub struct Report(Outcome);

enum Outcome {
    Known(BalanceLog),
    OnDevice(device::OnDevice),
}

impl Report {
    /// What a GPU has found, in doubles: read it and give it to `Balancer::finish`. `None` on the CPU.
    pub fn on_device(&self) -> Option<&GpuBuffer> {
        match &self.0 {
            Outcome::Known(_) => None,
            Outcome::OnDevice(device) => Some(&device.found),
        }
    }
}

/// The rule and its memory.
pub struct Balancer {
    options: Options,
    /// Moving averages m of |G_i|: losses of one tensor, then of the next; of one tensor only under `Global`. Empty
    /// before the first step.
    moving: Vec<f64>,
    /// The same on the GPU that weighs, where recorded work finds it; the host's copy follows with each report.
    moving_on_gpu: Option<GpuBuffer>,
}

/// Gradients shorter than this have no direction.
const NO_DIRECTION: f64 = 1e-12;
/// A loss whose m_i is smaller than this share of m_0 is left as it is: the ratio would be noise, or infinite.
const GUARD: f64 = 1e-12;

impl Options {
    /// MetaBalance's factor of an auxiliary loss.
    fn balance(&self, m_target: f64, m: f64) -> f64 {
        let applies = match self.strategy {
            Strategy::A => m > m_target,
            Strategy::B => m < m_target,
            Strategy::C => true,
        };
        if !applies || m <= GUARD * m_target {
            return 1.0;
        }
        self.relax * m_target / (m + self.eps) + (1.0 - self.relax)
    }

    fn similarity(&self, cosine: f64) -> f64 {
        match self.cosine {
            CosineKind::Weighted => cosine.max(0.0),
            CosineKind::Unweighted => (cosine >= 0.0) as u8 as f64,
        }
    }
}

fn cosine(target: &Moments, other: &Moments) -> f64 {
    let (a, b) = (target.square.sqrt(), other.square.sqrt());
    if a < NO_DIRECTION || b < NO_DIRECTION { 0.0 } else { (other.inner / a / b).clamp(-1.0, 1.0) }
}

impl Balancer {
    pub fn new(options: Options) -> Balancer {
        Balancer { options, moving: vec![], moving_on_gpu: None }
    }

    /// Weights the gradients and adds them up. Returns the combined gradient of each tensor, `None` where no loss
    /// reaches it; else as `weigh`.
    pub fn combine(
        &mut self,
        grads: Vec<Vec<Option<Gradient>>>,
    ) -> Result<(Vec<Option<Gradient>>, BalanceLog)> {
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
            return Err(Error::shape(
                "gradient weighting",
                format!("{losses} losses"),
                format!("{}", odd.len()),
            ));
        }
        if self.moving.is_empty() {
            self.moving = vec![0.0; places * losses];
        }
        if self.moving.len() != places * losses {
            let (expected, got) =
                (format!("{} moving averages", places * losses), format!("{}", self.moving.len()));
            return Err(Error::shape("gradient weighting", expected, got));
        }
        moments::check(grads)?;
        let tensors = moments::tensors(grads);
        if let Some(gpu) = tensors.iter().flatten().flatten().next().and_then(Tensor::gpu) {
            let options = self.options;
            let (factors, found) = device::weigh(gpu, &options, &tensors, self.moving_on(gpu)?)?;
            return Ok(Weighing { factors, report: Report(Outcome::OnDevice(found)) });
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
        let factors = weights.iter().map(|w| w.iter().copied().map(Factor::Known).collect()).collect();
        let log = log_of(&moments, &total, weights);
        Ok(Weighing { factors, report: Report(Outcome::Known(log)) })
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
        Ok(log_of(&found.moments, &total, found.weights))
    }

    fn moving_on(&mut self, gpu: &Gpu) -> Result<&mut GpuBuffer> {
        let buffer = match self.moving_on_gpu.take() {
            Some(buffer) if buffer.gpu() == gpu => buffer,
            _ => gpu.upload(&self.moving)?,
        };
        Ok(self.moving_on_gpu.insert(buffer))
    }

    /// Updates the moving averages of one place and returns its factors.
    fn balance(&mut self, place: usize, moments: &[Moments], reached: &[bool]) -> Vec<f64> {
        let Options { beta, .. } = self.options;
        let moving = &mut self.moving[place * moments.len()..][..moments.len()];
        for ((m, moments), &reached) in moving.iter_mut().zip(moments).zip(reached) {
            let norm = moments.square.sqrt();
            if reached && norm.is_finite() {
                *m = beta * *m + (1.0 - beta) * norm;
            }
        }
        let scaled = |i: usize| i > 0 && reached[0] && reached[i];
        let factor = |i| if scaled(i) { self.options.balance(moving[0], moving[i]) } else { 1.0 };
        (0..moments.len()).map(factor).collect()
    }

    fn apply_balance(
        &mut self,
        weights: &mut [Vec<f64>],
        (moments, reached): (&[Vec<Moments>], &[Vec<bool>]),
        (total, anywhere): (&[Moments], &[bool]),
    ) {
        let everywhere = match self.options.granularity {
            Granularity::Global => Some(self.balance(0, total, anywhere)),
            Granularity::Tensor => None,
        };
        for (t, weights) in weights.iter_mut().enumerate() {
            let factors = match &everywhere {
                Some(factors) => factors.clone(),
                None => self.balance(t, &moments[t], &reached[t]),
            };
            weights.iter_mut().zip(factors).for_each(|(w, f)| *w *= f);
        }
    }

    fn apply_cosine(
        &self,
        weights: &mut [Vec<f64>],
        (moments, reached): (&[Vec<Moments>], &[Vec<bool>]),
        (total, anywhere): (&[Moments], &[bool]),
    ) {
        for (t, weights) in weights.iter_mut().enumerate() {
            let (moments, reached) = match self.options.cosine_granularity {
                Granularity::Global => (total, anywhere),
                Granularity::Tensor => (&moments[t][..], &reached[t][..]),
            };
            if reached.first() != Some(&true) {
                continue;
            }
            for (w, moments_i) in weights.iter_mut().zip(moments).skip(1) {
                *w *= self.options.similarity(cosine(&moments[0], moments_i));
            }
        }
    }

    /// The moving averages m, tensor by tensor (one tensor under `Global`), losses within.
    pub fn moving_norms(&self) -> &[f64] {
        &self.moving
    }

    /// For checkpoints: every bit of the moving averages.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(vec![("moving_norms".into(), bits::store(self.moving.iter().map(|m| m.to_bits()))?)])
    }

    /// Puts back what `state` gave.
    pub fn restore(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let moving = tensors.get("moving_norms").map(bits::load).transpose()?.unwrap_or_default();
        self.moving = moving.into_iter().map(f64::from_bits).collect();
        self.moving_on_gpu = None;
        Ok(())
    }
}

fn log_of(moments: &[Vec<Moments>], total: &[Moments], by_tensor: Vec<Vec<f64>>) -> BalanceLog {
    let after =
        |i: usize| -> f64 { moments.iter().zip(&by_tensor).map(|(m, w)| w[i] * w[i] * m[i].square).sum() };
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
    let terms: Vec<(f64, &Tensor)> =
        reached.clone().filter(|(w, _)| *w != 0.0).map(|(w, g)| (w, g.tensor())).collect();
    let Some((_, first)) = reached.clone().next() else { return Ok(None) };
    let sum = if terms.is_empty() { first.tensor().zeros_like()? } else { Tensor::weighted_sum(&terms)? };
    Ok(Some(first.with(sum)))
}

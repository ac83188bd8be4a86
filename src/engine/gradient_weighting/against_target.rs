//! Factors against the target's gradient: MetaBalance (17b) and cosine similarity (17c).

use super::moments::Moments;
use super::{CosineKind, GradientWeighting, Granularity, Options, Strategy};

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

pub(super) fn cosine(target: &Moments, other: &Moments) -> f64 {
    let (a, b) = (target.square.sqrt(), other.square.sqrt());
    if a < NO_DIRECTION || b < NO_DIRECTION { 0.0 } else { (other.inner / a / b).clamp(-1.0, 1.0) }
}

impl GradientWeighting {
    /// Updates the moving averages of one place and returns its factors.
    pub(super) fn balance(&mut self, place: usize, moments: &[Moments], reached: &[bool]) -> Vec<f64> {
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

    pub(super) fn apply_balance(
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

    pub(super) fn apply_cosine(
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
}

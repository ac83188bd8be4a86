//! Stochastic gradient descent with momentum, as torch has it.

use base::Result;

use super::cpu::{Elements, Update, apply};
use super::{Optim, SCALARS, Scalars};
use crate::Real;
use crate::device::{Kernel, kernels};
use crate::simd::fma;

/// b = mu b + (1 - dampening) g (b = g at first); theta -= lr b, or lr (g + mu b) for Nesterov.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    pub momentum: f64,
    pub dampening: f64,
    pub nesterov: bool,
}

impl Optim for Sgd {
    fn states(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["b"] }
    }

    fn scalars(&self, lr: f64, decay: f64, step: u64) -> Scalars {
        let (keep, rate) = if step == 1 { (0.0, 1.0) } else { (self.momentum, 1.0 - self.dampening) };
        let nesterov = if self.nesterov { self.momentum } else { 0.0 };
        [lr, keep, rate, nesterov, decay, 0.0, 0.0, 0.0, 0.0]
    }

    fn kernel(&self) -> Kernel {
        kernels::SGD_STEP
    }

    fn update(&self, scalars: Scalars, update: &mut Update) -> Result<()> {
        match self.momentum {
            0.0 => apply::<Sgd, 0>(scalars, update),
            _ => apply::<Sgd, 1>(scalars, update),
        }
    }
}

impl Elements<1> for Sgd {
    #[inline(always)]
    fn update<const ISA: u8, T: Real>(s: &[T; SCALARS], p: &mut [T], g: &[T], [b]: [&mut [T]; 1]) {
        let [lr, keep, rate, nesterov, decay, ..] = *s;
        for ((p, &g), b) in p.iter_mut().zip(g).zip(b) {
            let g = fma::<ISA, T>(decay, *p, g);
            *b = fma::<ISA, T>(keep, *b, rate * g);
            let step = if nesterov > T::zero() { fma::<ISA, T>(nesterov, *b, g) } else { *b };
            *p = fma::<ISA, T>(-lr, step, *p);
        }
    }
}

impl Elements<0> for Sgd {
    #[inline(always)]
    fn update<const ISA: u8, T: Real>(s: &[T; SCALARS], p: &mut [T], g: &[T], _: [&mut [T]; 0]) {
        let [lr, _, _, _, decay, ..] = *s;
        for (p, &g) in p.iter_mut().zip(g) {
            *p = fma::<ISA, T>(-lr, fma::<ISA, T>(decay, *p, g), *p);
        }
    }
}

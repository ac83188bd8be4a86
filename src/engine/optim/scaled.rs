//! Adagrad (Duchi et al., 2011) and RMSprop, as torch has them: one update, s = keep s + rate g^2,
//! theta -= lr g / (sqrt(s) + eps).

use base::Result;

use super::cpu::{Elements, Update, apply};
use super::{Optim, SCALARS, Scalars};
use crate::Real;
use crate::device::{Kernel, kernels};
use crate::simd::fma;

/// s += g^2; theta -= lr / (1 + (k - 1) lr_decay) g / (sqrt(s) + eps).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    pub lr_decay: f64,
    /// s before the first step.
    pub initial: f64,
    pub eps: f64,
}

impl Default for Adagrad {
    fn default() -> Adagrad {
        Adagrad { lr_decay: 0.0, initial: 0.0, eps: 1e-10 }
    }
}

/// v = alpha v + (1 - alpha) g^2; theta -= lr g / (sqrt(v) + eps).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    pub alpha: f64,
    pub eps: f64,
}

impl Default for RmsProp {
    fn default() -> RmsProp {
        RmsProp { alpha: 0.99, eps: 1e-8 }
    }
}

impl Optim for Adagrad {
    fn states(&self) -> &'static [&'static str] {
        &["s"]
    }

    fn initial(&self) -> f64 {
        self.initial
    }

    fn scalars(&self, lr: f64, decay: f64, step: u64) -> Scalars {
        let lr = lr / (1.0 + (step as f64 - 1.0) * self.lr_decay);
        [lr, 1.0, 1.0, self.eps, decay, 0.0, 0.0, 0.0, 0.0]
    }

    fn kernel(&self) -> Kernel {
        kernels::SCALED_STEP
    }

    fn update(&self, scalars: Scalars, update: &mut Update) -> Result<()> {
        apply::<Scaled, 1>(scalars, update)
    }
}

impl Optim for RmsProp {
    fn states(&self) -> &'static [&'static str] {
        &["v"]
    }

    fn scalars(&self, lr: f64, decay: f64, _step: u64) -> Scalars {
        [lr, self.alpha, 1.0 - self.alpha, self.eps, decay, 0.0, 0.0, 0.0, 0.0]
    }

    fn kernel(&self) -> Kernel {
        kernels::SCALED_STEP
    }

    fn update(&self, scalars: Scalars, update: &mut Update) -> Result<()> {
        apply::<Scaled, 1>(scalars, update)
    }
}

struct Scaled;

impl Elements<1> for Scaled {
    #[inline(always)]
    fn update<const ISA: u8, T: Real>(s: &[T; SCALARS], p: &mut [T], g: &[T], [v]: [&mut [T]; 1]) {
        let [lr, keep, rate, eps, decay, ..] = *s;
        for ((p, &g), v) in p.iter_mut().zip(g).zip(v) {
            let g = fma::<ISA, T>(decay, *p, g);
            *v = fma::<ISA, T>(keep, *v, rate * g * g);
            *p -= lr * g / (v.sqrt() + eps);
        }
    }
}

//! Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019), as torch has them.

use base::Result;

use super::cpu::{Elements, Update, apply};
use super::{Optim, SCALARS, Scalars};
use crate::Real;
use crate::device::{Kernel, kernels};
use crate::simd::fma;

/// m, v moving averages of g and g^2; theta -= lr m^ / (sqrt(v^) + eps) with bias-corrected m^, v^.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// AdamW: weight decay shrinks theta instead of being added to g.
    pub decoupled: bool,
}

impl Default for Adam {
    fn default() -> Adam {
        Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: false }
    }
}

impl Optim for Adam {
    fn states(&self) -> &'static [&'static str] {
        &["m", "v"]
    }

    fn scalars(&self, lr: f64, decay: f64, step: u64) -> Scalars {
        let Adam { beta1, beta2, eps, decoupled } = *self;
        let k = step as f64;
        let size = lr / (1.0 - beta1.powf(k));
        let root2 = (1.0 - beta2.powf(k)).sqrt();
        let (decay, shrink) = if decoupled { (0.0, 1.0 - lr * decay) } else { (decay, 1.0) };
        [beta1, 1.0 - beta1, beta2, 1.0 - beta2, size, root2, eps, decay, shrink]
    }

    fn kernel(&self) -> Kernel {
        kernels::ADAM_STEP
    }

    fn update(&self, scalars: Scalars, update: &mut Update) -> Result<()> {
        apply::<Adam, 2>(scalars, update)
    }
}

impl Elements<2> for Adam {
    #[inline(always)]
    fn update<const ISA: u8, T: Real>(
        &[beta1, rate1, beta2, rate2, size, root2, eps, decay, shrink]: &[T; SCALARS],
        p: &mut [T],
        g: &[T],
        [m, v]: [&mut [T]; 2],
    ) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = fma::<ISA, T>(decay, *p, g);
            *m = fma::<ISA, T>(beta1, *m, rate1 * g);
            *v = fma::<ISA, T>(beta2, *v, rate2 * g * g);
            *p = fma::<ISA, T>(shrink, *p, -(size * *m / (v.sqrt() / root2 + eps)));
        }
    }
}

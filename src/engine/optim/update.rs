//! The update rules on either device: one pass over parameter, state and gradient.

use rayon::prelude::*;

use super::Rule;
use crate::Result;
use crate::engine::device::{Gpu, Grid, kernels};
use crate::engine::sum::POINTERS;
use crate::engine::{Real, Tensor, parallel};
use crate::with_real;

/// One parameter that has a gradient in this step. All tensors are unshared and not empty.
pub(super) struct Update<'a> {
    /// Which step of this parameter it is, from 1.
    pub steps: u64,
    pub value: &'a mut Tensor,
    pub grad: &'a Tensor,
    pub state: &'a mut [Tensor],
}

/// Tensors of more elements than this get a launch of their own.
const LARGE: usize = 1 << 18;
/// Elements of a task on the CPU.
const CHUNK: usize = 16 * 1024;

impl Rule {
    /// State before the first step, for a parameter like `value`.
    pub(super) fn start(self, value: &Tensor) -> Result<Tensor> {
        match self {
            Rule::Adagrad { initial, .. } if initial != 0.0 => {
                let values = vec![initial; value.len()];
                Tensor::from_f64(&value.device(), value.dtype(), value.rows(), value.cols(), &values)
            }
            _ => value.zeros_like(),
        }
    }

    /// The rule's scalars at a parameter's step `k`.
    fn scalars(self, lr: f64, decay: f64, k: u64) -> Scalars {
        let k = k as f64;
        match self {
            Rule::Sgd { momentum, dampening, nesterov } => {
                let (keep, rate) = if k == 1.0 { (0.0, 1.0) } else { (momentum, 1.0 - dampening) };
                Scalars::Sgd { lr, keep, rate, nesterov: if nesterov { momentum } else { 0.0 }, decay }
            }
            Rule::Adagrad { lr_decay, eps, .. } => {
                Scalars::Scaled { lr: lr / (1.0 + (k - 1.0) * lr_decay), keep: 1.0, rate: 1.0, eps, decay }
            }
            Rule::RmsProp { alpha, eps } => {
                Scalars::Scaled { lr, keep: alpha, rate: 1.0 - alpha, eps, decay }
            }
            Rule::Adam { beta1, beta2, eps } | Rule::AdamW { beta1, beta2, eps } => {
                let decoupled = matches!(self, Rule::AdamW { .. });
                Scalars::Adam(AdamScalars {
                    beta1,
                    rate1: 1.0 - beta1,
                    beta2,
                    rate2: 1.0 - beta2,
                    size: lr / (1.0 - beta1.powf(k)),
                    root2: (1.0 - beta2.powf(k)).sqrt(),
                    eps,
                    decay: if decoupled { 0.0 } else { decay },
                    shrink: if decoupled { 1.0 - lr * decay } else { 1.0 },
                })
            }
        }
    }
}

/// As the kernels of optim.cu take them.
#[derive(Clone, Copy)]
enum Scalars {
    Sgd { lr: f64, keep: f64, rate: f64, nesterov: f64, decay: f64 },
    Scaled { lr: f64, keep: f64, rate: f64, eps: f64, decay: f64 },
    Adam(AdamScalars),
}

#[derive(Clone, Copy)]
struct AdamScalars {
    beta1: f64,
    rate1: f64,
    beta2: f64,
    rate2: f64,
    size: f64,
    root2: f64,
    eps: f64,
    decay: f64,
    shrink: f64,
}

pub(super) fn run(rule: Rule, lr: f64, decay: f64, mut updates: Vec<Update>) -> Result<()> {
    let Some(gpu) = updates.first().and_then(|u| u.value.gpu().cloned()) else {
        for update in &mut updates {
            let scalars = rule.scalars(lr, decay, update.steps);
            with_real!(update.value.dtype(), T => run_host::<T>(scalars, update));
        }
        return Ok(());
    };
    // Small tensors of the same step go together: a model has dozens, and a launch costs more than their update.
    let (mut groups, mut group): (Vec<Vec<Update>>, Vec<Update>) = (vec![], vec![]);
    for update in updates {
        if update.value.len() > LARGE {
            groups.push(vec![update]);
            continue;
        }
        if group.len() == POINTERS || group.first().is_some_and(|u| u.steps != update.steps) {
            groups.push(std::mem::take(&mut group));
        }
        group.push(update);
    }
    groups.push(group);
    for mut group in groups.into_iter().filter(|g| !g.is_empty()) {
        run_gpu(&gpu, rule.scalars(lr, decay, group[0].steps), &mut group)?;
    }
    Ok(())
}

fn run_host<T: Real>(scalars: Scalars, update: &mut Update) {
    let g = update.grad.host::<T>();
    let p = update.value.host_mut::<T>().par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
    match (scalars, &mut *update.state) {
        (Scalars::Adam(s), [m, v]) => {
            let state = m.host_mut::<T>().par_chunks_mut(CHUNK).zip(v.host_mut::<T>().par_chunks_mut(CHUNK));
            p.zip(state).for_each(|((p, g), (m, v))| parallel::vectorized(|| adam(&s, p, g, m, v)));
        }
        (Scalars::Sgd { lr, rate, nesterov, keep, decay }, [b]) => {
            let [lr, keep, rate, nesterov, decay] = [lr, keep, rate, nesterov, decay].map(T::of);
            p.zip(b.host_mut::<T>().par_chunks_mut(CHUNK)).for_each(|((p, g), b)| {
                parallel::vectorized(|| {
                    for ((p, &g), b) in p.iter_mut().zip(g).zip(b) {
                        let g = g + decay * *p;
                        *b = keep * *b + rate * g;
                        *p -= lr * if nesterov > T::zero() { g + nesterov * *b } else { *b };
                    }
                })
            });
        }
        (Scalars::Sgd { lr, decay, .. }, _) => {
            let [lr, decay] = [lr, decay].map(T::of);
            p.for_each(|(p, g)| {
                parallel::vectorized(|| p.iter_mut().zip(g).for_each(|(p, &g)| *p -= lr * (g + decay * *p)))
            });
        }
        (Scalars::Scaled { lr, keep, rate, eps, decay }, [s]) => {
            let [lr, keep, rate, eps, decay] = [lr, keep, rate, eps, decay].map(T::of);
            p.zip(s.host_mut::<T>().par_chunks_mut(CHUNK)).for_each(|((p, g), s)| {
                parallel::vectorized(|| {
                    for ((p, &g), s) in p.iter_mut().zip(g).zip(s) {
                        let g = g + decay * *p;
                        *s = keep * *s + rate * g * g;
                        *p -= lr * g / (s.sqrt() + eps);
                    }
                })
            });
        }
        _ => unreachable!("a rule has as many state tensors as it names"),
    }
}

#[inline(always)]
fn adam<T: Real>(s: &AdamScalars, p: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
    let [beta1, rate1, beta2, rate2] = [s.beta1, s.rate1, s.beta2, s.rate2].map(T::of);
    let [size, root2, eps, decay, shrink] = [s.size, s.root2, s.eps, s.decay, s.shrink].map(T::of);
    for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let g = g + decay * *p;
        *m = beta1 * *m + rate1 * g;
        *v = beta2 * *v + rate2 * g * g;
        *p = shrink * *p - size * *m / (v.sqrt() / root2 + eps);
    }
}

/// One launch for up to `POINTERS` tensors of the same step.
fn run_gpu(gpu: &Gpu, scalars: Scalars, group: &mut [Update]) -> Result<()> {
    let (mut values, mut grads, mut counts) = ([0u64; POINTERS], [0u64; POINTERS], [0u64; POINTERS]);
    let mut state = [[0u64; POINTERS]; 2];
    let mut longest = 0;
    for (i, update) in group.iter_mut().enumerate() {
        values[i] = update.value.address_mut();
        grads[i] = update.grad.address();
        counts[i] = update.value.len() as u64;
        longest = longest.max(update.value.len());
        for (places, tensor) in state.iter_mut().zip(update.state.iter_mut()) {
            places[i] = tensor.address_mut();
        }
    }
    let columns = Grid::cover(longest, 256);
    let grid = Grid { blocks: [columns.blocks[0], group.len() as u32, 1], ..columns };
    match scalars {
        Scalars::Adam(s) => gpu
            .launch(kernels::ADAM_STEP, grid)
            .value(values)
            .value(state[0])
            .value(state[1])
            .value(grads)
            .value(counts)
            .value(s.beta1 as f32)
            .value(s.rate1 as f32)
            .value(s.beta2 as f32)
            .value(s.rate2 as f32)
            .value(s.size as f32)
            .value(s.root2 as f32)
            .value(s.eps as f32)
            .value(s.decay as f32)
            .value(s.shrink as f32)
            .run(),
        Scalars::Sgd { lr, keep, rate, nesterov, decay } => gpu
            .launch(kernels::SGD_STEP, grid)
            .value(values)
            .value(state[0])
            .value(grads)
            .value(counts)
            .value(lr as f32)
            .value(keep as f32)
            .value(rate as f32)
            .value(nesterov as f32)
            .value(decay as f32)
            .run(),
        Scalars::Scaled { lr, keep, rate, eps, decay } => gpu
            .launch(kernels::SCALED_STEP, grid)
            .value(values)
            .value(state[0])
            .value(grads)
            .value(counts)
            .value(lr as f32)
            .value(keep as f32)
            .value(rate as f32)
            .value(eps as f32)
            .value(decay as f32)
            .run(),
    }
}

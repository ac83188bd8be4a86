//! Cross-entropy over all courses of the inner product (8): the course taken against every other.
//!
//! The logits are made a block of rows at a time and never kept. Value and gradient come from the same block,
//! for upstream 1; the backward pass scales what the forward pass left.

use base::parallel::prelude::*;

use super::launch::launch;
use super::loss::{add_upstream, mean, zero};
use super::{check, check_shape, dense, inputs};
use base::{Error, Result};
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::parallel::{self, Trans, View, axpy, gemm};
use engine::simd::{SimdWork, simd};
use engine::{Backward, Device, Gpu, Index, Op, Real, Tensor};
use graph::IdSets;

/// Most rows of a block on the CPU, and of the part of it that one task works on.
const ROWS: usize = 512;
const TASK: usize = 128;
/// Logits of a block: 16 MiB on the CPU, 1 GiB on a GPU.
const CPU_LOGITS: usize = 1 << 22;
const GPU_LOGITS: usize = 1 << 28;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftmaxOptions {
    /// 1 / temperature
    pub scale: f32,
    /// Share of the target's weight that is spread over all courses that are not excluded, in [0, 1).
    pub label_smoothing: f32,
}

impl Default for SoftmaxOptions {
    fn default() -> Self {
        SoftmaxOptions { scale: 1.0, label_smoothing: 0.0 }
    }
}

/// Inputs u (B, D), items (C, D), bias (1, C); output
/// mean_b [ logsumexp_c l_bc - sum_c q_bc l_bc ] (1, 1) with l_bc = scale u_b . i_c + bias_c and q the target
/// distribution. Excluded courses have l = -inf. 0 for an empty batch.
#[derive(Clone)]
pub struct SoftmaxLoss {
    targets: Index<u32>,
    excluded: Option<IdSets>,
    courses: usize,
    options: SoftmaxOptions,
    most_logits: usize,
    saved: Option<UnitGradients>,
}

/// Gradients for upstream 1; those of u and items still lack the factor `scale`.
#[derive(Clone)]
struct UnitGradients {
    du: Tensor,
    ditems: Tensor,
    dbias: Tensor,
}

impl SoftmaxLoss {
    /// `targets` (B) are ids below `courses`. `excluded` are the offsets (B + 1) and ids of courses that have no
    /// part in a row; a row's own target always has one. `Error::Shape` for ids out of range, offsets that do not
    /// fit, and options out of range.
    pub fn new(
        device: &Device,
        targets: Vec<u32>,
        courses: usize,
        excluded: Option<(&[u64], &[u32])>,
        options: SoftmaxOptions,
    ) -> Result<SoftmaxLoss> {
        let name = "softmax_loss";
        if let Some(t) = targets.iter().find(|&&t| t as usize >= courses) {
            return Err(Error::shape(name, format!("targets below {courses}"), format!("{t}")));
        }
        let SoftmaxOptions { scale, label_smoothing } = options;
        let valid = scale.is_finite() && (0.0..1.0).contains(&label_smoothing);
        check(valid, name, || "a finite scale, label smoothing in [0, 1)".into(), || format!("{options:?}"))?;
        let excluded = match excluded {
            None => None,
            Some((offsets, ids)) => {
                let fits = offsets.len() == targets.len() + 1
                    && offsets.is_sorted()
                    && offsets.last() == Some(&(ids.len() as u64));
                let got = || format!("{} offsets of {} ids", offsets.len(), ids.len());
                check(fits, name, || format!("ascending offsets of {} rows", targets.len()), got)?;
                let rows = targets.iter().zip(offsets.windows(2)).map(|(&target, ends)| {
                    let row = &ids[ends[0] as usize..ends[1] as usize];
                    row.iter().copied().filter(|&id| id != target).collect::<Vec<u32>>()
                });
                Some(IdSets::new(device, rows, courses)?)
            }
        };
        let most_logits = if matches!(device, Device::Gpu(_)) { GPU_LOGITS } else { CPU_LOGITS };
        let targets = Index::new(device, targets)?;
        Ok(SoftmaxLoss { targets, excluded, courses, options, most_logits, saved: None })
    }

    /// With at most this many logits at a time, but those of 32 rows, where memory is short.
    pub fn with_most_logits(mut self, most: usize) -> SoftmaxLoss {
        self.most_logits = most;
        self
    }
}

impl Op for SoftmaxLoss {
    fn name(&self) -> &'static str {
        "softmax_loss"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [u, items, bias] = inputs("softmax_loss", "u, items, bias", x)?;
        check_shape("softmax_loss", "u", u, self.targets.len(), u.cols())?;
        check_shape("softmax_loss", "items", items, self.courses, u.cols())?;
        check_shape("softmax_loss", "bias", bias, 1, self.courses)?;
        if u.rows() == 0 {
            return Ok(vec![zero(u)?]);
        }
        let mut saved = UnitGradients {
            du: u.empty_like(u.rows(), u.cols())?,
            ditems: items.zeros_like()?,
            dbias: bias.zeros_like()?,
        };
        let loss = match u.gpu() {
            Some(gpu) => self.forward_gpu(gpu, x, &mut saved)?,
            None => {
                let mut loss = u.empty_like(1, 1)?;
                dispatch_float!(u.dtype(), T => {
                    loss.host_mut::<T>()[0] = T::of(self.forward_cpu::<T>(x, &mut saved)?);
                });
                loss
            }
        };
        self.saved = Some(saved);
        Ok(vec![loss])
    }

    fn backward(&self, Backward { dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), Some(saved)) = (dy[0], &self.saved) else { return Ok(()) };
        let units = [(&saved.du, self.options.scale), (&saved.ditems, self.options.scale), (&saved.dbias, 1.0)];
        for ((unit, factor), dx) in units.into_iter().zip(dx) {
            if let Some(dx) = dx {
                add_upstream(dx, unit, dy, factor)?;
            }
        }
        Ok(())
    }
}

/// Rows of a block whose logits number about `logits`, a multiple of 32.
fn block_rows(logits: usize, courses: usize) -> usize {
    (logits / courses.max(1)).max(32) / 32 * 32
}

impl SoftmaxLoss {
    fn forward_cpu<T: Real>(&self, x: &[&Tensor], saved: &mut UnitGradients) -> Result<f64> {
        let (rows, d, courses) = (x[0].rows(), x[0].cols(), self.courses);
        let (u, items, bias) = (x[0].host::<T>(), x[1].host::<T>(), x[2].host::<T>());
        let du = saved.du.host_mut::<T>();
        let ditems = saved.ditems.host_mut::<T>();
        let dbias = saved.dbias.host_mut::<T>();
        let block = block_rows(self.most_logits, courses).min(ROWS);
        let mut logits = x[0].empty_like(block.min(rows), courses)?;
        let logits = logits.host_mut::<T>();
        let mut total = 0.0;
        for first in (0..rows).step_by(block) {
            let count = block.min(rows - first);
            let logits = &mut logits[..count * courses];
            let u = &u[first * d..(first + count) * d];
            let mut du_left = &mut du[first * d..(first + count) * d];
            let tasks: Vec<_> = (logits.chunks_mut(TASK * courses).enumerate())
                .map(|(i, logits)| {
                    let du;
                    (du, du_left) = std::mem::take(&mut du_left).split_at_mut(logits.len() / courses * d);
                    (i * TASK, logits, du)
                })
                .collect();
            let task = |(at, logits, du): (usize, &mut [T], &mut [T])| {
                let (here, items) = (logits.len() / courses, View::new(items, courses, d, d));
                gemm(View::new(&u[at * d..], here, d, d), items.t(), T::zero(), logits, courses);
                let (mut loss, mut dbias) = (0.0, vec![T::zero(); courses]);
                let rows = &mut *logits;
                simd(LogitRows { op: self, first: first + at, bias, logits: rows, dbias: &mut dbias, loss: &mut loss });
                gemm(View::new(logits, here, courses, courses), items, T::zero(), du, d);
                (loss, dbias)
            };
            let parts: Vec<(f64, Vec<T>)> = tasks.into_par_iter().map(task).collect();
            for (loss, part) in parts {
                total += loss;
                axpy(T::one(), &part, dbias);
            }
            parallel::matmul((courses, count, d), logits, Trans::Yes, u, Trans::No, T::one(), ditems);
        }
        Ok(total / rows as f64)
    }

    /// The loss of row `b` from its inner products, which become the gradient of the mean loss.
    #[inline(always)]
    fn row<T: Real>(&self, b: usize, bias: &[T], row: &mut [T]) -> f64 {
        let scale = T::of(self.options.scale as f64);
        let smoothing = T::of(self.options.label_smoothing as f64);
        let share = T::one() / T::of(self.targets.len() as f64);
        let target = self.targets.host()[b] as usize;
        let excluded = self.excluded.as_ref().map_or(&[][..], |sets| sets.row(b));
        for (l, &bias) in row.iter_mut().zip(bias) {
            *l = scale * *l + bias;
        }
        let mut picked = (T::one() - smoothing) * row[target];
        let even = smoothing / T::of((row.len() - excluded.len()) as f64);
        if smoothing > T::zero() {
            let all = sum(row) - excluded.iter().map(|&c| row[c as usize]).sum();
            picked += even * all;
        }
        for &c in excluded {
            row[c as usize] = T::neg_infinity();
        }
        let most = max(row);
        for l in row.iter_mut() {
            *l = (*l - most).fast_exp();
        }
        let mass = sum(row);
        // The sum of all but the largest. Where that is the target, this is the loss, and beside its 1 it would be lost.
        let rest = match row[target] == T::one() {
            true => {
                row[target] = T::zero();
                let rest = sum(row);
                row[target] = T::one();
                rest
            }
            false => mass - T::one(),
        };
        let inverse = share / mass;
        for p in row.iter_mut() {
            *p = *p * inverse - even * share;
        }
        for &c in excluded {
            row[c as usize] = T::zero();
        }
        row[target] -= (T::one() - smoothing) * share;
        most.f64() - picked.f64() + rest.f64().ln_1p()
    }

    fn forward_gpu(&self, gpu: &Gpu, x: &[&Tensor], saved: &mut UnitGradients) -> Result<Tensor> {
        let (rows, d, courses) = (x[0].rows(), x[0].cols(), self.courses);
        let (items, bias) = (x[1], x[2]);
        let block = block_rows(self.most_logits, courses);
        let mut losses = items.empty_like(rows, 1)?;
        let copy = |to: &mut Tensor, from: &Tensor, at: [usize; 2], n: usize| match n {
            0 => Ok(()),
            _ => launch!(gpu, kernels::SOFTMAX_LOSS_COPY, Grid::cover(n, 256);
                to, from, at[0] as u64, at[1] as u64, n as u64),
        };
        for first in (0..rows).step_by(block) {
            let count = block.min(rows - first);
            let whole = count == rows;
            let mut part = x[0].clone();
            if !whole {
                part = x[0].empty_like(count, d)?;
                copy(&mut part, x[0], [0, first * d], count * d)?;
            }
            let mut logits = items.empty_like(count, courses)?;
            dense::matmul(&part, Trans::No, items, Trans::Yes, 0.0, &mut logits)?;
            let excluded = self.excluded.as_ref();
            let (offsets, ids) = (excluded.map(|sets| &sets.offsets), excluded.map(|sets| &sets.ids));
            let SoftmaxOptions { scale, label_smoothing } = self.options;
            launch!(gpu, kernels::SOFTMAX_LOSS_ROWS, Grid::new(count.min(1 << 20) as u32, 256);
                &mut logits, &mut losses, bias, &self.targets, offsets, ids, first, count, courses,
                1.0 / rows as f32, scale, label_smoothing)?;
            if whole {
                dense::matmul(&logits, Trans::No, items, Trans::No, 0.0, &mut saved.du)?;
            } else {
                dense::matmul(&logits, Trans::No, items, Trans::No, 0.0, &mut part)?;
                copy(&mut saved.du, &part, [first * d, 0], count * d)?;
                // The product above has overwritten the block of u.
                copy(&mut part, x[0], [0, first * d], count * d)?;
            }
            dense::matmul(&logits, Trans::Yes, &part, Trans::No, 1.0, &mut saved.ditems)?;
            dense::add_column_sums(&logits, &mut saved.dbias)?;
        }
        mean(&losses)
    }
}

/// Rows of logits that become gradients, from row `first` of the batch.
struct LogitRows<'a, T> {
    op: &'a SoftmaxLoss,
    first: usize,
    bias: &'a [T],
    logits: &'a mut [T],
    dbias: &'a mut [T],
    loss: &'a mut f64,
}

impl<T: Real> SimdWork for LogitRows<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        for (b, row) in self.logits.chunks_exact_mut(self.op.courses).enumerate() {
            *self.loss += self.op.row(self.first + b, self.bias, row);
            axpy(T::one(), row, self.dbias);
        }
    }
}

/// The largest value, by eight running maxima.
#[inline(always)]
fn max<T: Real>(x: &[T]) -> T {
    by_lanes(x, T::neg_infinity(), |m, x| if x > m { x } else { m })
}

/// The sum, by eight running sums.
#[inline(always)]
fn sum<T: Real>(x: &[T]) -> T {
    by_lanes(x, T::zero(), |sum, x| sum + x)
}

/// `f` over the values: over eight running results, over these, and over what is left of the values.
#[inline(always)]
fn by_lanes<T: Real>(x: &[T], start: T, f: impl Fn(T, T) -> T) -> T {
    let (eights, rest) = x.as_chunks::<8>();
    let mut lanes = [start; 8];
    for x in eights {
        for i in 0..8 {
            lanes[i] = f(lanes[i], x[i]);
        }
    }
    f(lanes.into_iter().fold(start, &f), rest.iter().copied().fold(start, &f))
}

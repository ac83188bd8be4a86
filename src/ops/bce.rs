//! Binary cross-entropy with logits, per task: the terms of formulas (15) and (16).

use base::parallel::prelude::*;

use super::launch::{POINTERS, launch, pointers};
use super::loss::lane_sum;
use super::{check, check_shape, saved};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::simd::{SimdWork, simd};
use engine::{Backward, Gpu, Op, Real, Tensor, parallel};

/// loss_k = sum_b w (p_k y softplus(-z) + (1 - y) softplus(z)) / sum_b w, with w the mask.
///
/// Inputs logits z (B, K), labels y (B, K) in [0, 1], and optionally a mask (B, K), 1 where a label counts and 0 where
/// it does not; output (1, K). Or the logits in several tensors of equal width, which make K columns together: as many
/// outputs, and a tensor whose losses have no gradient costs nothing in the backward pass. Labels and mask are constants:
/// they get no gradient. A task whose mask is all zero has loss 0.
///
/// One pass computes the losses and their gradients; the backward pass only scales.
#[derive(Clone, Debug)]
pub struct BceLoss {
    parts: usize,
    /// Weight p_k of the positives of each task; empty means 1 for all.
    pos_weight: Vec<f32>,
    saved: Option<Slopes>,
}

#[derive(Clone, Debug)]
struct Slopes {
    /// 1 / sum_b w, (1, K)
    inverse: Tensor,
    /// d (loss_k sum_b w) / dz of each tensor of logits.
    slopes: Vec<Tensor>,
}

/// Rows of one partial sum (`CHUNK` of bce.cu).
const CHUNK: usize = 1024;

impl Default for BceLoss {
    fn default() -> Self {
        BceLoss::new()
    }
}

/// Losses, weights and slopes of up to CHUNK rows.
struct BceRows<'a, T> {
    z: &'a [T],
    y: &'a [T],
    mask: Option<&'a [T]>,
    slope: &'a mut [T],
    /// Columns of the logits here, the first of them among all, and all.
    cols: usize,
    first: usize,
    tasks: usize,
    pos_weight: &'a [f32],
    /// Loss and weight of each column here.
    sums: &'a mut [(f64, f64)],
}

/// A column of a row-major matrix.
#[inline(always)]
fn column<T: Real>(x: &[T], col: usize, cols: usize, to: &mut [T]) {
    to.iter_mut().zip(x.chunks_exact(cols)).for_each(|(to, row)| *to = row[col]);
}

impl<T: Real> SimdWork for BceRows<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let (rows, one) = (self.z.len() / self.cols, T::one());
        let mut buffers = [[T::zero(); CHUNK]; 3];
        let [z, y, w] = &mut buffers;
        let (z, y, w) = (&mut z[..rows], &mut y[..rows], &mut w[..rows]);
        for col in 0..self.cols {
            let task = self.first + col;
            let p = T::of(self.pos_weight.get(task).map_or(1.0, |&p| p as f64));
            column(self.z, col, self.cols, z);
            column(self.y, task, self.tasks, y);
            match self.mask {
                Some(mask) => column(mask, task, self.tasks, w),
                None => w.fill(one),
            }
            let weight = lane_sum(w);
            // z becomes the slope and y the loss.
            for ((z, y), &w) in z.iter_mut().zip(y.iter_mut()).zip(w.iter()) {
                let e = (-z.abs()).fast_exp();
                let (tail, large) = (e.fast_ln_1p(), one / (one + e));
                let small = e * large;
                // softplus(-z) is not softplus(z) - z, which takes a small loss from two large numbers.
                let (negative, positive) = (z.max(T::zero()) + tail, (-*z).max(T::zero()) + tail);
                let (up, down) = if *z >= T::zero() { (large, small) } else { (small, large) };
                let (pos, neg) = (p * *y, one - *y);
                *y = w * (pos * positive + neg * negative);
                *z = w * (neg * up - pos * down);
            }
            self.sums[col] = (lane_sum(y), weight);
            self.slope.chunks_exact_mut(self.cols).zip(z.iter()).for_each(|(slope, &z)| slope[col] = z);
        }
    }
}

/// The inputs by their meaning.
struct BceInputs<'a> {
    z: &'a [&'a Tensor],
    y: &'a Tensor,
    mask: Option<&'a Tensor>,
    rows: usize,
    /// Columns of each tensor of logits, and of all together.
    cols: usize,
    tasks: usize,
}

impl BceLoss {
    pub fn new() -> BceLoss {
        BceLoss { parts: 1, pos_weight: vec![], saved: None }
    }

    /// Logits in `parts` tensors.
    pub fn of_parts(parts: usize) -> BceLoss {
        BceLoss { parts, ..BceLoss::new() }
    }

    /// One weight per task.
    pub fn with_pos_weight(pos_weight: Vec<f32>) -> BceLoss {
        BceLoss { pos_weight, ..BceLoss::new() }
    }

    fn inputs<'a>(&self, x: &'a [&'a Tensor]) -> Result<BceInputs<'a>> {
        let n = self.parts;
        let fits = n > 0 && matches!(x.len().checked_sub(n), Some(1 | 2));
        let want = || format!("{n} tensors of logits, labels and perhaps a mask");
        check(fits, "bce", want, || format!("{}", x.len()))?;
        let (z, y, mask) = (&x[..n], x[n], x.get(n + 1).copied());
        let (rows, cols) = z[0].shape();
        let (tasks, p) = (n * cols, self.pos_weight.len());
        for other in &z[1..] {
            check_shape("bce", "logits", other, rows, cols)?;
        }
        check_shape("bce", "labels", y, rows, tasks)?;
        check(p == 0 || p == tasks, "bce", || format!("{tasks} positive weights"), || format!("{p}"))?;
        if let Some(mask) = mask {
            check_shape("bce", "mask", mask, rows, tasks)?;
        }
        Ok(BceInputs { z, y, mask, rows, cols, tasks })
    }

    fn run<T: Real>(&self, x: &BceInputs, loss: &mut [Tensor], inverse: &mut [T], slopes: &mut [Tensor]) {
        let BceInputs { z, y, mask, cols, tasks, .. } = *x;
        let (y, mask) = (y.host::<T>(), mask.map(Tensor::host::<T>));
        for (part, ((z, slope), loss)) in z.iter().zip(slopes).zip(loss).enumerate() {
            let (z, first) = (z.host::<T>(), part * cols);
            let chunk = |(i, slope): (usize, &mut [T])| {
                let (at, rows) = (i * CHUNK, slope.len() / cols);
                let labels = at * tasks..(at + rows) * tasks;
                let mut sums = vec![(0.0, 0.0); cols];
                simd(BceRows {
                    z: &z[at * cols..][..slope.len()],
                    y: &y[labels.clone()],
                    mask: mask.map(|mask| &mask[labels]),
                    slope,
                    cols,
                    first,
                    tasks,
                    pos_weight: &self.pos_weight,
                    sums: &mut sums,
                });
                sums
            };
            let parts = slope.host_mut::<T>().par_chunks_mut(CHUNK * cols).enumerate();
            let chunks: Vec<Vec<(f64, f64)>> = parts.map(chunk).collect();
            let loss = loss.host_mut::<T>();
            for col in 0..cols {
                let (sum, weight) = chunks.iter().fold((0.0, 0.0), |(s, w), c| (s + c[col].0, w + c[col].1));
                let by = if weight > 0.0 { 1.0 / weight } else { 0.0 };
                (loss[col], inverse[first + col]) = (T::of(sum * by), T::of(by));
            }
        }
    }

    fn run_gpu(
        &self,
        gpu: &Gpu,
        x: &BceInputs,
        loss: &mut [Tensor],
        inverse: &mut Tensor,
        slopes: &mut [Tensor],
    ) -> Result<()> {
        let BceInputs { z, y, mask, rows, cols, tasks } = *x;
        let pos_weight = match self.pos_weight.is_empty() {
            true => None,
            false => Some(Tensor::new(&y.device(), 1, tasks, &self.pos_weight)?),
        };
        let chunks = rows.div_ceil(CHUNK);
        let mut partial = y.empty_like(chunks * tasks, 2)?;
        for first in (0..tasks).step_by(POINTERS) {
            let count = POINTERS.min(tasks - first);
            let z = columns(z.iter().map(|z| Some(z.address())), cols, first);
            let slope = columns(slopes.iter_mut().map(|s| Some(s.address_mut())), cols, first);
            let grid = Grid { blocks: [chunks as u32, count as u32, 1], threads: [256, 1, 1], shared: 0 };
            launch!(gpu, kernels::BCE_FWD, grid;
                &mut partial, slope, z, y, mask, pos_weight.as_ref(), rows, cols, tasks, first)?;
            let loss = columns(loss.iter_mut().map(|l| Some(l.address_mut())), cols, first);
            let grid = Grid::new(count as u32, 256);
            launch!(gpu, kernels::BCE_MERGE, grid; loss, &mut *inverse, &partial, chunks, tasks, first)?;
        }
        Ok(())
    }

    fn run_gpu_backward(gpu: &Gpu, kept: &Slopes, dy: &[Option<&Tensor>], dx: &mut [Option<Tensor>]) -> Result<()> {
        let Slopes { inverse, slopes } = kept;
        let (rows, cols) = slopes[0].shape();
        let tasks = inverse.cols();
        for first in (0..tasks).step_by(POINTERS) {
            let count = POINTERS.min(tasks - first);
            let dz = dx.iter_mut().zip(dy).map(|(dx, dy)| dx.as_mut().filter(|_| dy.is_some()));
            let dz = columns(dz.map(|dz| dz.map(Tensor::address_mut)), cols, first);
            let dloss = columns(dy.iter().map(|dy| dy.map(Tensor::address)), cols, first);
            let slope = columns(slopes.iter().map(|s| Some(s.address())), cols, first);
            let (n, grid) = ((rows * count) as u64, Grid::cover(rows * count, 256));
            launch!(gpu, kernels::BCE_BWD, grid; dz, dloss, inverse, slope, n, cols, first, count)?;
        }
        Ok(())
    }
}

/// Addresses of columns `first ..` of tensors with `cols` columns each, 0 where there is none.
fn columns(tensors: impl Iterator<Item = Option<u64>>, cols: usize, first: usize) -> [u64; POINTERS] {
    let all = tensors.flat_map(|base| (0..cols as u64).map(move |col| base.map_or(0, |base| base + 4 * col)));
    pointers(all.skip(first))
}

impl Op for BceLoss {
    fn name(&self) -> &'static str {
        "bce"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let x = self.inputs(x)?;
        let zeros = |cols| Tensor::zeros(&x.y.device(), x.y.dtype(), 1, cols);
        let mut loss = x.z.iter().map(|_| zeros(x.cols)).collect::<Result<Vec<Tensor>>>()?;
        let mut inverse = zeros(x.tasks)?;
        let mut slopes = x.z.iter().map(|z| z.empty_like(x.rows, x.cols)).collect::<Result<Vec<Tensor>>>()?;
        if x.rows > 0 && x.cols > 0 {
            match x.y.gpu() {
                Some(gpu) => self.run_gpu(gpu, &x, &mut loss, &mut inverse, &mut slopes)?,
                None => dispatch_float!(x.y.dtype(), T => {
                    self.run::<T>(&x, &mut loss, inverse.host_mut(), &mut slopes);
                }),
            }
        }
        self.saved = Some(Slopes { inverse, slopes });
        Ok(loss)
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let kept = saved("bce", &self.saved)?;
        if x[0].is_empty() {
            return Ok(());
        }
        let dx = &mut dx[..self.parts];
        if let Some(gpu) = x[0].gpu() {
            return Self::run_gpu_backward(gpu, kept, dy, dx);
        }
        dispatch_float!(x[0].dtype(), T => {
            let cols = x[0].cols();
            for (part, (dz, dloss)) in dx.iter_mut().zip(dy).enumerate() {
                let (Some(dz), Some(dloss)) = (dz, dloss) else { continue };
                let inverse = &kept.inverse.host::<T>()[part * cols..][..cols];
                let by: Vec<T> = dloss.host::<T>().iter().zip(inverse).map(|(&d, &i)| d * i).collect();
                let slopes = kept.slopes[part].host::<T>();
                parallel::for_rows(dz.host_mut::<T>(), cols, |row, dz| {
                    let slopes = &slopes[row * cols..][..dz.len()];
                    if let [by] = by[..] {
                        return parallel::axpy(by, slopes, dz);
                    }
                    for (dz, slopes) in dz.chunks_exact_mut(cols).zip(slopes.chunks_exact(cols)) {
                        dz.iter_mut().zip(slopes).zip(&by).for_each(|((dz, &slope), &by)| *dz += by * slope);
                    }
                });
            }
        });
        Ok(())
    }
}

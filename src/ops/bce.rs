//! Binary cross-entropy with logits, per task: the terms of formulas (15) and (16).

use super::{check, check_shape, saved};
use crate::Result;
use crate::engine::device::{Grid, kernels};
use crate::engine::{Op, Real, Tensor, parallel};
use crate::with_real;

/// loss_k = sum_b w (p_k y softplus(-z) + (1 - y) softplus(z)) / sum_b w, with w the mask.
///
/// Inputs logits z (B, K), labels y (B, K) in [0, 1], and optionally a mask (B, K), 1 where a label counts and 0 where
/// it does not; output (1, K). Labels and mask are constants: they get no gradient. A task whose mask is all zero has
/// loss 0.
#[derive(Clone, Debug, Default)]
pub struct BceLoss {
    /// Weight p_k of the positives of each task; empty means 1 for all.
    pos_weight: Vec<f32>,
    saved: Option<Saved>,
}

#[derive(Clone, Debug)]
struct Saved {
    /// 1 / sum_b w, (1, K)
    inverse: Tensor,
    /// (1, K), where it is not 1.
    pos_weight: Option<Tensor>,
}

/// Rows of one partial sum (`CHUNK` of bce.cu).
const CHUNK: usize = 1024;

fn zeros(beside: &Tensor, tasks: usize) -> Result<Tensor> {
    Tensor::zeros(&beside.device(), beside.dtype(), 1, tasks)
}

/// Loss and weight of each task over a range of rows.
fn partial<T: Real>(z: &[T], y: &[T], mask: Option<&[T]>, p: &[f32], tasks: usize) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0); tasks];
    for (at, (&z, &y)) in z.iter().zip(y).enumerate() {
        let (loss, weight) = &mut sums[at % tasks];
        let w = mask.map_or(1.0, |mask| mask[at].f64());
        let p = T::of(p.get(at % tasks).map_or(1.0, |&p| p as f64));
        *loss += w * (p * y * (-z).softplus() + (T::one() - y) * z.softplus()).f64();
        *weight += w;
    }
    sums
}

impl BceLoss {
    pub fn new() -> BceLoss {
        BceLoss::default()
    }

    /// One weight per task.
    pub fn with_pos_weight(pos_weight: Vec<f32>) -> BceLoss {
        BceLoss { pos_weight, saved: None }
    }

    fn run<T: Real>(
        &self,
        z: &Tensor,
        y: &Tensor,
        mask: Option<&Tensor>,
        loss: &mut Tensor,
        inverse: &mut Tensor,
    ) {
        let (rows, tasks) = z.shape();
        let (z, y, mask) = (z.host::<T>(), y.host::<T>(), mask.map(Tensor::host::<T>));
        let chunks = parallel::map_chunks(rows, CHUNK, |range| {
            let range = range.start * tasks..range.end * tasks;
            partial(&z[range.clone()], &y[range.clone()], mask.map(|m| &m[range]), &self.pos_weight, tasks)
        });
        let (loss, inverse) = (loss.host_mut::<T>(), inverse.host_mut::<T>());
        for k in 0..tasks {
            let (sum, weight) = chunks.iter().fold((0.0, 0.0), |(s, w), c| (s + c[k].0, w + c[k].1));
            let by = if weight > 0.0 { 1.0 / weight } else { 0.0 };
            (loss[k], inverse[k]) = (T::of(sum * by), T::of(by));
        }
    }

    fn run_backward<T: Real>(&self, x: &[&Tensor], dloss: &[T], inverse: &[T], dz: &mut [T]) {
        let (z, y, mask) = (x[0].host::<T>(), x[1].host::<T>(), x.get(2).map(|m| m.host::<T>()));
        let tasks = dloss.len();
        parallel::for_rows(dz, tasks, |row, dz| {
            for (i, dz) in dz.iter_mut().enumerate() {
                let (at, task) = (row * tasks + i, i % tasks);
                let p = T::of(self.pos_weight.get(task).map_or(1.0, |&p| p as f64));
                let w = dloss[task] * inverse[task] * mask.map_or(T::one(), |mask| mask[at]);
                *dz += w * ((T::one() - y[at]) * z[at].sigmoid() - p * y[at] * (-z[at]).sigmoid());
            }
        });
    }
}

impl Op for BceLoss {
    fn name(&self) -> &'static str {
        "bce"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (z, y, mask) = match x {
            [z, y] => (*z, *y, None),
            [z, y, mask] => (*z, *y, Some(*mask)),
            _ => {
                return check(false, "bce", || "2 or 3 inputs".into(), || format!("{}", x.len()))
                    .map(|_| vec![]);
            }
        };
        let (rows, tasks) = z.shape();
        let p = self.pos_weight.len();
        check_shape("bce", "labels", y, rows, tasks)?;
        check(p == 0 || p == tasks, "bce", || format!("{tasks} positive weights"), || format!("{p}"))?;
        if let Some(mask) = mask {
            check_shape("bce", "mask", mask, rows, tasks)?;
        }
        let pos_weight = match p {
            0 => None,
            _ if z.gpu().is_none() => None,
            _ => Some(Tensor::new(&z.device(), 1, tasks, &self.pos_weight)?),
        };
        let (mut loss, mut inverse) = (zeros(z, tasks)?, zeros(z, tasks)?);
        if let Some(gpu) = z.gpu().filter(|_| !z.is_empty()) {
            let chunks = rows.div_ceil(CHUNK);
            let mut partial = z.empty_like(chunks * tasks, 2)?;
            let grid = Grid { blocks: [chunks as u32, tasks as u32, 1], threads: [256, 1, 1], shared: 0 };
            gpu.launch(kernels::BCE_FWD, grid)
                .tensor_mut(&mut partial)
                .tensor(z)
                .tensor(y)
                .optional(mask)
                .optional(pos_weight.as_ref())
                .count(rows)
                .count(tasks)
                .run()?;
            gpu.launch(kernels::BCE_MERGE, Grid::new(tasks as u32, 256))
                .tensor_mut(&mut loss)
                .tensor_mut(&mut inverse)
                .tensor(&partial)
                .count(chunks)
                .count(tasks)
                .run()?;
        } else if z.gpu().is_none() {
            with_real!(z.dtype(), T => self.run::<T>(z, y, mask, &mut loss, &mut inverse));
        }
        self.saved = Some(Saved { inverse, pos_weight });
        Ok(vec![loss])
    }

    fn backward(
        &self,
        x: &[&Tensor],
        _: &[&Tensor],
        dy: &[Option<&Tensor>],
        dx: &mut [Option<Tensor>],
    ) -> Result<()> {
        let (Some(dloss), Some(dz)) = (dy[0], &mut dx[0]) else { return Ok(()) };
        let (z, Saved { inverse, pos_weight }) = (x[0], saved("bce", &self.saved)?);
        if z.is_empty() {
            return Ok(());
        }
        if let Some(gpu) = z.gpu() {
            return gpu
                .launch(kernels::BCE_BWD, Grid::cover(z.len(), 256))
                .tensor_mut(dz)
                .tensor(dloss)
                .tensor(inverse)
                .tensor(z)
                .tensor(x[1])
                .optional(x.get(2).copied())
                .optional(pos_weight.as_ref())
                .value(z.len() as u64)
                .count(z.cols())
                .run();
        }
        with_real!(z.dtype(), T => self.run_backward::<T>(x, dloss.host(), inverse.host(), dz.host_mut()));
        Ok(())
    }
}

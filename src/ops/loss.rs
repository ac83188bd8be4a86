//! What the losses share: means and sums, and gradients that wait for their upstream.

use super::launch::launch;
use base::Result;
use engine::device::{Grid, kernels};
use engine::{Real, Tensor};

/// Values of one partial sum on a GPU.
const CHUNK: usize = 1024;

/// 0 as (1, 1), where `like` lives: the loss of an empty batch.
pub(super) fn zero(like: &Tensor) -> Result<Tensor> {
    Tensor::zeros(&like.device(), like.dtype(), 1, 1)
}

/// The mean of the values of a tensor on a GPU, as (1, 1); 0 of none.
pub(super) fn mean(values: &Tensor) -> Result<Tensor> {
    let (count, chunks) = (values.len(), values.len().div_ceil(CHUNK));
    let Some(gpu) = values.gpu().filter(|_| count > 0) else { return zero(values) };
    let (mut out, mut partial) = (values.empty_like(1, 1)?, values.empty_like(chunks, 1)?);
    let (n, grid) = (count as u64, Grid::cover(chunks * 256, 256));
    launch!(gpu, kernels::LOSS_MEAN_CHUNKS, grid; &mut partial, values, n, CHUNK, chunks)?;
    launch!(gpu, kernels::LOSS_MEAN_MERGE, Grid::new(1, 32); &mut out, &partial, chunks, n)?;
    Ok(out)
}

/// The sum in f64, by eight running sums.
#[inline(always)]
pub(super) fn lane_sum<T: Real>(values: &[T]) -> f64 {
    lane_sum_of(values, |x| x)
}

/// The sum in f64 of `f` of the values, by eight running sums.
#[inline(always)]
pub(super) fn lane_sum_of<T: Real>(values: &[T], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    for eight in values.chunks(8) {
        lanes.iter_mut().zip(eight).for_each(|(lane, x)| *lane += f(x.f64()));
    }
    lanes.iter().sum()
}

/// out += factor * upstream * unit, with the upstream (1, 1) where the tensors live.
pub(super) fn add_upstream(out: &mut Tensor, unit: &Tensor, upstream: &Tensor, factor: f32) -> Result<()> {
    let Some(gpu) = unit.gpu() else {
        return out.add_scaled(upstream.scalar()? * factor as f64, unit);
    };
    if unit.is_empty() {
        return Ok(());
    }
    let (n, grid) = (unit.len() as u64, Grid::cover(unit.len(), 256));
    launch!(gpu, kernels::LOSS_ADD_UPSTREAM, grid; out, unit, upstream, factor, n)
}

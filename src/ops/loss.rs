//! What the losses share on a GPU: the mean of per-row values, and gradients that wait for their upstream.

use base::Result;
use engine::Tensor;
use engine::device::{Grid, kernels};

/// Values of one partial sum.
const CHUNK: usize = 1024;

/// The mean of the values of a tensor on a GPU, as (1, 1); 0 of none.
pub(super) fn mean(values: &Tensor) -> Result<Tensor> {
    let (count, chunks) = (values.len(), values.len().div_ceil(CHUNK));
    let mut out = values.empty_like(1, 1)?;
    let Some(gpu) = values.gpu().filter(|_| count > 0) else {
        out.fill_zero()?;
        return Ok(out);
    };
    let mut partial = values.empty_like(chunks, 1)?;
    gpu.launch(kernels::LOSS_MEAN_CHUNKS, Grid::cover(chunks * 256, 256))
        .tensor_mut(&mut partial)
        .tensor(values)
        .value(count as u64)
        .count(CHUNK)
        .count(chunks)
        .run()?;
    gpu.launch(kernels::LOSS_MEAN_MERGE, Grid::new(1, 32))
        .tensor_mut(&mut out)
        .tensor(&partial)
        .count(chunks)
        .value(count as u64)
        .run()?;
    Ok(out)
}

/// out += factor * upstream * unit, with the upstream (1, 1) where the tensors live.
pub(super) fn add_upstream(out: &mut Tensor, unit: &Tensor, upstream: &Tensor, factor: f32) -> Result<()> {
    let Some(gpu) = unit.gpu() else {
        return out.add_scaled(upstream.scalar()? * factor as f64, unit);
    };
    if unit.is_empty() {
        return Ok(());
    }
    gpu.launch(kernels::LOSS_ADD_UPSTREAM, Grid::cover(unit.len(), 256))
        .tensor_mut(out)
        .tensor(unit)
        .tensor(upstream)
        .value(factor)
        .value(unit.len() as u64)
        .run()
}

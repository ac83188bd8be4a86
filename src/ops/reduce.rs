//! Sums over all elements of a matrix and over its rows, and the penalties that are made of them.

use super::check;
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::{Backward, Op, Real, Tensor, parallel};

/// What is summed (`enum Summand` of reduce.cu).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Summand {
    Value,
    Absolute,
    Square,
}

/// Elements of one partial sum (`SUM_CHUNK` of reduce.cu).
const CHUNK: usize = 4096;

/// scale * sum of the summands of `x`, or its square root, as 1 x 1.
pub(crate) fn reduce(x: &Tensor, summand: Summand, scale: f64, root: bool) -> Result<Tensor> {
    let mut out = Tensor::zeros(&x.device(), x.dtype(), 1, 1)?;
    if x.is_empty() {
        return Ok(out);
    }
    if let Some(gpu) = x.gpu() {
        let chunks = x.len().div_ceil(CHUNK);
        let mut partial = x.empty_like(chunks, 1)?;
        gpu.launch(kernels::REDUCE_FWD, Grid::new(chunks as u32, 256))
            .tensor_mut(&mut partial)
            .tensor(x)
            .value(x.len() as u64)
            .value(summand as i32)
            .run()?;
        gpu.launch(kernels::REDUCE_MERGE, Grid::new(1, 256))
            .tensor_mut(&mut out)
            .tensor(&partial)
            .count(chunks)
            .value(scale as f32)
            .value(root as i32)
            .run()?;
        return Ok(out);
    }
    dispatch_float!(x.dtype(), T => {
        let x = x.host::<T>();
        let sum = parallel::sum_chunks(x.len(), CHUNK, |range| {
            let mut lanes = [0f64; 8];
            for eight in x[range].chunks(8) {
                for (lane, x) in lanes.iter_mut().zip(eight) {
                    let x = x.f64();
                    *lane += match summand {
                        Summand::Value => x,
                        Summand::Absolute => x.abs(),
                        Summand::Square => x * x,
                    };
                }
            }
            lanes.iter().sum::<f64>()
        });
        out.host_mut::<T>()[0] = T::of(if root { (scale * sum).sqrt() } else { scale * sum });
    });
    Ok(out)
}

/// dx += factor dy sign(x) (`Absolute`) or factor dy x (`Square`).
fn add_penalty_gradient(
    dx: &mut Tensor,
    x: &Tensor,
    dy: &Tensor,
    factor: f64,
    summand: Summand,
) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    if let Some(gpu) = x.gpu() {
        return gpu
            .launch(kernels::PENALTY_BWD, Grid::cover(x.len(), 256))
            .tensor_mut(dx)
            .tensor(x)
            .tensor(dy)
            .value(x.len() as u64)
            .value(factor as f32)
            .value(summand as i32)
            .run();
    }
    dispatch_float!(x.dtype(), T => {
        let (x, scale) = (x.host::<T>(), T::of(factor) * dy.host::<T>()[0]);
        parallel::for_chunks(dx.host_mut::<T>(), |at, dx| {
            for (dx, &x) in dx.iter_mut().zip(&x[at..]) {
                let sign = if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 };
                *dx += scale * if summand == Summand::Absolute { sign } else { x };
            }
        });
    });
    Ok(())
}

/// Sums `term` over the inputs.
fn sum_of(op: &'static str, x: &[&Tensor], term: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    check(!x.is_empty(), op, || "at least one input".into(), || "none".into())?;
    let mut sum = term(x[0])?;
    for x in &x[1..] {
        sum.add_scaled(1.0, &term(x)?)?;
    }
    Ok(vec![sum])
}

/// lambda * sum of |w| over all elements of all inputs (any shapes); output (1, 1). For weights.
#[derive(Clone, Copy, Debug)]
pub struct L1 {
    pub lambda: f64,
}

impl Op for L1 {
    fn name(&self) -> &'static str {
        "l1"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        sum_of("l1", x, |x| reduce(x, Summand::Absolute, self.lambda, false))
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let Some(dy) = dy[0] else { return Ok(()) };
        for (x, dx) in x.iter().zip(dx) {
            if let Some(dx) = dx {
                add_penalty_gradient(dx, x, dy, self.lambda, Summand::Absolute)?;
            }
        }
        Ok(())
    }
}

/// lambda / 2 * the mean over rows of |x_b|^2, summed over the inputs (any shapes); output (1, 1). For the vectors of
/// a batch, as the BPR and knowledge-graph losses take it.
#[derive(Clone, Copy, Debug)]
pub struct L2 {
    pub lambda: f64,
}

impl L2 {
    /// lambda / rows
    fn factor(&self, x: &Tensor) -> f64 {
        self.lambda / x.rows().max(1) as f64
    }
}

impl Op for L2 {
    fn name(&self) -> &'static str {
        "l2"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        sum_of("l2", x, |x| reduce(x, Summand::Square, 0.5 * self.factor(x), false))
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let Some(dy) = dy[0] else { return Ok(()) };
        for (x, dx) in x.iter().zip(dx) {
            if let Some(dx) = dx {
                add_penalty_gradient(dx, x, dy, self.factor(x), Summand::Square)?;
            }
        }
        Ok(())
    }
}

/// The sum of each row: input (B, d), output (B, 1).
#[derive(Clone, Copy, Debug)]
pub struct RowSum;

impl Op for RowSum {
    fn name(&self) -> &'static str {
        "row sum"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (rows, cols) = x[0].shape();
        let mut y = Tensor::zeros(&x[0].device(), x[0].dtype(), rows, 1)?;
        if x[0].is_empty() {
            return Ok(vec![y]);
        }
        if let Some(gpu) = x[0].gpu() {
            gpu.launch(kernels::ROW_SUM_FWD, Grid::warps(rows, 256))
                .tensor_mut(&mut y)
                .tensor(x[0])
                .count(rows)
                .count(cols)
                .run()?;
            return Ok(vec![y]);
        }
        dispatch_float!(y.dtype(), T => {
            let x = x[0].host::<T>();
            parallel::for_rows(y.host_mut::<T>(), 1, |row, y| {
                for (r, y) in y.iter_mut().enumerate() {
                    *y = x[(row + r) * cols..][..cols].iter().sum();
                }
            });
        });
        Ok(vec![y])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), Some(dx)) = (dy[0], &mut dx[0]) else { return Ok(()) };
        let cols = x[0].cols();
        if x[0].is_empty() {
            return Ok(());
        }
        if let Some(gpu) = dy.gpu() {
            return gpu
                .launch(kernels::ROW_SUM_BWD, Grid::cover(x[0].len(), 256))
                .tensor_mut(dx)
                .tensor(dy)
                .value(x[0].len() as u64)
                .count(cols)
                .run();
        }
        dispatch_float!(dy.dtype(), T => {
            let dy = dy.host::<T>();
            parallel::for_rows(dx.host_mut::<T>(), cols, |row, dx| {
                for (r, dx) in dx.chunks_exact_mut(cols).enumerate() {
                    dx.iter_mut().for_each(|dx| *dx += dy[row + r]);
                }
            });
        });
        Ok(())
    }
}

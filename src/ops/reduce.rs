//! Sums over all elements of a matrix and over its rows, and the penalties that are made of them.

use super::inputs;
use super::launch::launch;
use super::loss::lane_sum_of;
use base::{Error, Result};
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
        let (n, code) = (x.len() as u64, summand as i32);
        launch!(gpu, kernels::REDUCE_FWD, Grid::new(chunks as u32, 256); &mut partial, x, n, code)?;
        launch!(gpu, kernels::REDUCE_MERGE, Grid::new(1, 256);
            &mut out, &partial, chunks, scale as f32, root as i32)?;
        return Ok(out);
    }
    dispatch_float!(x.dtype(), T => {
        let x = x.host::<T>();
        let sum = parallel::sum_chunks(x.len(), CHUNK, |range| match summand {
            Summand::Value => lane_sum_of(&x[range], |x| x),
            Summand::Absolute => lane_sum_of(&x[range], f64::abs),
            Summand::Square => lane_sum_of(&x[range], |x| x * x),
        });
        out.host_mut::<T>()[0] = T::of(if root { (scale * sum).sqrt() } else { scale * sum });
    });
    Ok(out)
}

/// The sum over the inputs of scale(x) times the sum of summands of x.
fn penalty(op: &'static str, x: &[&Tensor], summand: Summand, scale: impl Fn(&Tensor) -> f64) -> Result<Vec<Tensor>> {
    let &[first, ref rest @ ..] = x else { return Err(Error::shape(op, "at least one input", "none")) };
    let mut sum = reduce(first, summand, scale(first), false)?;
    for &x in rest {
        sum.add_scaled(1.0, &reduce(x, summand, scale(x), false)?)?;
    }
    Ok(vec![sum])
}

/// dx += factor(x) dy sign(x) (`Absolute`) or factor(x) dy x (`Square`) for each input.
fn penalty_backward(
    Backward { x, dy, dx, .. }: Backward,
    summand: Summand,
    factor: impl Fn(&Tensor) -> f64,
) -> Result<()> {
    let Some(dy) = dy[0] else { return Ok(()) };
    for (&x, dx) in x.iter().zip(dx) {
        let (Some(dx), factor) = (dx.as_mut().filter(|_| !x.is_empty()), factor(x)) else { continue };
        if let Some(gpu) = x.gpu() {
            let (n, grid) = (x.len() as u64, Grid::cover(x.len(), 256));
            launch!(gpu, kernels::PENALTY_BWD, grid; dx, x, dy, n, factor as f32, summand as i32)?;
            continue;
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
    }
    Ok(())
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
        penalty("l1", x, Summand::Absolute, |_| self.lambda)
    }

    fn backward(&self, backward: Backward) -> Result<()> {
        penalty_backward(backward, Summand::Absolute, |_| self.lambda)
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
        penalty("l2", x, Summand::Square, |x| 0.5 * self.factor(x))
    }

    fn backward(&self, backward: Backward) -> Result<()> {
        penalty_backward(backward, Summand::Square, |x| self.factor(x))
    }
}

/// The sum of each row: input (B, d), output (B, 1).
#[derive(Clone, Copy, Debug)]
pub struct RowSum;

impl Op for RowSum {
    fn name(&self) -> &'static str {
        "row_sum"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [x] = inputs("row_sum", "x", x)?;
        let (rows, cols) = x.shape();
        let mut y = Tensor::zeros(&x.device(), x.dtype(), rows, 1)?;
        match x.gpu() {
            _ if x.is_empty() => {}
            Some(gpu) => launch!(gpu, kernels::ROW_SUM_FWD, Grid::warps(rows, 256); &mut y, x, rows, cols)?,
            None => dispatch_float!(y.dtype(), T => {
                let x = x.host::<T>();
                parallel::for_rows(y.host_mut::<T>(), 1, |row, y| {
                    let rows = x[row * cols..].chunks_exact(cols);
                    y.iter_mut().zip(rows).for_each(|(y, x)| *y = x.iter().sum());
                });
            }),
        }
        Ok(vec![y])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), Some(dx)) = (dy[0], &mut dx[0]) else { return Ok(()) };
        let (n, cols) = (x[0].len(), x[0].cols());
        match dy.gpu() {
            _ if n == 0 => {}
            Some(gpu) => {
                launch!(gpu, kernels::ROW_SUM_BWD, Grid::cover(n, 256); dx, dy, n as u64, cols)?;
            }
            None => dispatch_float!(dy.dtype(), T => {
                let dy = dy.host::<T>();
                parallel::for_rows(dx.host_mut::<T>(), cols, |row, dx| {
                    let rows = dx.chunks_exact_mut(cols).zip(&dy[row..]);
                    rows.for_each(|(dx, &dy)| dx.iter_mut().for_each(|dx| *dx += dy));
                });
            }),
        }
        Ok(())
    }
}

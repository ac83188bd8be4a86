//! Rows scaled to unit length, as the concatenation of formula (7) takes them.

use super::saved;
use crate::Result;
use crate::engine::device::{Grid, kernels};
use crate::engine::{Op, Real, Tensor, parallel};
use crate::with_real;

/// y = x / max(|x|, floor), row by row. Input (B, d), output (B, d).
///
/// A zero row has no direction: no gradient goes through it. The slope there, 1 / floor, would drown all others.
#[derive(Clone, Debug)]
pub struct L2Normalize {
    pub floor: f64,
    /// |x| of each row, (B, 1).
    norms: Option<Tensor>,
}

impl L2Normalize {
    pub fn new(floor: f64) -> L2Normalize {
        L2Normalize { floor, norms: None }
    }
}

impl Default for L2Normalize {
    fn default() -> Self {
        L2Normalize::new(1e-12)
    }
}

fn forward<T: Real>(x: &[T], cols: usize, floor: T, y: &mut [T], norms: &mut [T]) {
    parallel::for_rows2((y, cols), (norms, 1), |row, y, norms| {
        for (r, (y, norm)) in y.chunks_exact_mut(cols).zip(norms).enumerate() {
            let x = &x[(row + r) * cols..][..cols];
            *norm = parallel::dot(x, x).sqrt();
            let by = norm.max(floor);
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x / by);
        }
    });
}

/// dx += (dy - y <y, dy>) / |x|; at or below the floor the divisor is constant: dx += dy / floor. Nothing at 0.
fn backward<T: Real>(dy: &[T], y: &[T], norms: &[T], cols: usize, floor: T, dx: &mut [T]) {
    parallel::for_rows(dx, cols, |row, dx| {
        for (r, dx) in dx.chunks_exact_mut(cols).enumerate() {
            let at = (row + r) * cols;
            let (y, dy, norm) = (&y[at..at + cols], &dy[at..at + cols], norms[row + r]);
            if norm == T::zero() {
                continue;
            }
            let inner = if norm > floor { parallel::dot(y, dy) } else { T::zero() };
            let by = norm.max(floor);
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx += (dy - y * inner) / by;
            }
        }
    });
}

impl Op for L2Normalize {
    fn name(&self) -> &'static str {
        "l2 normalize"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let x = x[0];
        let (rows, cols) = x.shape();
        let (mut y, mut norms) = (x.empty_like(rows, cols)?, x.empty_like(rows, 1)?);
        if !x.is_empty() {
            if let Some(gpu) = x.gpu() {
                gpu.launch(kernels::NORMALIZE_FWD, Grid::warps(rows, 256))
                    .tensor_mut(&mut y)
                    .tensor_mut(&mut norms)
                    .tensor(x)
                    .count(rows)
                    .count(cols)
                    .value(self.floor as f32)
                    .run()?;
            } else {
                with_real!(x.dtype(), T => {
                    forward::<T>(x.host(), cols, T::of(self.floor), y.host_mut(), norms.host_mut());
                });
            }
        }
        self.norms = Some(norms);
        Ok(vec![y])
    }

    fn backward(
        &self,
        _: &[&Tensor],
        y: &[&Tensor],
        dy: &[Option<&Tensor>],
        dx: &mut [Option<Tensor>],
    ) -> Result<()> {
        let (Some(dy), Some(dx)) = (dy[0], &mut dx[0]) else { return Ok(()) };
        let (y, norms) = (y[0], saved("l2 normalize", &self.norms)?);
        let (rows, cols) = y.shape();
        if y.is_empty() {
            return Ok(());
        }
        if let Some(gpu) = y.gpu() {
            return gpu
                .launch(kernels::NORMALIZE_BWD, Grid::warps(rows, 256))
                .tensor_mut(dx)
                .tensor(dy)
                .tensor(y)
                .tensor(norms)
                .count(rows)
                .count(cols)
                .value(self.floor as f32)
                .run();
        }
        with_real!(y.dtype(), T => {
            backward::<T>(dy.host(), y.host(), norms.host(), cols, T::of(self.floor), dx.host_mut());
        });
        Ok(())
    }
}

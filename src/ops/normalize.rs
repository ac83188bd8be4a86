//! Rows scaled to unit length, as the concatenation of formula (7) takes them.

use base::parallel::prelude::*;

use super::saved;
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::simd::{self, SimdWork};
use engine::{Backward, Op, Real, Tensor};

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

/// Rows of a task.
const ROWS: usize = 1024;

struct Forward<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    norms: &'a mut [T],
    floor: T,
}

impl<T: Real> SimdWork for Forward<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let cols = self.y.len() / self.norms.len();
        let rows = self.y.chunks_exact_mut(cols).zip(self.x.chunks_exact(cols));
        for ((y, x), norm) in rows.zip(self.norms) {
            *norm = simd::dot::<ISA, T, T>(x, x).sqrt();
            let by = T::one() / norm.max(self.floor);
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * by);
        }
    }
}

/// dx += (dy - y <y, dy>) / |x|; at or below the floor the divisor is constant: dx += dy / floor. Nothing at 0.
/// `fresh`: dx is written instead.
struct BackwardChunk<'a, T> {
    y: &'a [T],
    dy: &'a [T],
    norms: &'a [T],
    dx: &'a mut [T],
    fresh: bool,
    floor: T,
}

impl<T: Real> SimdWork for BackwardChunk<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let cols = self.dx.len() / self.norms.len();
        let rows = self.y.chunks_exact(cols).zip(self.dy.chunks_exact(cols));
        for ((dx, (y, dy)), &norm) in self.dx.chunks_exact_mut(cols).zip(rows).zip(self.norms) {
            if self.fresh {
                dx.fill(T::zero());
            }
            if norm == T::zero() {
                continue;
            }
            let inner = if norm > self.floor { simd::dot::<ISA, T, T>(y, dy) } else { T::zero() };
            let by = T::one() / norm.max(self.floor);
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = simd::fma::<ISA, T>(dy - y * inner, by, *dx);
            }
        }
    }
}

fn forward<T: Real>(x: &[T], cols: usize, floor: T, y: &mut [T], norms: &mut [T]) {
    let chunks = y.par_chunks_mut(ROWS * cols).zip(norms.par_chunks_mut(ROWS));
    chunks.zip(x.par_chunks(ROWS * cols)).for_each(|((y, norms), x)| simd::simd(Forward { x, y, norms, floor }));
}

fn backward<T: Real>((y, dy, norms): (&[T], &[T], &[T]), cols: usize, floor: T, (dx, fresh): (&mut [T], bool)) {
    let rows = y.par_chunks(ROWS * cols).zip(dy.par_chunks(ROWS * cols));
    let chunks = dx.par_chunks_mut(ROWS * cols).zip(rows).zip(norms.par_chunks(ROWS));
    chunks.for_each(|((dx, (y, dy)), norms)| simd::simd(BackwardChunk { y, dy, norms, dx, fresh, floor }));
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
                dispatch_float!(x.dtype(), T => {
                    forward::<T>(x.host(), cols, T::of(self.floor), y.host_mut(), norms.host_mut());
                });
            }
        }
        self.norms = Some(norms);
        Ok(vec![y])
    }

    fn backward(&self, Backward { y, dy, dx, .. }: Backward) -> Result<()> {
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
        dispatch_float!(y.dtype(), T => {
            let given = (y.host(), dy.host(), norms.host());
            backward::<T>(given, cols, T::of(self.floor), dx.host_overwrite());
        });
        Ok(())
    }
}

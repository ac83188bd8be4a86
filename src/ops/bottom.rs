//! The bottom vector of a (learner, course) pair: what the multi-task head sees of the two.

use super::{check_shape, inputs};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::parallel::{RowWork, axpy, for_rows_work};
use engine::{Backward, Op, Real, Tensor};
use serde::{Deserialize, Serialize};

/// Inputs z_u (B, D) and z_i (B, D); output (B, D), (B, 2 D) or (B, 3 D). With the product block a linear read-out
/// can reproduce the match score of formula (8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairFeatures {
    /// [u | i]
    Concat,
    /// u * i
    Hadamard,
    /// [u | i | u * i]
    #[default]
    ConcatHadamard,
}

impl PairFeatures {
    /// Columns of the output for inputs of `d` columns.
    pub fn width(self, d: usize) -> usize {
        match self {
            PairFeatures::Concat => 2 * d,
            PairFeatures::Hadamard => d,
            PairFeatures::ConcatHadamard => 3 * d,
        }
    }

    /// As bottom.cu takes it.
    fn code(self) -> i32 {
        match self {
            PairFeatures::Concat => 0,
            PairFeatures::Hadamard => 1,
            PairFeatures::ConcatHadamard => 2,
        }
    }

    /// First column of [u | i] and of u * i, where there is one.
    fn blocks(self, d: usize) -> (Option<usize>, Option<usize>) {
        match self {
            PairFeatures::Concat => (Some(0), None),
            PairFeatures::Hadamard => (None, Some(0)),
            PairFeatures::ConcatHadamard => (Some(0), Some(2 * d)),
        }
    }
}

/// Rows of the output.
struct Rows<'a, T> {
    kind: PairFeatures,
    u: &'a [T],
    i: &'a [T],
    d: usize,
}

impl<T: Real> RowWork<T> for Rows<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, y: &mut [T]) {
        let (d, width, (plain, product)) = (self.d, self.kind.width(self.d), self.kind.blocks(self.d));
        for (r, y) in y.chunks_exact_mut(width).enumerate() {
            let at = (first + r) * d;
            let (u, i) = (&self.u[at..at + d], &self.i[at..at + d]);
            if let Some(at) = plain {
                y[at..at + d].copy_from_slice(u);
                y[at + d..at + 2 * d].copy_from_slice(i);
            }
            if let Some(at) = product {
                y[at..at + d].iter_mut().zip(u).zip(i).for_each(|((y, &u), &i)| *y = u * i);
            }
        }
    }
}

/// The gradient of one input: block `side` (0 for u, 1 for i) and the product with the `other` input.
struct Gradient<'a, T> {
    kind: PairFeatures,
    dy: &'a [T],
    other: &'a [T],
    side: usize,
    d: usize,
}

impl<T: Real> RowWork<T> for Gradient<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, dx: &mut [T]) {
        let (d, width, (plain, product)) = (self.d, self.kind.width(self.d), self.kind.blocks(self.d));
        for (r, dx) in dx.chunks_exact_mut(d).enumerate() {
            let row = first + r;
            let (dy, other) = (&self.dy[row * width..][..width], &self.other[row * d..][..d]);
            if let Some(at) = plain {
                axpy(T::one(), &dy[at + self.side * d..][..d], dx);
            }
            if let Some(at) = product {
                dx.iter_mut().zip(&dy[at..at + d]).zip(other).for_each(|((dx, &g), &o)| *dx += g * o);
            }
        }
    }
}

impl Op for PairFeatures {
    fn name(&self) -> &'static str {
        "bottom"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [u, i] = inputs("bottom", "z_u, z_i", x)?;
        let (rows, d) = u.shape();
        check_shape("bottom", "z_i", i, rows, d)?;
        let mut y = u.empty_like(rows, self.width(d))?;
        if y.is_empty() {
            return Ok(vec![y]);
        }
        if let Some(gpu) = u.gpu() {
            gpu.launch(kernels::BOTTOM_FWD, Grid::cover(u.len(), 256))
                .tensor_mut(&mut y)
                .tensor(u)
                .tensor(i)
                .value(u.len() as u64)
                .count(d)
                .value(self.code())
                .run()?;
        } else {
            dispatch_float!(u.dtype(), T => {
                let (width, work) = (y.cols(), Rows { kind: *self, u: u.host::<T>(), i: i.host(), d });
                for_rows_work(y.host_mut::<T>(), width, width, &work);
            });
        }
        Ok(vec![y])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), [u, i], [du, di]) = (dy[0], x, dx) else { return Ok(()) };
        let d = u.cols();
        if u.is_empty() {
            return Ok(());
        }
        if let Some(gpu) = u.gpu() {
            return gpu
                .launch(kernels::BOTTOM_BWD, Grid::cover(u.len(), 256))
                .optional_mut(du.as_mut())
                .optional_mut(di.as_mut())
                .tensor(dy)
                .tensor(u)
                .tensor(i)
                .value(u.len() as u64)
                .count(d)
                .value(self.code())
                .run();
        }
        dispatch_float!(u.dtype(), T => {
            let dy = dy.host::<T>();
            for (side, (dx, other)) in [(du, i), (di, u)].into_iter().enumerate() {
                let Some(dx) = dx else { continue };
                let work = Gradient { kind: *self, dy, other: other.host::<T>(), side, d };
                for_rows_work(dx.host_mut::<T>(), d, 3 * d, &work);
            }
        });
        Ok(())
    }
}

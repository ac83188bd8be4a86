//! The features of a (learner, course) pair: the input of the multi-task head.

use super::launch::launch;
use super::{check_shape, inputs};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::{Backward, Op, Real, Tensor, parallel};
use serde::{Deserialize, Serialize};

/// Inputs z_u (B, D) and z_i (B, D); output (B, D), (B, 2 D) or (B, 3 D). With the product block a linear read-out
/// can reproduce the match score of formula (8). pair_features.cu numbers the kinds in this order.
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

    /// First column of [u | i] and of u * i, where there is one.
    fn blocks(self, d: usize) -> (Option<usize>, Option<usize>) {
        match self {
            PairFeatures::Concat => (Some(0), None),
            PairFeatures::Hadamard => (None, Some(0)),
            PairFeatures::ConcatHadamard => (Some(0), Some(2 * d)),
        }
    }
}

/// Rows of y, from row `first`.
#[inline(always)]
fn forward_rows<T: Real>(kind: PairFeatures, (u, i): (&[T], &[T]), d: usize, first: usize, y: &mut [T]) {
    let (concat, product) = kind.blocks(d);
    for (r, y) in y.chunks_exact_mut(kind.width(d)).enumerate() {
        let at = (first + r) * d;
        let (u, i) = (&u[at..at + d], &i[at..at + d]);
        if let Some(at) = concat {
            y[at..at + d].copy_from_slice(u);
            y[at + d..at + 2 * d].copy_from_slice(i);
        }
        if let Some(at) = product {
            y[at..at + d].iter_mut().zip(u).zip(i).for_each(|((y, &u), &i)| *y = u * i);
        }
    }
}

impl PairFeatures {
    /// Adds the gradient of one input (`side` 0 for u, 1 for i), given the `other`.
    fn add_gradient<T: Real>(self, dx: &mut Tensor, side: usize, dy: &[T], other: &[T]) {
        let d = dx.cols();
        let (width, (concat, product)) = (self.width(d), self.blocks(d));
        parallel::for_rows(dx.host_mut::<T>(), d, |first, dx| {
            for (r, dx) in dx.chunks_exact_mut(d).enumerate() {
                let row = first + r;
                let (dy, other) = (&dy[row * width..][..width], &other[row * d..][..d]);
                if let Some(at) = concat {
                    parallel::axpy(T::one(), &dy[at + side * d..][..d], dx);
                }
                if let Some(at) = product {
                    dx.iter_mut().zip(&dy[at..at + d]).zip(other).for_each(|((dx, &g), &o)| *dx += g * o);
                }
            }
        });
    }
}

impl Op for PairFeatures {
    fn name(&self) -> &'static str {
        "pair_features"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [u, i] = inputs("pair_features", "z_u, z_i", x)?;
        let (rows, d) = u.shape();
        check_shape("pair_features", "z_i", i, rows, d)?;
        let mut y = u.empty_like(rows, self.width(d))?;
        let (n, code) = (u.len() as u64, *self as i32);
        match u.gpu() {
            _ if y.is_empty() => {}
            Some(gpu) => launch!(gpu, kernels::PAIR_FEATURES_FWD, Grid::cover(u.len(), 256); &mut y, u, i, n, d, code)?,
            None => dispatch_float!(u.dtype(), T => {
                let (width, x) = (y.cols(), (u.host::<T>(), i.host::<T>()));
                parallel::for_rows(y.host_mut::<T>(), width, |first, y| forward_rows(*self, x, d, first, y));
            }),
        }
        Ok(vec![y])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), [u, i], [du, di]) = (dy[0], x, dx) else { return Ok(()) };
        let (n, d, code, grid) = (u.len() as u64, u.cols(), *self as i32, Grid::cover(u.len(), 256));
        match u.gpu() {
            _ if u.is_empty() => {}
            Some(gpu) => launch!(gpu, kernels::PAIR_FEATURES_BWD, grid; du, di, dy, *u, *i, n, d, code)?,
            None => dispatch_float!(u.dtype(), T => {
                for (side, (dx, other)) in [(du, i), (di, u)].into_iter().enumerate() {
                    if let Some(dx) = dx {
                        self.add_gradient::<T>(dx, side, dy.host(), other.host());
                    }
                }
            }),
        }
        Ok(())
    }
}

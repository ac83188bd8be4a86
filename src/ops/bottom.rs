//! The bottom vector of a (learner, course) pair: what the multi-task head sees of the two.

use super::{check, check_shape};
use crate::Result;
use crate::engine::device::{Grid, kernels};
use crate::engine::{Op, Real, Tensor, parallel};
use crate::with_real;

/// Inputs z_u (B, D) and z_i (B, D); output (B, D), (B, 2 D) or (B, 3 D). With the product block a linear read-out
/// can reproduce the match score of formula (8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bottom {
    /// [u | i]
    Concat,
    /// u * i
    Hadamard,
    /// [u | i | u * i]
    #[default]
    ConcatHadamard,
}

impl Bottom {
    /// Columns of the output for inputs of `d` columns.
    pub fn width(self, d: usize) -> usize {
        match self {
            Bottom::Concat => 2 * d,
            Bottom::Hadamard => d,
            Bottom::ConcatHadamard => 3 * d,
        }
    }

    /// As bottom.cu takes it.
    fn code(self) -> i32 {
        match self {
            Bottom::Concat => 0,
            Bottom::Hadamard => 1,
            Bottom::ConcatHadamard => 2,
        }
    }

    /// First column of [u | i] and of u * i, where there is one.
    fn blocks(self, d: usize) -> (Option<usize>, Option<usize>) {
        match self {
            Bottom::Concat => (Some(0), None),
            Bottom::Hadamard => (None, Some(0)),
            Bottom::ConcatHadamard => (Some(0), Some(2 * d)),
        }
    }

    fn run<T: Real>(self, u: &[T], i: &[T], d: usize, y: &mut [T]) {
        let (width, (plain, product)) = (self.width(d), self.blocks(d));
        parallel::for_rows(y, width, |row, y| {
            for (r, y) in y.chunks_exact_mut(width).enumerate() {
                let (u, i) = (&u[(row + r) * d..][..d], &i[(row + r) * d..][..d]);
                if let Some(at) = plain {
                    y[at..at + d].copy_from_slice(u);
                    y[at + d..at + 2 * d].copy_from_slice(i);
                }
                if let Some(at) = product {
                    y[at..at + d].iter_mut().zip(u).zip(i).for_each(|((y, &u), &i)| *y = u * i);
                }
            }
        });
    }

    /// The gradient of one input: block `side` (0 for u, 1 for i) and the product with the `other` input.
    fn run_backward<T: Real>(self, dy: &[T], other: &[T], side: usize, d: usize, dx: &mut [T]) {
        let (width, (plain, product)) = (self.width(d), self.blocks(d));
        parallel::for_rows(dx, d, |row, dx| {
            for (r, dx) in dx.chunks_exact_mut(d).enumerate() {
                let (dy, other) = (&dy[(row + r) * width..][..width], &other[(row + r) * d..][..d]);
                if let Some(at) = plain {
                    parallel::axpy(T::one(), &dy[at + side * d..][..d], dx);
                }
                if let Some(at) = product {
                    dx.iter_mut().zip(&dy[at..at + d]).zip(other).for_each(|((dx, &g), &o)| *dx += g * o);
                }
            }
        });
    }
}

impl Op for Bottom {
    fn name(&self) -> &'static str {
        "bottom"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [u, i] = x else {
            return check(false, "bottom", || "inputs z_u, z_i".into(), || format!("{}", x.len()))
                .map(|_| vec![]);
        };
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
            with_real!(u.dtype(), T => self.run::<T>(u.host(), i.host(), d, y.host_mut()));
        }
        Ok(vec![y])
    }

    fn backward(
        &self,
        x: &[&Tensor],
        _: &[&Tensor],
        dy: &[Option<&Tensor>],
        dx: &mut [Option<Tensor>],
    ) -> Result<()> {
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
        with_real!(u.dtype(), T => {
            if let Some(du) = du {
                self.run_backward::<T>(dy.host(), i.host(), 0, d, du.host_mut());
            }
            if let Some(di) = di {
                self.run_backward::<T>(dy.host(), u.host(), 1, d, di.host_mut());
            }
        });
        Ok(())
    }
}

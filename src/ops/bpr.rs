//! Bayesian personalised ranking on the inner product (8): a course that was taken above one that was not.

use super::launch::launch;
use super::loss::{mean, zero};
use super::{check_shape, inputs};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::parallel::{self, dot};
use engine::{Backward, Op, Real, Tensor};

/// Rows of one partial sum.
const CHUNK: usize = 256;

/// Inputs u, i, j (B, d): learner, course taken, course not taken. Output
/// mean softplus(-(u . i - u . j)) + l2/2 mean(|u|^2 + |i|^2 + |j|^2), (1, 1); 0 for an empty batch.
#[derive(Clone, Debug)]
pub struct Bpr {
    pub l2: f32,
    /// (B, 1) derivative of the mean with respect to each row's u . i - u . j
    slope: Option<Tensor>,
}

impl Bpr {
    pub fn new(l2: f32) -> Bpr {
        Bpr { l2, slope: None }
    }
}

impl Op for Bpr {
    fn name(&self) -> &'static str {
        "bpr"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [u, i, j] = inputs("bpr", "u, i, j", x)?;
        let (rows, d) = u.shape();
        check_shape("bpr", "i", i, rows, d)?;
        check_shape("bpr", "j", j, rows, d)?;
        let mut slope = u.empty_like(rows, 1)?;
        if rows == 0 {
            return Ok(vec![zero(u)?]);
        }
        let loss = if let Some(gpu) = u.gpu() {
            let mut losses = u.empty_like(rows, 1)?;
            let grid = Grid::warps(rows, 256);
            launch!(gpu, kernels::BPR_FWD, grid; &mut losses, &mut slope, u, i, j, rows, d, self.l2)?;
            mean(&losses)?
        } else {
            let mut loss = u.empty_like(1, 1)?;
            dispatch_float!(u.dtype(), T => {
                let (u, i, j) = (u.host::<T>(), i.host::<T>(), j.host::<T>());
                let row = |b: usize| [u, i, j].map(|x| &x[b * d..(b + 1) * d]);
                let value = parallel::sum_chunks(rows, CHUNK, |range| {
                    let mut sum = 0.0f64;
                    for [u, i, j] in range.map(row) {
                        sum += (dot(u, j) - dot(u, i)).softplus().f64();
                        if self.l2 != 0.0 {
                            sum += 0.5 * self.l2 as f64 * (dot(u, u) + dot(i, i) + dot(j, j)).f64();
                        }
                    }
                    sum
                });
                loss.host_mut::<T>()[0] = T::of(value / rows as f64);
                parallel::for_rows(slope.host_mut::<T>(), 1, |first, slope| {
                    for (b, slope) in slope.iter_mut().enumerate() {
                        let [u, i, j] = row(first + b);
                        *slope = -(dot(u, j) - dot(u, i)).sigmoid() / T::of(rows as f64);
                    }
                });
            });
            loss
        };
        self.slope = Some(slope);
        Ok(vec![loss])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), Some(slope)) = (dy[0], &self.slope) else { return Ok(()) };
        let (rows, d) = x[0].shape();
        if rows * d == 0 {
            return Ok(());
        }
        let [du, di, dj] = dx else { return Ok(()) };
        if let Some(gpu) = x[0].gpu() {
            let ([u, i, j], grid) = ([x[0], x[1], x[2]], Grid::cover(rows * d, 256));
            return launch!(gpu, kernels::BPR_BWD, grid; du, di, dj, u, i, j, slope, dy, rows, d, self.l2);
        }
        dispatch_float!(dy.dtype(), T => {
            let up = dy.host::<T>()[0];
            let decay = up * T::of(self.l2 as f64) / T::of(rows as f64);
            let [u, i, j] = [x[0], x[1], x[2]].map(|x| x.host::<T>());
            let slope = slope.host::<T>();
            // out += sign slope (plus - minus) + decay own; `minus` is absent for the courses.
            let add = |out: &mut Option<Tensor>, sign: T, own: &[T], plus: &[T], minus: Option<&[T]>| {
                let Some(out) = out else { return };
                parallel::for_rows(out.host_mut::<T>(), d, |first, rows| {
                    for (b, row) in rows.chunks_exact_mut(d).enumerate() {
                        let at = (first + b) * d..(first + b + 1) * d;
                        let c = sign * up * slope[first + b];
                        parallel::axpy(c, &plus[at.clone()], row);
                        if let Some(minus) = minus {
                            parallel::axpy(-c, &minus[at.clone()], row);
                        }
                        parallel::axpy(decay, &own[at], row);
                    }
                });
            };
            add(du, 1.0, u, i, Some(j));
            add(di, 1.0, i, u, None);
            add(dj, -1.0, j, u, None);
        });
        Ok(())
    }
}

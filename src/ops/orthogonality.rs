//! The penalty that keeps shared and specific features apart: formula (14) and the other readings of it.

use super::dense;
use super::launch::launch;
use super::reduce::{Summand, reduce};
use super::{check_shape, inputs, saved};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::parallel::{self, Trans};
use engine::{Backward, Op, Real, Tensor};
use serde::{Deserialize, Serialize};

/// The readings of formula (14), by the letters of docs/model.md. C = S^T T is the cross-Gram matrix of B pairs of
/// rows s_b, t_b.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrthForm {
    /// |C|_F^2 / B^2
    #[default]
    A,
    /// |C|_F^2
    A0,
    /// |C|_F, with gradient 0 at C = 0
    B,
    /// mean_b <s_b, t_b>^2
    C,
    /// mean_b cos^2(s_b, t_b); a zero vector is orthogonal to all
    D,
    /// mean_b |s_b| |t_b|: what FDN's public code computes. It does not depend on the angle; for comparison only.
    FdnCode,
}

impl OrthForm {
    /// Forms that sum over samples, as orthogonality.cu numbers them.
    fn row_code(self) -> Option<i32> {
        [OrthForm::C, OrthForm::D, OrthForm::FdnCode].iter().position(|&form| form == self).map(|at| at as i32)
    }

    /// What |C|_F^2 is multiplied by.
    fn gram_scale(self, rows: usize) -> f64 {
        match self {
            OrthForm::A => 1.0 / (rows.max(1) as f64).powi(2),
            _ => 1.0,
        }
    }
}

/// Inputs S (B, d) and T (B, d); output (1, 1).
#[derive(Clone, Debug, Default)]
pub struct Orthogonality {
    form: OrthForm,
    /// C (d, d), or the rows' <s,t>, |s|^2, |t|^2 (B, 3).
    saved: Option<Tensor>,
}

/// Lengths below this have no direction (`TINY` of orthogonality.cu).
const TINY: f64 = 1e-12;

/// <s,t>, |s|^2, |t|^2 of each row.
fn row_moments<T: Real>(s: &[T], t: &[T], d: usize, moments: &mut [T]) {
    parallel::for_rows(moments, 3, |row, moments| {
        for (r, m) in moments.chunks_exact_mut(3).enumerate() {
            let (s, t) = (&s[(row + r) * d..][..d], &t[(row + r) * d..][..d]);
            m.copy_from_slice(&[parallel::dot(s, t), parallel::dot(s, s), parallel::dot(t, t)]);
        }
    });
}

/// A row's penalty, and alpha, beta, gamma of its gradients ds = alpha t + beta s, dt = alpha s + gamma t.
#[inline(always)]
fn row_terms<T: Real>(form: OrthForm, m: &[T]) -> (T, [T; 3]) {
    let two = T::of(2.0);
    let (st, ns, nt) = (m[0], m[1].sqrt(), m[2].sqrt());
    if form == OrthForm::C {
        return (st * st, [two * st, T::zero(), T::zero()]);
    }
    let tiny = T::of(TINY);
    if ns < tiny || nt < tiny {
        return (if form == OrthForm::D { T::zero() } else { ns * nt }, [T::zero(); 3]);
    }
    if form == OrthForm::FdnCode {
        return (ns * nt, [T::zero(), nt / ns, ns / nt]);
    }
    let cosine = st / ns / nt;
    let (cs, ct) = (cosine / ns, cosine / nt);
    (cosine * cosine, [two * cs / nt, -two * cs * cs, -two * ct * ct])
}

impl Orthogonality {
    pub fn new(form: OrthForm) -> Orthogonality {
        Orthogonality { form, saved: None }
    }

    fn forward_rows(&self, code: i32, s: &Tensor, t: &Tensor) -> Result<(Tensor, Tensor)> {
        let (rows, d) = s.shape();
        let (mut values, mut moments) = (s.empty_like(rows, 1)?, s.empty_like(rows, 3)?);
        match s.gpu() {
            _ if rows == 0 => {}
            Some(gpu) => {
                let grid = Grid::warps(rows, 256);
                launch!(gpu, kernels::ORTHOGONALITY_ROWS_FWD, grid; &mut values, &mut moments, s, t, rows, d, code)?
            }
            None => dispatch_float!(s.dtype(), T => {
                row_moments::<T>(s.host(), t.host(), d, moments.host_mut());
                let terms = moments.host::<T>().chunks_exact(3).map(|m| row_terms(self.form, m).0);
                values.host_mut::<T>().iter_mut().zip(terms).for_each(|(v, term)| *v = term);
            }),
        }
        Ok((reduce(&values, Summand::Value, 1.0 / rows.max(1) as f64, false)?, moments))
    }

    fn backward_rows(&self, code: i32, x: &[&Tensor], dy: &Tensor, dx: &mut [Option<Tensor>]) -> Result<()> {
        let ([s, t], [ds, dt]) = (x, dx) else { return Ok(()) };
        let moments = saved("orthogonality", &self.saved)?;
        let (rows, d) = s.shape();
        let inverse = 1.0 / rows as f64;
        if let Some(gpu) = s.gpu() {
            return launch!(gpu, kernels::ORTHOGONALITY_ROWS_BWD, Grid::warps(rows, 256);
                ds, dt, dy, moments, *s, *t, rows, d, code, inverse as f32);
        }
        dispatch_float!(s.dtype(), T => {
            let (up, moments) = (dy.host::<T>()[0] * T::of(inverse), moments.host::<T>());
            for (side, (dx, own, other)) in [(ds, s, t), (dt, t, s)].into_iter().enumerate() {
                let Some(dx) = dx else { continue };
                let (own, other) = (own.host::<T>(), other.host::<T>());
                parallel::for_rows(dx.host_mut::<T>(), d, |row, dx| {
                    for (r, dx) in dx.chunks_exact_mut(d).enumerate() {
                        let row = row + r;
                        let (_, terms) = row_terms(self.form, &moments[3 * row..3 * row + 3]);
                        parallel::axpy(up * terms[0], &other[row * d..][..d], dx);
                        parallel::axpy(up * terms[1 + side], &own[row * d..][..d], dx);
                    }
                });
            }
        });
        Ok(())
    }

    /// dC = 2 scale dy C, or dy C / |C| for the norm.
    fn gram_gradient(&self, rows: usize, loss: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let c = saved("orthogonality", &self.saved)?;
        let norm = (self.form == OrthForm::B).then_some(loss);
        let factor = if norm.is_some() { 1.0 } else { 2.0 * self.form.gram_scale(rows) };
        let mut dc = c.empty_like(c.rows(), c.cols())?;
        if let Some(gpu) = c.gpu() {
            let (n, grid) = (c.len() as u64, Grid::cover(c.len(), 256));
            launch!(gpu, kernels::ORTHOGONALITY_SCALE, grid; &mut dc, c, dy, norm, n, factor as f32)?;
            return Ok(dc);
        }
        dispatch_float!(c.dtype(), T => {
            let by = norm.map_or(1.0, |norm| norm.host::<T>()[0].max(T::of(TINY)));
            let scale = T::of(factor) * dy.host::<T>()[0] / by;
            dc.host_mut::<T>().iter_mut().zip(c.host::<T>()).for_each(|(dc, &c)| *dc = scale * c);
        });
        Ok(dc)
    }
}

impl Op for Orthogonality {
    fn name(&self) -> &'static str {
        "orthogonality"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [s, t] = inputs("orthogonality", "S, T", x)?;
        let (rows, d) = s.shape();
        check_shape("orthogonality", "T", t, rows, d)?;
        if let Some(code) = self.form.row_code() {
            let (loss, moments) = self.forward_rows(code, s, t)?;
            self.saved = Some(moments);
            return Ok(vec![loss]);
        }
        let mut c = s.empty_like(d, d)?;
        dense::matmul(s, Trans::Yes, t, Trans::No, 0.0, &mut c)?;
        let root = self.form == OrthForm::B;
        let loss = reduce(&c, Summand::Square, self.form.gram_scale(rows), root)?;
        self.saved = Some(c);
        Ok(vec![loss])
    }

    fn backward(&self, Backward { x, y, dy, dx }: Backward) -> Result<()> {
        let Some(dy) = dy[0].filter(|_| !x[0].is_empty()) else { return Ok(()) };
        if let Some(code) = self.form.row_code() {
            return self.backward_rows(code, x, dy, dx);
        }
        let ([s, t], [ds, dt]) = (x, dx) else { return Ok(()) };
        let dc = self.gram_gradient(s.rows(), y[0], dy)?;
        if let Some(ds) = ds {
            dense::matmul(t, Trans::No, &dc, Trans::Yes, 1.0, ds)?;
        }
        if let Some(dt) = dt {
            dense::matmul(s, Trans::No, &dc, Trans::No, 1.0, dt)?;
        }
        Ok(())
    }
}

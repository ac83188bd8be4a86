//! The gate between shared and task-specific features: formulas (12) and (13).

use super::concat::concat;
use super::dense::{self, Activation};
use super::{check, check_shape};
use crate::Result;
use crate::engine::device::{Grid, kernels};
use crate::engine::{Op, Real, Tensor, parallel};
use crate::with_real;

/// g = sigmoid([S | T] W + b), F = g S + (1 - g) T.
///
/// Inputs S (B, d), T (B, d), W (2 d, d) or (2 d, 1), b (1, d) or (1, 1); outputs F (B, d) and g (B, d) or (B, 1). A W
/// of one column makes one gate per row, otherwise there is one per feature.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate;

fn forward<T: Real>(u: &[T], s: &[T], t: &[T], (d, gates): (usize, usize), f: &mut [T], g: &mut [T]) {
    parallel::for_rows2((f, d), (g, gates), |row, f, g| {
        g.iter_mut().zip(&u[row * gates..]).for_each(|(g, &u)| *g = u.sigmoid());
        for (r, f) in f.chunks_exact_mut(d).enumerate() {
            let at = (row + r) * d;
            for (c, f) in f.iter_mut().enumerate() {
                let gate = g[if gates == 1 { r } else { r * d + c }];
                *f = gate * s[at + c] + (T::one() - gate) * t[at + c];
            }
        }
    });
}

/// du = (dg + sum over the gate's features of dF (S - T)) g (1 - g)
fn backward_logits<T: Real>(
    (df, dg): (Option<&[T]>, Option<&[T]>),
    g: &[T],
    (s, t): (&[T], &[T]),
    (d, gates): (usize, usize),
    du: &mut [T],
) {
    let width = d / gates;
    parallel::for_rows(du, 1, |first, du| {
        for (k, du) in du.iter_mut().enumerate() {
            let k = first + k;
            let mut sum = dg.map_or(T::zero(), |dg| dg[k]);
            if let Some(df) = df {
                for at in k * width..(k + 1) * width {
                    sum += df[at] * (s[at] - t[at]);
                }
            }
            *du = sum * g[k] * (T::one() - g[k]);
        }
    });
}

/// The gradient of S (`side` 0: dF g) or of T (`side` 1: dF (1 - g)), and block `side` of `dboth` (B, 2 d).
fn backward_side<T: Real>(
    df: Option<&[T]>,
    g: &[T],
    dboth: &[T],
    side: usize,
    (d, gates): (usize, usize),
    dx: &mut [T],
) {
    parallel::for_rows(dx, d, |row, dx| {
        for (r, dx) in dx.chunks_exact_mut(d).enumerate() {
            let row = row + r;
            parallel::axpy(T::one(), &dboth[(2 * row + side) * d..][..d], dx);
            let Some(df) = df else { continue };
            for (c, dx) in dx.iter_mut().enumerate() {
                let gate = g[if gates == 1 { row } else { row * d + c }];
                *dx += df[row * d + c] * if side == 0 { gate } else { T::one() - gate };
            }
        }
    });
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [s, t, w, b] = x else {
            return check(false, "gate", || "inputs S, T, W, b".into(), || format!("{}", x.len()))
                .map(|_| vec![]);
        };
        let ((rows, d), gates) = (s.shape(), w.cols());
        check_shape("gate", "T", t, rows, d)?;
        check(gates == d || gates == 1, "gate", || format!("W of {d} columns or 1"), || format!("{gates}"))?;
        check_shape("gate", "W", w, 2 * d, gates)?;
        check_shape("gate", "b", b, 1, gates)?;
        let both = concat(&[s, t])?;
        let u = dense::affine(&both, w, Some(b), Activation::Identity)?;
        let (mut f, mut g) = (s.empty_like(rows, d)?, s.empty_like(rows, gates)?);
        if !s.is_empty() {
            if let Some(gpu) = s.gpu() {
                gpu.launch(kernels::GATE_FWD, Grid::warps(rows, 256))
                    .tensor_mut(&mut f)
                    .tensor_mut(&mut g)
                    .tensor(&u)
                    .tensor(s)
                    .tensor(t)
                    .count(rows)
                    .count(d)
                    .count(gates)
                    .run()?;
            } else {
                with_real!(s.dtype(), T => {
                    forward::<T>(u.host(), s.host(), t.host(), (d, gates), f.host_mut(), g.host_mut());
                });
            }
        }
        Ok(vec![f, g])
    }

    fn backward(
        &self,
        x: &[&Tensor],
        y: &[&Tensor],
        dy: &[Option<&Tensor>],
        dx: &mut [Option<Tensor>],
    ) -> Result<()> {
        let ([s, t, w, _], [df, dg], [ds, dt, dw, db]) = (x, dy, dx) else { return Ok(()) };
        let (g, (rows, d), gates) = (y[1], s.shape(), w.cols());
        if s.is_empty() || (df.is_none() && dg.is_none()) {
            return Ok(());
        }
        let mut du = g.empty_like(rows, gates)?;
        if let Some(gpu) = s.gpu() {
            gpu.launch(kernels::GATE_BWD_LOGITS, Grid::warps(rows, 256))
                .tensor_mut(&mut du)
                .optional(*df)
                .optional(*dg)
                .tensor(g)
                .tensor(s)
                .tensor(t)
                .count(rows)
                .count(d)
                .count(gates)
                .run()?;
        } else {
            with_real!(s.dtype(), T => {
                let up = (df.map(Tensor::host::<T>), dg.map(Tensor::host::<T>));
                backward_logits::<T>(up, g.host(), (s.host(), t.host()), (d, gates), du.host_mut());
            });
        }
        let wanted = ds.is_some() || dt.is_some();
        let both = concat(&[s, t])?;
        let mut dboth = if wanted { Some(both.zeros_like()?) } else { None };
        dense::affine_backward(&both, w, &du, dboth.as_mut(), dw.as_mut(), db.as_mut())?;
        let Some(dboth) = dboth else { return Ok(()) };
        if let Some(gpu) = s.gpu() {
            return gpu
                .launch(kernels::GATE_BWD, Grid::warps(rows, 256))
                .optional_mut(ds.as_mut())
                .optional_mut(dt.as_mut())
                .optional(*df)
                .tensor(g)
                .tensor(&dboth)
                .count(rows)
                .count(d)
                .count(gates)
                .run();
        }
        with_real!(s.dtype(), T => {
            for (side, dx) in [ds, dt].into_iter().enumerate() {
                if let Some(dx) = dx {
                    let df = df.map(Tensor::host::<T>);
                    backward_side::<T>(df, g.host(), dboth.host(), side, (d, gates), dx.host_mut());
                }
            }
        });
        Ok(())
    }
}

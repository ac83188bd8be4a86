//! The gate between shared and task-specific features: formulas (12) and (13).

use std::ops::Range;

use base::parallel::prelude::*;

use super::activation::Activation;
use super::concat::concat;
use super::cpu::dense::sum_columns;
use super::cpu::{RowChunk, row_chunks};
use super::dense;
use super::launch::launch;
use super::{check, check_shape, inputs};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::parallel::{View, axpy, gemm};
use engine::simd::{SimdWork, simd};
use engine::{Backward, Buffer, Op, Real, Tensor};

/// g = sigmoid([S | T] W + b), F = g S + (1 - g) T.
///
/// Inputs S (B, d), T (B, d), W (2 d, d) or (2 d, 1), b (1, d) or (1, 1); outputs F (B, d) and g (B, d) or (B, 1). A W
/// of one column makes one gate per row, otherwise there is one per feature.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate;

/// Rows of one task.
const TILE: usize = 256;
/// Chunks of the backward pass at most: each has its own sums of the gradients of W and b.
const CHUNKS: usize = 32;

/// S, T and W on the CPU, with d and the number of gates a row.
struct Operands<'a, T> {
    sides: [&'a [T]; 2],
    w: &'a [T],
    d: usize,
    gates: usize,
}

impl<'a, T: Real> Operands<'a, T> {
    fn new(x: &[&'a Tensor]) -> Self {
        Operands { sides: [x[0].host(), x[1].host()], w: x[2].host(), d: x[0].cols(), gates: x[2].cols() }
    }

    /// Rows of S (`side` 0) or T (`side` 1).
    fn rows(&self, side: usize, rows: &Range<usize>) -> View<'a, T> {
        View::new(&self.sides[side][rows.start * self.d..], rows.len(), self.d, self.d)
    }

    /// The half of W that multiplies them.
    fn weights(&self, side: usize) -> View<'a, T> {
        View::new(self.w, 2 * self.d, self.gates, self.gates).rows(side * self.d, self.d)
    }
}

/// g = sigmoid(u + b), with u in g; F = g S + (1 - g) T. Slices of some rows.
struct Open<'a, T> {
    s: &'a [T],
    t: &'a [T],
    b: &'a [T],
    d: usize,
    f: &'a mut [T],
    g: &'a mut [T],
}

impl<T: Real> SimdWork for Open<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Open { s, t, b, d, f, g } = self;
        for g in g.chunks_exact_mut(b.len()) {
            g.iter_mut().zip(b).for_each(|(g, &b)| *g += b);
        }
        g.iter_mut().for_each(|g| *g = g.sigmoid());
        let mix = |f: &mut T, g: T, s: T, t: T| *f = g * s + (T::one() - g) * t;
        if b.len() == 1 {
            for (r, f) in f.chunks_exact_mut(d).enumerate() {
                let (s, t) = (&s[r * d..][..d], &t[r * d..][..d]);
                f.iter_mut().zip(s).zip(t).for_each(|((f, &s), &t)| mix(f, g[r], s, t));
            }
        } else {
            f.iter_mut().zip(g).zip(s).zip(t).for_each(|(((f, g), &s), &t)| mix(f, *g, s, t));
        }
    }
}

fn forward<T: Real>(x: &Operands<T>, b: &[T], f: &mut [T], g: &mut [T]) {
    let (d, gates) = (x.d, x.gates);
    let tiles = f.par_chunks_mut(TILE * d).zip(g.par_chunks_mut(TILE * gates));
    tiles.enumerate().for_each(|(i, (f, g))| {
        let rows = i * TILE..i * TILE + f.len() / d;
        gemm(x.rows(0, &rows), x.weights(0), T::zero(), g, gates);
        gemm(x.rows(1, &rows), x.weights(1), T::one(), g, gates);
        let [s, t] = x.sides.map(|side| &side[rows.start * d..rows.end * d]);
        simd(Open { s, t, b, d, f, g });
    });
}

/// du = (dg + sum over the gate's features of dF (S - T)) g (1 - g). Slices of some rows.
struct Logits<'a, T> {
    df: Option<&'a [T]>,
    dg: Option<&'a [T]>,
    g: &'a [T],
    s: &'a [T],
    t: &'a [T],
    /// Features of a gate.
    width: usize,
    du: &'a mut [T],
}

impl<T: Real> SimdWork for Logits<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Logits { df, dg, g, s, t, width, du } = self;
        match dg {
            Some(dg) => du.copy_from_slice(dg),
            None => du.fill(T::zero()),
        }
        if let Some(df) = df {
            for (k, du) in du.iter_mut().enumerate() {
                let at = k * width..(k + 1) * width;
                let parts = df[at.clone()].iter().zip(&s[at.clone()]).zip(&t[at]);
                *du += parts.map(|((&df, &s), &t)| df * (s - t)).sum::<T>();
            }
        }
        du.iter_mut().zip(g).for_each(|(du, &g)| *du *= g * (T::one() - g));
    }
}

/// The gradient of S (`side` 0) or T (`side` 1) through F: dx += dF g or dF (1 - g). Slices of some rows.
struct Side<'a, T> {
    df: &'a [T],
    g: &'a [T],
    side: usize,
    width: usize,
    dx: &'a mut [T],
}

impl<T: Real> SimdWork for Side<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Side { df, g, side, width, dx } = self;
        let share = |g: T| if side == 0 { g } else { T::one() - g };
        if width == 1 {
            dx.iter_mut().zip(df).zip(g).for_each(|((dx, &df), &g)| *dx += df * share(g));
        } else {
            for ((dx, df), &g) in dx.chunks_exact_mut(width).zip(df.chunks_exact(width)).zip(g) {
                axpy(share(g), df, dx);
            }
        }
    }
}

/// Adds the gradients of S, T, W and b.
fn backward<T: Real>(x: &Operands<T>, g: &[T], (df, dg): (Option<&[T]>, Option<&[T]>), dx: &mut [Option<Tensor>]) {
    let (d, gates, rows) = (x.d, x.gates, x.sides[0].len() / x.d);
    let per = rows.div_ceil(CHUNKS).next_multiple_of(TILE);
    let (sides, parameters) = dx.split_at_mut(2);
    let chunks = row_chunks::<T>(sides.iter_mut().map(Option::as_mut), per, rows.div_ceil(per));
    let requires_grad = parameters.iter().any(Option::is_some);
    let one = |(i, dx): (usize, RowChunk<T>)| {
        let rows = i * per..rows.min((i + 1) * per);
        let (part, gate) = (rows.start * d..rows.end * d, rows.start * gates..rows.end * gates);
        let (df, dg, g) = (df.map(|df| &df[part.clone()]), dg.map(|dg| &dg[gate.clone()]), &g[gate.clone()]);
        let [s, t] = x.sides.map(|side| &side[part.clone()]);
        let (mut du, width) = (Buffer::stale(gate.len()), d / gates);
        simd(Logits { df, dg, g, s, t, width, du: du.as_mut_slice() });
        let z = View::new(du.as_slice(), rows.len(), gates, gates);
        for (side, dx) in dx.into_iter().enumerate() {
            let Some(dx) = dx else { continue };
            gemm(z, x.weights(side).t(), T::one(), dx, d);
            if let Some(df) = df {
                simd(Side { df, g, side, width, dx });
            }
        }
        let mut sums = vec![T::zero(); if requires_grad { (2 * d + 1) * gates } else { 0 }];
        if requires_grad {
            let (w, b) = sums.split_at_mut(2 * d * gates);
            for (side, w) in w.chunks_mut(d * gates).enumerate() {
                gemm(x.rows(side, &rows).t(), z, T::zero(), w, gates);
            }
            sum_columns(du.as_slice(), b);
        }
        sums
    };
    let sums: Vec<Vec<T>> = chunks.into_par_iter().enumerate().map(one).collect();
    for (first, dx) in [0, 2 * d * gates].into_iter().zip(parameters) {
        if let Some(dx) = dx {
            let dx = dx.host_mut::<T>();
            sums.iter().for_each(|sum| axpy(T::one(), &sum[first..first + dx.len()], dx));
        }
    }
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [s, t, w, b] = inputs("gate", "S, T, W, b", x)?;
        let ((rows, d), gates) = (s.shape(), w.cols());
        check_shape("gate", "T", t, rows, d)?;
        check(gates == d || gates == 1, "gate", || format!("W of {d} columns or 1"), || format!("{gates}"))?;
        check_shape("gate", "W", w, 2 * d, gates)?;
        check_shape("gate", "b", b, 1, gates)?;
        let (mut f, mut g) = (s.empty_like(rows, d)?, s.empty_like(rows, gates)?);
        match s.gpu() {
            _ if s.is_empty() => {}
            Some(gpu) => {
                let u = dense::affine(&concat(&[s, t])?, w, Some(b), Activation::Identity)?;
                let grid = Grid::warps(rows, 256);
                launch!(gpu, kernels::GATE_FWD, grid; &mut f, &mut g, &u, s, t, rows, d, gates)?;
            }
            None => dispatch_float!(s.dtype(), T => {
                forward::<T>(&Operands::new(x), b.host(), f.host_mut(), g.host_mut());
            }),
        }
        Ok(vec![f, g])
    }

    fn backward(&self, Backward { x, y, dy, dx }: Backward) -> Result<()> {
        let (g, (rows, d), gates) = (y[1], x[0].shape(), x[2].cols());
        if x[0].is_empty() || dy.iter().all(Option::is_none) {
            return Ok(());
        }
        let Some(gpu) = x[0].gpu() else {
            dispatch_float!(g.dtype(), T => {
                let up = (dy[0].map(Tensor::host::<T>), dy[1].map(Tensor::host::<T>));
                backward::<T>(&Operands::new(x), g.host(), up, dx);
            });
            return Ok(());
        };
        let ([s, t, w, _], [df, dg], [ds, dt, dw, db]) = (x, dy, dx) else { return Ok(()) };
        let (mut du, grid) = (g.empty_like(rows, gates)?, Grid::warps(rows, 256));
        launch!(gpu, kernels::GATE_BWD_LOGITS, grid; &mut du, *df, *dg, g, *s, *t, rows, d, gates)?;
        let both = concat(&[s, t])?;
        let mut dboth = if ds.is_some() || dt.is_some() { Some(both.zeros_like()?) } else { None };
        dense::affine_backward(&both, w, &du, dboth.as_mut(), dw.as_mut(), db.as_mut())?;
        let Some(dboth) = dboth else { return Ok(()) };
        launch!(gpu, kernels::GATE_BWD, grid; ds, dt, *df, g, &dboth, rows, d, gates)
    }
}

//! The bi-interaction (6) on the CPU, by blocks of rows: sums, products, both dense products and their activations are
//! made while the block is in the cache, and only inputs, outputs and what backward needs go through memory.

use std::ops::Range;

use rayon::prelude::*;

use super::Dropout;
use super::attend_stream::split;
use super::attend_stream_backward::{put, take};
use crate::engine::Real;
use crate::engine::parallel::{Trans, axpy, matmul_serial};
use crate::engine::simd::{self, SimdWork};

/// Rows of a block, a multiple of four: with 64 columns all that a block needs fits the L2 cache.
const BLOCK: usize = 128;
/// Tasks, each of which sums the weights' gradients apart.
const TASKS: usize = 32;

/// Inputs x and a (rows, d_in), the weights, and the shape of the activations.
pub(super) struct Layer<'a, T> {
    pub x: &'a [T],
    pub a: &'a [T],
    pub w: [&'a [T]; 2],
    pub b: [&'a [T]; 2],
    pub d_in: usize,
    pub d_out: usize,
    pub slope: T,
    pub dropout: Dropout,
}

/// s = x + a and q = x a
struct Inputs<'a, T> {
    x: &'a [T],
    a: &'a [T],
    s: &'a mut [T],
    q: &'a mut [T],
}

impl<T: Real> SimdWork for Inputs<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let out = self.s.iter_mut().zip(self.q);
        for ((s, q), (&x, &a)) in out.zip(self.x.iter().zip(self.a)) {
            (*s, *q) = (x + a, x * a);
        }
    }
}

/// h = LeakyReLU(h + b) in place, y = dropout(h1 + h2). The block begins with element `first`.
struct Activate<'a, T> {
    h: [&'a mut [T]; 2],
    b: [&'a [T]; 2],
    y: &'a mut [T],
    slope: T,
    dropout: Dropout,
    first: usize,
}

impl<T: Real> SimdWork for Activate<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Activate { h, b, y, slope, dropout, first } = self;
        let [h1, h2] = h;
        for (h, b) in [(&mut *h1, b[0]), (&mut *h2, b[1])] {
            for row in h.chunks_exact_mut(b.len()) {
                for (h, &b) in row.iter_mut().zip(b) {
                    let z = *h + b;
                    *h = if z > T::zero() { z } else { slope * z };
                }
            }
        }
        for ((y, &h1), &h2) in y.iter_mut().zip(&*h1).zip(&*h2) {
            *y = h1 + h2;
        }
        if dropout.rate > 0.0 {
            dropout.scales::<T>(first, y.len(), |i, scale| y[i] *= scale);
        }
    }
}

/// d = mask dy f'(h) of both products, and their column sums, added.
struct Deactivate<'a, T> {
    dy: &'a [T],
    h: [&'a [T]; 2],
    d: [&'a mut [T]; 2],
    db: [&'a mut [T]; 2],
    slope: T,
    dropout: Dropout,
    first: usize,
}

impl<T: Real> SimdWork for Deactivate<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Deactivate { dy, h, d, db, slope, dropout, first } = self;
        let [d1, d2] = d;
        let [db1, db2] = db;
        for (d, h) in [(&mut *d1, h[0]), (&mut *d2, h[1])] {
            for ((d, &dy), &h) in d.iter_mut().zip(dy).zip(h) {
                *d = if h > T::zero() { dy } else { slope * dy };
            }
        }
        if dropout.rate > 0.0 {
            dropout.scales::<T>(first, dy.len(), |i, scale| {
                d1[i] *= scale;
                d2[i] *= scale;
            });
        }
        for (d, db) in [(d1, db1), (d2, db2)] {
            d.chunks_exact(db.len()).for_each(|row| axpy(T::one(), row, db));
        }
    }
}

/// grad (+)= p1 + other p2; `sum` is scratch.
struct Outputs<'a, T> {
    grad: (&'a mut [T], bool),
    p: [&'a [T]; 2],
    other: &'a [T],
    sum: &'a mut [T],
}

impl<T: Real> SimdWork for Outputs<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let terms = self.p[0].iter().zip(self.p[1]).zip(self.other);
        for (sum, ((&p1, &p2), &other)) in self.sum.iter_mut().zip(terms) {
            *sum = simd::fma::<ISA, T>(other, p2, p1);
        }
        put::<ISA, T>(self.grad, self.sum);
        simd::fence();
    }
}

impl<T: Real> Layer<'_, T> {
    fn rows(&self) -> usize {
        self.x.len() / self.d_in
    }

    /// Rows of each task: fixed by the number of rows.
    fn tasks(&self) -> impl Iterator<Item = Range<usize>> + use<T> {
        let rows = self.rows();
        let each = rows.div_ceil(TASKS).next_multiple_of(BLOCK);
        (0..rows).step_by(each.max(1)).map(move |first| first..(first + each).min(rows))
    }

    /// s and q of rows.
    fn inputs(&self, rows: Range<usize>, s: &mut [T], q: &mut [T]) {
        let at = rows.start * self.d_in..rows.end * self.d_in;
        simd::simd(Inputs { x: &self.x[at.clone()], a: &self.a[at], s, q });
    }

    /// Writes y and the activated products h1, h2, (rows, d_out) each.
    pub fn forward(&self, mut y: &mut [T], h1: &mut [T], h2: &mut [T]) {
        let mut h = [h1, h2];
        let tasks = self.tasks().map(|rows| {
            let len = rows.len() * self.d_out;
            let [h1, h2] = &mut h;
            (rows, split(&mut y, len), split(h1, len), split(h2, len))
        });
        let tasks: Vec<_> = tasks.collect();
        tasks.into_par_iter().for_each(|(rows, y, h1, h2)| self.forward_task(rows, y, [h1, h2]));
    }

    fn forward_task(&self, rows: Range<usize>, mut y: &mut [T], mut h: [&mut [T]; 2]) {
        let (d_in, d_out) = (self.d_in, self.d_out);
        let (mut s, mut q) = (vec![T::zero(); BLOCK * d_in], vec![T::zero(); BLOCK * d_in]);
        for first in rows.clone().step_by(BLOCK) {
            let n = BLOCK.min(rows.end - first);
            let (s, q) = (&mut s[..n * d_in], &mut q[..n * d_in]);
            self.inputs(first..first + n, s, q);
            let [h1, h2] = &mut h;
            let (h1, h2) = (split(h1, n * d_out), split(h2, n * d_out));
            let shape = (n, d_in, d_out);
            matmul_serial(shape, s, Trans::No, self.w[0], Trans::No, T::zero(), h1);
            matmul_serial(shape, q, Trans::No, self.w[1], Trans::No, T::zero(), h2);
            let (b, y) = (self.b, split(&mut y, n * d_out));
            let (slope, dropout, first) = (self.slope, self.dropout, first * d_out);
            simd::simd(Activate { h: [h1, h2], b, y, slope, dropout, first });
        }
    }

    /// Adds to dx and da, where they are there (true: they are written), and returns the weights' gradients of each
    /// task: W1, W2 (d_in, d_out), b1, b2 (d_out), one behind the other.
    pub fn backward(
        &self,
        dy: &[T],
        h: [&[T]; 2],
        dx: Option<(&mut [T], bool)>,
        da: Option<(&mut [T], bool)>,
    ) -> Vec<Vec<T>> {
        let (mut dx, mut da) = (dx, da);
        let tasks = self.tasks().map(|rows| {
            let len = rows.len() * self.d_in;
            (rows, take(&mut dx, len), take(&mut da, len))
        });
        let tasks: Vec<_> = tasks.collect();
        tasks.into_par_iter().map(|(rows, dx, da)| self.backward_task(dy, h, rows, dx, da)).collect()
    }

    fn backward_task(
        &self,
        dy: &[T],
        h: [&[T]; 2],
        rows: Range<usize>,
        mut dx: Option<(&mut [T], bool)>,
        mut da: Option<(&mut [T], bool)>,
    ) -> Vec<T> {
        let (d_in, d_out) = (self.d_in, self.d_out);
        let mut weights = vec![T::zero(); 2 * (d_in + 1) * d_out];
        let wide = || vec![T::zero(); BLOCK * d_in];
        let (mut s, mut q, mut p1, mut p2) = (wide(), wide(), wide(), wide());
        let (mut d1, mut d2) = (vec![T::zero(); BLOCK * d_out], vec![T::zero(); BLOCK * d_out]);
        for first in rows.clone().step_by(BLOCK) {
            let n = BLOCK.min(rows.end - first);
            let (s, q) = (&mut s[..n * d_in], &mut q[..n * d_in]);
            let (p1, p2) = (&mut p1[..n * d_in], &mut p2[..n * d_in]);
            let (d1, d2) = (&mut d1[..n * d_out], &mut d2[..n * d_out]);
            let at = first * d_out..(first + n) * d_out;
            let (dw, db) = weights.split_at_mut(2 * d_in * d_out);
            let ((dw1, dw2), (db1, db2)) = (dw.split_at_mut(d_in * d_out), db.split_at_mut(d_out));
            let (slope, dropout) = (self.slope, self.dropout);
            simd::simd(Deactivate {
                dy: &dy[at.clone()],
                h: [&h[0][at.clone()], &h[1][at.clone()]],
                d: [d1, d2],
                db: [db1, db2],
                slope,
                dropout,
                first: at.start,
            });
            self.inputs(first..first + n, s, q);
            let shape = (d_in, n, d_out);
            matmul_serial(shape, s, Trans::Yes, d1, Trans::No, T::one(), dw1);
            matmul_serial(shape, q, Trans::Yes, d2, Trans::No, T::one(), dw2);
            if dx.is_none() && da.is_none() {
                continue;
            }
            let shape = (n, d_out, d_in);
            matmul_serial(shape, d1, Trans::No, self.w[0], Trans::Yes, T::zero(), p1);
            matmul_serial(shape, d2, Trans::No, self.w[1], Trans::Yes, T::zero(), p2);
            let at = first * d_in..(first + n) * d_in;
            // One after the other: the two borrows have lifetimes of their own.
            if let Some(grad) = take(&mut dx, n * d_in) {
                simd::simd(Outputs { grad, p: [p1, p2], other: &self.a[at.clone()], sum: s });
            }
            if let Some(grad) = take(&mut da, n * d_in) {
                simd::simd(Outputs { grad, p: [p1, p2], other: &self.x[at.clone()], sum: s });
            }
        }
        weights
    }
}

//! The bi-interaction (6) on the CPU, by blocks of rows: sums, products, both dense products and their activations are
//! made while the block is in the cache, and only inputs, outputs and what backward needs go through memory.

use std::ops::Range;

use base::parallel::prelude::*;

use crate::Dropout;
use crate::cpu::stream::{put, split, take};
use engine::Real;
use engine::panel::{add_transposed, product};
use engine::simd::{self, SimdWork};

/// Rows of a block, a multiple of eight: with 64 columns what one product reads fits the L1 cache.
const BLOCK: usize = 32;
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

/// s = x + a and q = x a of some rows.
struct Joined<'a, T> {
    layer: &'a Layer<'a, T>,
    rows: &'a [usize],
    s: &'a mut [T],
    q: &'a mut [T],
}

impl<T: Real> SimdWork for Joined<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let n = self.layer.d_in;
        let out = self.s.chunks_exact_mut(n).zip(self.q.chunks_exact_mut(n));
        for ((s, q), &row) in out.zip(self.rows) {
            let (x, a) = (&self.layer.x[row * n..][..n], &self.layer.a[row * n..][..n]);
            for ((s, q), (&x, &a)) in s.iter_mut().zip(q).zip(x.iter().zip(a)) {
                (*s, *q) = (x + a, x * a);
            }
        }
    }
}

/// h = LeakyReLU(z + b) of both products, y = dropout(h1 + h2). The block begins with element `first`.
struct Activate<'a, T> {
    z: [&'a mut [T]; 2],
    b: [&'a [T]; 2],
    signs: &'a mut [u8],
    y: &'a mut [T],
    slope: T,
    dropout: Dropout,
    first: usize,
}

impl<T: Real> SimdWork for Activate<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Activate { z: [z1, z2], b: [b1, b2], signs, y, slope, dropout, first } = self;
        let n = b1.len();
        let rows = z1.chunks_exact_mut(n).zip(z2.chunks_exact(n)).zip(signs.chunks_exact_mut(n));
        for ((z1, z2), signs) in rows {
            let out = z1.iter_mut().zip(z2).zip(signs);
            for (((z1, &z2), sign), (&b1, &b2)) in out.zip(b1.iter().zip(b2)) {
                let (first, second) = (*z1 + b1, z2 + b2);
                *sign = u8::from(first > T::zero()) | u8::from(second > T::zero()) << 1;
                let first = if first > T::zero() { first } else { slope * first };
                let second = if second > T::zero() { second } else { slope * second };
                *z1 = first + second;
            }
        }
        if dropout.rate > 0.0 {
            dropout.scales::<T>(first, z1.len(), |i, scale| z1[i] *= scale);
        }
        simd::stream::<ISA, T>(z1, y);
    }
}

/// The rows of dy, which begin with row `first`, that are not all zero join `rows`, with d = dy f'(h) of both products
/// and its sums. Only the nodes of a batch and what they hear of have gradients at all.
struct Collect<'a, T> {
    dy: &'a [T],
    signs: &'a [u8],
    first: usize,
    rows: &'a mut Vec<usize>,
    d: [&'a mut [T]; 2],
    db: [&'a mut [T]; 2],
    slope: T,
}

impl<T: Real> SimdWork for Collect<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Collect { dy, signs, first, rows, d: [d1, d2], db: [db1, db2], slope } = self;
        let n = db1.len();
        for (i, (dy, signs)) in dy.chunks_exact(n).zip(signs.chunks_exact(n)).enumerate() {
            let mut any = false;
            for &dy in dy {
                any |= dy != T::zero();
            }
            if !any {
                continue;
            }
            let at = rows.len() * n;
            rows.push(first + i);
            let parts = [(&mut d1[at..at + n], &mut *db1, 1), (&mut d2[at..at + n], &mut *db2, 2)];
            for (d, db, bit) in parts {
                for (((d, db), &dy), &sign) in d.iter_mut().zip(db).zip(dy).zip(signs) {
                    *d = if sign & bit != 0 { dy } else { slope * dy };
                    *db += *d;
                }
            }
        }
    }
}

/// Zeros in the rows of a fresh gradient, which begin with row `first`, that are not among `rows` (ascending).
struct Clear<'a, T> {
    grad: &'a mut [T],
    first: usize,
    rows: &'a [usize],
    zeros: &'a [T],
}

impl<T: Real> SimdWork for Clear<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let mut rows = self.rows;
        for (row, grad) in (self.first..).zip(self.grad.chunks_exact_mut(self.zeros.len())) {
            match rows.split_first() {
                Some((&next, rest)) if next == row => rows = rest,
                _ => simd::stream::<ISA, T>(self.zeros, grad),
            }
        }
    }
}

/// grad (+)= p1 + other p2 in some rows; the gradient begins with row `first`, and `sum` is scratch.
struct Gradients<'a, T> {
    grad: (&'a mut [T], bool),
    first: usize,
    rows: &'a [usize],
    p: [&'a [T]; 2],
    other: &'a [T],
    sum: &'a mut [T],
}

impl<T: Real> SimdWork for Gradients<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let n = self.sum.len();
        let p = self.p[0].chunks_exact(n).zip(self.p[1].chunks_exact(n));
        for (&row, (p1, p2)) in self.rows.iter().zip(p) {
            let other = &self.other[row * n..][..n];
            for (sum, ((&p1, &p2), &other)) in self.sum.iter_mut().zip(p1.iter().zip(p2).zip(other)) {
                *sum = simd::fma::<ISA, T>(other, p2, p1);
            }
            let grad = &mut self.grad.0[(row - self.first) * n..][..n];
            put::<ISA, T>((grad, self.grad.1), self.sum);
        }
    }
}

/// What a task computes with.
struct Scratch<T> {
    rows: Vec<usize>,
    /// (2 blocks, d_in) each
    s: Vec<T>,
    q: Vec<T>,
    p: [Vec<T>; 2],
    /// (2 blocks, d_out) each
    d: [Vec<T>; 2],
    /// (block, d_out) dy after dropout
    dy: Vec<T>,
    zeros: Vec<T>,
    /// Gradients of W1, W2 (d_in, d_out), b1, b2 (d_out), one behind the other.
    weights: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(d_in: usize, d_out: usize) -> Self {
        let zeros = |n: usize| vec![T::zero(); n];
        let (wide, narrow) = (2 * BLOCK * d_in, 2 * BLOCK * d_out);
        Scratch {
            rows: Vec::with_capacity(2 * BLOCK),
            s: zeros(wide),
            q: zeros(wide),
            p: [zeros(wide), zeros(wide)],
            d: [zeros(narrow), zeros(narrow)],
            dy: zeros(BLOCK * d_out),
            zeros: zeros(d_in),
            weights: zeros(2 * (d_in + 1) * d_out),
        }
    }
}

/// The gradient of x or a over a task's rows, where it is wanted; true: it is written.
type Gradient<'a, T> = Option<(&'a mut [T], bool)>;

impl<T: Real> Layer<'_, T> {
    fn rows(&self) -> usize {
        self.x.len() / self.d_in
    }

    /// Rows of each task: fixed by the number of rows.
    fn tasks(&self) -> impl Iterator<Item = Range<usize>> {
        let rows = self.rows();
        let each = rows.div_ceil(TASKS).next_multiple_of(BLOCK);
        (0..rows).step_by(each.max(1)).map(move |first| first..(first + each).min(rows))
    }

    /// Writes y and, for each of its elements, bit 0 and 1: whether the first and the second product are above zero.
    pub fn forward(&self, mut y: &mut [T], mut signs: &mut [u8]) {
        let tasks = self.tasks().map(|rows| {
            let len = rows.len() * self.d_out;
            (rows, split(&mut y, len), split(&mut signs, len))
        });
        let tasks: Vec<_> = tasks.collect();
        tasks.into_par_iter().for_each(|(rows, y, signs)| self.forward_task(rows, y, signs));
    }

    fn forward_task(&self, rows: Range<usize>, mut y: &mut [T], mut signs: &mut [u8]) {
        let (d_in, d_out) = (self.d_in, self.d_out);
        let mut list = Vec::with_capacity(BLOCK);
        let (mut s, mut q) = (vec![T::zero(); BLOCK * d_in], vec![T::zero(); BLOCK * d_in]);
        let (mut z1, mut z2) = (vec![T::zero(); BLOCK * d_out], vec![T::zero(); BLOCK * d_out]);
        for first in rows.clone().step_by(BLOCK) {
            let n = BLOCK.min(rows.end - first);
            list.clear();
            list.extend(first..first + n);
            let (s, q) = (&mut s[..n * d_in], &mut q[..n * d_in]);
            let (z1, z2) = (&mut z1[..n * d_out], &mut z2[..n * d_out]);
            simd::simd(Joined { layer: self, rows: &list, s, q });
            product((n, d_in, d_out), s, self.w[0], z1);
            product((n, d_in, d_out), q, self.w[1], z2);
            let (signs, y) = (split(&mut signs, n * d_out), split(&mut y, n * d_out));
            let (slope, dropout, first) = (self.slope, self.dropout, first * d_out);
            simd::simd(Activate { z: [z1, z2], b: self.b, signs, y, slope, dropout, first });
        }
        simd::fence();
    }

    /// Adds to dx and da, where they are there (true: they are written), and returns the weights' gradients of each
    /// task: W1, W2 (d_in, d_out), b1, b2 (d_out), one behind the other.
    pub fn backward(&self, dy: &[T], signs: &[u8], mut dx: Gradient<T>, mut da: Gradient<T>) -> Vec<Vec<T>> {
        let transposed = self.w.map(|w| self.transposed(w));
        let tasks = self.tasks().map(|rows| {
            let len = rows.len() * self.d_in;
            (rows, [take(&mut dx, len), take(&mut da, len)])
        });
        let tasks: Vec<_> = tasks.collect();
        let run = |(rows, grads)| self.backward_task(dy, signs, &transposed, rows, grads);
        tasks.into_par_iter().map(run).collect()
    }

    /// W^T (d_out, d_in)
    fn transposed(&self, w: &[T]) -> Vec<T> {
        let (d_in, d_out) = (self.d_in, self.d_out);
        (0..d_in * d_out).map(|i| w[i % d_in * d_out + i / d_in]).collect()
    }

    fn backward_task(
        &self,
        dy: &[T],
        signs: &[u8],
        transposed: &[Vec<T>; 2],
        task: Range<usize>,
        mut grads: [Gradient<T>; 2],
    ) -> Vec<T> {
        let (d_in, d_out) = (self.d_in, self.d_out);
        let mut scratch = Scratch::new(d_in, d_out);
        for first in task.clone().step_by(BLOCK) {
            let end = task.end.min(first + BLOCK);
            let before = scratch.rows.len();
            self.collect(&dy[first * d_out..end * d_out], signs, first, &mut scratch);
            let rows = &scratch.rows[before..];
            for (grad, fresh) in grads.iter_mut().flatten() {
                if *fresh && rows.len() < end - first {
                    let grad = &mut grad[(first - task.start) * d_in..(end - task.start) * d_in];
                    simd::simd(Clear { grad, first, rows, zeros: &scratch.zeros });
                }
            }
            if scratch.rows.len() >= BLOCK || end == task.end {
                self.backward_rows(transposed, task.start, &mut grads, &mut scratch);
                scratch.rows.clear();
            }
        }
        simd::fence();
        scratch.weights
    }

    /// Appends the rows of a block of dy that are not zero to what is collected.
    fn collect(&self, dy: &[T], signs: &[u8], first: usize, scratch: &mut Scratch<T>) {
        let d_out = self.d_out;
        let Scratch { rows, d: [d1, d2], dy: scaled, weights, .. } = scratch;
        let dy = match self.dropout.rate > 0.0 {
            true => {
                self.dropout.scales::<T>(first * d_out, dy.len(), |i, scale| scaled[i] = scale * dy[i]);
                &scaled[..dy.len()]
            }
            false => dy,
        };
        let (db1, db2) = weights[2 * self.d_in * d_out..].split_at_mut(d_out);
        let signs = &signs[first * d_out..][..dy.len()];
        simd::simd(Collect { dy, signs, first, rows, d: [d1, d2], db: [db1, db2], slope: self.slope });
    }

    /// The gradients that follow from the rows that are collected; those of x and a begin with row `first`.
    fn backward_rows(
        &self,
        transposed: &[Vec<T>; 2],
        first: usize,
        grads: &mut [Gradient<T>; 2],
        scratch: &mut Scratch<T>,
    ) {
        let (d_in, d_out) = (self.d_in, self.d_out);
        let Scratch { rows, s, q, p: [p1, p2], d: [d1, d2], weights, .. } = scratch;
        let n = rows.len();
        let (s, q) = (&mut s[..n * d_in], &mut q[..n * d_in]);
        let (d1, d2) = (&d1[..n * d_out], &d2[..n * d_out]);
        simd::simd(Joined { layer: self, rows, s, q });
        let (dw1, rest) = weights.split_at_mut(d_in * d_out);
        add_transposed((n, d_in, d_out), s, d1, dw1);
        add_transposed((n, d_in, d_out), q, d2, &mut rest[..d_in * d_out]);
        if n == 0 || grads.iter().all(Option::is_none) {
            return;
        }
        let (p1, p2) = (&mut p1[..n * d_in], &mut p2[..n * d_in]);
        product((n, d_out, d_in), d1, &transposed[0], p1);
        product((n, d_out, d_in), d2, &transposed[1], p2);
        for (grad, other) in grads.iter_mut().zip([self.a, self.x]) {
            if let Some((grad, fresh)) = grad {
                let (grad, sum) = ((&mut **grad, *fresh), &mut s[..d_in]);
                simd::simd(Gradients { grad, first, rows, p: [&*p1, &*p2], other, sum });
            }
        }
    }
}

//! `Query` on the CPU for the logits without weights of their own: destinations are read and written once in each
//! direction.

use std::ops::Range;

use base::parallel::prelude::*;

use crate::cpu::stream::{WIDEST, local, put, split, take, with_row};
use engine::parallel;
use engine::simd::{self, SimdWork, axpy, dot, fma};
use engine::{Real, Tensor};
use graph::Graph;

/// Tasks, each of which sums the relations' gradients apart.
const TASKS: usize = 32;

/// Inputs as `Query` has them.
pub(super) struct HeadRows<'a, T> {
    pub g: &'a Graph,
    pub tanh: bool,
    pub x: &'a [T],
    pub p: &'a [T],
    pub r: &'a [T],
    pub r_p: &'a [T],
    /// (n, m)
    pub widths: (usize, usize),
}

/// Gradients of the destinations' rows, where they are wanted; true: they are written and not added to.
type Rows<'a, T> = Option<(&'a mut [T], bool)>;

/// Rows of both widths W where FIXED, else at most W.
struct Query<'a, T, const W: usize, const FIXED: bool>(&'a HeadRows<'a, T>);

struct Forward<'a, T, const W: usize, const FIXED: bool> {
    query: Query<'a, T, W, FIXED>,
    dst_nodes: Range<usize>,
    u: &'a mut [T],
    s: &'a mut [T],
}

struct Backward<'a, T, const W: usize, const FIXED: bool> {
    query: Query<'a, T, W, FIXED>,
    dst_nodes: Range<usize>,
    u: &'a [T],
    du: &'a [T],
    s: &'a [T],
    d_x: Rows<'a, T>,
    d_p: Rows<'a, T>,
    /// (relations, m) of r, then of r_p
    relations: &'a mut [T],
}

impl<'a, T: Real, const W: usize, const FIXED: bool> Query<'a, T, W, FIXED> {
    #[inline(always)]
    fn widths(&self) -> (usize, usize) {
        if FIXED { (W, W) } else { self.0.widths }
    }

    #[inline(always)]
    fn dst(&self, table: &'a [T], v: usize) -> &'a [T] {
        let n = self.widths().0;
        &table[v * n..][..n]
    }

    #[inline(always)]
    fn relation(&self, table: &'a [T], q: usize) -> &'a [T] {
        let m = self.widths().1;
        &table[q * m..][..m]
    }
}

impl<T: Real, const W: usize, const FIXED: bool> SimdWork for Forward<'_, T, W, FIXED> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Forward { query, dst_nodes, u, s } = self;
        let (n, m) = query.widths();
        let (of_dst, relation) = (query.0.g.groups.of_dst.host(), query.0.g.groups.relation.host());
        let first = of_dst[dst_nodes.start] as usize;
        for v in dst_nodes {
            let own = of_dst[v] as usize..of_dst[v + 1] as usize;
            if own.is_empty() {
                continue;
            }
            let x: [T; W] = local(query.dst(query.0.x, v));
            let s_v = dot::<ISA, T, T>(&x[..n], query.dst(query.0.p, v));
            for group in own {
                let q = relation[group] as usize;
                let (r, r_p) = (query.relation(query.0.r, q), query.relation(query.0.r_p, q));
                let mut row = [T::zero(); W];
                // Columns behind the n of x are zero in its copy.
                for (row, ((&x, &r), &r_p)) in row.iter_mut().zip(x.iter().zip(r).zip(r_p)) {
                    *row = fma::<ISA, T>(s_v, r_p, x + r);
                }
                if query.0.tanh {
                    for row in &mut row[..m] {
                        *row = row.fast_tanh();
                    }
                }
                simd::stream::<ISA, T>(&row[..m], &mut u[(group - first) * m..][..m]);
                s[group - first] = s_v;
            }
        }
        simd::fence();
    }
}

impl<T: Real, const W: usize, const FIXED: bool> SimdWork for Backward<'_, T, W, FIXED> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Backward { query, dst_nodes, u, du, s, mut d_x, mut d_p, relations } = self;
        let (n, m) = query.widths();
        let k = n.min(m);
        let (of_dst, relation) = (query.0.g.groups.of_dst.host(), query.0.g.groups.relation.host());
        let (d_r, d_r_p) = relations.split_at_mut(relations.len() / 2);
        for (i, v) in dst_nodes.enumerate() {
            let mut sum = [T::zero(); W];
            let mut ds = T::zero();
            for group in of_dst[v] as usize..of_dst[v + 1] as usize {
                let q = relation[group] as usize;
                let (u, du) = (&u[group * m..][..m], &du[group * m..][..m]);
                let mut inner = [T::zero(); W];
                for (inner, (&u, &du)) in inner.iter_mut().zip(u.iter().zip(du)) {
                    *inner = if query.0.tanh { du * (T::one() - u * u) } else { du };
                }
                ds += dot::<ISA, T, T>(&inner[..m], query.relation(query.0.r_p, q));
                axpy::<ISA, T>(T::one(), &inner[..k], &mut sum[..k]);
                axpy::<ISA, T>(T::one(), &inner[..m], &mut d_r[q * m..][..m]);
                axpy::<ISA, T>(s[group], &inner[..m], &mut d_r_p[q * m..][..m]);
            }
            if let Some((rows, fresh)) = &mut d_x {
                axpy::<ISA, T>(ds, query.dst(query.0.p, v), &mut sum[..n]);
                put::<ISA, T>((&mut rows[i * n..][..n], *fresh), &sum[..n]);
            }
            if let Some((rows, fresh)) = &mut d_p {
                let mut row = [T::zero(); W];
                axpy::<ISA, T>(ds, query.dst(query.0.x, v), &mut row[..n]);
                put::<ISA, T>((&mut rows[i * n..][..n], *fresh), &row[..n]);
            }
        }
        simd::fence();
    }
}

/// Whether rows of these widths are taken.
pub(super) fn takes((n, m): (usize, usize)) -> bool {
    (1..=WIDEST).contains(&n) && (1..=WIDEST).contains(&m)
}

impl<T: Real> HeadRows<'_, T> {
    /// Destinations of each task, and their number of groups: fixed by the graph.
    fn tasks(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let (dst_nodes, of_dst) = (self.g.num_dst, self.g.groups.of_dst.host());
        let each = dst_nodes.div_ceil(TASKS).max(256);
        (0..dst_nodes).step_by(each).map(move |first| {
            let last = (first + each).min(dst_nodes);
            (first..last, (of_dst[last] - of_dst[first]) as usize)
        })
    }

    /// Writes U (groups, m) and s (groups).
    pub fn forward(&self, mut u: &mut [T], mut s: &mut [T]) {
        let m = self.widths.1;
        with_row!(self.widths, W, FIXED => {
            let tasks = self.tasks().map(|(dst_nodes, groups)| {
                let query = Query::<T, W, FIXED>(self);
                Forward { query, dst_nodes, u: split(&mut u, groups * m), s: split(&mut s, groups) }
            });
            let tasks: Vec<_> = tasks.collect();
            tasks.into_par_iter().for_each(simd::simd);
        });
    }

    /// Adds to dx and dp; returns the gradients of r and r_p (relations, m), one behind the other.
    pub fn backward(
        &self,
        (u, du, s): (&[T], &[T], &[T]),
        d_x: Option<&mut Tensor>,
        d_p: Option<&mut Tensor>,
    ) -> Vec<T> {
        let n = self.widths.0;
        let mut d_x = d_x.map(Tensor::host_overwrite::<T>);
        let mut d_p = d_p.map(Tensor::host_overwrite::<T>);
        let mut parts: Vec<Vec<T>> = self.tasks().map(|_| vec![T::zero(); 2 * self.r.len()]).collect();
        with_row!(self.widths, W, FIXED => {
            let tasks = self.tasks().zip(&mut parts).map(|((dst_nodes, _), relations)| {
                let len = dst_nodes.len() * n;
                let query = Query::<T, W, FIXED>(self);
                let (d_x, d_p) = (take(&mut d_x, len), take(&mut d_p, len));
                Backward { query, dst_nodes, u, du, s, d_x, d_p, relations }
            });
            let tasks: Vec<_> = tasks.collect();
            tasks.into_par_iter().for_each(simd::simd);
        });
        let mut sum = vec![T::zero(); 2 * self.r.len()];
        parts.iter().for_each(|part| parallel::axpy(T::one(), part, &mut sum));
        sum
    }
}

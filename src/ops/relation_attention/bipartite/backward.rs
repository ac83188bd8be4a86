//! The backward pass: the same stream, which adds to each column's gradients over the chunk.

use base::parallel::prelude::*;

use super::item_side::{self, add_bucket_sums, add_relations, through_projection};
use super::{HostGradients, Stream};
use crate::cpu::rows::add_chunks;
use crate::cpu::stream::{PREFETCH_DISTANCE, local, put, split, take};
use crate::relation_attention::inputs::{Attention, LogitGradients, OutputGradients, ProjectionDots};
use base::Result;
use engine::parallel::{self, prefetch};
use engine::simd::{self, SimdWork, axpy, dot, fma};
use engine::{Real, Tensor};
use graph::BipartiteEdges;

/// Edges between the ones that `prefetch_backward` asks rows for and the gradient of an inverse's weight, one element
/// of far memory.
const FAR: usize = 16;

/// What a chunk of rows writes or adds to. Optional parts are there where a gradient is wanted; `fresh` parts are
/// written.
struct BackwardOut<'a, T> {
    d_u: Option<(&'a mut [T], bool)>,
    d_x: Option<(&'a mut [T], bool)>,
    d_p: Option<(&'a mut [T], bool)>,
    /// (groups) sum of dz_e
    sum: &'a mut [T],
    /// (edges) dpi_e / temperature of the rows' edges and of their inverses
    d: &'a mut [T],
    d_inverse: &'a mut [T],
    /// (columns, n) and (columns): gradients of the columns' x and s
    x_columns: &'a mut [T],
    w_columns: &'a mut [T],
    /// (inverse groups, m) and (inverse groups, 2): gradients of U, sums of dz_e s_t and of dz_e
    u_inverse: &'a mut [T],
    sums_inverse: &'a mut [T],
    /// (relations, m), empty where it is not wanted
    r_p: &'a mut [T],
}

struct BackwardChunk<'a, T, const W: usize, const FIXED: bool> {
    stream: &'a Stream<'a, T, W, FIXED>,
    up: &'a HostGradients<'a, T>,
    rows: std::ops::Range<usize>,
    out: BackwardOut<'a, T>,
}

impl<T: Real, const W: usize, const FIXED: bool> SimdWork for BackwardChunk<'_, T, W, FIXED> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let BackwardChunk { stream, up, rows, mut out } = self;
        let (offsets, of_dst) = (stream.g.offsets.host(), stream.g.groups.of_dst.host());
        let first = (offsets[rows.start] as usize, of_dst[rows.start] as usize);
        out.x_columns.fill(T::zero());
        out.w_columns.fill(T::zero());
        out.u_inverse.fill(T::zero());
        out.sums_inverse.fill(T::zero());
        out.r_p.fill(T::zero());
        for (i, l) in rows.enumerate() {
            stream.backward_row::<ISA>(up, l, i, first, &mut out);
        }
        simd::fence();
    }
}

/// to += alpha a + beta b; b may be shorter, and ends early then.
#[inline(always)]
fn add_two<const ISA: u8, T: Real>((alpha, a): (T, &[T]), (beta, b): (T, &[T]), to: &mut [T]) {
    let (both, rest) = to.split_at_mut(b.len());
    for ((to, &a), &b) in both.iter_mut().zip(a).zip(b) {
        *to = fma::<ISA, T>(beta, b, fma::<ISA, T>(alpha, a, *to));
    }
    axpy::<ISA, T>(alpha, &a[b.len()..], rest);
}

/// Row `i` of an optional output.
#[inline(always)]
fn row_of<'b, T>(out: &'b mut Option<(&mut [T], bool)>, i: usize, n: usize) -> Option<(&'b mut [T], bool)> {
    match out {
        Some((rows, fresh)) => Some((&mut rows[i * n..][..n], *fresh)),
        None => None,
    }
}

impl<T: Real, const W: usize, const FIXED: bool> Stream<'_, T, W, FIXED> {
    #[inline(always)]
    fn prefetch_backward(&self, e: usize, up: &HostGradients<'_, T>, out: &BackwardOut<'_, T>) {
        if FIXED && e < self.pairs.edges {
            let (c, q) = self.column(e);
            prefetch(self.row_n(self.x_columns, c));
            prefetch(self.row_m(&self.u_inverse, q));
            prefetch(self.row_n(out.x_columns, c));
            prefetch(self.row_m(out.u_inverse, q));
            if let Some(d_agg) = up.d_agg {
                prefetch(self.row_n(d_agg, c + self.pairs.columns.start));
            }
        }
        if let (Some(d_alpha), Some(&inverse)) = (up.d_alpha, self.pairs.inverse.get(e + FAR)) {
            prefetch(&d_alpha[inverse as usize..][..1]);
        }
    }

    /// The derivative of the activation at a logit, of which `inner` is the value before it.
    #[inline(always)]
    fn derivative(&self, inner: T) -> T {
        match self.slope {
            Some(slope) if inner <= T::zero() => slope,
            _ => T::one(),
        }
    }

    /// Row l, the i-th of a chunk whose edges and groups begin at `first`.
    #[inline(always)]
    fn backward_row<const ISA: u8>(
        &self,
        up: &HostGradients<'_, T>,
        l: usize,
        i: usize,
        first: (usize, usize),
        out: &mut BackwardOut<'_, T>,
    ) {
        let (g, pairs) = (self.g, self.pairs);
        let (offsets, of_dst, group_offsets) = (g.offsets.host(), g.groups.of_dst.host(), g.groups.offsets.host());
        let relation = g.groups.relation.host();
        let (n, m, k) = self.widths();
        let edges = offsets[l] as usize..offsets[l + 1] as usize;
        let behind = pairs.columns.start - pairs.rows;
        let x_l: [T; W] = local(self.row_n(self.x, l));
        let g_l: [T; W] = match up.d_agg {
            Some(d_agg) => local(self.row_n(d_agg, l)),
            None => [T::zero(); W],
        };
        self.prefetch_row(self.x, l, n);
        if let Some(d_agg) = up.d_agg {
            self.prefetch_row(d_agg, l, n);
        }
        let mut inner = match up.d_log_sum {
            Some(d) => -d[l],
            None => T::zero(),
        };
        // The gradients of alpha first, of which the softmax's needs the sum.
        for e in edges.clone() {
            self.prefetch_backward(e + PREFETCH_DISTANCE, up, out);
            let c = self.column(e).0;
            let (mut t, mut back) = (T::zero(), T::zero());
            if let Some(d_agg) = up.d_agg {
                t = dot::<ISA, T, T>(&g_l[..n], self.row_n(self.x_columns, c));
                back = dot::<ISA, T, T>(&x_l[..n], self.row_n(d_agg, c + pairs.columns.start));
            }
            if let Some(d_alpha) = up.d_alpha {
                t += d_alpha[e];
                back += d_alpha[pairs.inverse[e] as usize];
            }
            inner = fma::<ISA, T>(up.alpha[e], t, inner);
            out.d[e - first.0] = t;
            let back = up.inverse_alpha[e] * (back - up.inner[behind + c]) * self.inverse_temperature;
            out.d_inverse[e - first.0] = back;
        }
        let mut s_l = T::zero();
        if let Some((p, _)) = self.projection {
            self.prefetch_row(p, l, n);
            s_l = dot::<ISA, T, T>(self.row_n(p, l), &x_l[..n]);
        }
        let mut d_x = [T::zero(); W];
        let mut w = T::zero();
        for group in of_dst[l] as usize..of_dst[l + 1] as usize {
            let u_g: [T; W] = local(self.row_m(self.u, group));
            self.prefetch_row(self.u, group, m);
            let mut c_g = T::zero();
            if let Some((_, r_p)) = self.projection {
                c_g = dot::<ISA, T, T>(self.row_m(r_p, relation[group] as usize), &u_g[..m]);
            }
            let o_g = self.o[group];
            let mut d_u = [T::zero(); W];
            let (mut sum_s, mut sum) = (T::zero(), T::zero());
            for e in group_offsets[group] as usize..group_offsets[group + 1] as usize {
                let (c, q) = self.column(e);
                let (x_c, u_q) = (self.row_n(self.x_columns, c), self.row_m(&self.u_inverse, q));
                let alpha = up.alpha[e];
                let d = alpha * (out.d[e - first.0] - inner) * self.inverse_temperature;
                out.d[e - first.0] = d;
                let (mut dz, mut back) = (d, out.d_inverse[e - first.0]);
                if self.slope.is_some() {
                    dz *= self.derivative(self.inner::<ISA>(&u_g, x_c, self.s_columns[c], c_g, o_g));
                    let z = self.inner::<ISA>(u_q, &x_l, s_l, self.c_inverse[q], self.o_inverse[q]);
                    back *= self.derivative(z);
                }
                sum_s = fma::<ISA, T>(dz, self.s_columns[c], sum_s);
                sum += dz;
                axpy::<ISA, T>(dz, &x_c[..k], &mut d_u[..k]);
                let to = &mut out.x_columns[c * n..][..n];
                add_two::<ISA, T>((alpha, &g_l[..n]), (dz, &u_g[..k]), to);
                out.w_columns[c] = fma::<ISA, T>(dz, c_g, out.w_columns[c]);
                axpy::<ISA, T>(back, &x_l[..k], &mut out.u_inverse[q * m..][..k]);
                let sums = &mut out.sums_inverse[2 * q..2 * q + 2];
                sums[0] = fma::<ISA, T>(back, s_l, sums[0]);
                sums[1] += back;
                match up.d_agg {
                    Some(d_agg) => {
                        let g_c = self.row_n(d_agg, c + pairs.columns.start);
                        add_two::<ISA, T>((up.inverse_alpha[e], g_c), (back, &u_q[..k]), &mut d_x[..n]);
                    }
                    None => axpy::<ISA, T>(back, &u_q[..k], &mut d_x[..k]),
                }
                w = fma::<ISA, T>(back, self.c_inverse[q], w);
            }
            out.sum[group - first.1] = sum;
            if let Some((_, r_p)) = self.projection {
                let q = relation[group] as usize;
                axpy::<ISA, T>(sum_s, self.row_m(r_p, q), &mut d_u[..m]);
                if !out.r_p.is_empty() {
                    axpy::<ISA, T>(sum_s, &u_g[..m], &mut out.r_p[q * m..][..m]);
                }
            }
            if let Some(row) = row_of(&mut out.d_u, group - first.1, m) {
                put::<ISA, T>(row, &d_u[..m]);
            }
        }
        if let Some((p, _)) = self.projection {
            axpy::<ISA, T>(w, self.row_n(p, l), &mut d_x[..n]);
            if let Some(row) = row_of(&mut out.d_p, i, n) {
                let mut d_p = [T::zero(); W];
                axpy::<ISA, T>(w, &x_l[..n], &mut d_p[..n]);
                put::<ISA, T>(row, &d_p[..n]);
            }
        }
        if let Some(row) = row_of(&mut out.d_x, i, n) {
            put::<ISA, T>(row, &d_x[..n]);
        }
    }
}

/// The chunks' parts of an optional gradient whose first rows are the rows'; the rest becomes zero where it is fresh.
struct Parts<'a, T> {
    rows: Option<(&'a mut [T], bool)>,
}

impl<'a, T: Real> Parts<'a, T> {
    fn new(gradient: Option<&'a mut Tensor>, rows: usize) -> Self {
        let Some(gradient) = gradient else { return Parts { rows: None } };
        let width = gradient.cols();
        let (values, fresh) = gradient.host_overwrite::<T>();
        let (rows, rest) = values.split_at_mut(rows * width);
        if fresh {
            rest.fill(T::zero());
        }
        Parts { rows: Some((rows, fresh)) }
    }

    fn next(&mut self, n: usize) -> Option<(&'a mut [T], bool)> {
        take(&mut self.rows, n)
    }
}

/// Adds all gradients; `dx` as the op's backward gets it.
pub(super) fn backward<T: Real, const W: usize, const FIXED: bool>(
    a: &Attention,
    pairs: &BipartiteEdges,
    (dots, inverse_alpha): (&ProjectionDots, &Tensor),
    y: &[&Tensor],
    up: OutputGradients,
    dx: &mut [Option<Tensor>],
) -> Result<()> {
    let [d_u, d_o, d_x, d_p, d_r_p, d_bias] = dx else { return Ok(()) };
    let g = a.graph;
    let (n, m) = a.widths();
    let (columns, relations) = (pairs.columns.len(), a.r_p.rows());
    let (places, chunks) = (pairs.inverse_groups.len(), pairs.chunks.len());
    let upstream = item_side::host_gradients::<T>(a, pairs, (y, inverse_alpha), up);
    let alpha = y[1];
    let mut grads = LogitGradients {
        d: alpha.empty_like(g.edges(), 1)?,
        sum_s: Tensor::zeros(&alpha.device(), alpha.dtype(), g.groups.count, 1)?,
        sum: Tensor::zeros(&alpha.device(), alpha.dtype(), g.groups.count, 1)?,
    };
    let mut d_inverse = alpha.empty_like(pairs.edges, 1)?;
    let mut x_columns = alpha.empty_like(chunks * columns, n)?;
    let mut w_columns = alpha.empty_like(chunks * columns, 1)?;
    let mut u_inverse = alpha.empty_like(chunks * places, m)?;
    let mut sums_inverse = alpha.empty_like(chunks * places, 2)?;
    let wants_r_p = a.projected && d_r_p.is_some();
    let mut r_p = alpha.empty_like(if wants_r_p { chunks * relations } else { 0 }, m)?;
    {
        let (_, s) = dots.s.host::<T>().split_at(pairs.rows);
        let (_, c) = dots.c.host::<T>().split_at(pairs.groups);
        let stream = Stream::<T, W, FIXED>::new(a, pairs, s, c);
        let (offsets, of_dst) = (g.offsets.host(), g.groups.of_dst.host());
        let mut to_u = Parts::new(d_u.as_mut(), pairs.groups);
        let mut to_x = Parts::new(d_x.as_mut(), pairs.rows);
        let mut to_p = Parts::new(d_p.as_mut().filter(|_| a.projected), pairs.rows);
        let (mut sum, mut d) = (grads.sum.host_mut::<T>(), grads.d.host_mut::<T>());
        let mut d_inverse = d_inverse.host_mut::<T>();
        let (mut xc, mut wc) = (x_columns.host_mut::<T>(), w_columns.host_mut::<T>());
        let (mut ui, mut si) = (u_inverse.host_mut::<T>(), sums_inverse.host_mut::<T>());
        let mut r_p = r_p.host_mut::<T>();
        let work = pairs.chunks.iter().map(|chunk| {
            let edges = (offsets[chunk.end] - offsets[chunk.start]) as usize;
            let groups = (of_dst[chunk.end] - of_dst[chunk.start]) as usize;
            let out = BackwardOut {
                d_u: to_u.next(groups * m),
                d_x: to_x.next(chunk.len() * n),
                d_p: to_p.next(chunk.len() * n),
                sum: split(&mut sum, groups),
                d: split(&mut d, edges),
                d_inverse: split(&mut d_inverse, edges),
                x_columns: split(&mut xc, columns * n),
                w_columns: split(&mut wc, columns),
                u_inverse: split(&mut ui, places * m),
                sums_inverse: split(&mut si, places * 2),
                r_p: split(&mut r_p, if wants_r_p { relations * m } else { 0 }),
            };
            BackwardChunk { stream: &stream, up: &upstream, rows: chunk.clone(), out }
        });
        let work: Vec<_> = work.collect();
        work.into_par_iter().for_each(simd::simd);
    }

    item_side::group_backward::<T>(a, pairs, dots, &upstream, d_u.as_mut(), &mut grads);
    let mut w = item_side::src_backward::<T>(a, pairs, dots, &upstream, &grads.d, d_x.as_mut());
    let behind = pairs.columns.start - pairs.rows;
    add_chunks(&mut w[behind..behind + columns], w_columns.host(), chunks, 1);
    if let Some(d_x) = d_x {
        let rows = &mut d_x.host_mut::<T>()[pairs.columns.start * n..pairs.columns.end * n];
        add_chunks(rows, x_columns.host(), chunks, n);
    }
    let mut sums = vec![T::zero(); places * 2];
    add_chunks(&mut sums, sums_inverse.host(), chunks, 2);
    {
        let (sum_s, sum) = (grads.sum_s.host_mut::<T>(), grads.sum.host_mut::<T>());
        for (&group, sums) in pairs.inverse_groups.iter().zip(sums.chunks_exact(2)) {
            (sum_s[group as usize], sum[group as usize]) = (sums[0], sums[1]);
        }
    }
    if let Some(d_u) = d_u {
        let mut total = vec![T::zero(); places * m];
        add_chunks(&mut total, u_inverse.host(), chunks, m);
        let d_u = d_u.host_mut::<T>();
        for (&group, total) in pairs.inverse_groups.iter().zip(total.chunks_exact(m.max(1))) {
            parallel::axpy(T::one(), total, &mut d_u[group as usize * m..][..m]);
        }
    }
    if a.projected {
        through_projection::<T>(a, pairs, &grads, &w, [d_u.as_mut(), d_x.as_mut(), d_p.as_mut()]);
        if let Some(d_r_p) = d_r_p {
            let sum_s = grads.sum_s.host::<T>();
            add_relations::<T>(a, pairs, sum_s, r_p.host(), d_r_p);
        }
    }
    if let Some(d_o) = d_o {
        d_o.add_scaled(1.0, &grads.sum)?;
    }
    if let Some(d_bias) = d_bias {
        add_bucket_sums::<T>(a, pairs, grads.d.host(), d_inverse.host(), d_bias.host_mut());
    }
    Ok(())
}

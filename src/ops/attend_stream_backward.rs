//! The gradient of `attend_stream`: the same stream, which adds to each column's gradients over the chunk.

use rayon::prelude::*;

use super::attend::{Attend, HeadSide, Saved};
use super::attend_cpu::{HeadBackward, TailBackward};
use super::attend_stream::{AHEAD, Paired, Stream, local, split};
use super::segment::{self, Outputs};
use crate::Result;
use crate::engine::parallel::{self, RowWork, prefetch};
use crate::engine::simd::{self, SimdWork, axpy, dot, fma};
use crate::engine::{Real, Tensor};
use crate::graph::{Graph, Pairs, UNPAIRED};

/// Gradients of the outputs, and what the forward pass made.
pub(super) struct Above<'a> {
    pub y: &'a [&'a Tensor],
    pub d_agg: Option<&'a Tensor>,
    pub d_alpha: Option<&'a Tensor>,
    pub d_log_sum: Option<&'a Tensor>,
}

/// The same in host memory; `inner` (heads behind the rows) is sum of alpha dalpha less the gradient of log_sum.
struct Upstream<'a, T> {
    d_agg: Option<&'a [T]>,
    d_alpha: Option<&'a [T]>,
    d_log_sum: Option<&'a [T]>,
    alpha: &'a [T],
    /// (row edges) alpha of the inverse edges
    paired: &'a [T],
    inner: Vec<T>,
}

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
    above: &'a Upstream<'a, T>,
    rows: std::ops::Range<usize>,
    out: BackwardOut<'a, T>,
}

impl<T: Real, const W: usize, const FIXED: bool> SimdWork for BackwardChunk<'_, T, W, FIXED> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let BackwardChunk { stream, above, rows, mut out } = self;
        let (offsets, of_head) = (stream.g.offsets.host(), stream.g.groups.of_head.host());
        let first = (offsets[rows.start] as usize, of_head[rows.start] as usize);
        out.x_columns.fill(T::zero());
        out.w_columns.fill(T::zero());
        out.u_inverse.fill(T::zero());
        out.sums_inverse.fill(T::zero());
        out.r_p.fill(T::zero());
        for (i, l) in rows.enumerate() {
            stream.backward_row::<ISA>(above, l, i, first, &mut out);
        }
        simd::fence();
    }
}

/// out = values, or out += values.
#[inline(always)]
pub(super) fn put<const ISA: u8, T: Real>((out, fresh): (&mut [T], bool), values: &[T]) {
    if fresh {
        simd::stream::<ISA, T>(values, out);
    } else {
        out.iter_mut().zip(values).for_each(|(out, &v)| *out += v);
    }
}

/// The first `len` elements of an optional gradient.
pub(super) fn take<'a, T>(gradient: &mut Option<(&'a mut [T], bool)>, len: usize) -> Option<(&'a mut [T], bool)> {
    let (values, fresh) = gradient.as_mut()?;
    Some((split(values, len), *fresh))
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
    fn prefetch_backward(&self, e: usize, above: &Upstream<'_, T>, out: &BackwardOut<'_, T>) {
        if FIXED && e < self.pairs.edges {
            let (c, q) = self.column(e);
            prefetch(self.row_n(self.x_columns, c));
            prefetch(self.row_m(&self.u_inverse, q));
            prefetch(self.row_n(out.x_columns, c));
            prefetch(self.row_m(out.u_inverse, q));
            if let Some(d_agg) = above.d_agg {
                prefetch(self.row_n(d_agg, c + self.pairs.columns.start));
            }
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
        above: &Upstream<'_, T>,
        l: usize,
        i: usize,
        first: (usize, usize),
        out: &mut BackwardOut<'_, T>,
    ) {
        let (g, pairs) = (self.g, self.pairs);
        let (offsets, of_head, group_offsets) =
            (g.offsets.host(), g.groups.of_head.host(), g.groups.offsets.host());
        let relation = g.groups.relation.host();
        let (n, m, k) = self.widths();
        let edges = offsets[l] as usize..offsets[l + 1] as usize;
        let behind = pairs.columns.start - pairs.rows;
        let x_l: [T; W] = local(self.row_n(self.x, l));
        let g_l: [T; W] = match above.d_agg {
            Some(d_agg) => local(self.row_n(d_agg, l)),
            None => [T::zero(); W],
        };
        self.prefetch_row(self.x, l, n);
        if let Some(d_agg) = above.d_agg {
            self.prefetch_row(d_agg, l, n);
        }
        let mut inner = match above.d_log_sum {
            Some(d) => -d[l],
            None => T::zero(),
        };
        // The gradients of alpha first, of which the softmax's needs the sum.
        for e in edges.clone() {
            self.prefetch_backward(e + AHEAD, above, out);
            let c = self.column(e).0;
            let (mut t, mut back) = (T::zero(), T::zero());
            if let Some(d_agg) = above.d_agg {
                t = dot::<ISA, T>(&g_l[..n], self.row_n(self.x_columns, c));
                back = dot::<ISA, T>(&x_l[..n], self.row_n(d_agg, c + pairs.columns.start));
            }
            if let Some(d_alpha) = above.d_alpha {
                t += d_alpha[e];
                back += d_alpha[pairs.inverse[e] as usize];
            }
            inner = fma::<ISA, T>(above.alpha[e], t, inner);
            out.d[e - first.0] = t;
            let back = above.paired[e] * (back - above.inner[behind + c]) * self.inverse_temperature;
            out.d_inverse[e - first.0] = back;
        }
        let mut s_l = T::zero();
        if let Some((p, _)) = self.projection {
            self.prefetch_row(p, l, n);
            s_l = dot::<ISA, T>(self.row_n(p, l), &x_l[..n]);
        }
        let mut d_x = [T::zero(); W];
        let mut w = T::zero();
        for group in of_head[l] as usize..of_head[l + 1] as usize {
            let u_g: [T; W] = local(self.row_m(self.u, group));
            self.prefetch_row(self.u, group, m);
            let mut c_g = T::zero();
            if let Some((_, r_p)) = self.projection {
                c_g = dot::<ISA, T>(self.row_m(r_p, relation[group] as usize), &u_g[..m]);
            }
            let o_g = self.o[group];
            let mut d_u = [T::zero(); W];
            let (mut sum_s, mut sum) = (T::zero(), T::zero());
            for e in group_offsets[group] as usize..group_offsets[group + 1] as usize {
                let (c, q) = self.column(e);
                let (x_c, u_q) = (self.row_n(self.x_columns, c), self.row_m(&self.u_inverse, q));
                let alpha = above.alpha[e];
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
                if above.d_agg.is_some() {
                    axpy::<ISA, T>(alpha, &g_l[..n], to);
                }
                axpy::<ISA, T>(dz, &u_g[..k], &mut to[..k]);
                out.w_columns[c] = fma::<ISA, T>(dz, c_g, out.w_columns[c]);
                axpy::<ISA, T>(back, &x_l[..k], &mut out.u_inverse[q * m..][..k]);
                let sums = &mut out.sums_inverse[2 * q..2 * q + 2];
                sums[0] = fma::<ISA, T>(back, s_l, sums[0]);
                sums[1] += back;
                if let Some(d_agg) = above.d_agg {
                    let g_c = self.row_n(d_agg, c + pairs.columns.start);
                    axpy::<ISA, T>(above.paired[e], g_c, &mut d_x[..n]);
                }
                axpy::<ISA, T>(back, &u_q[..k], &mut d_x[..k]);
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

impl Attend {
    /// Adds all gradients; `dx` as the op's backward gets it.
    pub(super) fn stream_backward<T: Real, const W: usize, const FIXED: bool>(
        &self,
        pairs: &Pairs,
        x: &[&Tensor],
        (saved, paired): (&Saved, &Paired),
        above: &Above,
        dx: &mut [Option<Tensor>],
    ) -> Result<()> {
        let [d_u, d_o, d_x, d_p, d_r_p, d_bias] = dx else { return Ok(()) };
        let projected = Attend::is_projected(x);
        let g = &*self.graph;
        let (n, m) = (x[2].cols(), x[0].cols());
        let (columns, relations) = (pairs.columns.len(), x[4].rows());
        let (places, chunks) = (pairs.inverse_groups.len(), pairs.chunks.len());
        let upstream = self.upstream::<T>(pairs, above, paired);
        let alpha = above.y[1];
        let mut side = HeadSide {
            d: alpha.empty_like(g.edges(), 1)?,
            sum_s: Tensor::zeros(&alpha.device(), alpha.dtype(), g.groups.count, 1)?,
            sum: Tensor::zeros(&alpha.device(), alpha.dtype(), g.groups.count, 1)?,
        };
        let mut d_inverse = alpha.empty_like(pairs.edges, 1)?;
        let mut x_columns = alpha.empty_like(chunks * columns, n)?;
        let mut w_columns = alpha.empty_like(chunks * columns, 1)?;
        let mut u_inverse = alpha.empty_like(chunks * places, m)?;
        let mut sums_inverse = alpha.empty_like(chunks * places, 2)?;
        let wants_r_p = projected && d_r_p.is_some();
        let mut r_p = alpha.empty_like(if wants_r_p { chunks * relations } else { 0 }, m)?;
        {
            let (_, s) = saved.s.host::<T>().split_at(pairs.rows);
            let (_, c) = saved.c.host::<T>().split_at(pairs.groups);
            let stream = Stream::<T, W, FIXED>::new(self, pairs, x, s, c);
            let (offsets, of_head) = (g.offsets.host(), g.groups.of_head.host());
            let mut to_u = Parts::new(d_u.as_mut(), pairs.groups);
            let mut to_x = Parts::new(d_x.as_mut(), pairs.rows);
            let mut to_p = Parts::new(d_p.as_mut().filter(|_| projected), pairs.rows);
            let (mut sum, mut d) = (side.sum.host_mut::<T>(), side.d.host_mut::<T>());
            let mut d_inverse = d_inverse.host_mut::<T>();
            let (mut xc, mut wc) = (x_columns.host_mut::<T>(), w_columns.host_mut::<T>());
            let (mut ui, mut si) = (u_inverse.host_mut::<T>(), sums_inverse.host_mut::<T>());
            let mut r_p = r_p.host_mut::<T>();
            let work = pairs.chunks.iter().map(|chunk| {
                let edges = (offsets[chunk.end] - offsets[chunk.start]) as usize;
                let groups = (of_head[chunk.end] - of_head[chunk.start]) as usize;
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
                BackwardChunk { stream: &stream, above: &upstream, rows: chunk.clone(), out }
            });
            let work: Vec<_> = work.collect();
            work.into_par_iter().for_each(|chunk| simd::simd(chunk));
        }

        self.other_groups_backward::<T>(pairs, x, saved, &upstream, d_u.as_mut(), &mut side);
        let mut w = self.other_tails_backward::<T>(pairs, x, saved, &upstream, &side.d, d_x.as_mut());
        let behind = pairs.columns.start - pairs.rows;
        add_chunks(&mut w[behind..behind + columns], w_columns.host(), chunks, 1);
        if let Some(d_x) = d_x {
            let rows = &mut d_x.host_mut::<T>()[pairs.columns.start * n..pairs.columns.end * n];
            add_chunks(rows, x_columns.host(), chunks, n);
        }
        let mut sums = vec![T::zero(); places * 2];
        add_chunks(&mut sums, sums_inverse.host(), chunks, 2);
        {
            let (sum_s, sum) = (side.sum_s.host_mut::<T>(), side.sum.host_mut::<T>());
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
        if projected {
            self.through_projection::<T>(pairs, x, &side, &w, (d_u.as_mut(), d_x.as_mut(), d_p.as_mut()));
            if let Some(d_r_p) = d_r_p {
                let sum_s = side.sum_s.host::<T>();
                self.add_relations::<T>(pairs, x[0].host(), sum_s, r_p.host(), d_r_p);
            }
        }
        if let Some(d_o) = d_o {
            d_o.add_scaled(1.0, &side.sum)?;
        }
        if let Some(d_bias) = d_bias {
            self.add_paired_bucket_sums::<T>(pairs, side.d.host(), d_inverse.host(), d_bias.host_mut());
        }
        Ok(())
    }

    fn upstream<'a, T: Real>(
        &self,
        pairs: &Pairs,
        above: &'a Above<'a>,
        paired: &'a Paired,
    ) -> Upstream<'a, T> {
        let host = |t: Option<&'a Tensor>| t.map(Tensor::host::<T>);
        let mut upstream = Upstream {
            d_agg: host(above.d_agg),
            d_alpha: host(above.d_alpha),
            d_log_sum: host(above.d_log_sum),
            alpha: above.y[1].host(),
            paired: paired.alpha.host(),
            inner: vec![],
        };
        let mut inner = vec![T::zero(); self.graph.heads - pairs.rows];
        let work = Inner {
            g: &self.graph,
            rows: pairs.rows,
            agg: above.y[0].host(),
            n: above.y[0].cols(),
            up: &upstream,
        };
        parallel::for_rows_work(&mut inner, 1, 4 * work.n.max(64), &work);
        upstream.inner = inner;
        upstream
    }

    /// The groups behind the rows' that are no inverses: adds to dU, writes their sums and d of their edges.
    fn other_groups_backward<T: Real>(
        &self,
        pairs: &Pairs,
        x: &[&Tensor],
        saved: &Saved,
        up: &Upstream<'_, T>,
        d_u: Option<&mut Tensor>,
        side: &mut HeadSide,
    ) {
        if pairs.other_groups.count() == 0 {
            return;
        }
        let m = x[0].cols();
        let mut scalars = vec![T::zero(); pairs.other_groups.rows() * 2];
        let work = HeadBackward {
            edges: self.edges::<T, 0>(x, saved),
            graph: &self.graph,
            first: (pairs.groups, pairs.rows),
            r_p: &[],
            alpha: up.alpha,
            d_agg: up.d_agg,
            d_alpha: up.d_alpha,
            inner: &up.inner,
        };
        let width = d_u.as_ref().map_or(0, |_| m);
        let rows = d_u.map_or(&mut [][..], |d_u| &mut d_u.host_mut::<T>()[pairs.groups * m..]);
        let out = Outputs { rows, width, scalars: &mut scalars, count: 2, entries: side.d.host_mut::<T>() };
        segment::run(&pairs.other_groups, out, &work);
        let (sum_s, sum) = (side.sum_s.host_mut::<T>(), side.sum.host_mut::<T>());
        let sums = sum_s[pairs.groups..].iter_mut().zip(&mut sum[pairs.groups..]);
        for ((sum_s, sum), both) in sums.zip(scalars.chunks_exact(2)) {
            (*sum_s, *sum) = (both[0], both[1]);
        }
    }

    /// The tails behind the rows, over edges that are no pairs: adds to dx, returns w.
    fn other_tails_backward<T: Real>(
        &self,
        pairs: &Pairs,
        x: &[&Tensor],
        saved: &Saved,
        up: &Upstream<'_, T>,
        d: &Tensor,
        d_x: Option<&mut Tensor>,
    ) -> Vec<T> {
        let n = x[2].cols();
        let mut w = vec![T::zero(); self.graph.tails - pairs.rows];
        if pairs.other_tails.count() == 0 {
            return w;
        }
        let work = TailBackward {
            edges: self.edges::<T, 0>(x, saved),
            edge: self.graph.by_tail.edge.host(),
            head: self.graph.head.host(),
            first: pairs.rows,
            p: &[],
            alpha: up.alpha,
            d_agg: up.d_agg,
            d: d.host(),
        };
        let width = d_x.as_ref().map_or(0, |_| n);
        let rows = d_x.map_or(&mut [][..], |d_x| &mut d_x.host_mut::<T>()[pairs.rows * n..]);
        let out = Outputs { rows, width, scalars: &mut w, count: 1, entries: &mut [] };
        segment::run(&pairs.other_tails, out, &work);
        w
    }

    /// What goes through s and c of the columns' side: dU_g += sum_s r_p, dx_t += w p_t, dp_t += w x_t.
    fn through_projection<T: Real>(
        &self,
        pairs: &Pairs,
        x: &[&Tensor],
        side: &HeadSide,
        w: &[T],
        (d_u, d_x, d_p): (Option<&mut Tensor>, Option<&mut Tensor>, Option<&mut Tensor>),
    ) {
        let (n, m, rows) = (x[2].cols(), x[0].cols(), pairs.rows);
        if let Some(d_u) = d_u {
            let (sum_s, relation) = (side.sum_s.host::<T>(), self.graph.groups.relation.host());
            let work = Along {
                by: &sum_s[pairs.groups..],
                along: x[4].host::<T>(),
                row: Some(&relation[pairs.groups..]),
                n: m,
            };
            parallel::for_rows_work(&mut d_u.host_mut::<T>()[pairs.groups * m..], m, m, &work);
        }
        for (gradient, along) in [(d_x, x[3]), (d_p, x[2])] {
            let Some(gradient) = gradient else { continue };
            let work = Along { by: w, along: &along.host::<T>()[rows * n..], row: None, n };
            parallel::for_rows_work(&mut gradient.host_mut::<T>()[rows * n..], n, n, &work);
        }
    }

    /// dr_p: the chunks' parts, and the groups behind the rows'.
    fn add_relations<T: Real>(&self, pairs: &Pairs, u: &[T], sum_s: &[T], parts: &[T], d_r_p: &mut Tensor) {
        let (m, len) = (d_r_p.cols(), d_r_p.len());
        let relation = self.graph.groups.relation.host();
        let others = parallel::map_chunks(self.graph.groups.count - pairs.groups, 16 * 1024, |range| {
            let mut sums = vec![T::zero(); len];
            for g in range.start + pairs.groups..range.end + pairs.groups {
                let to = &mut sums[relation[g] as usize * m..][..m];
                parallel::axpy(sum_s[g], &u[g * m..(g + 1) * m], to);
            }
            sums
        });
        let d_r_p = d_r_p.host_mut::<T>();
        let others = others.iter().map(Vec::as_slice);
        parts.chunks_exact(len.max(1)).chain(others).for_each(|part| parallel::axpy(T::one(), part, d_r_p));
    }

    /// dbias[b] += the sum of dpi_e over the edges of bucket b.
    fn add_paired_bucket_sums<T: Real>(&self, pairs: &Pairs, d: &[T], d_inverse: &[T], d_bias: &mut [T]) {
        const CHUNK: usize = 32 * 1024;
        let bucket = self.graph.bucket.host();
        let buckets = d_bias.len();
        let sums = |n: usize, of: &(dyn Fn(usize) -> (u32, T) + Sync)| {
            parallel::map_chunks(n, CHUNK, |range| {
                let mut sums = vec![T::zero(); buckets];
                for e in range {
                    let (bucket, d) = of(e);
                    sums[bucket as usize] += d;
                }
                sums
            })
        };
        let own = sums(pairs.edges, &|e| (bucket[e], d[e]));
        let inverse = sums(pairs.edges, &|e| (pairs.inverse_bucket[e], d_inverse[e]));
        let others = sums(pairs.row_edge.len(), &|i| match pairs.row_edge[i] {
            UNPAIRED => (bucket[pairs.edges + i], d[pairs.edges + i]),
            _ => (0, T::zero()),
        });
        let temperature = T::of(self.temperature as f64);
        for sums in own.iter().chain(&inverse).chain(&others) {
            parallel::axpy(temperature, sums, d_bias);
        }
    }
}

/// `Upstream::inner` of the heads behind the rows.
struct Inner<'a, T> {
    g: &'a Graph,
    rows: usize,
    agg: &'a [T],
    n: usize,
    up: &'a Upstream<'a, T>,
}

impl<T: Real> RowWork<T> for Inner<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, out: &mut [T]) {
        let (n, offsets) = (self.n, self.g.offsets.host());
        for (v, out) in (first + self.rows..).zip(out) {
            let mut inner = T::zero();
            if let Some(d_agg) = self.up.d_agg {
                inner += parallel::dot(&d_agg[v * n..][..n], &self.agg[v * n..][..n]);
            }
            if let Some(d_alpha) = self.up.d_alpha {
                let own = offsets[v] as usize..offsets[v + 1] as usize;
                inner += parallel::dot(&d_alpha[own.clone()], &self.up.alpha[own]);
            }
            if let Some(d) = self.up.d_log_sum {
                inner -= d[v];
            }
            *out = inner;
        }
    }
}

/// out[i] += by[i] along[row[i]], row i itself where absent.
struct Along<'a, T> {
    by: &'a [T],
    along: &'a [T],
    row: Option<&'a [u32]>,
    n: usize,
}

impl<T: Real> RowWork<T> for Along<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, out: &mut [T]) {
        for (i, out) in (first..).zip(out.chunks_exact_mut(self.n)) {
            let row = match self.row {
                Some(row) => row[i] as usize,
                None => i,
            };
            parallel::axpy(self.by[i], &self.along[row * self.n..][..self.n], out);
        }
    }
}

/// out += the chunks' parts, in order; rows of `n`.
pub(super) fn add_chunks<T: Real>(out: &mut [T], parts: &[T], chunks: usize, n: usize) {
    let work = AddChunks { parts, chunks, len: out.len(), n };
    parallel::for_rows_work(out, n, n * chunks, &work);
}

struct AddChunks<'a, T> {
    parts: &'a [T],
    chunks: usize,
    len: usize,
    n: usize,
}

impl<T: Real> RowWork<T> for AddChunks<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, out: &mut [T]) {
        for i in 0..self.chunks {
            let part = &self.parts[i * self.len + first * self.n..][..out.len()];
            parallel::axpy(T::one(), part, out);
        }
    }
}

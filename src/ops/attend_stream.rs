//! Relation attention on the CPU where the graph has `Pairs`: one stream over the rows (learners) for both
//! directions.
//!
//! A row is read once. For each of its edges the column's row, which is in the cache, gives the row's logit and
//! message, and the row gives the logit and message of the inverse edge, which are added to a softmax of the column
//! that is kept for each chunk of rows: a running maximum, a sum and a vector. The chunks are fixed by the graph and
//! merged in order with what the column's other edges give, so the bits do not depend on the number of threads.

use rayon::prelude::*;

use super::attend::{Attend, Saved};
use super::attend_cpu::{self, Edges, inverse, shift};
use super::segment::{self, Outputs};
use super::segment_sum::Dots;
use crate::engine::parallel::{self, RowWork, prefetch};
use crate::engine::simd::{self, LANES, SimdWork, axpy, dot};
use crate::engine::{Real, Tensor};
use crate::graph::{Graph, Pairs, UNPAIRED};

/// Edges of a row whose logits are computed before their rows are summed.
const TILE: usize = 64;
/// Edges between the rows that are asked for and the rows that are used.
pub(super) const AHEAD: usize = 6;
/// The same for the rows that the stream reads once.
const ROWS_AHEAD: usize = 4;
/// Widest rows for which there is a stream.
pub(super) const WIDEST: usize = 256;

/// What both passes read. Rows have `widths` (n, m), where FIXED both W, else at most W.
pub(super) struct Stream<'a, T, const W: usize, const FIXED: bool> {
    pub g: &'a Graph,
    pub pairs: &'a Pairs,
    pub x: &'a [T],
    pub u: &'a [T],
    pub o: &'a [T],
    /// p and r_p, where the logit is of projected vectors.
    pub projection: Option<(&'a [T], &'a [T])>,
    pub bias: &'a [T],
    /// (columns, n) rows of x, and (columns) s
    pub x_columns: &'a [T],
    pub s_columns: &'a [T],
    /// (inverse groups, m) rows of U, and (inverse groups) c and o: copies side by side
    pub u_inverse: Vec<T>,
    pub c_inverse: Vec<T>,
    pub o_inverse: Vec<T>,
    widths: (usize, usize),
    pub slope: Option<T>,
    pub inverse_temperature: T,
}

impl<'a, T: Real, const W: usize, const FIXED: bool> Stream<'a, T, W, FIXED> {
    /// `s` and `c` hold the values of tails and groups behind the rows'.
    pub fn new(op: &'a Attend, pairs: &'a Pairs, x: &[&'a Tensor], s: &'a [T], c: &[T]) -> Self {
        let (n, m) = (x[2].cols(), x[0].cols());
        let (u, o, rows) = (x[0].host::<T>(), x[1].host::<T>(), x[2].host::<T>());
        let groups = &pairs.inverse_groups;
        Stream {
            g: &op.graph,
            pairs,
            x: rows,
            u,
            o,
            projection: Attend::is_projected(x).then(|| (x[3].host(), x[4].host())),
            bias: x[5].host(),
            x_columns: &rows[pairs.columns.start * n..pairs.columns.end * n],
            s_columns: &s[pairs.columns.start - pairs.rows..pairs.columns.end - pairs.rows],
            u_inverse: gathered(u, groups, m),
            c_inverse: groups.iter().map(|&g| c[g as usize - pairs.groups]).collect(),
            o_inverse: groups.iter().map(|&g| o[g as usize]).collect(),
            widths: (n, m),
            slope: op.slope.map(|slope| T::of(slope as f64)),
            inverse_temperature: T::one() / T::of(op.temperature as f64),
        }
    }

    /// n, m and min(n, m)
    #[inline(always)]
    pub fn widths(&self) -> (usize, usize, usize) {
        let (n, m) = if FIXED { (W, W) } else { self.widths };
        (n, m, n.min(m))
    }

    /// Row i of a table of n columns, of m columns.
    #[inline(always)]
    pub fn row_n<'b>(&self, table: &'b [T], i: usize) -> &'b [T] {
        let n = self.widths().0;
        &table[i * n..][..n]
    }

    #[inline(always)]
    pub fn row_m<'b>(&self, table: &'b [T], i: usize) -> &'b [T] {
        let m = self.widths().1;
        &table[i * m..][..m]
    }

    /// The column of a row's edge, and the place of its inverse's group.
    #[inline(always)]
    pub fn column(&self, e: usize) -> (usize, usize) {
        let [column, group] = self.pairs.column[e];
        (column as usize, group as usize)
    }

    /// The biases of a row's edge and of its inverse.
    #[inline(always)]
    fn biases(&self, e: usize) -> (T, T) {
        match self.g.buckets {
            0 | 1 => (self.bias[0], self.bias[0]),
            _ => {
                let bucket = self.g.bucket.host()[e] as usize;
                (self.bias[bucket], self.bias[self.pairs.inverse_bucket[e] as usize])
            }
        }
    }

    /// Asks for what a later row will read of `table`; `group` rows for tables of groups.
    #[inline(always)]
    pub fn prefetch_row(&self, table: &[T], row: usize, width: usize) {
        if FIXED && (row + ROWS_AHEAD + 1) * width <= table.len() {
            prefetch(&table[(row + ROWS_AHEAD) * width..][..width]);
        }
    }

    /// The logit before activation and temperature.
    #[inline(always)]
    pub fn inner<const ISA: u8>(&self, u: &[T], x: &[T], s: T, c: T, o: T) -> T {
        let k = self.widths().2;
        dot::<ISA, T>(&u[..k], &x[..k]) + s * c + o
    }

    #[inline(always)]
    fn activate(&self, z: T) -> T {
        let z = match self.slope {
            Some(slope) if z <= T::zero() => slope * z,
            _ => z,
        };
        z * self.inverse_temperature
    }
}

/// Rows of `m` columns side by side.
fn gathered<T: Real>(table: &[T], rows: &[u32], m: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len() * m);
    for &row in rows {
        out.extend_from_slice(&table[row as usize * m..][..m]);
    }
    out
}

/// A local copy of a row, in registers where W is fixed.
#[inline(always)]
pub(super) fn local<T: Real, const W: usize>(row: &[T]) -> [T; W] {
    let mut copy = [T::zero(); W];
    copy[..row.len()].copy_from_slice(row);
    copy
}

/// What a chunk of rows writes.
struct ForwardOut<'a, T> {
    agg: &'a mut [T],
    alpha: &'a mut [T],
    log_sum: &'a mut [T],
    s: &'a mut [T],
    c: &'a mut [T],
    /// (edges) logits of the inverse edges
    logit: &'a mut [T],
    /// (columns, n) and (columns, 2): vector, maximum and sum of the columns over this chunk
    sums: &'a mut [T],
    stats: &'a mut [T],
}

struct ForwardChunk<'a, T, const W: usize, const FIXED: bool> {
    stream: &'a Stream<'a, T, W, FIXED>,
    rows: std::ops::Range<usize>,
    out: ForwardOut<'a, T>,
}

impl<T: Real, const W: usize, const FIXED: bool> SimdWork for ForwardChunk<'_, T, W, FIXED> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let ForwardChunk { stream, rows, mut out } = self;
        let (offsets, of_head) = (stream.g.offsets.host(), stream.g.groups.of_head.host());
        let (first_edge, first_group) = (offsets[rows.start] as usize, of_head[rows.start] as usize);
        out.sums.fill(T::zero());
        for stats in out.stats.chunks_exact_mut(2) {
            stats.copy_from_slice(&[T::neg_infinity(), T::zero()]);
        }
        for (i, l) in rows.enumerate() {
            stream.forward_row::<ISA>(l, i, (first_edge, first_group), &mut out);
        }
        simd::fence();
    }
}

impl<T: Real, const W: usize, const FIXED: bool> Stream<'_, T, W, FIXED> {
    #[inline(always)]
    fn prefetch_forward(&self, e: usize, sums: &[T]) {
        if FIXED && e < self.pairs.edges {
            let (c, q) = self.column(e);
            prefetch(self.row_n(self.x_columns, c));
            prefetch(self.row_m(&self.u_inverse, q));
            prefetch(self.row_n(sums, c));
        }
    }

    /// Row l, the i-th of a chunk whose edges and groups begin at `first`.
    #[inline(always)]
    fn forward_row<const ISA: u8>(
        &self,
        l: usize,
        i: usize,
        first: (usize, usize),
        out: &mut ForwardOut<'_, T>,
    ) {
        let g = self.g;
        let (offsets, of_head, group_offsets) =
            (g.offsets.host(), g.groups.of_head.host(), g.groups.offsets.host());
        let relation = g.groups.relation.host();
        let (n, m, _) = self.widths();
        let edges = offsets[l] as usize..offsets[l + 1] as usize;
        let x_l: [T; W] = local(self.row_n(self.x, l));
        self.prefetch_row(self.x, l, n);
        let mut s_l = T::zero();
        if let Some((p, _)) = self.projection {
            self.prefetch_row(p, l, n);
            s_l = dot::<ISA, T>(self.row_n(p, l), &x_l[..n]);
            out.s[i] = s_l;
        }
        let mut agg = [T::zero(); W];
        let (mut max, mut sum) = (T::neg_infinity(), T::zero());
        let (mut own, mut other) = ([T::neg_infinity(); TILE], [T::neg_infinity(); TILE]);
        for group in of_head[l] as usize..of_head[l + 1] as usize {
            let u_g: [T; W] = local(self.row_m(self.u, group));
            self.prefetch_row(self.u, group, m);
            let mut c_g = T::zero();
            if let Some((_, r_p)) = self.projection {
                c_g = dot::<ISA, T>(self.row_m(r_p, relation[group] as usize), &u_g[..m]);
                out.c[group - first.1] = c_g;
            }
            let o_g = self.o[group];
            let mut at = group_offsets[group] as usize;
            let end = group_offsets[group + 1] as usize;
            while at < end {
                let len = (end - at).min(TILE);
                let mut top = max;
                for j in 0..len {
                    let e = at + j;
                    self.prefetch_forward(e + AHEAD, out.sums);
                    let (c, q) = self.column(e);
                    let (bias, inverse_bias) = self.biases(e);
                    let x_c = self.row_n(self.x_columns, c);
                    let z = self.inner::<ISA>(&u_g, x_c, self.s_columns[c], c_g, o_g);
                    let z = self.activate(z) + bias;
                    own[j] = z;
                    out.alpha[e - first.0] = z;
                    top = top.max(z);
                    let u_q = self.row_m(&self.u_inverse, q);
                    let z = self.inner::<ISA>(u_q, &x_l, s_l, self.c_inverse[q], self.o_inverse[q]);
                    let z = self.activate(z) + inverse_bias;
                    other[j] = z;
                    out.logit[e - first.0] = z;
                    let stats = &mut out.stats[2 * c..2 * c + 2];
                    if z > stats[0] {
                        let by = (stats[0] - z).fast_exp();
                        (stats[0], stats[1]) = (z, stats[1] * by);
                        for v in &mut out.sums[c * n..][..n] {
                            *v *= by;
                        }
                    }
                }
                if top > max {
                    let by = (max - top).fast_exp();
                    sum *= by;
                    for v in &mut agg[..n] {
                        *v *= by;
                    }
                    max = top;
                }
                let padded = len.next_multiple_of(LANES);
                let by = shift(max);
                for j in 0..len {
                    own[j] -= by;
                    other[j] -= shift(out.stats[2 * self.column(at + j).0]);
                }
                simd::exponentials(&mut own[..padded]);
                simd::exponentials(&mut other[..padded]);
                for j in 0..len {
                    let c = self.column(at + j).0;
                    sum += own[j];
                    axpy::<ISA, T>(own[j], self.row_n(self.x_columns, c), &mut agg[..n]);
                    out.stats[2 * c + 1] += other[j];
                    axpy::<ISA, T>(other[j], &x_l[..n], &mut out.sums[c * n..][..n]);
                }
                at += len;
            }
        }
        let by = inverse(sum);
        for v in &mut agg[..n] {
            *v *= by;
        }
        simd::stream::<ISA, T>(&agg[..n], &mut out.agg[i * n..][..n]);
        let max = shift(max);
        let alpha = &mut out.alpha[edges.start - first.0..edges.end - first.0];
        if alpha.len() <= TILE && of_head[l + 1] - of_head[l] == 1 {
            for (alpha, &w) in alpha.iter_mut().zip(&own) {
                *alpha = w * by;
            }
        } else {
            for alpha in alpha {
                *alpha = (*alpha - max).fast_exp() * by;
            }
        }
        out.log_sum[i] = if sum > T::zero() { max + sum.ln() } else { T::zero() };
    }
}

/// What the forward pass leaves for the backward pass.
#[derive(Clone, Debug)]
pub(super) struct Paired {
    /// (row edges, 1) alpha of the inverse of each row's edge
    pub alpha: Tensor,
}

/// Splits the first `n` elements off.
#[inline(always)]
pub(super) fn split<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    rest.split_off_mut(..n).unwrap_or_default()
}

impl Attend {
    /// s and c of the columns' side: tails and groups that are no rows'.
    fn scalars_of_columns<T: Real>(&self, pairs: &Pairs, x: &[&Tensor], saved: &mut Saved) {
        if !Attend::is_projected(x) {
            return;
        }
        let (n, m) = (x[2].cols(), x[0].cols());
        let relation = &self.graph.groups.relation.host()[pairs.groups..];
        let s = Dots::<T, 0> {
            a: &x[2].host()[pairs.rows * n..],
            ia: None,
            b: &x[3].host()[pairs.rows * n..],
            ib: None,
            n,
        };
        let c = Dots::<T, 0> {
            a: &x[0].host()[pairs.groups * m..],
            ia: None,
            b: x[4].host(),
            ib: Some(relation),
            n: m,
        };
        parallel::for_rows_work(&mut saved.s.host_mut::<T>()[pairs.rows..], 1, n, &s);
        parallel::for_rows_work(&mut saved.c.host_mut::<T>()[pairs.groups..], 1, m, &c);
    }

    /// Writes alpha, log_sum, s and c; returns agg.
    pub(super) fn stream_forward<T: Real, const W: usize, const FIXED: bool>(
        &self,
        pairs: &Pairs,
        x: &[&Tensor],
        saved: &mut Saved,
        alpha: &mut Tensor,
        log_sum: &mut Tensor,
    ) -> crate::Result<(Tensor, Paired)> {
        let (g, n) = (&*self.graph, x[2].cols());
        let (rows, columns) = (pairs.rows, pairs.columns.len());
        self.scalars_of_columns::<T>(pairs, x, saved);
        let mut agg = x[2].empty_like(g.heads, n)?;
        let mut logit = x[2].empty_like(pairs.edges, 1)?;
        let mut sums = x[2].empty_like(pairs.chunks.len() * columns, n)?;
        let mut stats = x[2].empty_like(pairs.chunks.len() * columns, 2)?;

        // The edges that are no pair, as if their heads had no others.
        let mut scalars = vec![T::zero(); (g.heads - rows) * 2];
        let out = Outputs {
            rows: &mut agg.host_mut::<T>()[rows * n..],
            width: n,
            scalars: &mut scalars,
            count: 2,
            entries: alpha.host_mut::<T>(),
        };
        let edges: Edges<T, 0> = self.edges(x, saved);
        let work = attend_cpu::Forward { edges, bias: x[5].host(), bucket: g.bucket.host() };
        segment::run(&pairs.other_heads, out, &work);

        {
            // The chunks write the scalars of the rows' side while those of the columns' side are read.
            let (s_rows, s_columns) = saved.s.host_mut::<T>().split_at_mut(rows);
            let (c_rows, c_columns) = saved.c.host_mut::<T>().split_at_mut(pairs.groups);
            let stream = Stream::<T, W, FIXED>::new(self, pairs, x, s_columns, c_columns);
            let (offsets, of_head) = (g.offsets.host(), g.groups.of_head.host());
            let (mut s, mut c) = (s_rows, c_rows);
            let (mut agg, mut alpha) = (agg.host_mut::<T>(), alpha.host_mut::<T>());
            let (mut log_sum, mut logit) = (log_sum.host_mut::<T>(), logit.host_mut::<T>());
            let (mut sums, mut stats) = (sums.host_mut::<T>(), stats.host_mut::<T>());
            let chunks = pairs.chunks.iter().map(|chunk| {
                let edges = (offsets[chunk.end] - offsets[chunk.start]) as usize;
                let groups = (of_head[chunk.end] - of_head[chunk.start]) as usize;
                let out = ForwardOut {
                    agg: split(&mut agg, chunk.len() * n),
                    alpha: split(&mut alpha, edges),
                    log_sum: split(&mut log_sum, chunk.len()),
                    s: split(&mut s, chunk.len()),
                    c: split(&mut c, groups),
                    logit: split(&mut logit, edges),
                    sums: split(&mut sums, columns * n),
                    stats: split(&mut stats, columns * 2),
                };
                ForwardChunk { stream: &stream, rows: chunk.clone(), out }
            });
            let chunks: Vec<_> = chunks.collect();
            chunks.into_par_iter().for_each(|chunk| simd::simd(chunk));
        }

        // For each head behind the rows its maximum and the inverse of its sum over all edges, and by how much the
        // softmax over the other edges alone has to be scaled.
        let merged = Merge {
            pairs,
            n,
            sums: sums.host(),
            stats: stats.host(),
            others: &scalars,
            log_sum: &mut log_sum.host_mut::<T>()[rows..],
            agg: &mut agg.host_mut::<T>()[rows * n..],
        }
        .run();
        let weights = PairWeights { tail: g.tail.host(), first: rows, merged: &merged };
        parallel::for_rows_work(logit.host_mut::<T>(), 1, 8, &weights);
        let out = &mut alpha.host_mut::<T>()[pairs.edges..];
        let head = &g.head.host()[pairs.edges..];
        let weights = ColumnWeights {
            row_edge: &pairs.row_edge,
            head,
            first: rows,
            merged: &merged,
            pair: logit.host(),
        };
        parallel::for_rows_work(out, 1, 8, &weights);
        Ok((agg, Paired { alpha: logit }))
    }
}

/// Of a head behind the rows.
#[derive(Clone, Copy)]
struct Merged<T> {
    max: T,
    inverse: T,
    others: T,
}

/// Merges the chunks' sums and the other edges' results (in `agg` and `others`) of every column.
struct Merge<'a, T> {
    pairs: &'a Pairs,
    n: usize,
    sums: &'a [T],
    stats: &'a [T],
    /// (heads behind the rows, 2) maximum and sum of the other edges; sum 0 where there are none
    others: &'a [T],
    log_sum: &'a mut [T],
    agg: &'a mut [T],
}

impl<T: Real> Merge<'_, T> {
    fn run(self) -> Vec<Merged<T>> {
        let Merge { pairs, n, sums, stats, others, log_sum, agg } = self;
        let columns = pairs.columns.start - pairs.rows..pairs.columns.end - pairs.rows;
        let mut merged = vec![Merged { max: T::zero(), inverse: T::zero(), others: T::one() }; log_sum.len()];
        let heads = merged.par_iter_mut().zip(log_sum).zip(agg.par_chunks_mut(n.max(1))).enumerate();
        heads.for_each(|(v, ((merged, log_sum), agg))| {
            let mut parts = [(T::neg_infinity(), T::zero()); 1 + MOST_CHUNKS];
            let (parts, column) = match columns.contains(&v) {
                true => (&mut parts[..1 + pairs.chunks.len()], v - columns.start),
                false => (&mut parts[..1], 0),
            };
            if others[2 * v + 1] > T::zero() {
                parts[0] = (others[2 * v], others[2 * v + 1]);
            }
            for (i, part) in parts.iter_mut().skip(1).enumerate() {
                let at = 2 * (i * columns.len() + column);
                *part = (stats[at], stats[at + 1]);
            }
            let max = shift(parts.iter().fold(T::neg_infinity(), |max, part| max.max(part.0)));
            let sum = parts.iter().fold(T::zero(), |sum, part| sum + part.1 * (part.0 - max).fast_exp());
            let by = inverse(sum);
            *merged = Merged { max, inverse: by, others: parts[0].1 * (parts[0].0 - max).fast_exp() * by };
            if sum > T::zero() {
                *log_sum = max + sum.ln();
            }
            if parts.len() > 1 {
                agg.iter_mut().for_each(|v| *v *= merged.others);
                for (i, part) in parts.iter().skip(1).enumerate() {
                    let row = &sums[(i * columns.len() + column) * n..][..n];
                    parallel::axpy((part.0 - max).fast_exp() * by, row, agg);
                }
            }
        });
        merged
    }
}

/// Most chunks of a graph's pairs.
const MOST_CHUNKS: usize = 16;

/// Logits of inverse edges into their weights.
struct PairWeights<'a, T> {
    tail: &'a [u32],
    first: usize,
    merged: &'a [Merged<T>],
}

impl<T: Real> RowWork<T> for PairWeights<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, out: &mut [T]) {
        for (tail, out) in self.tail[first..].chunks(LANES).zip(out.chunks_mut(LANES)) {
            let (mut z, mut by) = ([T::zero(); LANES], [T::zero(); LANES]);
            for (i, (&t, &out)) in tail.iter().zip(out.iter()).enumerate() {
                let merged = self.merged[t as usize - self.first];
                (z[i], by[i]) = (out - merged.max, merged.inverse);
            }
            simd::exponentials(&mut z);
            for (i, out) in out.iter_mut().enumerate() {
                *out = z[i] * by[i];
            }
        }
    }
}

/// Weights of the edges behind the rows': those of pairs from the rows' side, the others scaled in place.
struct ColumnWeights<'a, T> {
    row_edge: &'a [u32],
    head: &'a [u32],
    first: usize,
    merged: &'a [Merged<T>],
    pair: &'a [T],
}

impl<T: Real> RowWork<T> for ColumnWeights<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, out: &mut [T]) {
        const FAR: usize = 32;
        for (e, out) in (first..).zip(out) {
            if let Some(&pair) = self.row_edge.get(e + FAR).filter(|&&pair| pair != UNPAIRED) {
                prefetch(&self.pair[pair as usize..][..1]);
            }
            match self.row_edge[e] {
                UNPAIRED => *out *= self.merged[self.head[e] as usize - self.first].others,
                pair => *out = self.pair[pair as usize],
            }
        }
    }
}

//! The forward pass: logits, softmax and messages of a chunk of rows, and its part of the columns' softmax.

use base::parallel::prelude::*;

use super::Stream;
use super::merge::{ColumnWeights, Merge, PairWeights};
use crate::cpu::rows::for_rows;
use crate::cpu::segment::{self, Outputs};
use crate::cpu::stream::{PREFETCH_DISTANCE, local, split};
use crate::relation_attention::cpu::{self, Edges, inverse, shift};
use crate::relation_attention::inputs::{Attention, ProjectionDots};
use crate::segment_sum::Dots;
use base::Result;
use engine::parallel::prefetch;
use engine::simd::{self, LANES, SimdWork, axpy, dot};
use engine::{Real, Tensor};
use graph::BipartiteEdges;

/// Edges of a row whose logits are computed before their rows are summed.
const TILE: usize = 64;

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
        let (offsets, of_dst) = (stream.g.offsets.host(), stream.g.groups.of_dst.host());
        let (first_edge, first_group) = (offsets[rows.start] as usize, of_dst[rows.start] as usize);
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
    fn forward_row<const ISA: u8>(&self, l: usize, i: usize, first: (usize, usize), out: &mut ForwardOut<'_, T>) {
        let g = self.g;
        let (offsets, of_dst, group_offsets) = (g.offsets.host(), g.groups.of_dst.host(), g.groups.offsets.host());
        let relation = g.groups.relation.host();
        let (n, m, _) = self.widths();
        let edges = offsets[l] as usize..offsets[l + 1] as usize;
        let x_l: [T; W] = local(self.row_n(self.x, l));
        self.prefetch_row(self.x, l, n);
        let mut s_l = T::zero();
        if let Some((p, _)) = self.projection {
            self.prefetch_row(p, l, n);
            s_l = dot::<ISA, T, T>(self.row_n(p, l), &x_l[..n]);
            out.s[i] = s_l;
        }
        let mut agg = [T::zero(); W];
        let (mut max, mut sum) = (T::neg_infinity(), T::zero());
        let (mut own, mut other) = ([T::neg_infinity(); TILE], [T::neg_infinity(); TILE]);
        for group in of_dst[l] as usize..of_dst[l + 1] as usize {
            let u_g: [T; W] = local(self.row_m(self.u, group));
            self.prefetch_row(self.u, group, m);
            let mut c_g = T::zero();
            if let Some((_, r_p)) = self.projection {
                c_g = dot::<ISA, T, T>(self.row_m(r_p, relation[group] as usize), &u_g[..m]);
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
                    self.prefetch_forward(e + PREFETCH_DISTANCE, out.sums);
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
        if alpha.len() <= TILE && of_dst[l + 1] - of_dst[l] == 1 {
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

/// s and c of the columns' side: sources and groups that are no rows'.
fn scalars_of_columns<T: Real>(a: &Attention, pairs: &BipartiteEdges, dots: &mut ProjectionDots) {
    if !a.projected {
        return;
    }
    let (n, m) = a.widths();
    let (x, p) = (&a.x.host()[pairs.rows * n..], &a.p.host()[pairs.rows * n..]);
    let s = Dots::<T, T, 0> { a: x, ia: None, b: p, ib: None, n };
    let u = &a.u.host()[pairs.groups * m..];
    let relation = &a.graph.groups.relation.host()[pairs.groups..];
    let c = Dots::<T, T, 0> { a: u, ia: None, b: a.r_p.host(), ib: Some(relation), n: m };
    for_rows(&mut dots.s.host_mut::<T>()[pairs.rows..], 1, n, &s);
    for_rows(&mut dots.c.host_mut::<T>()[pairs.groups..], 1, m, &c);
}

/// Writes alpha, log_sum, s and c; returns agg and the weights of the rows' inverse edges.
pub(super) fn forward<T: Real, const W: usize, const FIXED: bool>(
    a: &Attention,
    pairs: &BipartiteEdges,
    dots: &mut ProjectionDots,
    alpha: &mut Tensor,
    log_sum: &mut Tensor,
) -> Result<(Tensor, Tensor)> {
    let (g, n) = (a.graph, a.x.cols());
    let (rows, columns) = (pairs.rows, pairs.columns.len());
    scalars_of_columns::<T>(a, pairs, dots);
    let mut agg = a.x.empty_like(g.num_dst, n)?;
    let mut logit = a.x.empty_like(pairs.edges, 1)?;
    let mut sums = a.x.empty_like(pairs.chunks.len() * columns, n)?;
    let mut stats = a.x.empty_like(pairs.chunks.len() * columns, 2)?;

    // The edges that are no pair, as if their destinations had no others.
    let mut scalars = vec![T::zero(); (g.num_dst - rows) * 2];
    let out = Outputs {
        rows: &mut agg.host_mut::<T>()[rows * n..],
        width: n,
        scalars: &mut scalars,
        count: 2,
        entries: alpha.host_mut::<T>(),
    };
    let edges: Edges<T, 0> = Edges::new(a, dots);
    let work = cpu::Forward { edges, bias: a.bias.host(), bucket: g.bucket.host() };
    segment::run(&pairs.other_dst, out, &work);

    {
        // The chunks write the scalars of the rows' side while those of the columns' side are read.
        let (s_rows, s_columns) = dots.s.host_mut::<T>().split_at_mut(rows);
        let (c_rows, c_columns) = dots.c.host_mut::<T>().split_at_mut(pairs.groups);
        let stream = Stream::<T, W, FIXED>::new(a, pairs, s_columns, c_columns);
        let (offsets, of_dst) = (g.offsets.host(), g.groups.of_dst.host());
        let (mut s, mut c) = (s_rows, c_rows);
        let (mut agg, mut alpha) = (agg.host_mut::<T>(), alpha.host_mut::<T>());
        let (mut log_sum, mut logit) = (log_sum.host_mut::<T>(), logit.host_mut::<T>());
        let (mut sums, mut stats) = (sums.host_mut::<T>(), stats.host_mut::<T>());
        let chunks = pairs.chunks.iter().map(|chunk| {
            let edges = (offsets[chunk.end] - offsets[chunk.start]) as usize;
            let groups = (of_dst[chunk.end] - of_dst[chunk.start]) as usize;
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
        chunks.into_par_iter().for_each(simd::simd);
    }

    // For each destination behind the rows its maximum and the inverse of its sum over all edges, and by how much the
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
    let weights = PairWeights { src: g.src.host(), first: rows, merged: &merged };
    for_rows(logit.host_mut::<T>(), 1, 8, &weights);
    let out = &mut alpha.host_mut::<T>()[pairs.edges..];
    let dst = &g.dst.host()[pairs.edges..];
    let weights = ColumnWeights { row_edge: &pairs.row_edge, dst, first: rows, merged: &merged, pair: logit.host() };
    for_rows(out, 1, 8, &weights);
    Ok((agg, logit))
}

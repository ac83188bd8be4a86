//! Neighbourhood sums on the CPU where the graph has `BipartiteEdges`: one stream over the rows (learners) for both
//! directions, as in `relation_attention::bipartite`.

use base::parallel::prelude::*;

use crate::cpu::rows::{RowWork, add_chunks, for_rows};
use crate::cpu::stream::{PREFETCH_DISTANCE, WIDEST, local, put, split, with_row};
use crate::segment_sum::{Dots, Sum, add_segment_rows};
use base::Result;
use engine::parallel::prefetch;
use engine::simd::{self, SimdWork, axpy, dot};
use engine::{Real, Tensor};
use graph::{BipartiteEdges, Graph, UNPAIRED};

/// Edges between the weight of an inverse that is asked for and the one that is used.
const FAR: usize = 24;
/// Rows between the one that is asked for and the one that is used.
const ROWS_AHEAD: usize = 4;

/// The pairs to stream over for rows of `n` columns.
pub(super) fn pairs<'a>(g: &'a Graph, x: &Tensor) -> Option<&'a BipartiteEdges> {
    let streams = x.gpu().is_none() && (1..=WIDEST).contains(&x.cols());
    g.bipartite.as_deref().filter(|_| streams)
}

/// Rows of `y` are summed: those of columns for a row, by its edges' weights (`back`: their inverses'), and the row for
/// its columns, by the others. With `other`, inner products of rows of both tables go to `Out::dots`.
struct Spread<'a, T, const W: usize, const FIXED: bool> {
    g: &'a Graph,
    pairs: &'a BipartiteEdges,
    alpha: &'a [T],
    back: bool,
    y: &'a [T],
    other: Option<&'a [T]>,
    n: usize,
}

struct Out<'a, T> {
    rows: Option<(&'a mut [T], bool)>,
    /// (edges) y_row . other_column, added, and y_column . other_row, written
    dots: Option<(&'a mut [T], &'a mut [T])>,
    /// (columns, n)
    sums: &'a mut [T],
}

struct Chunk<'a, T, const W: usize, const FIXED: bool> {
    work: &'a Spread<'a, T, W, FIXED>,
    rows: std::ops::Range<usize>,
    out: Out<'a, T>,
}

impl<T: Real, const W: usize, const FIXED: bool> SimdWork for Chunk<'_, T, W, FIXED> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Chunk { work, rows, mut out } = self;
        out.sums.fill(T::zero());
        let first = work.g.offsets.host()[rows.start] as usize;
        for (i, l) in rows.enumerate() {
            work.row::<ISA>(l, i, first, &mut out);
        }
        simd::fence();
    }
}

impl<T: Real, const W: usize, const FIXED: bool> Spread<'_, T, W, FIXED> {
    #[inline(always)]
    fn at<'b>(&self, table: &'b [T], i: usize) -> &'b [T] {
        let n = if FIXED { W } else { self.n };
        &table[i * n..][..n]
    }

    #[inline(always)]
    fn prefetch(&self, e: usize, sums: &[T]) {
        if FIXED && e + FAR < self.pairs.edges {
            prefetch(&self.alpha[self.pairs.inverse[e + FAR] as usize..][..1]);
            let c = self.pairs.column[e + PREFETCH_DISTANCE][0] as usize;
            let column = c + self.pairs.columns.start;
            prefetch(self.at(self.y, column));
            prefetch(self.at(sums, c));
            if let Some(other) = self.other {
                prefetch(self.at(other, column));
            }
        }
    }

    #[inline(always)]
    fn row<const ISA: u8>(&self, l: usize, i: usize, first: usize, out: &mut Out<'_, T>) {
        let n = if FIXED { W } else { self.n };
        let (offsets, pairs) = (self.g.offsets.host(), self.pairs);
        let y_l: [T; W] = local(self.at(self.y, l));
        let other_l: [T; W] = match self.other {
            Some(other) => local(self.at(other, l)),
            None => [T::zero(); W],
        };
        if FIXED {
            let ahead = (l + ROWS_AHEAD).min(pairs.rows - 1);
            prefetch(self.at(self.y, ahead));
            if let Some(other) = self.other {
                prefetch(self.at(other, ahead));
            }
        }
        // Most rows of a gradient are zero behind the last layer, which only a batch reads.
        let mut silent = true;
        for &y in &y_l[..n] {
            silent &= y == T::zero();
        }
        let mut sum = [T::zero(); W];
        for e in offsets[l] as usize..offsets[l + 1] as usize {
            self.prefetch(e, out.sums);
            let c = pairs.column[e][0] as usize;
            let column = c + pairs.columns.start;
            let (mut own, mut back) = (self.alpha[e], self.alpha[pairs.inverse[e] as usize]);
            if self.back {
                (own, back) = (back, own);
            }
            let y_c = self.at(self.y, column);
            if let (Some(other), Some((to, inverse))) = (self.other, &mut out.dots) {
                if !silent {
                    to[e - first] += dot::<ISA, T, T>(&y_l[..n], self.at(other, column));
                }
                inverse[e - first] = dot::<ISA, T, T>(y_c, &other_l[..n]);
            }
            axpy::<ISA, T>(own, y_c, &mut sum[..n]);
            if !silent {
                axpy::<ISA, T>(back, &y_l[..n], &mut out.sums[c * n..][..n]);
            }
        }
        if let Some((rows, fresh)) = &mut out.rows {
            put::<ISA, T>((&mut rows[i * n..][..n], *fresh), &sum[..n]);
        }
    }
}

/// The stream: adds to `out` the sums of all rows and columns over pairs, and to `dots` as `Spread` says; `out` is the
/// gradient or the output with one row for each node.
fn spread<T: Real, const W: usize, const FIXED: bool>(
    work: &Spread<'_, T, W, FIXED>,
    out: Option<&mut Tensor>,
    dots: Option<(&mut [T], &mut [T])>,
    like: &Tensor,
) -> Result<()> {
    let (pairs, n) = (work.pairs, work.n);
    let columns = pairs.columns.len();
    let mut sums = like.empty_like(pairs.chunks.len() * columns, n)?;
    let mut out = out.map(|out| out.host_overwrite::<T>());
    if let Some((values, true)) = &mut out {
        values[pairs.rows * n..].fill(T::zero());
    }
    let (mut rows, mut behind) = (None, None);
    if let Some((values, fresh)) = out {
        let (own, rest) = values.split_at_mut(pairs.rows * n);
        (rows, behind) = (Some((own, fresh)), Some(rest));
    }
    {
        let offsets = work.g.offsets.host();
        let (mut sums, mut dots) = (sums.host_mut::<T>(), dots);
        let chunks = pairs.chunks.iter().map(|chunk| {
            let edges = (offsets[chunk.end] - offsets[chunk.start]) as usize;
            let out = Out {
                rows: rows.as_mut().map(|(rows, fresh)| (split(rows, chunk.len() * n), *fresh)),
                dots: dots.as_mut().map(|(own, inverse)| (split(own, edges), split(inverse, edges))),
                sums: split(&mut sums, columns * n),
            };
            Chunk { work, rows: chunk.clone(), out }
        });
        let chunks: Vec<_> = chunks.collect();
        chunks.into_par_iter().for_each(simd::simd);
    }
    if let Some(behind) = behind {
        let first = pairs.columns.start - pairs.rows;
        add_chunks(&mut behind[first * n..(first + columns) * n], sums.host(), pairs.chunks.len(), n);
    }
    Ok(())
}

/// out = the sums (num_dst, n); `out` is zero.
pub(super) fn forward<T: Real>(
    g: &Graph,
    pairs: &BipartiteEdges,
    alpha: &Tensor,
    x: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let n = x.cols();
    let (alpha, y) = (alpha.host::<T>(), x.host::<T>());
    with_row!((n, n), W, FIXED => {
        let work = Spread::<T, W, FIXED> { g, pairs, alpha, back: false, y, other: None, n };
        spread(&work, Some(&mut *out), None, x)?
    });
    let sum = Sum { entry: None, column: Some(g.src.host()), weight: Some(alpha), x: y, n, stride: n };
    add_segment_rows(&mut out.host_mut::<T>()[pairs.rows * n..], n, &pairs.other_dst, sum);
    Ok(())
}

/// Adds to the gradients that are wanted; `dy` (num_dst, n).
pub(super) fn backward<T: Real>(
    g: &Graph,
    pairs: &BipartiteEdges,
    (alpha, x): (&Tensor, &Tensor),
    dy: &Tensor,
    d_alpha: Option<&mut Tensor>,
    mut d_x: Option<&mut Tensor>,
) -> Result<()> {
    let n = x.cols();
    let mut inverse = alpha.empty_like(if d_alpha.is_some() { pairs.edges } else { 0 }, 1)?;
    let (weights, y, other) = (alpha.host::<T>(), dy.host::<T>(), x.host::<T>());
    let mut d_alpha = d_alpha.map(|d| d.host_mut::<T>().split_at_mut(pairs.edges));
    {
        let dots = d_alpha.as_mut().map(|(own, _)| (&mut **own, inverse.host_mut::<T>()));
        with_row!((n, n), W, FIXED => {
            let other = dots.is_some().then_some(other);
            let work = Spread::<T, W, FIXED> { g, pairs, alpha: weights, back: true, y, other, n };
            spread(&work, d_x.as_deref_mut(), dots, x)?
        });
    }
    if let Some((_, behind)) = d_alpha {
        let first = pairs.edges;
        let (dst, src) = (&g.dst.host()[first..], &g.src.host()[first..]);
        let dots = Dots::<T, T, 0> { a: y, ia: Some(dst), b: other, ib: Some(src), n };
        let work = Behind { row_edge: &pairs.row_edge, inverse: inverse.host(), dots };
        for_rows(behind, 1, 8, &work);
    }
    if let Some(d_x) = d_x {
        let sum = Sum {
            entry: Some(g.by_src.edge.host()),
            column: Some(g.dst.host()),
            weight: Some(weights),
            x: y,
            n,
            stride: n,
        };
        add_segment_rows(&mut d_x.host_mut::<T>()[pairs.rows * n..], n, &pairs.other_src, sum);
    }
    Ok(())
}

/// Gradients of the weights of the edges behind the rows': those of pairs from the rows' side, the others here.
struct Behind<'a, T> {
    row_edge: &'a [u32],
    inverse: &'a [T],
    dots: Dots<'a, T, T, 0>,
}

impl<T: Real> RowWork<T> for Behind<'_, T> {
    #[inline(always)]
    fn rows<const ISA: u8>(&self, first: usize, out: &mut [T]) {
        for (e, out) in (first..).zip(out.chunks_exact_mut(1)) {
            if let Some(&pair) = self.row_edge.get(e + FAR).filter(|&&pair| pair != UNPAIRED) {
                prefetch(&self.inverse[pair as usize..][..1]);
            }
            match self.row_edge[e] {
                UNPAIRED => self.dots.rows::<ISA>(e, out),
                pair => out[0] += self.inverse[pair as usize],
            }
        }
    }
}

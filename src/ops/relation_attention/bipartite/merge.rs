//! The columns' softmax over all chunks and over the edges that are no pairs.

use base::parallel::prelude::*;

use crate::cpu::rows::RowWork;
use crate::relation_attention::cpu::{inverse, shift};
use engine::Real;
use engine::parallel::{self, prefetch};
use engine::simd::{self, LANES};
use graph::{BipartiteEdges, MOST_CHUNKS, UNPAIRED};

/// Of a destination behind the rows.
#[derive(Clone, Copy)]
pub(super) struct Merged<T> {
    max: T,
    inverse: T,
    others: T,
}

/// Merges the chunks' sums and the other edges' results (in `agg` and `others`) of every column.
pub(super) struct Merge<'a, T> {
    pub pairs: &'a BipartiteEdges,
    pub n: usize,
    pub sums: &'a [T],
    pub stats: &'a [T],
    /// (destinations behind the rows, 2) maximum and sum of the other edges; sum 0 where there are none
    pub others: &'a [T],
    pub log_sum: &'a mut [T],
    pub agg: &'a mut [T],
}

impl<T: Real> Merge<'_, T> {
    pub fn run(self) -> Vec<Merged<T>> {
        let Merge { pairs, n, sums, stats, others, log_sum, agg } = self;
        let columns = pairs.columns.start - pairs.rows..pairs.columns.end - pairs.rows;
        let mut merged = vec![Merged { max: T::zero(), inverse: T::zero(), others: T::one() }; log_sum.len()];
        let dst_nodes = merged.par_iter_mut().zip(log_sum).zip(agg.par_chunks_mut(n.max(1))).enumerate();
        dst_nodes.for_each(|(v, ((merged, log_sum), agg))| {
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

/// Logits of inverse edges into their weights.
pub(super) struct PairWeights<'a, T> {
    pub src: &'a [u32],
    pub first: usize,
    pub merged: &'a [Merged<T>],
}

impl<T: Real> RowWork<T> for PairWeights<'_, T> {
    #[inline(always)]
    fn rows<const ISA: u8>(&self, first: usize, out: &mut [T]) {
        for (src, out) in self.src[first..].chunks(LANES).zip(out.chunks_mut(LANES)) {
            let (mut z, mut by) = ([T::zero(); LANES], [T::zero(); LANES]);
            for (i, (&t, &out)) in src.iter().zip(out.iter()).enumerate() {
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
pub(super) struct ColumnWeights<'a, T> {
    pub row_edge: &'a [u32],
    pub dst: &'a [u32],
    pub first: usize,
    pub merged: &'a [Merged<T>],
    pub pair: &'a [T],
}

impl<T: Real> RowWork<T> for ColumnWeights<'_, T> {
    #[inline(always)]
    fn rows<const ISA: u8>(&self, first: usize, out: &mut [T]) {
        const FAR: usize = 32;
        for (e, out) in (first..).zip(out) {
            if let Some(&pair) = self.row_edge.get(e + FAR).filter(|&&pair| pair != UNPAIRED) {
                prefetch(&self.pair[pair as usize..][..1]);
            }
            match self.row_edge[e] {
                UNPAIRED => *out *= self.merged[self.dst[e] as usize - self.first].others,
                pair => *out = self.pair[pair as usize],
            }
        }
    }
}

//! Deterministic scatter-add on the CPU: sums by sorted segments, written by the one owner of each row.

use std::ops::Range;

use base::parallel::prelude::*;

use engine::Real;
use engine::simd::{SimdWork, axpy, simd};
use graph::InverseIndex;

/// Segments of one task.
const CHUNK: usize = 256;

/// What is summed, and what becomes of a sum. Implement all methods as `#[inline(always)]`, without closures, so
/// that they are compiled for the processor's vector units.
pub(crate) trait Scattered<T, const K: usize>: Sync {
    /// Adds the use at `place` of the list of ids to `sum`.
    fn add<const ISA: u8>(&self, place: usize, sum: &mut [T]);

    /// Asks for what `add` will read.
    fn prefetch(&self, place: usize);

    /// Asks for what `prefetch` will read to know what to ask for.
    #[inline(always)]
    fn prefetch_place(&self, _place: usize) {}

    /// Asks for what `finish` will read.
    #[inline(always)]
    fn prefetch_row(&self, _row: usize) {}

    /// What follows from the sum of all uses of table row `row`, for each output's slice of that row: added to it under
    /// `Layout::Add`, written over it otherwise. `sum` is scratch from then on.
    fn finish<const ISA: u8>(&self, row: usize, sum: &mut [T], outs: &mut [Option<&mut [T]>; K]);

    /// Is called when a task has finished its rows, for `simd::fence`.
    #[inline(always)]
    fn end(&self) {}
}

/// How an output holds the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A whole table, which is added to.
    Add,
    /// A whole table of undefined content, written in full: rows without uses become zero.
    Write,
    /// One row for each segment, of undefined content.
    Compact,
}

/// For every segment: adds its uses to a sum of `width` zeros, and finishes it with the row's slice of each output
/// (`cols` elements).
///
/// Uses are added in their order; segments of many uses are cut into pieces whose sums are added in order.
pub(crate) fn scatter<T: Real, const K: usize>(
    segments: &InverseIndex,
    width: usize,
    (layout, cols): (Layout, usize),
    mut outs: [Option<&mut [T]>; K],
    work: &impl Scattered<T, K>,
) {
    let row = segments.row.host();
    let (begin, end) = (segments.piece_begin.host(), segments.piece_end.host());
    let mut partial = vec![T::zero(); begin.len() * width];
    partial.par_chunks_mut(width.max(1)).enumerate().for_each(|(p, sum)| {
        let uses = &segments.position.host()[begin[p] as usize..end[p] as usize];
        simd(Numbered::<_, K>(Piece { work, uses, sum }));
    });

    // Rows ascend with the segments, so each task's rows are one stretch of the outputs.
    let mut tasks = Vec::with_capacity(row.len().div_ceil(CHUNK));
    let mut base = 0;
    for first in (0..row.len()).step_by(CHUNK) {
        let last = (first + CHUNK).min(row.len());
        let stop = if layout == Layout::Compact { last } else { row[last - 1] as usize + 1 };
        let mine = outs.each_mut().map(|out| {
            out.as_mut().map(|out| {
                let (mine, rest) = std::mem::take(out).split_at_mut((stop - base) * cols);
                *out = rest;
                mine
            })
        });
        tasks.push((first..last, base, mine));
        base = stop;
    }
    if layout == Layout::Write {
        // Behind the last row with a use.
        outs.iter_mut().flatten().for_each(|out| out.par_chunks_mut(16 * 1024).for_each(|o| o.fill(T::zero())));
    }
    tasks.into_par_iter().for_each(|(range, base, outs)| {
        let sum = &mut vec![T::zero(); width][..];
        simd(Stretch { work, segments, partial: &partial, layout, cols, range, base, outs, sum });
    });
}

/// One piece of a long segment.
struct Piece<'a, T, W> {
    work: &'a W,
    uses: &'a [u32],
    sum: &'a mut [T],
}

/// Neighbouring segments, and the stretch of the outputs that begins with row `base`.
struct Stretch<'a, T, W, const K: usize> {
    work: &'a W,
    segments: &'a InverseIndex,
    partial: &'a [T],
    layout: Layout,
    cols: usize,
    range: Range<usize>,
    base: usize,
    outs: [Option<&'a mut [T]>; K],
    sum: &'a mut [T],
}

/// Uses between the request for a row and its addition, and segments between one for `finish` and its use.
const PREFETCH_DISTANCE: usize = 8;
const ROWS_AHEAD: usize = 4;

struct Uses<'a, W>(&'a W, &'a [u32]);

impl<W> Uses<'_, W> {
    /// Adds uses `range` in order; those behind are asked for meanwhile.
    #[inline(always)]
    fn add<const ISA: u8, T, const K: usize>(&self, range: Range<usize>, sum: &mut [T])
    where
        W: Scattered<T, K>,
    {
        for u in range {
            if let Some(&place) = self.1.get(u + 2 * PREFETCH_DISTANCE) {
                self.0.prefetch_place(place as usize);
            }
            if let Some(&place) = self.1.get(u + PREFETCH_DISTANCE) {
                self.0.prefetch(place as usize);
            }
            self.0.add::<ISA>(self.1[u] as usize, sum);
        }
    }
}

/// The number of outputs has no part in a piece, but names the implementation of `Scattered`.
struct Numbered<W, const K: usize>(W);

impl<T: Real, W: Scattered<T, K>, const K: usize> SimdWork for Numbered<Piece<'_, T, W>, K> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        Uses(self.0.work, self.0.uses).add::<ISA, T, K>(0..self.0.uses.len(), self.0.sum);
    }
}

impl<T: Real, W: Scattered<T, K>, const K: usize> SimdWork for Stretch<'_, T, W, K> {
    #[inline(always)]
    fn run<const ISA: u8>(mut self) {
        let InverseIndex { row, offsets, position, pieces, .. } = self.segments;
        let (row, offsets, pieces) = (row.host(), offsets.host(), pieces.host());
        let uses = Uses(self.work, position.host());
        let width = self.sum.len();
        let mut next = self.base;
        for s in self.range {
            if let Some(&ahead) = row.get(s + ROWS_AHEAD) {
                self.work.prefetch_row(ahead as usize);
            }
            self.sum.fill(T::zero());
            if pieces[s] == pieces[s + 1] {
                uses.add::<ISA, T, K>(offsets[s] as usize..offsets[s + 1] as usize, self.sum);
            } else {
                for p in pieces[s] as usize..pieces[s + 1] as usize {
                    axpy::<ISA, T>(T::one(), &self.partial[p * width..(p + 1) * width], self.sum);
                }
            }
            let place = if self.layout == Layout::Compact { s } else { row[s] as usize };
            if self.layout == Layout::Write {
                let gap = (next - self.base) * self.cols..(place - self.base) * self.cols;
                self.outs.iter_mut().flatten().for_each(|out| out[gap.clone()].fill(T::zero()));
                next = place + 1;
            }
            let at = (place - self.base) * self.cols;
            let mut rows = [const { None }; K];
            for (out, mine) in rows.iter_mut().zip(&mut self.outs) {
                if let Some(mine) = mine {
                    *out = Some(&mut mine[at..at + self.cols]);
                }
            }
            self.work.finish::<ISA>(row[s] as usize, self.sum, &mut rows);
        }
        self.work.end();
    }
}

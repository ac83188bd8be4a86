//! Deterministic scatter-add on the CPU: sums by sorted segments, written by the one owner of each row.

use rayon::prelude::*;

use crate::engine::{Real, parallel};
use crate::graph::Segments;

/// Segments of one task.
const CHUNK: usize = 256;

/// For every segment: adds its uses to a sum of `width` zeros with `add(place, sum)`, then calls
/// `finish(row, sum, outs)` with the row's slice of each output (`cols` elements).
///
/// Uses are added in their order; segments of many uses are cut into pieces whose sums are added in order.
pub(crate) fn scatter<T: Real, const K: usize>(
    segments: &Segments,
    width: usize,
    cols: usize,
    mut outs: [Option<&mut [T]>; K],
    add: impl Fn(usize, &mut [T]) + Sync,
    finish: impl Fn(usize, &[T], &mut [Option<&mut [T]>; K]) + Sync,
) {
    let (row, position) = (segments.row.host(), segments.position.host());
    let (begin, end) = (segments.piece_begin.host(), segments.piece_end.host());
    let offsets = segments.offsets.host();
    let pieces = segments.pieces.host();

    let mut partial = vec![T::zero(); begin.len() * width];
    partial.par_chunks_mut(width.max(1)).enumerate().for_each(|(p, sum)| {
        parallel::vectorized(|| {
            for &place in &position[begin[p] as usize..end[p] as usize] {
                add(place as usize, sum);
            }
        })
    });

    // Rows ascend with the segments, so each task's rows are one stretch of the outputs.
    let mut tasks = Vec::with_capacity(row.len().div_ceil(CHUNK));
    let mut base = 0;
    for first in (0..row.len()).step_by(CHUNK) {
        let last = (first + CHUNK).min(row.len());
        let stop = row[last - 1] as usize + 1;
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
    tasks.into_par_iter().for_each(|(range, base, mut outs)| {
        let mut sum = vec![T::zero(); width];
        parallel::vectorized(|| {
            for s in range {
                sum.fill(T::zero());
                if pieces[s] == pieces[s + 1] {
                    for &place in &position[offsets[s] as usize..offsets[s + 1] as usize] {
                        add(place as usize, &mut sum);
                    }
                } else {
                    for p in pieces[s] as usize..pieces[s + 1] as usize {
                        parallel::axpy(T::one(), &partial[p * width..(p + 1) * width], &mut sum);
                    }
                }
                let at = (row[s] as usize - base) * cols;
                let mut rows = outs.each_mut().map(|out| out.as_mut().map(|out| &mut out[at..at + cols]));
                finish(row[s] as usize, &sum, &mut rows);
            }
        })
    });
}

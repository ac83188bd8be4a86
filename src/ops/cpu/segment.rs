//! Segmented work on the CPU: something is computed for every row from its entries, rows have any number of
//! entries, and the result must not depend on the number of threads.
//!
//! Rows whose entries fit one piece are worked on in place, in fixed chunks of rows. The splits of split rows
//! fill partial results, which are merged in piece order.

use std::ops::Range;

use base::parallel::prelude::*;

use engine::Real;
use engine::parallel::rows_per_chunk;
use engine::simd::{SimdWork, axpy, simd};
use graph::RowSplits;

/// What is written for one piece: a row of the main output, a few scalars of the same row, and one value per
/// entry.
pub(crate) struct Place<'a, T> {
    pub row: &'a mut [T],
    pub scalars: &'a mut [T],
    pub entries: &'a mut [T],
}

/// The work. Implementations are `#[inline(always)]`, so that they are compiled for each instruction set (`SimdWork`).
pub(crate) trait Segment<T: Real>: Sync {
    /// Adds the entries `range` of `row` to `place`. `sole`: the row has no other piece and `place` holds the
    /// outputs themselves; else it holds a zeroed partial result.
    fn piece<const ISA: u8>(&self, row: usize, range: Range<usize>, sole: bool, place: Place<'_, T>);

    /// A row without entries, for outputs that are written and not added to.
    #[inline(always)]
    fn empty(&self, _row: usize, _place: Place<'_, T>) {}

    /// Merges the partial results of a split row, in piece order, into its outputs.
    #[inline(always)]
    fn merge<const ISA: u8>(&self, _row: usize, partial: &[T], partial_scalars: &[T], place: Place<'_, T>) {
        add_rows::<ISA, T>(partial, place.row);
        add_rows::<ISA, T>(partial_scalars, place.scalars);
    }
}

#[inline(always)]
pub(crate) fn add_rows<const ISA: u8, T: Real>(partial: &[T], out: &mut [T]) {
    if !out.is_empty() {
        for part in partial.chunks_exact(out.len()) {
            axpy::<ISA, T>(T::one(), part, out);
        }
    }
}

/// The outputs of a whole run: `rows` is (rows, width), `scalars` (rows, count), `entries` one value per entry.
/// Any of them may be empty with width 0.
pub(crate) struct Outputs<'a, T> {
    pub rows: &'a mut [T],
    pub width: usize,
    pub scalars: &'a mut [T],
    pub count: usize,
    pub entries: &'a mut [T],
}

/// Runs `work` over all splits.
pub(crate) fn run<T: Real>(splits: &RowSplits, out: Outputs<'_, T>, work: &impl Segment<T>) {
    let (width, count, with_entries) = (out.width, out.count, !out.entries.is_empty());
    run_passes(
        splits,
        out,
        &|rows, base, place| simd(SoleRows { splits, work, rows, base, place, width, count, with_entries }),
        &|row, range, place| simd(SplitPiece { work, row, range, place }),
        &|row, partial, partial_scalars, place| simd(Merge { work, row, partial, partial_scalars, place }),
    );
}

/// A chunk of rows of one piece, and where its entries begin.
type SolePass<'a, T> = &'a (dyn Fn(Range<usize>, usize, Place<'_, T>) + Sync);
/// One piece of a split row.
type SplitPass<'a, T> = &'a (dyn Fn(usize, Range<usize>, Place<'_, T>) + Sync);
/// A split row, from what its splits gave.
type MergePass<'a, T> = &'a (dyn Fn(usize, &[T], &[T], Place<'_, T>) + Sync);

/// The three passes, compiled once for all kinds of work.
fn run_passes<T: Real>(
    splits: &RowSplits,
    out: Outputs<'_, T>,
    sole: SolePass<T>,
    split_piece: SplitPass<T>,
    merge: MergePass<T>,
) {
    let Outputs { rows, width, scalars, count, entries } = out;
    let with_entries = !entries.is_empty();
    let of_row = splits.of_row.host();
    let (begin, end) = (splits.begin.host(), splits.end.host());
    let chunk = rows_per_chunk(width + count);

    // Rows of one piece. Entries of consecutive rows are consecutive, so every chunk owns a stretch of them.
    let mut tasks = vec![];
    {
        let (mut rows, mut scalars, mut entries) = (&mut *rows, &mut *scalars, &mut *entries);
        let mut done = 0;
        for first in (0..splits.rows()).step_by(chunk) {
            let n = chunk.min(splits.rows() - first);
            let own = of_row[first] as usize..of_row[first + n] as usize;
            let stop = if own.is_empty() { done } else { end[own.end - 1] as usize };
            let place = Place {
                row: rows.split_off_mut(..n * width).unwrap_or_default(),
                scalars: scalars.split_off_mut(..n * count).unwrap_or_default(),
                entries: entries
                    .split_off_mut(..if with_entries { stop - done } else { 0 })
                    .unwrap_or_default(),
            };
            tasks.push((first..first + n, done, place));
            done = stop;
        }
    }
    tasks.into_par_iter().for_each(|(rows, base, place)| sole(rows, base, place));
    if splits.split.is_empty() {
        return;
    }

    // Pieces of split rows.
    let (split, piece_row) = (splits.split.host(), splits.row.host());
    let mut partial = vec![T::zero(); split.len() * width];
    let mut partial_scalars = vec![T::zero(); split.len() * count];
    {
        let (mut partial, mut partial_scalars, mut entries) =
            (&mut partial[..], &mut partial_scalars[..], &mut *entries);
        let mut done = 0;
        let places = split.iter().map(|&p| {
            let range = begin[p as usize] as usize..end[p as usize] as usize;
            let place = Place {
                row: partial.split_off_mut(..width).unwrap_or_default(),
                scalars: partial_scalars.split_off_mut(..count).unwrap_or_default(),
                entries: take(&mut entries, &mut done, range.clone(), with_entries),
            };
            (p as usize, range, place)
        });
        let places: Vec<_> = places.collect();
        places.into_par_iter().for_each(|(p, range, place)| split_piece(piece_row[p] as usize, range, place));
    }

    // Their merge, row by row.
    let slot = splits.slot.host();
    let (mut rows, mut scalars, mut entries) = (&mut *rows, &mut *scalars, &mut *entries);
    let (mut at_row, mut at_scalar, mut at_entry) = (0, 0, 0);
    let places = splits.split_rows.host().iter().map(|&v| {
        let v = v as usize;
        let own = splits.of(v);
        let slots = slot[own.start] as usize..slot[own.end - 1] as usize + 1;
        let range = begin[own.start] as usize..end[own.end - 1] as usize;
        let place = Place {
            row: take(&mut rows, &mut at_row, v * width..(v + 1) * width, true),
            scalars: take(&mut scalars, &mut at_scalar, v * count..(v + 1) * count, true),
            entries: take(&mut entries, &mut at_entry, range, with_entries),
        };
        (v, slots, place)
    });
    let places: Vec<_> = places.collect();
    places.into_par_iter().for_each(|(v, slots, place)| {
        let partial = &partial[slots.start * width..slots.end * width];
        let partial_scalars = &partial_scalars[slots.start * count..slots.end * count];
        merge(v, partial, partial_scalars, place)
    });
}

/// Splits `range` off `rest`, whose first element has the position `at` in the whole; ranges come in order.
fn take<'a, T>(rest: &mut &'a mut [T], at: &mut usize, range: Range<usize>, wanted: bool) -> &'a mut [T] {
    if !wanted {
        return &mut [];
    }
    let _ = rest.split_off_mut(..range.start - *at);
    *at = range.end;
    rest.split_off_mut(..range.len()).unwrap_or_default()
}

/// The sole splits of a chunk of rows; the chunk's entries begin at `base`.
struct SoleRows<'a, T, S> {
    splits: &'a RowSplits,
    work: &'a S,
    rows: Range<usize>,
    base: usize,
    place: Place<'a, T>,
    width: usize,
    count: usize,
    with_entries: bool,
}

impl<T: Real, S: Segment<T>> SimdWork for SoleRows<'_, T, S> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let SoleRows { splits, work, rows, base, place, width, count, with_entries } = self;
        let (of_row, begin, end) = (splits.of_row.host(), splits.begin.host(), splits.end.host());
        for (i, v) in rows.enumerate() {
            let row = &mut place.row[i * width..(i + 1) * width];
            let scalars = &mut place.scalars[i * count..(i + 1) * count];
            match of_row[v + 1] - of_row[v] {
                0 => work.empty(v, Place { row, scalars, entries: &mut [] }),
                1 => {
                    let p = of_row[v] as usize;
                    let range = begin[p] as usize..end[p] as usize;
                    let own = if with_entries { range.start - base..range.end - base } else { 0..0 };
                    work.piece::<ISA>(
                        v,
                        range,
                        true,
                        Place { row, scalars, entries: &mut place.entries[own] },
                    );
                }
                _ => {}
            }
        }
    }
}

/// One piece of a split row, into a partial result.
struct SplitPiece<'a, T, S> {
    work: &'a S,
    row: usize,
    range: Range<usize>,
    place: Place<'a, T>,
}

impl<T: Real, S: Segment<T>> SimdWork for SplitPiece<'_, T, S> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        self.work.piece::<ISA>(self.row, self.range, false, self.place)
    }
}

/// The partial results of a split row.
struct Merge<'a, T, S> {
    work: &'a S,
    row: usize,
    partial: &'a [T],
    partial_scalars: &'a [T],
    place: Place<'a, T>,
}

impl<T: Real, S: Segment<T>> SimdWork for Merge<'_, T, S> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        self.work.merge::<ISA>(self.row, self.partial, self.partial_scalars, self.place)
    }
}

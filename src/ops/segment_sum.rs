//! What graph ops are made of, on either device: weighted sums of gathered rows by segment, inner products of
//! gathered rows, and scaled rows. All of them add to their output.

use std::ops::Range;

use super::segment::{self, Outputs, Place, Segment};
use crate::Result;
use crate::engine::device::{Grid, kernels};
use crate::engine::parallel::{self, RowWork, axpy, dot};
use crate::engine::{Index, Real, Tensor};
use crate::graph::Pieces;
use crate::with_real;

/// The terms of a segmented sum. Entry i of a segment stands for e = `entry[i]` (i itself where absent), and its
/// term is `weight[e] * x[column[e]]` (1 and `x[e]` where absent).
pub(crate) struct Terms<'a> {
    pub entry: Option<&'a Index<u32>>,
    pub column: Option<&'a Index<u32>>,
    pub weight: Option<&'a Tensor>,
    pub x: &'a Tensor,
}

/// out[row] += the sum of the terms of the row's entries; rows of another width are cut or padded with zeros.
pub(crate) fn add_segments(out: &mut Tensor, pieces: &Pieces, terms: &Terms) -> Result<()> {
    let (n, width) = (out.cols().min(terms.x.cols()), out.cols());
    debug_assert_eq!(pieces.rows(), out.rows());
    if pieces.count() == 0 || n == 0 {
        return Ok(());
    }
    if let Some(gpu) = out.gpu().cloned() {
        let mut partial = out.empty_like(pieces.split.len(), n)?;
        let null = || 0u64;
        let launch = gpu
            .launch(kernels::SEGMENT_SUM, Grid::warps(pieces.count(), 128))
            .tensor_mut(out)
            .tensor_mut(&mut partial)
            .tensor(terms.x)
            .optional(terms.weight)
            .value(terms.entry.map_or_else(null, Index::address))
            .value(terms.column.map_or_else(null, Index::address));
        pieces.arguments(launch).count(n).count(width).count(terms.x.cols()).run()?;
        if pieces.split_rows.is_empty() {
            return Ok(());
        }
        return gpu
            .launch(kernels::SEGMENT_MERGE, Grid::new(pieces.split_rows.len() as u32, 128))
            .tensor_mut(out)
            .tensor(&partial)
            .index(&pieces.split_rows)
            .index(&pieces.of_row)
            .index(&pieces.slot)
            .count(n)
            .count(width)
            .run();
    }
    with_real!(out.dtype(), T => {
        let sum = Sum::<T> {
            entry: terms.entry.map(Index::host),
            column: terms.column.map(Index::host),
            weight: terms.weight.map(Tensor::host::<T>),
            x: terms.x.host::<T>(),
            n,
            stride: terms.x.cols(),
        };
        add_segment_rows(out.host_mut::<T>(), width, pieces, sum);
    });
    Ok(())
}

/// `add_segments` on the CPU: rows of `width` in `rows`.
pub(super) fn add_segment_rows<T: Real>(rows: &mut [T], width: usize, pieces: &Pieces, sum: Sum<'_, T>) {
    let out = Outputs { rows, width, scalars: &mut [], count: 0, entries: &mut [] };
    match (sum.n, sum.stride) {
        (64, 64) => segment::run(pieces, out, &Fixed::<T, 64>(sum)),
        (32, 32) => segment::run(pieces, out, &Fixed::<T, 32>(sum)),
        _ => segment::run(pieces, out, &Fixed::<T, 0>(sum)),
    }
}

/// `Terms` in host memory: the first `n` columns of rows of `stride`.
pub(super) struct Sum<'a, T> {
    pub entry: Option<&'a [u32]>,
    pub column: Option<&'a [u32]>,
    pub weight: Option<&'a [T]>,
    pub x: &'a [T],
    pub n: usize,
    pub stride: usize,
}

/// Rows of D elements, or of any number where D is 0.
struct Fixed<'a, T, const D: usize>(Sum<'a, T>);

/// Entries between the row that is asked for and the row that is used.
const AHEAD: usize = 6;

impl<'a, T: Real, const D: usize> Fixed<'a, T, D> {
    #[inline(always)]
    fn row(&self, e: usize) -> &'a [T] {
        let (n, stride) = if D > 0 { (D, D) } else { (self.0.n, self.0.stride) };
        &self.0.x[at(self.0.column, e) * stride..][..n]
    }
}

impl<T: Real, const D: usize> Segment<T> for Fixed<'_, T, D> {
    #[inline(always)]
    fn piece(&self, _row: usize, range: Range<usize>, _sole: bool, place: Place<'_, T>) {
        let out = &mut place.row[..if D > 0 { D } else { self.0.n }];
        let gathers = self.0.entry.is_some() || self.0.column.is_some();
        let last = range.end - 1;
        for i in range {
            if gathers && D > 0 {
                parallel::prefetch(self.row(at(self.0.entry, (i + AHEAD).min(last))));
            }
            let e = at(self.0.entry, i);
            match self.0.weight {
                Some(weight) => axpy(weight[e], self.row(e), out),
                None => axpy(T::one(), self.row(e), out),
            }
        }
    }
}

/// out[i] (rows, 1) += a[ia[i]] . b[ib[i]]; row i itself where an index is absent.
pub(crate) fn add_dots(
    out: &mut Tensor,
    (a, ia): (&Tensor, Option<&Index<u32>>),
    (b, ib): (&Tensor, Option<&Index<u32>>),
) -> Result<()> {
    let (count, n) = (out.rows(), a.cols());
    debug_assert_eq!(a.cols(), b.cols());
    if count == 0 || n == 0 {
        return Ok(());
    }
    if let Some(gpu) = out.gpu().cloned() {
        let grid = if n == 1 { Grid::cover(count, 256) } else { Grid::warps(count, 256) };
        return gpu
            .launch(kernels::GATHERED_DOTS, grid)
            .tensor_mut(out)
            .tensor(a)
            .value(ia.map_or(0, Index::address))
            .tensor(b)
            .value(ib.map_or(0, Index::address))
            .value(count as u64)
            .count(n)
            .run();
    }
    with_real!(out.dtype(), T => {
        let (a, b) = (a.host::<T>(), b.host::<T>());
        let (ia, ib) = (ia.map(Index::host), ib.map(Index::host));
        let out = out.host_mut::<T>();
        match n {
            64 => parallel::for_rows_work(out, 1, n, &Dots::<T, 64> { a, ia, b, ib, n }),
            32 => parallel::for_rows_work(out, 1, n, &Dots::<T, 32> { a, ia, b, ib, n }),
            1 => parallel::for_rows_work(out, 1, n, &Dots::<T, 1> { a, ia, b, ib, n }),
            _ => parallel::for_rows_work(out, 1, n, &Dots::<T, 0> { a, ia, b, ib, n }),
        }
    });
    Ok(())
}

/// Rows of D elements, or of n where D is 0.
pub(super) struct Dots<'a, T, const D: usize> {
    pub a: &'a [T],
    pub ia: Option<&'a [u32]>,
    pub b: &'a [T],
    pub ib: Option<&'a [u32]>,
    pub n: usize,
}

impl<T: Real, const D: usize> RowWork<T> for Dots<'_, T, D> {
    #[inline(always)]
    fn rows(&self, first: usize, out: &mut [T]) {
        let n = if D > 0 { D } else { self.n };
        for (i, out) in (first..).zip(out) {
            let a = &self.a[at(self.ia, i) * n..][..n];
            *out += dot(a, &self.b[at(self.ib, i) * n..][..n]);
        }
    }
}

#[inline(always)]
fn at(index: Option<&[u32]>, i: usize) -> usize {
    match index {
        Some(index) => index[i] as usize,
        None => i,
    }
}

/// out[i] += scale[i] * x[i] for scale (rows, 1).
pub(crate) fn add_scaled_rows(out: &mut Tensor, scale: &Tensor, x: &Tensor) -> Result<()> {
    let (rows, n) = out.shape();
    debug_assert_eq!((out.shape(), scale.shape()), (x.shape(), (rows, 1)));
    if rows == 0 || n == 0 {
        return Ok(());
    }
    if let Some(gpu) = out.gpu().cloned() {
        return gpu
            .launch(kernels::SCALED_ROWS, Grid::warps(rows, 256))
            .tensor_mut(out)
            .tensor(scale)
            .tensor(x)
            .value(rows as u64)
            .count(n)
            .run();
    }
    with_real!(out.dtype(), T => {
        let (scale, x) = (scale.host::<T>(), x.host::<T>());
        parallel::for_rows_work(out.host_mut::<T>(), n, n, &ScaledRows { scale, x, n });
    });
    Ok(())
}

struct ScaledRows<'a, T> {
    scale: &'a [T],
    x: &'a [T],
    n: usize,
}

impl<T: Real> RowWork<T> for ScaledRows<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, rows: &mut [T]) {
        for (i, row) in (first..).zip(rows.chunks_exact_mut(self.n)) {
            axpy(self.scale[i], &self.x[i * self.n..(i + 1) * self.n], row);
        }
    }
}

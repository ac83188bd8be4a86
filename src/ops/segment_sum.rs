//! What graph ops are made of, on either device: weighted sums of gathered rows by segment, inner products of
//! gathered rows, and scaled rows. All of them add to their output, in f32 where the rows are stored in 16 bits.

use std::ops::Range;

use super::cpu::rows::{AddScaled, RowWork, at, for_rows};
use super::cpu::segment::{self, Outputs, Place, Segment};
use super::for_rows_of;
use base::Result;
use engine::device::{Grid, kernels::*};
use engine::dispatch_dtype;
use engine::parallel::{dot, prefetch};
use engine::simd;
use engine::{Element, Index, Real, Tensor};
use graph::RowSplits;

/// The terms of a segmented sum. Entry i of a segment stands for e = `entry[i]` (i itself where absent), and its
/// term is `weight[e] * x[column[e]]` (1 and `x[e]` where absent).
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    entry: Option<&'a Index<u32>>,
    column: Option<&'a Index<u32>>,
    weight: Option<&'a Tensor>,
    x: &'a Tensor,
}

impl<'a> Terms<'a> {
    /// x[i]
    pub fn of(x: &'a Tensor) -> Terms<'a> {
        Terms { entry: None, column: None, weight: None, x }
    }

    pub fn entry(self, entry: &'a Index<u32>) -> Terms<'a> {
        Terms { entry: Some(entry), ..self }
    }

    pub fn column(self, column: &'a Index<u32>) -> Terms<'a> {
        Terms { column: Some(column), ..self }
    }

    pub fn weight(self, weight: &'a Tensor) -> Terms<'a> {
        Terms { weight: Some(weight), ..self }
    }
}

/// out[row] += the sum of the terms of the row's entries; rows of another width are cut or padded with zeros.
pub(crate) fn add_segments(out: &mut Tensor, splits: &RowSplits, terms: Terms) -> Result<()> {
    let (n, width) = (out.cols().min(terms.x.cols()), out.cols());
    debug_assert_eq!(splits.rows(), out.rows());
    if splits.count() == 0 || n == 0 {
        return Ok(());
    }
    if let Some(gpu) = out.gpu().cloned() {
        let mut partial = out.empty_like(splits.split.len(), n)?;
        let launch = gpu
            .launch(for_rows_of(terms.x, SEGMENT_SUM_STORED), Grid::warps(splits.count(), 128))
            .tensor_mut(out)
            .tensor_mut(&mut partial)
            .tensor(terms.x)
            .optional(terms.weight)
            .optional_index(terms.entry)
            .optional_index(terms.column);
        splits.arguments(launch).count(n).count(width).count(terms.x.cols()).run()?;
        if splits.split_rows.is_empty() {
            return Ok(());
        }
        let grid = Grid::new(splits.split_rows.len() as u32, 128);
        let launch = gpu.launch(SEGMENT_MERGE, grid).tensor_mut(out).tensor(&partial);
        return splits.merge_arguments(launch).count(n).count(width).run();
    }
    dispatch_dtype!(terms.x.dtype(), S => {
        let sum = Sum::<S> {
            entry: terms.entry.map(Index::host),
            column: terms.column.map(Index::host),
            weight: terms.weight.map(Tensor::host),
            x: terms.x.host(),
            n,
            stride: terms.x.cols(),
        };
        add_segment_rows(out.host_mut(), width, splits, sum);
    });
    Ok(())
}

/// `add_segments` on the CPU: rows of `width` in `rows`.
pub(super) fn add_segment_rows<S: Element>(
    rows: &mut [S::Acc],
    width: usize,
    splits: &RowSplits,
    sum: Sum<'_, S>,
) {
    let out = Outputs { rows, width, scalars: &mut [], count: 0, entries: &mut [] };
    match (sum.n, sum.stride) {
        (64, 64) => segment::run(splits, out, &Fixed::<S, 64>(sum)),
        (32, 32) => segment::run(splits, out, &Fixed::<S, 32>(sum)),
        _ => segment::run(splits, out, &Fixed::<S, 0>(sum)),
    }
}

/// `Terms` in host memory: the first `n` columns of rows of `stride`.
pub(super) struct Sum<'a, S: Element> {
    pub entry: Option<&'a [u32]>,
    pub column: Option<&'a [u32]>,
    pub weight: Option<&'a [S::Acc]>,
    pub x: &'a [S],
    pub n: usize,
    pub stride: usize,
}

/// Rows of D elements, or of any number where D is 0.
struct Fixed<'a, S: Element, const D: usize>(Sum<'a, S>);

/// Entries between the row that is asked for and the row that is used.
const PREFETCH_DISTANCE: usize = 6;

impl<'a, S: Element, const D: usize> Fixed<'a, S, D> {
    #[inline(always)]
    fn row(&self, e: usize) -> &'a [S] {
        let (n, stride) = if D > 0 { (D, D) } else { (self.0.n, self.0.stride) };
        &self.0.x[at(self.0.column, e) * stride..][..n]
    }
}

impl<T: Real, S: Element<Acc = T>, const D: usize> Segment<T> for Fixed<'_, S, D> {
    #[inline(always)]
    fn piece<const ISA: u8>(&self, _row: usize, range: Range<usize>, _sole: bool, place: Place<'_, T>) {
        let out = &mut place.row[..if D > 0 { D } else { self.0.n }];
        let gathers = self.0.entry.is_some() || self.0.column.is_some();
        let last = range.end - 1;
        for i in range {
            if gathers && D > 0 {
                prefetch(self.row(at(self.0.entry, (i + PREFETCH_DISTANCE).min(last))));
            }
            let e = at(self.0.entry, i);
            match self.0.weight {
                Some(weight) => simd::axpy::<ISA, S>(weight[e], self.row(e), out),
                None => simd::axpy::<ISA, S>(T::one(), self.row(e), out),
            }
        }
    }
}

/// out[i] (rows, 1) += a[ia[i]] . b[ib[i]]; row i itself where an index is absent.
pub(crate) fn add_dots(
    out: &mut Tensor,
    (mut a, mut ia): (&Tensor, Option<&Index<u32>>),
    (mut b, mut ib): (&Tensor, Option<&Index<u32>>),
) -> Result<()> {
    if b.dtype().is_half() {
        // There is code for two of one type, and for the first one in 16 bits.
        ((a, ia), (b, ib)) = ((b, ib), (a, ia));
    }
    let (count, n) = (out.rows(), a.cols());
    debug_assert_eq!(a.cols(), b.cols());
    if count == 0 || n == 0 {
        return Ok(());
    }
    if let Some(gpu) = out.gpu().cloned() {
        let grid = if n == 1 { Grid::cover(count, 256) } else { Grid::warps(count, 256) };
        let kernels = match b.dtype().is_half() {
            true => GATHERED_DOTS_STORED,
            false => [GATHERED_DOTS, GATHERED_DOTS_WITH_F32_BF16, GATHERED_DOTS_WITH_F32_F16],
        };
        return gpu
            .launch(for_rows_of(a, kernels), grid)
            .tensor_mut(out)
            .tensor(a)
            .optional_index(ia)
            .tensor(b)
            .optional_index(ib)
            .value(count as u64)
            .count(n)
            .run();
    }
    let ids = (ia.map(Index::host), ib.map(Index::host));
    dispatch_dtype!(a.dtype(), A => {
        type T = <A as Element>::Acc;
        match b.dtype().is_half() {
            true => dots::<T, A, A>(out.host_mut(), (a.host(), b.host()), ids, n),
            false => dots::<T, A, T>(out.host_mut(), (a.host(), b.host()), ids, n),
        }
    });
    Ok(())
}

/// `add_dots` on the CPU.
fn dots<T: Real, A: Element<Acc = T>, B: Element<Acc = T>>(
    out: &mut [T],
    (a, b): (&[A], &[B]),
    (ia, ib): (Option<&[u32]>, Option<&[u32]>),
    n: usize,
) {
    match n {
        64 => for_rows(out, 1, n, &Dots::<A, B, 64> { a, ia, b, ib, n }),
        32 => for_rows(out, 1, n, &Dots::<A, B, 32> { a, ia, b, ib, n }),
        1 => for_rows(out, 1, n, &Dots::<A, B, 1> { a, ia, b, ib, n }),
        _ => for_rows(out, 1, n, &Dots::<A, B, 0> { a, ia, b, ib, n }),
    }
}

/// Rows of D elements, or of n where D is 0.
pub(super) struct Dots<'a, A, B, const D: usize> {
    pub a: &'a [A],
    pub ia: Option<&'a [u32]>,
    pub b: &'a [B],
    pub ib: Option<&'a [u32]>,
    pub n: usize,
}

impl<T: Real, A: Element<Acc = T>, B: Element<Acc = T>, const D: usize> RowWork<T> for Dots<'_, A, B, D> {
    #[inline(always)]
    fn rows<const ISA: u8>(&self, first: usize, out: &mut [T]) {
        let n = if D > 0 { D } else { self.n };
        for (i, out) in (first..).zip(out) {
            let a = &self.a[at(self.ia, i) * n..][..n];
            *out += dot(a, &self.b[at(self.ib, i) * n..][..n]);
        }
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
            .launch(for_rows_of(x, SCALED_ROWS_STORED), Grid::warps(rows, 256))
            .tensor_mut(out)
            .tensor(scale)
            .tensor(x)
            .value(rows as u64)
            .count(n)
            .run();
    }
    dispatch_dtype!(x.dtype(), S => {
        let work = AddScaled::<S> { by: scale.host(), along: x.host(), row: None, n };
        for_rows(out.host_mut(), n, n, &work);
    });
    Ok(())
}

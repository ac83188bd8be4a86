//! What streams over rows on the CPU are made of: copies of rows in registers, outputs cut by chunks, and gradients
//! that are written where they are zero and added to where not.

use engine::Real;
use engine::simd;

/// Edges between the rows that are asked for and the rows that are used.
pub(crate) const PREFETCH_DISTANCE: usize = 6;
/// Widest rows for which there is a stream.
pub(crate) const WIDEST: usize = 256;

/// Runs `$body` with `$W` standing for a width that local copies of both rows have, and `$FIXED` for whether all rows
/// have it.
macro_rules! with_row {
    ($widths:expr, $W:ident, $FIXED:ident => $body:expr) => {
        match $widths {
            (64, 64) => {
                const $W: usize = 64;
                const $FIXED: bool = true;
                $body
            }
            (32, 32) => {
                const $W: usize = 32;
                const $FIXED: bool = true;
                $body
            }
            _ => {
                const $W: usize = $crate::cpu::stream::WIDEST;
                const $FIXED: bool = false;
                $body
            }
        }
    };
}
pub(crate) use with_row;

/// A local copy of a row, in registers where W is fixed.
#[inline(always)]
pub(crate) fn local<T: Real, const W: usize>(row: &[T]) -> [T; W] {
    let mut copy = [T::zero(); W];
    copy[..row.len()].copy_from_slice(row);
    copy
}

/// Splits the first `n` elements off.
#[inline(always)]
pub(crate) fn split<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    rest.split_off_mut(..n).unwrap_or_default()
}

/// out = values, or out += values.
#[inline(always)]
pub(crate) fn put<const ISA: u8, T: Real>((out, fresh): (&mut [T], bool), values: &[T]) {
    if fresh {
        simd::stream::<ISA, T>(values, out);
    } else {
        out.iter_mut().zip(values).for_each(|(out, &v)| *out += v);
    }
}

/// The first `len` elements of an optional gradient.
pub(crate) fn take<'a, T>(gradient: &mut Option<(&'a mut [T], bool)>, len: usize) -> Option<(&'a mut [T], bool)> {
    let (values, fresh) = gradient.as_mut()?;
    Some((split(values, len), *fresh))
}

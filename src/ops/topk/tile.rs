//! Products of small matrices in registers and first-level cache, for scores that are used at once.
//!
//! Courses are columns. Sixteen of them make a panel: element k of the panel is the k-th value of each. A group of six
//! rows times a panel is twelve AVX2 registers of sums, which is what the sixteen registers allow.

use engine::parallel::for_rows;
use engine::simd::ANY;

/// Columns of a panel.
pub(super) const COLUMNS: usize = 16;
/// Rows of a group.
pub(super) const ROWS: usize = 6;

pub(super) type Panel = [f32; COLUMNS];
pub(super) type Group = [f32; ROWS];

/// The panels of a (columns, width) matrix, each `width` long; missing columns are 0.
pub(super) fn panels(x: &[f32], width: usize) -> Vec<Panel> {
    let columns = x.len().checked_div(width).unwrap_or(0);
    let mut out = vec![[0.0; COLUMNS]; columns.div_ceil(COLUMNS) * width];
    for_rows(&mut out, width, |first, panels| {
        for (p, panel) in panels.chunks_exact_mut(width).enumerate() {
            let from = (first + p) * COLUMNS;
            for c in from..(from + COLUMNS).min(columns) {
                let column = &x[c * width..(c + 1) * width];
                panel.iter_mut().zip(column).for_each(|(to, &x)| to[c - from] = x);
            }
        }
    });
    out
}

/// The groups of `rows` rows of `width` values, each group `width` long; `at(row, k)` is their element.
pub(super) fn groups(rows: usize, width: usize, at: impl Fn(usize, usize) -> f32, out: &mut Vec<Group>) {
    out.clear();
    for first in (0..rows).step_by(ROWS) {
        let value = |row: usize, k| if row < rows { at(row, k) } else { 0.0 };
        out.extend((0..width).map(|k| std::array::from_fn(|r| value(first + r, k))));
    }
}

/// y += the product of as many rows with one panel. `a` has the groups of these rows; both are `b.len()` long.
#[inline(always)]
pub(super) fn multiply<const ISA: u8>(a: &[Group], b: &[Panel], y: &mut [Panel]) {
    let width = b.len();
    for (g, y) in y.chunks_mut(ROWS).enumerate() {
        let a = &a[g * width..][..width];
        match y.len() {
            1 => product::<ISA, 1>(a, b, y),
            2 => product::<ISA, 2>(a, b, y),
            3 => product::<ISA, 3>(a, b, y),
            4 => product::<ISA, 4>(a, b, y),
            5 => product::<ISA, 5>(a, b, y),
            _ => product::<ISA, 6>(a, b, y),
        }
    }
}

/// y += a^T b for the first R rows of a group.
#[inline(always)]
fn product<const ISA: u8, const R: usize>(a: &[Group], b: &[Panel], y: &mut [Panel]) {
    let Some(y) = y.first_chunk_mut::<R>() else { return };
    #[cfg(target_arch = "x86_64")]
    if ISA != ANY {
        // SAFETY: `simd` runs bodies for an instruction set where the processor has it; all but `ANY` have AVX2 and FMA.
        return unsafe { product_avx2(a, b, y) };
    }
    for (a, b) in a.iter().zip(b) {
        for (y, a) in y.iter_mut().zip(a) {
            y.iter_mut().zip(b).for_each(|(y, b)| *y += a * b);
        }
    }
}

/// Sums in registers: left to itself, the compiler takes apart what does not fit its patterns.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline]
fn product_avx2<const R: usize>(a: &[Group], b: &[Panel], y: &mut [Panel; R]) {
    use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps};
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    for (sums, y) in sums.iter_mut().zip(&*y) {
        *sums = bytemuck::cast(*y);
    }
    for (a, b) in a.iter().zip(b) {
        let [b0, b1]: [__m256; 2] = bytemuck::cast(*b);
        for (sums, &a) in sums.iter_mut().zip(a) {
            let a = _mm256_set1_ps(a);
            sums[0] = _mm256_fmadd_ps(a, b0, sums[0]);
            sums[1] = _mm256_fmadd_ps(a, b1, sums[1]);
        }
    }
    for (y, sums) in y.iter_mut().zip(sums) {
        *y = bytemuck::cast(sums);
    }
}

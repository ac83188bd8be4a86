//! Products of small matrices in registers and first-level cache, for scores that are used at once.
//!
//! Courses are columns. Sixteen of them make a panel: element k of the panel is the k-th value of each. A group of six
//! rows times a panel is twelve AVX2 registers of sums, which is what the sixteen registers allow.

use crate::engine::parallel::for_rows;

/// Columns of a panel.
pub(super) const COLUMNS: usize = 16;
/// Rows of a group.
pub(super) const ROWS: usize = 6;

pub(super) type Panel = [f32; COLUMNS];
pub(super) type Group = [f32; ROWS];

/// The panels of a (columns, width) matrix, each `width` long; missing columns are 0.
pub(super) fn panels(x: &[f32], width: usize) -> Vec<Panel> {
    let columns = if width == 0 { 0 } else { x.len() / width };
    let mut out = vec![[0.0; COLUMNS]; columns.div_ceil(COLUMNS) * width];
    for_rows(&mut out, width, |first, panels| {
        for (p, panel) in panels.chunks_exact_mut(width).enumerate() {
            let from = (first + p) * COLUMNS;
            for c in from..(from + COLUMNS).min(columns) {
                for (to, &x) in panel.iter_mut().zip(&x[c * width..(c + 1) * width]) {
                    to[c - from] = x;
                }
            }
        }
    });
    out
}

/// The groups of `rows` rows of `width` values, each group `width` long; `at(row, k)` is their element.
pub(super) fn groups(rows: usize, width: usize, at: impl Fn(usize, usize) -> f32, out: &mut Vec<Group>) {
    out.clear();
    out.resize(rows.div_ceil(ROWS) * width, [0.0; ROWS]);
    if width == 0 {
        return;
    }
    for (g, group) in out.chunks_exact_mut(width).enumerate() {
        for row in g * ROWS..((g + 1) * ROWS).min(rows) {
            for (k, to) in group.iter_mut().enumerate() {
                to[row - g * ROWS] = at(row, k);
            }
        }
    }
}

/// sums += a^T b: R rows of a group times a panel.
#[inline(always)]
fn product<const R: usize>(a: &[Group], b: &[Panel], sums: &mut [Panel; R]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: both features were just found on this processor.
        return unsafe { product_avx2(a, b, sums) };
    }
    for (a, b) in a.iter().zip(b) {
        for (sums, a) in sums.iter_mut().zip(a) {
            sums.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
        }
    }
}

/// The same with sums in registers: left to itself, the compiler takes apart what does not fit its patterns.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline]
fn product_avx2<const R: usize>(a: &[Group], b: &[Panel], sums: &mut [Panel; R]) {
    use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_set1_ps};
    let mut kept: [[__m256; 2]; R] = sums.map(bytemuck::cast);
    for (a, b) in a.iter().zip(b) {
        let [b0, b1]: [__m256; 2] = bytemuck::cast(*b);
        for (kept, &a) in kept.iter_mut().zip(a) {
            let a = _mm256_set1_ps(a);
            kept[0] = _mm256_fmadd_ps(a, b0, kept[0]);
            kept[1] = _mm256_fmadd_ps(a, b1, kept[1]);
        }
    }
    *sums = kept.map(bytemuck::cast);
}

/// Calls `store(row, sums)` for each of `rows` rows, with `start(row)` added to its product with the panel.
///
/// `a` has the groups of these rows, `b` one panel; both `b.len()` long.
#[inline(always)]
pub(super) fn multiply(
    rows: usize,
    a: &[Group],
    b: &[Panel],
    start: impl Fn(usize) -> Panel,
    mut store: impl FnMut(usize, Panel),
) {
    let width = b.len();
    let mut row = 0;
    while row < rows {
        let a = &a[row / ROWS * width..][..width];
        macro_rules! of {
            ($R:literal) => {{
                let mut sums = [[0.0; COLUMNS]; $R];
                for r in 0..$R {
                    sums[r] = start(row + r);
                }
                product::<$R>(a, b, &mut sums);
                for r in 0..$R {
                    store(row + r, sums[r]);
                }
            }};
        }
        match rows - row {
            1 => of!(1),
            2 => of!(2),
            3 => of!(3),
            4 => of!(4),
            5 => of!(5),
            _ => of!(6),
        }
        row += ROWS;
    }
}

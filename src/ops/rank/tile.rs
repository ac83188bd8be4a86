//! Products of small matrices in registers and first-level cache, for scores that are used at once.
//!
//! Courses are columns. Sixteen of them make a panel: element k of the panel is the k-th value of each. A group of six
//! rows times a panel is twelve AVX2 registers of sums, which is what the sixteen registers allow.

use engine::parallel::for_rows;

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

/// How a product of R rows of a group with a panel is made.
pub(super) trait Unit: Copy {
    /// y += a^T b
    fn product<const R: usize>(self, a: &[Group], b: &[Panel], y: &mut [Panel; R]);
}

/// Plain code.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Unit for Portable {
    #[inline(always)]
    fn product<const R: usize>(self, a: &[Group], b: &[Panel], y: &mut [Panel; R]) {
        for (a, b) in a.iter().zip(b) {
            for (y, a) in y.iter_mut().zip(a) {
                y.iter_mut().zip(b).for_each(|(y, b)| *y += a * b);
            }
        }
    }
}

/// A processor with AVX2 and FMA: there is a value of this only where they were found.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    #[inline(always)]
    pub fn found() -> Option<Avx2> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some(Avx2(()));
        }
        None
    }
}

impl Unit for Avx2 {
    #[inline(always)]
    fn product<const R: usize>(self, a: &[Group], b: &[Panel], y: &mut [Panel; R]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `self` exists only where both features were found.
        return unsafe { product_avx2(a, b, y) };
        #[cfg(not(target_arch = "x86_64"))]
        Portable.product(a, b, y)
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

/// y += the product of as many rows with one panel. `a` has the groups of these rows; both `b.len()` long.
#[inline(always)]
pub(super) fn multiply(unit: impl Unit, a: &[Group], b: &[Panel], y: &mut [Panel]) {
    let width = b.len();
    for (g, y) in y.chunks_mut(ROWS).enumerate() {
        let a = &a[g * width..][..width];
        macro_rules! rows {
            ($R:literal) => {
                if let Some(y) = y.first_chunk_mut::<$R>() {
                    unit.product::<$R>(a, b, y)
                }
            };
        }
        match y.len() {
            1 => rows!(1),
            2 => rows!(2),
            3 => rows!(3),
            4 => rows!(4),
            5 => rows!(5),
            _ => rows!(6),
        }
    }
}

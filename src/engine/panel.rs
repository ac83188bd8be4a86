//! Products of a few rows that are in the cache with a small matrix, as layers over many nodes are made of: serial, and
//! without the packing and cutting that a library does for large ones.
//!
//! A tile of the result stays in registers over the whole inner dimension. The order of the sums follows from the
//! shapes alone.

use super::matmul::{self, Trans};
use super::real::Real;

/// `c = a b` of (m, k) and (k, n), all row-major and dense, on the calling thread.
pub fn product<T: Real>((m, k, n): (usize, usize, usize), a: &[T], b: &[T], c: &mut [T]) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n, "product: {m} x {k} x {n}");
    if !by_tiles(Tiles { shape: (m, k, n), a, b, c: &mut *c, transposed: false }) {
        matmul::matmul_serial((m, k, n), a, Trans::No, b, Trans::No, T::zero(), c);
    }
}

/// `c += a^T b` of (m, k) and (m, n), all row-major and dense, on the calling thread.
pub fn add_transposed<T: Real>((m, k, n): (usize, usize, usize), a: &[T], b: &[T], c: &mut [T]) {
    assert!(a.len() == m * k && b.len() == m * n && c.len() == k * n, "product: {k} x {m} x {n}");
    if !by_tiles(Tiles { shape: (m, k, n), a, b, c: &mut *c, transposed: true }) {
        matmul::matmul_serial((k, m, n), a, Trans::Yes, b, Trans::No, T::one(), c);
    }
}

/// One of the two products above; `shape` (m, k, n) as there.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
struct Tiles<'a, T> {
    shape: (usize, usize, usize),
    a: &'a [T],
    b: &'a [T],
    c: &'a mut [T],
    transposed: bool,
}

/// Whether there is code by tiles for this product and processor: then it is done.
fn by_tiles<T: Real>(tiles: Tiles<T>) -> bool {
    #[cfg(target_arch = "x86_64")]
    if T::DTYPE == super::DType::F32
        && tiles.shape.2.is_multiple_of(x86::LANES)
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("fma")
    {
        let Tiles { shape, a, b, c, transposed } = tiles;
        let (a, b, c) = (bytemuck::cast_slice(a), bytemuck::cast_slice(b), bytemuck::cast_slice_mut(c));
        // SAFETY: both features were just found on this processor.
        unsafe { x86::run(Tiles { shape, a, b, c, transposed }) };
        return true;
    }
    let _ = tiles;
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Tiles;

    pub const LANES: usize = 16;

    /// All columns of c: strips of 64, then 32 and 16. A strip's tiles have as many rows as keep sixteen sums at work.
    #[target_feature(enable = "avx512f,fma")]
    pub fn run(mut tiles: Tiles<f32>) {
        let n = tiles.shape.2;
        let mut column = 0;
        while column < n {
            column += match n - column {
                0..32 => strip::<8, 1>(&mut tiles, column),
                32..64 => strip::<8, 2>(&mut tiles, column),
                _ => strip::<4, 4>(&mut tiles, column),
            };
        }
    }

    /// Columns from `column` on, 16 V of them: returns how many these are.
    #[target_feature(enable = "avx512f,fma")]
    fn strip<const M: usize, const V: usize>(tiles: &mut Tiles<f32>, column: usize) -> usize {
        let (m, k, _) = tiles.shape;
        let rows = if tiles.transposed { k } else { m };
        let whole = rows - rows % M;
        for row in (0..whole).step_by(M) {
            tile::<M, V>(tiles, row, column);
        }
        for row in whole..rows {
            tile::<1, V>(tiles, row, column);
        }
        V * LANES
    }

    #[target_feature(enable = "avx512f,fma")]
    #[inline]
    fn tile<const M: usize, const V: usize>(tiles: &mut Tiles<f32>, row: usize, column: usize) {
        let (m, k, n) = tiles.shape;
        let (a, b) = (tiles.a, tiles.b);
        let mut sum = [[_mm512_setzero_ps(); V]; M];
        if tiles.transposed {
            for (i, sum) in sum.iter_mut().enumerate() {
                *sum = load(&tiles.c[(row + i) * n + column..]);
            }
            for t in 0..m {
                let b: [__m512; V] = load(&b[t * n + column..]);
                let a: &[f32; M] = &a[t * k + row..].as_chunks().0[0];
                for (sum, &a) in sum.iter_mut().zip(a) {
                    add(sum, a, &b);
                }
            }
        } else {
            let mut a: [&[f32]; M] = [&[]; M];
            for (i, a) in a.iter_mut().enumerate() {
                *a = &tiles.a[(row + i) * k..][..k];
            }
            for t in 0..k {
                let b: [__m512; V] = load(&b[t * n + column..]);
                for (sum, a) in sum.iter_mut().zip(a) {
                    add(sum, a[t], &b);
                }
            }
        }
        for (i, sum) in sum.iter().enumerate() {
            let out = tiles.c[(row + i) * n + column..].as_chunks_mut::<LANES>().0;
            for (out, &sum) in out[..V].iter_mut().zip(sum) {
                *out = bytemuck::cast(sum);
            }
        }
    }

    #[target_feature(enable = "avx512f,fma")]
    #[inline]
    fn load<const V: usize>(values: &[f32]) -> [__m512; V] {
        let mut loaded = [_mm512_setzero_ps(); V];
        let values = values[..V * LANES].as_chunks::<LANES>().0;
        for (loaded, &values) in loaded.iter_mut().zip(values) {
            *loaded = bytemuck::cast(values);
        }
        loaded
    }

    /// sum += a b
    #[target_feature(enable = "avx512f,fma")]
    #[inline]
    fn add<const V: usize>(sum: &mut [__m512; V], a: f32, b: &[__m512; V]) {
        let a = _mm512_set1_ps(a);
        for (sum, &b) in sum.iter_mut().zip(b) {
            *sum = _mm512_fmadd_ps(a, b, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Philox;

    /// Both products of all shapes around the tiles, against sums in f64.
    #[test]
    fn tiles_agree_with_plain_sums() {
        let random = Philox::new(3, 1);
        let values =
            |n: usize, at: u64| -> Vec<f32> { (0..n as u64).map(|i| random.uniform_at(at + i) - 0.5).collect() };
        for (m, k, n) in [(1, 1, 16), (9, 5, 16), (8, 17, 32), (33, 64, 64), (7, 20, 112), (5, 3, 18), (0, 4, 16)] {
            let (a, b, d) = (values(m * k, 0), values(k * n, 10_000), values(m * n, 20_000));
            let mut c = vec![f32::NAN; m * n];
            product((m, k, n), &a, &b, &mut c);
            let mut t = values(k * n, 30_000);
            let before = t.clone();
            add_transposed((m, k, n), &a, &d, &mut t);
            let product = |(i, c): (usize, f32)| {
                let terms = (0..k).map(|t| f64::from(a[i / n * k + t]) * f64::from(b[t * n + i % n]));
                (terms.sum::<f64>() - f64::from(c)).abs()
            };
            assert!(c.into_iter().enumerate().map(product).all(|e| e < 1e-5), "{m} x {k} x {n}");
            let sum = |(i, t): (usize, f32)| {
                let terms = (0..m).map(|r| f64::from(a[r * k + i / n]) * f64::from(d[r * n + i % n]));
                (terms.sum::<f64>() + f64::from(before[i]) - f64::from(t)).abs()
            };
            assert!(t.into_iter().enumerate().map(sum).all(|e| e < 1e-5), "{k} x {m} x {n}");
        }
    }
}

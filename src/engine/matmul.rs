//! Products of matrices on the CPU: serial calls of the `gemm` library on blocks of fixed sizes.
//!
//! The library alone may cut k by the size of the caches; the blocks here follow from the shapes. So the bits do not
//! depend on the number of threads.

use base::parallel::prelude::*;

pub use super::gemm::View;
use super::gemm::extent;
use super::real::Real;

/// Which operand of a product is read transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trans {
    No,
    Yes,
}

/// `c = a b + beta c` on the calling thread. `c` holds rows of b's columns, `stride` elements apart; what lies between
/// them stays.
pub fn gemm<T: Real>(a: View<T>, b: View<T>, beta: T, c: &mut [T], stride: usize) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert!(b.rows == k && n <= stride && extent(m, n, (stride, 1)) <= c.len(), "gemm: {m} x {k} x {n}");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        let scale = |c: &mut T| *c = if beta == T::zero() { T::zero() } else { *c * beta };
        return c.chunks_mut(stride).take(m).for_each(|row| row[..n].iter_mut().for_each(scale));
    }
    T::gemm(a, b, beta, c, stride)
}

fn operand<T>(data: &[T], rows: usize, cols: usize, t: Trans) -> View<'_, T> {
    match t {
        Trans::No => View::new(data, rows, cols, cols),
        Trans::Yes => View::new(data, cols, rows, rows).t(),
    }
}

/// Rows of a batch that one task adds up where k is a batch, and that one call of the library takes of them: its packed
/// operands stay in the cache, and below what the allocator maps anew.
const SPLIT: usize = 1024;
const SLAB: usize = 256;

/// `c = op(a) op(b) + beta c`, with op(a) m x k, op(b) k x n, all row-major and dense.
///
/// Rows of `c` are cut into fixed blocks. Where `c` is small and k long, as in gradients of weights, k is cut instead and
/// the parts are added in order.
#[allow(clippy::too_many_arguments)]
pub fn matmul<T: Real>(
    (m, k, n): (usize, usize, usize),
    a: &[T],
    ta: Trans,
    b: &[T],
    tb: Trans,
    beta: T,
    c: &mut [T],
) {
    assert_eq!(c.len(), m * n, "matmul: {m} x {k} x {n}");
    let (a, b) = (operand(a, m, k, ta), operand(b, k, n, tb));
    if m == 0 || n == 0 {
        return;
    }
    if k >= 2 * SPLIT && k >= 8 * m.min(n) && m * n <= 1 << 18 {
        return long(a, b, beta, c);
    }
    // Two million multiply-adds are some 25 us of one core: enough to pay for a task.
    let block = (2_000_000 / (k * n).max(1)).clamp(16, 256).next_multiple_of(16);
    if m <= block {
        return gemm(a, b, beta, c, n);
    }
    c.par_chunks_mut(block * n)
        .enumerate()
        .for_each(|(i, c)| gemm(a.rows(i * block, c.len() / n), b, beta, c, n));
}

/// The product over fixed ranges of k, at most 32 of them, whose sums are added in order.
fn long<T: Real>(a: View<T>, b: View<T>, beta: T, c: &mut [T]) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let range = k.div_ceil(32).max(SPLIT).next_multiple_of(SLAB);
    let part = |first: usize| {
        let mut sum = vec![T::zero(); m * n];
        for at in (first..k.min(first + range)).step_by(SLAB) {
            let count = SLAB.min(k - at);
            gemm(a.cols(at, count), b.rows(at, count), T::one(), &mut sum, n);
        }
        sum
    };
    let parts: Vec<Vec<T>> = (0..k.div_ceil(range)).into_par_iter().map(|i| part(i * range)).collect();
    for (i, part) in parts.iter().enumerate() {
        let scale = if i == 0 { beta } else { T::one() };
        for (c, &p) in c.iter_mut().zip(part) {
            *c = if scale == T::zero() { p } else { scale * *c + p };
        }
    }
}

/// As `matmul`, on the calling thread alone: for products inside a parallel task.
#[allow(clippy::too_many_arguments)]
pub fn matmul_serial<T: Real>(
    (m, k, n): (usize, usize, usize),
    a: &[T],
    ta: Trans,
    b: &[T],
    tb: Trans,
    beta: T,
    c: &mut [T],
) {
    assert_eq!(c.len(), m * n, "matmul: {m} x {k} x {n}");
    gemm(operand(a, m, k, ta), operand(b, k, n, tb), beta, c, n);
}

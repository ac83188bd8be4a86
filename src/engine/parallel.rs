//! How the CPU code uses the machine: fixed chunks over all cores, and AVX2 where the machine has it.
//!
//! Work is cut by sizes alone, never by the number of threads, and partial results are added in chunk order: so
//! one thread and many end with the same bits.

use std::ops::Range;

use base::parallel::map;
use base::parallel::prelude::*;
pub use base::simd::vectorized;
use num_traits::Zero;

pub use super::matmul::{Trans, View, gemm, matmul, matmul_serial};
use super::real::Element;
use super::real::Real;

/// Elements that make a chunk worth a task of its own.
const GRAIN: usize = 16 * 1024;

/// Rows per chunk for rows of `cols` elements.
pub fn rows_per_chunk(cols: usize) -> usize {
    (GRAIN / cols.max(1)).clamp(1, 1024)
}

/// Work that is compiled for AVX2 whatever its size: implement `run` as `#[inline(always)]`, without closures.
///
/// `vectorized` has two callers of its closure, so the compiler may leave a large one out of line, where it is
/// compiled without AVX2.
pub trait Work {
    fn run(self);
}

/// As `vectorized`, for large bodies.
#[inline(always)]
pub fn vectorized_work(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,bmi2")]
        fn avx2(work: impl Work) {
            work.run()
        }
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi2")
        {
            // SAFETY: the three features were just found on this processor.
            return unsafe { avx2(work) };
        }
    }
    work.run()
}

/// What is done to chunks of whole rows: `rows` begins with row `first`. Implemented as `Work::run` is.
pub trait RowWork<T>: Sync {
    fn rows(&self, first: usize, rows: &mut [T]);
}

struct Chunk<'a, T, W>(&'a W, usize, &'a mut [T]);

impl<T, W: RowWork<T>> Work for Chunk<'_, T, W> {
    #[inline(always)]
    fn run(self) {
        self.0.rows(self.1, self.2)
    }
}

/// As `for_rows`, for large bodies. `cost` is the number of elements that a row stands for.
pub fn for_rows_work<T: Send>(out: &mut [T], cols: usize, cost: usize, work: &impl RowWork<T>) {
    if out.is_empty() || cols == 0 {
        return;
    }
    let rows = rows_per_chunk(cost);
    out.par_chunks_mut(rows * cols)
        .enumerate()
        .for_each(|(i, part)| vectorized_work(Chunk(work, i * rows, part)));
}

/// Calls `f(first_row, rows)` for chunks of whole rows of `out`, in parallel, vectorized.
pub fn for_rows<T: Send>(out: &mut [T], cols: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if out.is_empty() || cols == 0 {
        return;
    }
    let rows = rows_per_chunk(cols);
    if out.len() <= rows * cols {
        return vectorized(|| f(0, out));
    }
    out.par_chunks_mut(rows * cols).enumerate().for_each(|(i, chunk)| vectorized(|| f(i * rows, chunk)));
}

/// Calls `f(first, elements)` for chunks of `out` taken flat, in parallel, vectorized. `first` is a multiple of 64.
pub fn for_chunks<T: Send>(out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() <= GRAIN {
        return vectorized(|| f(0, out));
    }
    out.par_chunks_mut(GRAIN).enumerate().for_each(|(i, chunk)| vectorized(|| f(i * GRAIN, chunk)));
}

/// As `for_rows`, for two outputs of as many rows: `f(first_row, rows of a, rows of b)`.
pub fn for_rows2<T: Send>(
    (a, cols_a): (&mut [T], usize),
    (b, cols_b): (&mut [T], usize),
    f: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    if a.is_empty() || b.is_empty() {
        return;
    }
    let rows = rows_per_chunk(cols_a + cols_b);
    let chunks = a.par_chunks_mut(rows * cols_a).zip(b.par_chunks_mut(rows * cols_b));
    chunks.enumerate().for_each(|(i, (a, b))| vectorized(|| f(i * rows, a, b)));
}

/// Calls `f` for each fixed chunk of 0..n, in parallel, and returns the results in chunk order.
pub fn map_chunks<R: Send>(n: usize, chunk: usize, f: impl Fn(Range<usize>) -> R + Sync) -> Vec<R> {
    let chunk = chunk.max(1);
    let range = |i: usize| i * chunk..((i + 1) * chunk).min(n);
    let chunks = n.div_ceil(chunk);
    if chunks <= 1 {
        return (0..chunks).map(|i| vectorized(|| f(range(i)))).collect();
    }
    map((0..chunks).collect(), |i| vectorized(|| f(range(i))))
}

/// The sum of `f` over fixed chunks of 0..n, added in chunk order.
pub fn sum_chunks<T: Real>(n: usize, chunk: usize, f: impl Fn(Range<usize>) -> T + Sync) -> T {
    map_chunks(n, chunk, f).into_iter().sum()
}

/// Inner product with eight running sums: the order that AVX2 uses, on every machine.
#[inline(always)]
pub fn dot<A: Element, B: Element<Acc = A::Acc>>(a: &[A], b: &[B]) -> A::Acc {
    let mut lanes = [A::Acc::zero(); 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let (ra, rb) = (a8.remainder(), b8.remainder());
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            lanes[i] += x[i].load() * y[i].load();
        }
    }
    let mut tail = A::Acc::zero();
    for (&x, &y) in ra.iter().zip(rb) {
        tail += x.load() * y.load();
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    (((a + e) + (c + g)) + ((b + f) + (d + h))) + tail
}

/// y += alpha x
#[inline(always)]
pub fn axpy<S: Element>(alpha: S::Acc, x: &[S], y: &mut [S::Acc]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += alpha * x.load();
    }
}

/// Asks for `row` to be brought into the cache, for gathers that memory latency would otherwise rule.
#[inline(always)]
pub fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        let start = row.as_ptr().cast::<i8>();
        for at in (0..size_of_val(row)).step_by(LINE) {
            // SAFETY: a prefetch is a hint that touches nothing; the address lies inside `row`.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

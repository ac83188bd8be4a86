//! Work on chunks of whole rows, compiled for each instruction set.

use base::parallel::prelude::*;

use engine::Real;
use engine::parallel::{axpy, rows_per_chunk};
use engine::simd::{SimdWork, simd};

/// What is done to chunks of whole rows: `rows` begins with row `first`. Implemented as `SimdWork::run` is:
/// `#[inline(always)]`, without closures.
pub(crate) trait RowWork<T>: Sync {
    fn rows<const ISA: u8>(&self, first: usize, rows: &mut [T]);
}

struct Chunk<'a, T, W>(&'a W, usize, &'a mut [T]);

impl<T, W: RowWork<T>> SimdWork for Chunk<'_, T, W> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        self.0.rows::<ISA>(self.1, self.2)
    }
}

/// Runs `work` on all rows of `out`, in parallel. `cost` is the number of elements that a row stands for.
pub(crate) fn for_rows<T: Send>(out: &mut [T], cols: usize, cost: usize, work: &impl RowWork<T>) {
    if out.is_empty() || cols == 0 {
        return;
    }
    let rows = rows_per_chunk(cost);
    out.par_chunks_mut(rows * cols).enumerate().for_each(|(i, part)| simd(Chunk(work, i * rows, part)));
}

/// out[i] += by[i] along[row[i]], row i itself where absent; rows of `n`.
pub(crate) struct AddScaled<'a, S: engine::Element> {
    pub by: &'a [S::Acc],
    pub along: &'a [S],
    pub row: Option<&'a [u32]>,
    pub n: usize,
}

impl<T: Real, S: engine::Element<Acc = T>> RowWork<T> for AddScaled<'_, S> {
    #[inline(always)]
    fn rows<const ISA: u8>(&self, first: usize, out: &mut [T]) {
        for (i, out) in (first..).zip(out.chunks_exact_mut(self.n)) {
            axpy(self.by[i], &self.along[at(self.row, i) * self.n..][..self.n], out);
        }
    }
}

/// Entry i of an index, i itself where it is absent.
#[inline(always)]
pub(crate) fn at(index: Option<&[u32]>, i: usize) -> usize {
    match index {
        Some(index) => index[i] as usize,
        None => i,
    }
}

/// out += the chunks' parts, in order; rows of `n`.
pub(crate) fn add_chunks<T: Real>(out: &mut [T], parts: &[T], chunks: usize, n: usize) {
    let work = AddChunks { parts, chunks, len: out.len(), n };
    for_rows(out, n, n * chunks, &work);
}

struct AddChunks<'a, T> {
    parts: &'a [T],
    chunks: usize,
    len: usize,
    n: usize,
}

impl<T: Real> RowWork<T> for AddChunks<'_, T> {
    #[inline(always)]
    fn rows<const ISA: u8>(&self, first: usize, out: &mut [T]) {
        for i in 0..self.chunks {
            let part = &self.parts[i * self.len + first * self.n..][..out.len()];
            axpy(T::one(), part, out);
        }
    }
}

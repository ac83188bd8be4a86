//! Products of matrices on the CPU: serial calls of the `gemm` library on blocks of fixed sizes.
//!
//! The library alone may cut k by the size of the caches; the blocks here follow from the shapes. So the bits do not
//! depend on the number of threads.

use base::parallel::prelude::*;

use super::real::Real;

/// Which operand of a product is read transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trans {
    No,
    Yes,
}

/// A matrix inside a slice, by its strides: a block of columns, or a transpose.
#[derive(Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    /// Elements from a row to the next, and from a column to the next.
    stride: (usize, usize),
}

/// Elements that a matrix of these strides reaches.
fn extent(rows: usize, cols: usize, stride: (usize, usize)) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride.0 + (cols - 1) * stride.1 + 1 }
}

impl<'a, T> View<'a, T> {
    /// `rows` of `cols` elements from the start of `data`, `stride` elements apart.
    pub fn new(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        let view = View { data, rows, cols, stride: (stride, 1) };
        assert!(extent(rows, cols, view.stride) <= data.len(), "view: {rows} x {cols} of {}", data.len());
        view
    }

    fn at(&self, row: usize, col: usize) -> T
    where
        T: Copy,
    {
        self.data[row * self.stride.0 + col * self.stride.1]
    }

    pub fn t(self) -> Self {
        View { data: self.data, rows: self.cols, cols: self.rows, stride: (self.stride.1, self.stride.0) }
    }

    /// Rows `first .. first + rows`.
    pub fn rows(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "view: rows {first} + {rows} of {}", self.rows);
        let data = if rows == 0 { &self.data[..0] } else { &self.data[first * self.stride.0..] };
        View { data, rows, ..self }
    }

    /// Columns `first .. first + cols`.
    pub fn cols(self, first: usize, cols: usize) -> Self {
        self.t().rows(first, cols).t()
    }
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

/// `Real::gemm` of f32, by the `gemm` library.
pub fn gemm_f32(a: View<f32>, b: View<f32>, beta: f32, c: &mut [f32], stride: usize) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert!(b.rows == k && n <= stride && extent(m, n, (stride, 1)) <= c.len(), "gemm: {m} x {k} x {n}");
    let signed = |(row, col): (usize, usize)| (row as isize, col as isize);
    let (mut m, mut n, mut to) = (m, n, (stride as isize, 1));
    let (mut a, mut sa, mut b, mut sb) =
        (a.data.as_ptr(), signed(a.stride), b.data.as_ptr(), signed(b.stride));
    if to.1 < to.0 {
        // The kernels prefer columns to be contiguous: the transposes are multiplied.
        (m, n, to) = (n, m, (to.1, to.0));
        (a, sa, b, sb) = (b, (sb.1, sb.0), a, (sa.1, sa.0));
    }
    let read_c = beta != 0.0;
    // SAFETY: the extents of a and b lie inside their slices (checked where views are made), that of c inside its own
    // (checked above), and c is exclusively borrowed.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            m,
            n,
            k,
            c.as_mut_ptr(),
            to.1,
            to.0,
            read_c,
            a,
            sa.1,
            sa.0,
            b,
            sb.1,
            sb.0,
            beta,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        )
    }
}

/// `Real::gemm` in plain loops, for gradient checks in f64.
pub fn gemm_plain<T: Real>(a: View<T>, b: View<T>, beta: T, c: &mut [T], stride: usize) {
    for i in 0..a.rows {
        for j in 0..b.cols {
            let product = (0..a.cols).map(|k| a.at(i, k) * b.at(k, j)).sum::<T>();
            let c = &mut c[i * stride + j];
            *c = if beta == T::zero() { product } else { product + beta * *c };
        }
    }
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

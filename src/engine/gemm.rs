//! Matrices inside slices, and their product on the calling thread.

use std::iter::Sum;

use num_traits::Float;

/// A matrix inside a slice, by its strides: a block of columns, or a transpose.
#[derive(Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Elements from a row to the next, and from a column to the next.
    stride: (usize, usize),
}

/// Elements that a matrix of these strides reaches.
pub(super) fn extent(rows: usize, cols: usize, stride: (usize, usize)) -> usize {
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
pub fn gemm_plain<T: Float + Sum>(a: View<T>, b: View<T>, beta: T, c: &mut [T], stride: usize) {
    for i in 0..a.rows {
        for j in 0..b.cols {
            let product = (0..a.cols).map(|k| a.at(i, k) * b.at(k, j)).sum::<T>();
            let c = &mut c[i * stride + j];
            *c = if beta == T::zero() { product } else { product + beta * *c };
        }
    }
}

//! What goes with products of matrices, on blocks of rows: bias and activation, its slope, column sums.

use crate::activation::Activation;
use engine::Real;
use engine::parallel::axpy;
use engine::simd::{SimdWork, simd};

/// z = act(z + b) on the first `b.len()` of every `stride` elements.
pub(crate) fn add_bias_and_activate<T: Real>(z: &mut [T], stride: usize, b: &[T], act: Activation) {
    simd(BiasActivation { z, stride, b, act });
}

struct BiasActivation<'a, T> {
    z: &'a mut [T],
    stride: usize,
    b: &'a [T],
    act: Activation,
}

impl<T: Real> SimdWork for BiasActivation<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let BiasActivation { z, stride, b, act } = self;
        for row in z.chunks_mut(stride) {
            let row = &mut row[..b.len()];
            match act {
                Activation::Relu => row.iter_mut().zip(b).for_each(|(z, &b)| *z = (*z + b).max(T::zero())),
                _ => row.iter_mut().zip(b).for_each(|(z, &b)| *z = act.apply(*z + b)),
            }
        }
    }
}

/// dz = dy act'(y) from the outputs y, row by row of `width` elements. Each slice comes with the elements from a row to
/// the next. Without dy, dz holds it.
pub(crate) struct ActivationGradient<'a, T> {
    pub dz: (&'a mut [T], usize),
    pub dy: Option<(&'a [T], usize)>,
    pub y: (&'a [T], usize),
    pub width: usize,
    pub act: Activation,
}

impl<T: Real> SimdWork for ActivationGradient<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let ActivationGradient { dz: (dz, stride), dy, y: (y, y_stride), width, act } = self;
        for (r, dz) in dz.chunks_mut(stride).enumerate() {
            let (dz, y) = (&mut dz[..width], &y[r * y_stride..][..width]);
            if let Some((dy, stride)) = dy {
                dz.copy_from_slice(&dy[r * stride..][..width]);
            }
            let relu = |dz: T, y: T| if y > T::zero() { dz } else { T::zero() };
            match act {
                Activation::Identity => {}
                Activation::Relu => dz.iter_mut().zip(y).for_each(|(dz, &y)| *dz = relu(*dz, y)),
                _ => dz.iter_mut().zip(y).for_each(|(dz, &y)| *dz *= act.derivative(y)),
            }
        }
    }
}

/// sum += the rows of x
pub(crate) fn sum_columns<T: Real>(x: &[T], sum: &mut [T]) {
    simd(ColumnSums(x, sum));
}

struct ColumnSums<'a, T>(&'a [T], &'a mut [T]);

impl<T: Real> SimdWork for ColumnSums<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        self.0.chunks_exact(self.1.len()).for_each(|row| axpy(T::one(), row, self.1));
    }
}

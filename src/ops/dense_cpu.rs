//! What goes with products of matrices on the CPU, on blocks of rows: bias and activation, its slope, column sums.

use super::dense::Activation;
use engine::Real;
use engine::parallel::{Work, axpy};

/// z = act(z + b) on the first `b.len()` of every `stride` elements.
pub(crate) struct Finish<'a, T>(pub &'a mut [T], pub usize, pub &'a [T], pub Activation);

impl<T: Real> Work for Finish<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Finish(z, stride, b, act) = self;
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
pub(crate) struct Slope<'a, T> {
    pub dz: (&'a mut [T], usize),
    pub dy: Option<(&'a [T], usize)>,
    pub y: (&'a [T], usize),
    pub width: usize,
    pub act: Activation,
}

impl<T: Real> Work for Slope<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Slope { dz: (dz, stride), dy, y: (y, y_stride), width, act } = self;
        for (r, dz) in dz.chunks_mut(stride).enumerate() {
            let (dz, y) = (&mut dz[..width], &y[r * y_stride..][..width]);
            if let Some((dy, stride)) = dy {
                dz.copy_from_slice(&dy[r * stride..][..width]);
            }
            match act {
                Activation::Identity => {}
                Activation::Relu => dz
                    .iter_mut()
                    .zip(y)
                    .for_each(|(dz, &y)| *dz = if y > T::zero() { *dz } else { T::zero() }),
                _ => dz.iter_mut().zip(y).for_each(|(dz, &y)| *dz *= act.derivative(y)),
            }
        }
    }
}

/// sum += the rows of x
pub(crate) struct Columns<'a, T>(pub &'a [T], pub &'a mut [T]);

impl<T: Real> Work for Columns<'_, T> {
    #[inline(always)]
    fn run(self) {
        self.0.chunks_exact(self.1.len()).for_each(|row| axpy(T::one(), row, self.1));
    }
}

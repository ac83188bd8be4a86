//! Rows times a power of the softmax's denominator: the aggregate of a history with less normalization.

use super::{check_shape, inputs};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::{Backward, Op, Real, Tensor, parallel};

/// Inputs a (R, d) and l (R, 1), the logarithm of each row's denominator; output a exp(power l) (R, d).
///
/// With a = sum_e alpha_e x_e and l = ln sum_e e^pi_e this is sum_e e^pi_e x_e / (sum_e e^pi_e)^(1 - power).
#[derive(Clone, Copy, Debug)]
pub struct ScaleRows {
    pub power: f32,
}

impl Op for ScaleRows {
    fn name(&self) -> &'static str {
        "scale_rows"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [a, l] = inputs("scale_rows", "a, l", x)?;
        check_shape("scale_rows", "l", l, a.rows(), 1)?;
        let mut y = a.empty_like(a.rows(), a.cols())?;
        if a.is_empty() {
            return Ok(vec![y]);
        }
        match a.gpu() {
            Some(gpu) => gpu
                .launch(kernels::SCALE_ROWS_FWD, Grid::warps(a.rows(), 256))
                .tensors([a, l])
                .tensor_mut(&mut y)
                .count(a.rows())
                .count(a.cols())
                .value(self.power)
                .run()?,
            None => dispatch_float!(a.dtype(), T => {
                forward::<T>(a.host(), l.host(), self.power, a.cols(), y.host_mut());
            }),
        }
        Ok(vec![y])
    }

    fn backward(&self, Backward { x, y, dy, dx }: Backward) -> Result<()> {
        let (Some(dy), [da, dl]) = (dy[0], dx) else { return Ok(()) };
        let (a, l) = (x[0], x[1]);
        if a.is_empty() {
            return Ok(());
        }
        if let Some(gpu) = a.gpu() {
            return gpu
                .launch(kernels::SCALE_ROWS_BWD, Grid::warps(a.rows(), 256))
                .tensors([l, y[0], dy])
                .optional_mut(da.as_mut())
                .optional_mut(dl.as_mut())
                .count(a.rows())
                .count(a.cols())
                .value(self.power)
                .run();
        }
        let cols = a.cols();
        dispatch_float!(a.dtype(), T => {
            if let Some(da) = da {
                backward_rows::<T>(dy.host(), l.host(), self.power, cols, da.host_mut());
            }
            if let Some(dl) = dl {
                backward_log::<T>(dy.host(), y[0].host(), self.power, cols, dl.host_mut());
            }
        });
        Ok(())
    }
}

fn forward<T: Real>(a: &[T], l: &[T], power: f32, cols: usize, y: &mut [T]) {
    parallel::for_rows(y, cols, |first, rows| {
        for (i, row) in rows.chunks_exact_mut(cols).enumerate() {
            let v = first + i;
            let f = (T::of(power as f64) * l[v]).fast_exp();
            row.iter_mut().zip(&a[v * cols..]).for_each(|(y, &a)| *y = f * a);
        }
    });
}

fn backward_rows<T: Real>(dy: &[T], l: &[T], power: f32, cols: usize, da: &mut [T]) {
    parallel::for_rows(da, cols, |first, rows| {
        for (i, row) in rows.chunks_exact_mut(cols).enumerate() {
            let v = first + i;
            let f = (T::of(power as f64) * l[v]).fast_exp();
            parallel::axpy(f, &dy[v * cols..(v + 1) * cols], row);
        }
    });
}

fn backward_log<T: Real>(dy: &[T], y: &[T], power: f32, cols: usize, dl: &mut [T]) {
    parallel::for_rows(dl, 1, |first, dl| {
        for (i, dl) in dl.iter_mut().enumerate() {
            let row = (first + i) * cols..(first + i + 1) * cols;
            *dl += T::of(power as f64) * parallel::dot(&dy[row.clone()], &y[row]);
        }
    });
}

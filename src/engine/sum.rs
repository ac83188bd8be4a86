//! Weighted sums of tensors.

use super::device::{Grid, kernels};
use super::parallel;
use super::real::Real;
use super::tensor::Tensor;
use crate::with_real;
use crate::{Error, Result};

/// Tensors that one launch takes (`Pointers` of common.cuh).
pub(crate) const POINTERS: usize = 8;

impl Tensor {
    /// `sum_i weight_i x_i` over tensors of one shape, added in their order. A single tensor of weight 1 is shared,
    /// not copied. Fails for an empty list and for shapes that differ.
    pub fn weighted_sum(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
        let Some(&(weight, first)) = terms.first() else {
            return Err(Error::shape("weighted sum", "at least one tensor", "none"));
        };
        if let Some((_, odd)) = terms.iter().find(|(_, t)| t.shape() != first.shape()) {
            return Err(Error::shape(
                "weighted sum",
                format!("{:?}", first.shape()),
                format!("{:?}", odd.shape()),
            ));
        }
        if terms.len() == 1 && weight == 1.0 {
            return Ok(first.clone());
        }
        let mut y = first.empty_like(first.rows(), first.cols())?;
        if y.is_empty() {
            return Ok(y);
        }
        if let Some(gpu) = first.gpu() {
            for (i, part) in terms.chunks(POINTERS).enumerate() {
                let (mut pointers, mut weights) = ([0u64; POINTERS], [0f32; POINTERS]);
                for (at, (weight, tensor)) in part.iter().enumerate() {
                    pointers[at] = tensor.address();
                    weights[at] = *weight as f32;
                }
                gpu.launch(kernels::WEIGHTED_SUM, Grid::cover(y.len(), 256))
                    .tensor_mut(&mut y)
                    .value(pointers)
                    .value(weights)
                    .count(part.len())
                    .value((i > 0) as i32)
                    .value(first.len() as u64)
                    .run()?;
            }
            return Ok(y);
        }
        with_real!(first.dtype(), T => {
            let terms: Vec<(T, &[T])> = terms.iter().map(|(w, t)| (T::of(*w), t.host::<T>())).collect();
            parallel::for_chunks(y.host_mut::<T>(), |at, y| {
                y.fill(0.0);
                for (weight, x) in &terms {
                    parallel::axpy(*weight, &x[at..at + y.len()], y);
                }
            });
        });
        Ok(y)
    }
}

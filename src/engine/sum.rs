//! Weighted sums of tensors.

use bytemuck::{Pod, Zeroable};

use super::device::{Grid, kernels};
use super::parallel;
use super::real::Real;
use super::tensor::Tensor;
use crate::dispatch_float;
use base::{Error, Result};

/// Tensors that one launch takes (`Pointers` of common.cuh).
pub const POINTERS: usize = 8;

/// What a term of a sum is multiplied by.
#[derive(Clone, Debug)]
pub enum Factor {
    Known(f64),
    /// An element of a tensor on a GPU, which kernels before have computed and the host does not know.
    OnDevice(Tensor, usize),
}

impl From<f64> for Factor {
    fn from(factor: f64) -> Factor {
        Factor::Known(factor)
    }
}

impl Factor {
    /// The factor, where the host knows it.
    pub fn known(&self) -> Result<f64> {
        match self {
            Factor::Known(factor) => Ok(*factor),
            Factor::OnDevice(..) => Err(Error::shape("weighted sum", "factors in host memory", "on a GPU")),
        }
    }
}

/// `struct Factors` of common.cuh.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Factors {
    fixed: [f32; POINTERS],
    at: [u32; POINTERS],
}

impl Factors {
    /// Factors of 0.
    pub fn none() -> Factors {
        Factors { fixed: [0.0; POINTERS], at: [u32::MAX; POINTERS] }
    }

    /// Sets factor `i`. `weights` is the list that a kernel's factors stand in; all of a launch share one.
    pub fn set(&mut self, i: usize, factor: &Factor, weights: &mut Option<Tensor>) -> Result<()> {
        match factor {
            Factor::Known(factor) => self.fixed[i] = *factor as f32,
            Factor::OnDevice(list, at) => {
                if weights.as_ref().is_some_and(|other| other.address() != list.address()) {
                    return Err(Error::shape("weighted sum", "factors of one list", "of several"));
                }
                *weights = Some(list.clone());
                self.at[i] = *at as u32;
            }
        }
        Ok(())
    }
}

impl Tensor {
    /// `sum_i weight_i x_i` over tensors of one shape, added in their order. A single tensor of weight 1 is shared,
    /// not copied. Fails for an empty list and for shapes that differ.
    pub fn weighted_sum(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
        Tensor::sum_of(&terms.iter().map(|(weight, t)| (Factor::Known(*weight), *t)).collect::<Vec<_>>())
    }

    /// As `weighted_sum`, with factors that may stand on the GPU.
    pub fn sum_of(terms: &[(Factor, &Tensor)]) -> Result<Tensor> {
        let Some(&(ref weight, first)) = terms.first() else {
            return Err(Error::shape("weighted sum", "at least one tensor", "none"));
        };
        if let Some((_, odd)) = terms.iter().find(|(_, t)| t.shape() != first.shape()) {
            return Err(Error::shape("weighted sum", format!("{:?}", first.shape()), format!("{:?}", odd.shape())));
        }
        if terms.len() == 1 && matches!(weight, Factor::Known(1.0)) {
            return Ok(first.clone());
        }
        let mut y = first.empty_like(first.rows(), first.cols())?;
        if y.is_empty() {
            return Ok(y);
        }
        if let Some(gpu) = first.gpu() {
            for (i, part) in terms.chunks(POINTERS).enumerate() {
                let (mut pointers, mut factors, mut weights) = ([0u64; POINTERS], Factors::none(), None);
                for (at, (factor, tensor)) in part.iter().enumerate() {
                    pointers[at] = tensor.address();
                    factors.set(at, factor, &mut weights)?;
                }
                gpu.launch(kernels::WEIGHTED_SUM, Grid::cover(y.len(), 256))
                    .tensor_mut(&mut y)
                    .value(pointers)
                    .value(factors)
                    .optional(weights.as_ref())
                    .count(part.len())
                    .value((i > 0) as i32)
                    .value(first.len() as u64)
                    .run()?;
            }
            return Ok(y);
        }
        dispatch_float!(first.dtype(), T => {
            let mut known: Vec<(T, &[T])> = vec![];
            for (factor, tensor) in terms {
                known.push((T::of(factor.known()?), tensor.host::<T>()));
            }
            parallel::for_chunks(y.host_mut::<T>(), |at, y| {
                y.fill(0.0);
                for (weight, x) in &known {
                    parallel::axpy(*weight, &x[at..at + y.len()], y);
                }
            });
        });
        Ok(y)
    }
}

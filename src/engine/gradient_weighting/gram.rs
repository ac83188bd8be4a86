//! All inner products of the losses' gradients, over all shared tensors together.

use super::moments::{self, dot};
use crate::device::{Gpu, GpuBuffer};
use crate::dispatch_float;
use crate::{Tensor, parallel};
use base::{Error, Result};

/// <G_i, G_j>, (losses, losses) and symmetric.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gram {
    pub losses: usize,
    products: Vec<f64>,
}

impl Gram {
    fn zeros(losses: usize) -> Gram {
        Gram { losses, products: vec![0.0; losses * losses] }
    }

    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.products[i * self.losses + j]
    }

    fn add(&mut self, i: usize, j: usize, product: f64) {
        self.products[i * self.losses + j] += product;
        if i != j {
            self.products[j * self.losses + i] += product;
        }
    }

    /// M x, for a vector of weights x.
    pub fn times(&self, x: &[f64]) -> Vec<f64> {
        let row = |i: usize| x.iter().enumerate().map(|(j, x)| self.at(i, j) * x).sum();
        (0..self.losses).map(row).collect()
    }

    /// `grads[t][i]` as in `GradientWeighting::weigh`; an absent gradient is zero. Waits for a GPU.
    pub fn measure(grads: &[Vec<Option<Tensor>>]) -> Result<Gram> {
        match grads.iter().flatten().flatten().next().and_then(Tensor::gpu) {
            Some(gpu) => Gram::measure_gpu(gpu, grads),
            None => Ok(Gram::measure_host(grads)),
        }
    }

    fn measure_host(grads: &[Vec<Option<Tensor>>]) -> Gram {
        let losses = grads.first().map_or(0, Vec::len);
        let mut gram = Gram::zeros(losses);
        for tensor in grads {
            let Some(some) = tensor.iter().flatten().next() else { continue };
            let chunks = dispatch_float!(some.dtype(), T => {
                let hosts: Vec<Option<&[T]>> = tensor.iter().map(|g| g.as_ref().map(Tensor::host::<T>)).collect();
                parallel::map_chunks(some.len(), moments::CHUNK, |range| {
                    let mut of_chunk = Gram::zeros(losses);
                    for (i, a) in hosts.iter().enumerate() {
                        for (j, b) in hosts.iter().enumerate().skip(i) {
                            if let (Some(a), Some(b)) = (a, b) {
                                of_chunk.add(i, j, dot(&a[range.clone()], &b[range.clone()]));
                            }
                        }
                    }
                    of_chunk
                })
            });
            for chunk in chunks {
                gram.products.iter_mut().zip(chunk.products).for_each(|(sum, part)| *sum += part);
            }
        }
        gram
    }

    /// The reduction against the target, with each loss in the target's place once and the losses after it beside it.
    fn measure_gpu(gpu: &Gpu, grads: &[Vec<Option<Tensor>>]) -> Result<Gram> {
        let (tensors, losses) = (grads.len(), grads.first().map_or(0, Vec::len));
        let from = |i: usize| -> Vec<Vec<Option<Tensor>>> { grads.iter().map(|g| g[i..].to_vec()).collect() };
        let measured = (0..losses).map(|i| moments::measure_gpu(gpu, &from(i))).collect::<Result<Vec<_>>>()?;
        let sums: Vec<&GpuBuffer> = measured.iter().map(|m| &m.sums).collect();
        let found: Vec<f64> = GpuBuffer::concatenated(gpu, &sums)?.read()?;
        let (mut gram, mut rest) = (Gram::zeros(losses), &found[..]);
        for i in 0..losses {
            let shape = (tensors, losses - i);
            let Some((own, after)) = rest.split_at_checked(moments::slots(shape.0, shape.1)) else {
                return Err(Error::shape("gradient weighting", "moments of each loss", format!("{}", rest.len())));
            };
            for by_loss in moments::from_sums(own, shape) {
                gram.add(i, i, by_loss[0].square);
                by_loss.iter().enumerate().skip(1).for_each(|(j, m)| gram.add(i, i + j, m.inner));
            }
            rest = after;
        }
        Ok(gram)
    }
}

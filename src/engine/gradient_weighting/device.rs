//! The weights on a GPU: computed where the moments are, so that no step waits for the host in its middle.

use bytemuck::{Pod, Zeroable};

use super::moments::{self, Moments};
use super::{Combine, CosineKind, Granularity, Options, Strategy};
use crate::device::{Gpu, GpuBuffer, Grid, kernels};
use crate::{Device, Factor, Tensor};
use base::Result;

/// `struct Rules` of balance.cu.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Rules {
    relax: f64,
    beta: f64,
    eps: f64,
    balance: i32,
    strategy: i32,
    balance_global: i32,
    cosine: i32,
    unweighted: i32,
    cosine_global: i32,
    tensors: i32,
    losses: i32,
}

impl Options {
    fn rules(&self, (tensors, losses): (usize, usize)) -> Rules {
        let flag = |x: bool| i32::from(x);
        Rules {
            relax: self.relax,
            beta: self.beta,
            eps: self.eps,
            balance: flag(matches!(self.combine, Combine::MetaBalance | Combine::MetaBalanceCosine)),
            strategy: match self.strategy {
                Strategy::A => 0,
                Strategy::B => 1,
                Strategy::C => 2,
            },
            balance_global: flag(self.granularity == Granularity::Global),
            cosine: flag(matches!(self.combine, Combine::Cosine | Combine::MetaBalanceCosine)),
            unweighted: flag(self.cosine == CosineKind::Unweighted),
            cosine_global: flag(self.cosine_granularity == Granularity::Global),
            tensors: tensors as i32,
            losses: losses as i32,
        }
    }
}

/// What the kernels have found, for the host to read when it waits anyway: moving averages, sums of moments, weights.
pub(super) struct OnDevice {
    pub found: GpuBuffer,
    shape: (usize, usize),
    moving: usize,
}

/// The same in host memory.
pub(super) struct Found {
    pub moving: Vec<f64>,
    pub moments: Vec<Vec<Moments>>,
    pub weights: Vec<Vec<f64>>,
}

/// Weighs the gradients; `moving` is moved on. Returns the factors, which stand on the GPU.
pub(super) fn weigh(
    gpu: &Gpu,
    options: &Options,
    grads: &[Vec<Option<Tensor>>],
    moving: &mut GpuBuffer,
) -> Result<(Vec<Vec<Factor>>, OnDevice)> {
    let shape = (grads.len(), grads.first().map_or(0, Vec::len));
    let (tensors, losses) = shape;
    let measured = moments::measure_gpu(gpu, grads)?;
    let mut weights = Tensor::empty(&Device::Gpu(gpu.clone()), crate::DType::F32, tensors, losses)?;
    let mut exact = gpu.allocate(tensors * losses * size_of::<f64>())?;
    gpu.launch(kernels::BALANCE_WEIGHTS, Grid::new(1, 256).with_shared(3 * losses * size_of::<f64>()))
        .tensor_mut(&mut weights)
        .buffer(&mut exact)
        .buffer(moving)
        .input(&measured.sums, 0)
        .input(&measured.table, 0)
        .value(options.rules(shape))
        .run()?;
    let found = GpuBuffer::concatenated(gpu, &[moving, &measured.sums, &exact])?;
    let factor = |t: usize, i: usize| Factor::OnDevice(weights.clone(), t * losses + i);
    let factors = (0..tensors).map(|t| (0..losses).map(|i| factor(t, i)).collect()).collect();
    Ok((factors, OnDevice { found, shape, moving: moving.bytes() / size_of::<f64>() }))
}

impl OnDevice {
    /// `values`: what `found` holds.
    pub fn parse(&self, values: &[f64]) -> Found {
        let (tensors, losses) = self.shape;
        let (moving, rest) = values.split_at(self.moving);
        let (sums, exact) = rest.split_at(moments::slots(tensors, losses));
        Found {
            moving: moving.to_vec(),
            moments: moments::from_sums(sums, self.shape),
            weights: exact.chunks(losses.max(1)).map(<[f64]>::to_vec).collect(),
        }
    }
}

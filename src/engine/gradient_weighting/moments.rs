//! Lengths of gradients and their inner products with the target's, in one pass over all of them.

use std::iter::Sum;

use crate::device::{Gpu, GpuBuffer, Grid, kernels};
use crate::dispatch_float;
use crate::rows::Gradient;
use crate::{Real, Tensor, parallel};
use base::{Error, Result};

/// |G_i|^2 and <G_0, G_i>.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    pub square: f64,
    pub inner: f64,
}

impl Sum for Moments {
    fn sum<I: Iterator<Item = Moments>>(all: I) -> Moments {
        all.fold(Moments::default(), |a, b| Moments { square: a.square + b.square, inner: a.inner + b.inner })
    }
}

/// Elements of a partial sum on the CPU: the gradients' chunks stay in the first-level cache while they are paired.
pub(super) const CHUNK: usize = 2048;
/// Auxiliary gradients of a group, beside the target; moments of a group; elements of a piece (balance.cu).
const AUXILIARIES: usize = 3;
const SLOTS: usize = 8;
const PIECE: usize = 16384;

/// Fails where the gradients of a tensor do not match.
pub(super) fn check(grads: &[Vec<Option<Gradient>>]) -> Result<()> {
    for tensor in grads {
        let mut present = tensor.iter().flatten();
        if let Some(first) = present.next()
            && let Some(odd) = present.find(|g| !g.matches(first))
        {
            return Err(Error::shape("gradient weighting", first.describe(), odd.describe()));
        }
    }
    Ok(())
}

/// The numbers of the gradients: rows that are not there are zero, and add nothing to a length or an inner product.
pub(super) fn tensors(grads: &[Vec<Option<Gradient>>]) -> Vec<Vec<Option<Tensor>>> {
    let of = |g: &Vec<Option<Gradient>>| g.iter().map(|g| g.as_ref().map(|g| g.tensor().clone())).collect();
    grads.iter().map(of).collect()
}

/// `result[t][i]` for gradient i of tensor t in host memory; 0 where it is absent.
pub(super) fn measure(grads: &[Vec<Option<Tensor>>]) -> Vec<Vec<Moments>> {
    grads.iter().map(|g| measure_host(g)).collect()
}

fn measure_host(grads: &[Option<Tensor>]) -> Vec<Moments> {
    let Some(some) = grads.iter().flatten().next() else { return vec![Moments::default(); grads.len()] };
    dispatch_float!(some.dtype(), T => {
        let hosts: Vec<Option<&[T]>> = grads.iter().map(|g| g.as_ref().map(Tensor::host::<T>)).collect();
        let chunks = parallel::map_chunks(some.len(), CHUNK, |range| {
            let target = hosts[0].map(|g| &g[range.clone()]);
            let moments = |g: &Option<&[T]>| {
                let Some(g) = g.map(|g| &g[range.clone()]) else { return Moments::default() };
                Moments { square: dot(g, g), inner: target.map_or(0.0, |target| dot(target, g)) }
            };
            hosts.iter().map(moments).collect::<Vec<_>>()
        });
        (0..grads.len()).map(|i| chunks.iter().map(|c| c[i]).sum()).collect()
    })
}

/// Inner product in double.
#[inline(always)]
pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    let mut lanes = [0f64; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x.f64() * y.f64()).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            lanes[i] += x[i].f64() * y[i].f64();
        }
    }
    lanes.iter().sum::<f64>() + tail
}

/// Moments on a GPU: `SLOTS` doubles for each tensor and group of losses.
pub(super) struct OnDevice {
    pub sums: GpuBuffer,
    /// (tensors, losses) addresses of the gradients, 0 where one is absent; then what the kernels need to know.
    pub table: GpuBuffer,
}

/// Groups of losses that kernels work on.
pub(super) fn groups(losses: usize) -> usize {
    losses.saturating_sub(1).div_ceil(AUXILIARIES).max(1)
}

/// Doubles of `OnDevice::sums`.
pub(super) fn slots(tensors: usize, losses: usize) -> usize {
    tensors * groups(losses) * SLOTS
}

/// As `measure`, of the values of `OnDevice::sums`.
pub(super) fn from_sums(sums: &[f64], (tensors, losses): (usize, usize)) -> Vec<Vec<Moments>> {
    let read = |t: usize, i: usize| {
        // The target is slot 0 of its tensor's first group; loss i > 0 is slot 1 + (i - 1) % 3 of group (i - 1) / 3.
        let (group, slot) = if i == 0 { (0, 0) } else { ((i - 1) / AUXILIARIES, 1 + (i - 1) % AUXILIARIES) };
        let at = (t * groups(losses) + group) * SLOTS + slot;
        Moments { square: sums[at], inner: sums[at + SLOTS / 2] }
    };
    (0..tensors).map(|t| (0..losses).map(|i| read(t, i)).collect()).collect()
}

/// Two launches for all tensors and losses.
pub(super) fn measure_gpu(gpu: &Gpu, grads: &[Vec<Option<Tensor>>]) -> Result<OnDevice> {
    let (tensors, losses) = (grads.len(), grads.first().map_or(0, Vec::len));
    let groups = groups(losses);
    // One table: addresses (T, L), lengths (T), first pieces (T + 1), pieces (P).
    // An empty gradient is there, too, and nobody reads it.
    let address = |g: &Option<Tensor>| g.as_ref().map_or(0, |t| if t.is_empty() { 1 } else { t.address() });
    let mut table: Vec<u64> = grads.iter().flatten().map(address).collect();
    let lengths: Vec<usize> =
        grads.iter().map(|tensor| tensor.iter().flatten().next().map_or(0, Tensor::len)).collect();
    table.extend(lengths.iter().map(|&n| n as u64));
    let (mut first, mut pieces) = (vec![0u64], vec![]);
    for (t, n) in lengths.iter().enumerate() {
        pieces.extend((0..n.div_ceil(PIECE) as u64).map(|piece| (t as u64) << 40 | piece));
        first.push(pieces.len() as u64);
    }
    table.extend(&first);
    table.extend(&pieces);
    let table = gpu.upload(&table)?;
    let mut sums = gpu.allocate(slots(tensors, losses) * size_of::<f64>())?;
    sums.fill_zero()?;
    if !pieces.is_empty() {
        let at = |entry: usize| entry * size_of::<u64>();
        let mut partial = gpu.allocate(groups * pieces.len() * SLOTS * size_of::<f64>())?;
        let grid = |blocks: usize| Grid { blocks: [blocks as u32, groups as u32, 1], ..Grid::new(1, 256) };
        gpu.launch(kernels::BALANCE_MOMENTS, grid(pieces.len()))
            .buffer(&mut partial)
            .input(&table, at(0))
            .input(&table, at(tensors * losses))
            .input(&table, at(tensors * losses + tensors + first.len()))
            .count(losses)
            .run()?;
        gpu.launch(kernels::BALANCE_MERGE, grid(tensors))
            .buffer(&mut sums)
            .input(&partial, 0)
            .input(&table, at(tensors * losses + tensors))
            .count(pieces.len())
            .run()?;
    }
    Ok(OnDevice { sums, table })
}

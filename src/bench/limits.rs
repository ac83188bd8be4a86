//! The limits of the device: the speed of copying, and of arithmetic in registers.

use std::hint::black_box;
use std::time::Duration;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::measure::measure;
use crate::Result;
use crate::engine::simd::{self, Chains};
use crate::engine::{DType, Device, Op, Tensor};
use crate::ops::{Activation, Linear};

/// Bytes of each side of the copies: several times any cache of a CPU, and of a GPU.
const CPU_COPY: usize = 256 << 20;
const GPU_COPY: usize = 1 << 30;
/// Bytes that one thread copies at a time.
const COPY_PIECE: usize = 1 << 20;
/// Longest time that one limit is measured for.
const LONGEST: Duration = Duration::from_secs(1);
/// Side of the matrices whose product stands for a GPU's arithmetic.
const MATMUL: usize = 4096;

/// Limits of the device, measured in the same run as the cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes read and bytes written, 10^9 a second, by all cores with ordinary stores; on a GPU device to device.
    pub copy_gb_per_s: f64,
    /// The same with stores that bypass the caches, which read nothing before they write. CPU only.
    pub streaming_copy_gb_per_s: Option<f64>,
    /// 10^9 operations of f32 a second; a fused multiply-add is two.
    pub gflop_per_s: f64,
    /// How `gflop_per_s` was found.
    pub arithmetic: String,
}

impl Limits {
    pub fn measure(device: &Device, budget: Duration) -> Result<Limits> {
        let budget = budget.min(LONGEST);
        match device {
            Device::Cpu => cpu(budget),
            Device::Gpu(_) => gpu(device, budget),
        }
    }

    /// Bytes a second of the faster copy.
    pub fn bandwidth(&self) -> f64 {
        1e9 * self.streaming_copy_gb_per_s.unwrap_or(0.0).max(self.copy_gb_per_s)
    }

    /// Seconds that some work takes at least.
    pub fn floor(&self, cost: super::Cost) -> f64 {
        (cost.bytes / self.bandwidth()).max(cost.flops / (1e9 * self.gflop_per_s))
    }
}

fn cpu(budget: Duration) -> Result<Limits> {
    let from = vec![1u128; CPU_COPY / 16];
    let mut to = vec![0u128; CPU_COPY / 16];
    let mut speed = |copy: fn(&mut [u128], &[u128])| {
        let timing = measure(&Device::Cpu, budget, &mut || {
            let pieces = to.par_chunks_mut(COPY_PIECE / 16).zip(from.par_chunks(COPY_PIECE / 16));
            pieces.for_each(|(to, from)| copy(to, from));
            black_box(&to);
            Ok(())
        })?;
        Ok(2.0 * CPU_COPY as f64 / timing.min_ms / 1e6)
    };
    Ok(Limits {
        copy_gb_per_s: speed(|to, from| to.copy_from_slice(from))?,
        streaming_copy_gb_per_s: if cfg!(target_arch = "x86_64") { Some(speed(stream)?) } else { None },
        gflop_per_s: fused_multiply_adds(budget)?,
        arithmetic: "fused multiply-adds in registers, all threads".into(),
    })
}

/// A copy whose stores go past the caches.
fn stream(to: &mut [u128], from: &[u128]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_load_si128, _mm_sfence, _mm_stream_si128};
        // SAFETY: each pair points to 16 bytes that are aligned to 16, one borrowed exclusively; x86-64 always has SSE2.
        // The fence orders the stores before anything that follows.
        unsafe {
            for (to, from) in to.iter_mut().zip(from) {
                _mm_stream_si128(std::ptr::from_mut(to).cast(), _mm_load_si128(std::ptr::from_ref(from).cast()));
            }
            _mm_sfence();
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    to.copy_from_slice(from);
}

const ROUNDS: usize = 1 << 18;

fn fused_multiply_adds(budget: Duration) -> Result<f64> {
    let tasks = 4 * rayon::current_num_threads();
    let mut sums = vec![Chains::default(); tasks];
    let (by, plus) = (black_box(0.999f32), black_box(0.001f32));
    let timing = measure(&Device::Cpu, budget, &mut || {
        sums.par_iter_mut().for_each(|sums| simd::multiply_adds(sums, by, plus, ROUNDS));
        black_box(&sums);
        Ok(())
    })?;
    Ok(2.0 * (tasks * ROUNDS * size_of::<Chains>() / size_of::<f32>()) as f64 / timing.min_ms / 1e6)
}

fn gpu(device: &Device, budget: Duration) -> Result<Limits> {
    // A tensor's own copy: cuMemcpyDtoD into memory that is allocated once and comes back from the pool after that.
    let from = Tensor::zeros(device, DType::F32, GPU_COPY / 4 / 1024, 1024)?;
    let copy = measure(device, budget, &mut || {
        let mut to = from.clone();
        to.make_unique()
    })?;
    let x = Tensor::zeros(device, DType::F32, MATMUL, MATMUL)?;
    let b = Tensor::zeros(device, DType::F32, 1, MATMUL)?;
    let mut product = Linear { activation: Activation::Identity };
    let matmul = measure(device, budget, &mut || product.forward(&[&x, &x, &b]).map(drop))?;
    Ok(Limits {
        copy_gb_per_s: 2.0 * GPU_COPY as f64 / copy.min_ms / 1e6,
        streaming_copy_gb_per_s: None,
        gflop_per_s: 2.0 * (MATMUL as f64).powi(3) / matmul.min_ms / 1e6,
        arithmetic: format!("this engine's own matrix product, {MATMUL} a side: a lower bound of the peak"),
    })
}

//! Inverted dropout: y = mask x / (1 - rate).
//!
//! The mask is a function of (seed, stream, element index) alone: the backward pass makes it again instead of keeping
//! it, and every device makes the same one.

use bytemuck::{Pod, Zeroable};

use super::check;
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::random::to_unit;
use engine::{Backward, Op, Philox, Real, StepRandom, Tensor, parallel, split};

/// Input x (any shape), output of the same shape. `rate` in [0, 1) is the share that is dropped; 0 does nothing.
///
/// `random` must differ from step to step and from layer to layer, or they drop the same elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    pub rate: f32,
    pub random: Philox,
}

/// `struct Dropout` of common.cuh.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Options {
    /// Address of the step's seed and stream, or 0.
    step: u64,
    seed: [u32; 2],
    stream: [u32; 2],
    rate: f32,
    keep: f32,
}

/// Scales that are drawn at once.
const BLOCK: usize = 64;

impl Dropout {
    pub fn none() -> Dropout {
        Dropout { rate: 0.0, random: Philox::new(0, 0) }
    }

    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        check((0.0..1.0).contains(&self.rate), op, || "a dropout rate in [0, 1)".into(), || format!("{}", self.rate))
    }

    /// For a launch. `step` are the same random numbers, where they stand in the GPU's memory.
    pub(crate) fn options(&self, step: Option<&StepRandom>) -> Options {
        let Philox { seed, stream } = self.random;
        let (step, stream) = step.and_then(StepRandom::on_device).unwrap_or((0, stream));
        Options { step, seed: split(seed), stream: split(stream), rate: self.rate, keep: self.keep() }
    }

    /// What survivors are multiplied by.
    fn keep(&self) -> f32 {
        1.0 / (1.0 - self.rate)
    }

    /// Calls `f(i, scale of element first + i)` for i in 0..len. `first` is a multiple of four, as are the chunks of
    /// `parallel::for_chunks`.
    #[inline(always)]
    pub(crate) fn scales<T: Real>(&self, first: usize, len: usize, mut f: impl FnMut(usize, T)) {
        debug_assert!(first.is_multiple_of(4));
        if self.rate == 0.0 {
            return (0..len).for_each(|i| f(i, T::one()));
        }
        let keep = T::of(self.keep() as f64);
        let mut scales = [T::zero(); BLOCK];
        for begin in (0..len).step_by(BLOCK) {
            for (four, scales) in scales.chunks_exact_mut(4).enumerate() {
                let bits = self.random.block(((first + begin) / 4 + four) as u64);
                for (scale, bits) in scales.iter_mut().zip(bits) {
                    *scale = if to_unit(bits) >= self.rate { keep } else { T::zero() };
                }
            }
            for i in begin..len.min(begin + BLOCK) {
                f(i, scales[i - begin]);
            }
        }
    }

    /// mask x / (1 - rate) on new memory, or x itself when nothing is dropped.
    pub(crate) fn apply(&self, x: &Tensor, step: Option<&StepRandom>) -> Result<Tensor> {
        if self.rate == 0.0 || x.is_empty() {
            return Ok(x.clone());
        }
        let mut y = x.empty_like(x.rows(), x.cols())?;
        if let Some(gpu) = x.gpu() {
            gpu.launch(kernels::DROPOUT_FWD, Grid::cover(x.len().div_ceil(4), 256))
                .tensor_mut(&mut y)
                .tensor(x)
                .value(self.options(step))
                .value(x.len() as u64)
                .run()?;
            return Ok(y);
        }
        dispatch_float!(x.dtype(), T => {
            let x = x.host::<T>();
            parallel::for_chunks(y.host_mut::<T>(), |at, y| {
                self.scales::<T>(at, y.len(), |i, scale| y[i] = scale * x[at + i]);
            });
        });
        Ok(y)
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        self.check("dropout")?;
        Ok(vec![self.apply(x[0], None)?])
    }

    fn backward(&self, Backward { dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), Some(dx)) = (dy[0], &mut dx[0]) else { return Ok(()) };
        if dy.is_empty() {
            return Ok(());
        }
        if let Some(gpu) = dy.gpu() {
            return gpu
                .launch(kernels::DROPOUT_BWD, Grid::cover(dy.len().div_ceil(4), 256))
                .tensor_mut(dx)
                .tensor(dy)
                .value(self.options(None))
                .value(dy.len() as u64)
                .run();
        }
        dispatch_float!(dy.dtype(), T => {
            let dy = dy.host::<T>();
            parallel::for_chunks(dx.host_mut::<T>(), |at, dx| {
                self.scales::<T>(at, dx.len(), |i, scale| dx[i] += scale * dy[at + i]);
            });
        });
        Ok(())
    }
}

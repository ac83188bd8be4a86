//! Dense products, activations and column sums on either device: the blocks that several ops are made of.

use base::parallel::prelude::*;

use super::dense_cpu::{Columns, Finish, Slope};
use base::Result;
use engine::device::{Grid, Kernel, kernels};
use engine::dispatch_float;
use engine::parallel::{self, Trans, View, gemm, vectorized_work};
use engine::{Gpu, MathMode, Real, Tensor};
use serde::{Deserialize, Serialize};

/// Element-wise non-linearity. All of them keep the sign of their argument, so that the derivative can be read
/// off the output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    #[serde(skip)]
    Identity,
    Relu,
    /// slope * z for z <= 0
    #[serde(skip)]
    LeakyRelu(f32),
    /// e^z - 1 for z <= 0
    Elu,
}

impl Activation {
    /// As the kernels take it (`enum Activation` of tile.cuh).
    pub(crate) fn code(self) -> (i32, f32) {
        match self {
            Activation::Identity => (0, 0.0),
            Activation::Relu => (1, 0.0),
            Activation::LeakyRelu(slope) => (2, slope),
            Activation::Elu => (3, 0.0),
        }
    }

    #[inline(always)]
    pub fn apply<T: Real>(self, z: T) -> T {
        match self {
            Activation::Identity => z,
            Activation::Relu => z.max(T::zero()),
            Activation::LeakyRelu(slope) => {
                if z > T::zero() {
                    z
                } else {
                    T::of(slope as f64) * z
                }
            }
            Activation::Elu => {
                if z > T::zero() {
                    z
                } else {
                    z.exp_m1()
                }
            }
        }
    }

    /// The derivative at z, given y = apply(z). At z = 0 the slope of the left side.
    #[inline(always)]
    pub fn derivative<T: Real>(self, y: T) -> T {
        let positive = y > T::zero();
        match self {
            Activation::Identity => T::one(),
            Activation::Relu => {
                if positive {
                    T::one()
                } else {
                    T::zero()
                }
            }
            Activation::LeakyRelu(slope) => {
                if positive {
                    T::one()
                } else {
                    T::of(slope as f64)
                }
            }
            Activation::Elu => {
                if positive {
                    T::one()
                } else {
                    y + T::one()
                }
            }
        }
    }
}

/// `c = op(a) op(b) + beta c`; a is (m, k) or transposed (k, m), b is (k, n) or transposed (n, k).
pub(crate) fn matmul(a: &Tensor, ta: Trans, b: &Tensor, tb: Trans, beta: f64, c: &mut Tensor) -> Result<()> {
    let (m, n) = c.shape();
    let k = if ta == Trans::No { a.cols() } else { a.rows() };
    debug_assert_eq!(a.len(), m * k, "matmul: a {:?}, c {:?}", a.shape(), c.shape());
    debug_assert_eq!(b.len(), k * n, "matmul: b {:?}, c {:?}", b.shape(), c.shape());
    if let Some(gpu) = a.gpu().cloned() {
        return gpu_matmul(&gpu, (m, k, n), a, ta, b, tb, beta, c);
    }
    dispatch_float!(c.dtype(), T => {
        parallel::matmul::<T>((m, k, n), a.host(), ta, b.host(), tb, T::of(beta), c.host_mut());
    });
    Ok(())
}

/// y = act(x w + b), on new memory. x (m, k), w (k, n), b (1, n) or absent.
pub(crate) fn affine(x: &Tensor, w: &Tensor, b: Option<&Tensor>, act: Activation) -> Result<Tensor> {
    let (m, k, n) = (x.rows(), x.cols(), w.cols());
    let mut y = x.empty_like(m, n)?;
    if let Some(gpu) = x.gpu() {
        if m > 0 && n > 0 {
            launch(gpu, products(gpu).nn, (m, k, n), x, w, &mut y, b, None, 0.0, act)?;
        }
        return Ok(y);
    }
    dispatch_float!(x.dtype(), T => {
        let zeros = vec![T::of(0.0); if b.is_some() { 0 } else { n }];
        let bias = b.map_or(&zeros[..], Tensor::host::<T>);
        affine_blocks::<T>((k, n), x.host(), w.host(), bias, act, y.host_mut());
    });
    Ok(y)
}

fn affine_blocks<T: Real>(
    (k, n): (usize, usize),
    x: &[T],
    w: &[T],
    bias: &[T],
    act: Activation,
    y: &mut [T],
) {
    if n == 0 {
        return;
    }
    // Rows of one task: the product is still in the cache when bias and activation come.
    let block = (2_000_000 / (k * n).max(1)).clamp(128, 1024);
    y.par_chunks_mut(block * n).enumerate().for_each(|(i, y)| {
        let rows = y.len() / n;
        let x = View::new(&x[i * block * k..], rows, k, k);
        gemm(x, View::new(w, k, n, n), T::zero(), y, n);
        vectorized_work(Finish(y, n, bias, act));
    });
}

/// dz = dy * act'(z), from the output y.
pub(crate) fn activation_backward(dy: &Tensor, y: &Tensor, act: Activation) -> Result<Tensor> {
    if act == Activation::Identity {
        return Ok(dy.clone());
    }
    let mut dz = dy.empty_like(dy.rows(), dy.cols())?;
    if let Some(gpu) = dy.gpu() {
        let (code, slope) = act.code();
        gpu.launch(kernels::ACT_BWD, Grid::cover(dy.len(), 256))
            .tensor_mut(&mut dz)
            .tensor(dy)
            .tensor(y)
            .value(dy.len() as u64)
            .value(code)
            .value(slope)
            .run()?;
        return Ok(dz);
    }
    dispatch_float!(dy.dtype(), T => {
        let (dy, y) = (dy.host::<T>(), y.host::<T>());
        dz.host_mut::<T>().par_chunks_mut(SLOPES).enumerate().for_each(|(i, dz)| {
            let (at, width) = (i * SLOPES, dz.len());
            let (dy, y) = (Some((&dy[at..], width)), (&y[at..], width));
            vectorized_work(Slope { dz: (dz, width), dy, y, width, act });
        });
    });
    Ok(dz)
}

/// Elements of one task of `activation_backward`.
const SLOPES: usize = 16 * 1024;

/// Rows of one partial sum.
const SUM_CHUNK: usize = 256;

/// out (1, n) += the column sums of x (m, n).
pub(crate) fn add_column_sums(x: &Tensor, out: &mut Tensor) -> Result<()> {
    let (rows, cols) = x.shape();
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let chunks = rows.div_ceil(SUM_CHUNK);
    if let Some(gpu) = x.gpu() {
        let mut partial = x.empty_like(chunks, cols)?;
        let threads = 128;
        let blocks = cols.div_ceil(threads as usize) as u32;
        let grid = Grid { blocks: [chunks as u32, blocks, 1], threads: [threads, 1, 1], shared: 0 };
        gpu.launch(kernels::COLUMN_SUMS, grid)
            .tensor_mut(&mut partial)
            .tensor(x)
            .count(rows)
            .count(cols)
            .count(SUM_CHUNK)
            .run()?;
        return gpu
            .launch(kernels::COLUMN_SUMS_MERGE, Grid::new(blocks, threads))
            .tensor_mut(out)
            .tensor(&partial)
            .count(chunks)
            .count(cols)
            .run();
    }
    dispatch_float!(x.dtype(), T => {
        let x = x.host::<T>();
        let chunk = |x: &[T]| {
            let mut sum = vec![0.0 as T; cols];
            vectorized_work(Columns(x, &mut sum));
            sum
        };
        let partial: Vec<Vec<T>> = x.par_chunks(SUM_CHUNK * cols).map(chunk).collect();
        let out = out.host_mut::<T>();
        partial.iter().for_each(|sum| parallel::axpy(1.0, sum, out));
    });
    Ok(())
}

/// Gradients of y = act(x w + b) given dz = dL/d(x w + b), added to whichever are wanted.
pub(crate) fn affine_backward(
    x: &Tensor,
    w: &Tensor,
    dz: &Tensor,
    dx: Option<&mut Tensor>,
    dw: Option<&mut Tensor>,
    db: Option<&mut Tensor>,
) -> Result<()> {
    if let Some(dx) = dx {
        matmul(dz, Trans::No, w, Trans::Yes, 1.0, dx)?;
    }
    if let Some(dw) = dw {
        matmul(x, Trans::Yes, dz, Trans::No, 1.0, dw)?;
    }
    if let Some(db) = db {
        add_column_sums(dz, db)?;
    }
    Ok(())
}

/// The kernels that multiply by one of the units.
pub(crate) struct Products {
    nn: Kernel,
    nt: Kernel,
    tn: Kernel,
    pub bank_forward: Kernel,
    pub bank_weights: Kernel,
    pub bank_inputs: Kernel,
}

/// The kernels for what the GPU is to multiply with.
pub(crate) fn products(gpu: &Gpu) -> &'static Products {
    match gpu.math_mode() {
        MathMode::F32 => &Products {
            nn: kernels::GEMM_NN,
            nt: kernels::GEMM_NT,
            tn: kernels::GEMM_TN,
            bank_forward: kernels::BANK_FWD,
            bank_weights: kernels::BANK_BWD_WEIGHTS,
            bank_inputs: kernels::BANK_BWD_INPUTS,
        },
        MathMode::Tf32 => &Products {
            nn: kernels::GEMM_NN_TF32,
            nt: kernels::GEMM_NT_TF32,
            tn: kernels::GEMM_TN_TF32,
            bank_forward: kernels::BANK_FWD_TF32,
            bank_weights: kernels::BANK_BWD_WEIGHTS_TF32,
            bank_inputs: kernels::BANK_BWD_INPUTS_TF32,
        },
        MathMode::Bf16 => &Products {
            nn: kernels::GEMM_NN_BF16,
            nt: kernels::GEMM_NT_BF16,
            tn: kernels::GEMM_TN_BF16,
            bank_forward: kernels::BANK_FWD_BF16,
            bank_weights: kernels::BANK_BWD_WEIGHTS_BF16,
            bank_inputs: kernels::BANK_BWD_INPUTS_BF16,
        },
    }
}

#[allow(clippy::too_many_arguments)]
fn gpu_matmul(
    gpu: &Gpu,
    (m, k, n): (usize, usize, usize),
    a: &Tensor,
    ta: Trans,
    b: &Tensor,
    tb: Trans,
    beta: f64,
    c: &mut Tensor,
) -> Result<()> {
    if m == 0 || n == 0 {
        return Ok(());
    }
    let products = products(gpu);
    let kernel = match (ta, tb) {
        (Trans::No, Trans::No) => products.nn,
        (Trans::No, Trans::Yes) => products.nt,
        (Trans::Yes, Trans::No) => products.tn,
        (Trans::Yes, Trans::Yes) => unreachable!("no op multiplies two transposes"),
    };
    // A product with few tiles and a long k is cut along k, by sizes alone: the same cut on every card.
    let tiles = m.div_ceil(TILE) * n.div_ceil(TILE);
    let splits = (k / 256).min(256 / tiles).max(1);
    if splits == 1 {
        return launch(gpu, kernel, (m, k, n), a, b, c, None, None, beta, Activation::Identity);
    }
    let mut partial = c.empty_like(splits, m * n)?;
    launch(gpu, kernel, (m, k, n), a, b, c, None, Some((&mut partial, splits)), beta, Activation::Identity)?;
    gpu.launch(kernels::GEMM_MERGE, Grid::cover(m * n, 256))
        .tensor_mut(c)
        .tensor(&partial)
        .value((m * n) as u64)
        .count(splits)
        .value(beta as f32)
        .run()
}

/// Edge of the kernel's output tile (`TILE` of tile.cuh).
const TILE: usize = 64;

#[allow(clippy::too_many_arguments)]
fn launch(
    gpu: &Gpu,
    kernel: Kernel,
    (m, k, n): (usize, usize, usize),
    a: &Tensor,
    b: &Tensor,
    c: &mut Tensor,
    bias: Option<&Tensor>,
    partial: Option<(&mut Tensor, usize)>,
    beta: f64,
    act: Activation,
) -> Result<()> {
    let (partial, splits) = match partial {
        Some((t, splits)) => (Some(t), splits),
        None => (None, 1),
    };
    let (code, slope) = act.code();
    let blocks = [(n.div_ceil(TILE) * m.div_ceil(TILE)) as u32, 1, splits as u32];
    gpu.launch(kernel, Grid { blocks, threads: [256, 1, 1], shared: 0 })
        .tensor(a)
        .tensor(b)
        .tensor_mut(c)
        .optional(bias)
        .optional_mut(partial)
        .count(m)
        .count(k)
        .count(n)
        .count(splits)
        .value(beta as f32)
        .value(code)
        .value(slope)
        .run()
}

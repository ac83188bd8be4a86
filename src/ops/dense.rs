//! Dense products, activations and column sums on either device: the blocks that several ops are made of.

use base::parallel::prelude::*;

use super::activation::Activation;
use super::cpu::dense::{ActivationGradient, add_bias_and_activate, sum_columns};
use super::launch::launch;
use base::Result;
use engine::device::{Grid, Kernel, kernels};
use engine::dispatch_float;
use engine::parallel::{self, Trans, View, gemm};
use engine::simd::simd;
use engine::{Gpu, MathMode, Real, Tensor};

/// The kernel for the unit that the GPU multiplies with (`train.matmul`), of three for f32, tf32 and bf16.
pub(crate) fn for_unit(gpu: &Gpu, [single, tf32, bf16]: [Kernel; 3]) -> Kernel {
    match gpu.math_mode() {
        MathMode::F32 => single,
        MathMode::Tf32 => tf32,
        MathMode::Bf16 => bf16,
    }
}

const GEMM_NN: [Kernel; 3] = [kernels::GEMM_NN, kernels::GEMM_NN_TF32, kernels::GEMM_NN_BF16];
const GEMM_NT: [Kernel; 3] = [kernels::GEMM_NT, kernels::GEMM_NT_TF32, kernels::GEMM_NT_BF16];
const GEMM_TN: [Kernel; 3] = [kernels::GEMM_TN, kernels::GEMM_TN_TF32, kernels::GEMM_TN_BF16];

/// Edge of the kernels' output tiles (`TILE` of tile.cuh).
const TILE: usize = 64;

/// A block for each tile of `layers` matrices.
pub(crate) fn tiles(rows: usize, cols: usize, layers: usize) -> Grid {
    let blocks = [(rows.div_ceil(TILE) * cols.div_ceil(TILE)) as u32, 1, layers as u32];
    Grid { blocks, threads: [256, 1, 1], shared: 0 }
}

/// Parts that a product with k terms and so many tiles is cut into along k, at most `most` tiles in all: by sizes alone,
/// the same cut on every card.
pub(crate) fn splits(k: usize, rows: usize, cols: usize, layers: usize, most: usize) -> usize {
    (k / 256).min(most / (rows.div_ceil(TILE).max(1) * cols.div_ceil(TILE) * layers)).max(1)
}

/// `c = op(a) op(b) + beta c`; a is (m, k) or transposed (k, m), b is (k, n) or transposed (n, k).
pub(crate) fn matmul(a: &Tensor, ta: Trans, b: &Tensor, tb: Trans, beta: f64, c: &mut Tensor) -> Result<()> {
    let (m, n) = c.shape();
    let k = if ta == Trans::No { a.cols() } else { a.rows() };
    debug_assert_eq!(a.len(), m * k, "matmul: a {:?}, c {:?}", a.shape(), c.shape());
    debug_assert_eq!(b.len(), k * n, "matmul: b {:?}, c {:?}", b.shape(), c.shape());
    let Some(gpu) = a.gpu() else {
        dispatch_float!(c.dtype(), T => {
            parallel::matmul::<T>((m, k, n), a.host(), ta, b.host(), tb, T::of(beta), c.host_mut());
        });
        return Ok(());
    };
    if m == 0 || n == 0 {
        return Ok(());
    }
    let kernel = match (ta, tb) {
        (Trans::No, Trans::No) => GEMM_NN,
        (Trans::No, Trans::Yes) => GEMM_NT,
        (Trans::Yes, Trans::No) => GEMM_TN,
        (Trans::Yes, Trans::Yes) => unreachable!("no op multiplies two transposes"),
    };
    let splits = splits(k, m, n, 1, 256);
    let mut partial = if splits > 1 { Some(c.empty_like(splits, m * n)?) } else { None };
    launch!(gpu, for_unit(gpu, kernel), tiles(m, n, splits);
        a, b, &mut *c, None::<&Tensor>, &mut partial, m, k, n, splits, beta as f32, 0i32, 0.0f32)?;
    let Some(partial) = partial else { return Ok(()) };
    let merge = Grid::cover(m * n, 256);
    launch!(gpu, kernels::GEMM_MERGE, merge; c, &partial, (m * n) as u64, splits, beta as f32)
}

/// y = act(x w + b), on new memory. x (m, k), w (k, n), b (1, n) or absent.
pub(crate) fn affine(x: &Tensor, w: &Tensor, b: Option<&Tensor>, act: Activation) -> Result<Tensor> {
    let (m, k, n) = (x.rows(), x.cols(), w.cols());
    let mut y = x.empty_like(m, n)?;
    if let Some(gpu) = x.gpu() {
        let ((code, slope), none) = (act.code(), None::<&mut Tensor>);
        if !y.is_empty() {
            launch!(gpu, for_unit(gpu, GEMM_NN), tiles(m, n, 1);
                x, w, &mut y, b, none, m, k, n, 1usize, 0.0f32, code, slope)?;
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

fn affine_blocks<T: Real>((k, n): (usize, usize), x: &[T], w: &[T], bias: &[T], act: Activation, y: &mut [T]) {
    if n == 0 {
        return;
    }
    // Rows of one task: the product is still in the cache when bias and activation come.
    let block = (2_000_000 / (k * n).max(1)).clamp(128, 1024);
    y.par_chunks_mut(block * n).enumerate().for_each(|(i, y)| {
        let rows = y.len() / n;
        let x = View::new(&x[i * block * k..], rows, k, k);
        gemm(x, View::new(w, k, n, n), T::zero(), y, n);
        add_bias_and_activate(y, n, bias, act);
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
        let (n, grid) = (dy.len() as u64, Grid::cover(dy.len(), 256));
        launch!(gpu, kernels::ACT_BWD, grid; &mut dz, dy, y, n, code, slope)?;
        return Ok(dz);
    }
    dispatch_float!(dy.dtype(), T => {
        let (dy, y) = (dy.host::<T>(), y.host::<T>());
        dz.host_mut::<T>().par_chunks_mut(SLOPES).enumerate().for_each(|(i, dz)| {
            let (at, width) = (i * SLOPES, dz.len());
            let (dy, y) = (Some((&dy[at..], width)), (&y[at..], width));
            simd(ActivationGradient { dz: (dz, width), dy, y, width, act });
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
        launch!(gpu, kernels::COLUMN_SUMS, grid; &mut partial, x, rows, cols, SUM_CHUNK)?;
        let merge = Grid::new(blocks, threads);
        return launch!(gpu, kernels::COLUMN_SUMS_MERGE, merge; out, &partial, chunks, cols);
    }
    dispatch_float!(x.dtype(), T => {
        let x = x.host::<T>();
        let chunk = |x: &[T]| {
            let mut sum = vec![0.0 as T; cols];
            sum_columns(x, &mut sum);
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

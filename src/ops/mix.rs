//! A mixture of experts by a softmax gate: MMoE, PLE and the softmax variant of the fusion gate.

use super::{check, check_shape, saved};
use crate::Result;
use crate::engine::device::{Grid, kernels};
use crate::engine::{Op, Real, Tensor, parallel};
use crate::with_real;

/// y = sum_e softmax(logits)_e x_e. Inputs logits (B, E), then E experts (B, d) each; output (B, d).
#[derive(Clone, Debug, Default)]
pub struct SoftmaxMix {
    /// softmax(logits), (B, E)
    weights: Option<Tensor>,
}

/// Experts of one launch (`Pointers` of common.cuh).
const POINTERS: usize = 8;

fn softmax<T: Real>(logits: &[T], experts: usize, w: &mut [T]) {
    parallel::for_rows(w, experts, |row, w| {
        for (r, w) in w.chunks_exact_mut(experts).enumerate() {
            let logits = &logits[(row + r) * experts..][..experts];
            let top = logits.iter().fold(T::neg_infinity(), |m, &z| m.max(z));
            w.iter_mut().zip(logits).for_each(|(w, &z)| *w = (z - top).fast_exp());
            let sum: T = w.iter().copied().sum();
            w.iter_mut().for_each(|w| *w /= sum);
        }
    });
}

fn forward<T: Real>(w: &[T], experts: &[&[T]], d: usize, y: &mut [T]) {
    parallel::for_rows(y, d, |row, y| {
        for (r, y) in y.chunks_exact_mut(d).enumerate() {
            y.fill(T::zero());
            for (e, x) in experts.iter().enumerate() {
                parallel::axpy(w[(row + r) * experts.len() + e], &x[(row + r) * d..][..d], y);
            }
        }
    });
}

/// dlogits_e += w_e (<dy, x_e> - sum_f w_f <dy, x_f>)
fn backward_logits<T: Real>(dy: &[T], w: &[T], experts: &[&[T]], d: usize, dlogits: &mut [T]) {
    let count = experts.len();
    parallel::for_rows(dlogits, count, |row, dlogits| {
        let mut dw = vec![T::zero(); count];
        for (r, dlogits) in dlogits.chunks_exact_mut(count).enumerate() {
            let row = row + r;
            let (dy, w) = (&dy[row * d..][..d], &w[row * count..][..count]);
            dw.iter_mut().zip(experts).for_each(|(dw, x)| *dw = parallel::dot(dy, &x[row * d..][..d]));
            let inner = parallel::dot(w, &dw);
            for ((dz, &w), &dw) in dlogits.iter_mut().zip(w).zip(&dw) {
                *dz += w * (dw - inner);
            }
        }
    });
}

impl SoftmaxMix {
    fn run_gpu(&self, logits: &Tensor, x: &[&Tensor], w: &mut Tensor, y: &mut Tensor) -> Result<()> {
        let Some(gpu) = logits.gpu() else { return Ok(()) };
        let ((rows, d), experts) = (y.shape(), x.len());
        let grid = Grid::warps(rows, 256);
        gpu.launch(kernels::MIX_SOFTMAX, grid)
            .tensor_mut(w)
            .tensor(logits)
            .count(rows)
            .count(experts)
            .run()?;
        for (i, part) in x.chunks(POINTERS).enumerate() {
            let mut pointers = [0u64; POINTERS];
            pointers.iter_mut().zip(part).for_each(|(p, x)| *p = x.address());
            gpu.launch(kernels::MIX_FWD, grid)
                .tensor_mut(y)
                .tensor(w)
                .value(pointers)
                .count(i * POINTERS)
                .count(part.len())
                .count(experts)
                .count(rows)
                .count(d)
                .run()?;
        }
        Ok(())
    }

    fn run_gpu_backward(
        &self,
        x: &[&Tensor],
        w: &Tensor,
        dy: &Tensor,
        dx: &mut [Option<Tensor>],
    ) -> Result<()> {
        let Some(gpu) = dy.gpu() else { return Ok(()) };
        let ((rows, d), experts) = (dy.shape(), x.len() - 1);
        let grid = Grid::warps(rows, 256);
        let mut dw = w.empty_like(rows, experts)?;
        let (dlogits, dexperts) = dx.split_at_mut(1);
        for (i, (part, dpart)) in x[1..].chunks(POINTERS).zip(dexperts.chunks_mut(POINTERS)).enumerate() {
            let (mut pointers, mut grads) = ([0u64; POINTERS], [0u64; POINTERS]);
            pointers.iter_mut().zip(part).for_each(|(p, x)| *p = x.address());
            grads.iter_mut().zip(dpart).for_each(|(p, dx)| *p = dx.as_mut().map_or(0, Tensor::address_mut));
            gpu.launch(kernels::MIX_BWD, grid)
                .tensor_mut(&mut dw)
                .value(grads)
                .tensor(dy)
                .tensor(w)
                .value(pointers)
                .count(i * POINTERS)
                .count(part.len())
                .count(experts)
                .count(rows)
                .count(d)
                .run()?;
        }
        if let Some(dlogits) = &mut dlogits[0] {
            gpu.launch(kernels::MIX_SOFTMAX_BWD, grid)
                .tensor_mut(dlogits)
                .tensor(&dw)
                .tensor(w)
                .count(rows)
                .count(experts)
                .run()?;
        }
        Ok(())
    }
}

impl Op for SoftmaxMix {
    fn name(&self) -> &'static str {
        "softmax mix"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        check(
            x.len() >= 2,
            "softmax mix",
            || "logits and at least one expert".into(),
            || format!("{}", x.len()),
        )?;
        let (rows, d) = x[1].shape();
        check_shape("softmax mix", "logits", x[0], rows, x.len() - 1)?;
        for expert in &x[2..] {
            check_shape("softmax mix", "expert", expert, rows, d)?;
        }
        let (mut w, mut y) = (x[0].empty_like(rows, x.len() - 1)?, x[1].empty_like(rows, d)?);
        if !y.is_empty() {
            match y.gpu() {
                Some(_) => self.run_gpu(x[0], &x[1..], &mut w, &mut y)?,
                None => with_real!(y.dtype(), T => {
                    let experts: Vec<&[T]> = x[1..].iter().map(|x| x.host::<T>()).collect();
                    softmax::<T>(x[0].host(), experts.len(), w.host_mut());
                    forward::<T>(w.host(), &experts, d, y.host_mut());
                }),
            }
        }
        self.weights = Some(w);
        Ok(vec![y])
    }

    fn backward(
        &self,
        x: &[&Tensor],
        _: &[&Tensor],
        dy: &[Option<&Tensor>],
        dx: &mut [Option<Tensor>],
    ) -> Result<()> {
        let Some(dy) = dy[0].filter(|dy| !dy.is_empty()) else { return Ok(()) };
        let w = saved("softmax mix", &self.weights)?;
        if dy.gpu().is_some() {
            return self.run_gpu_backward(x, w, dy, dx);
        }
        with_real!(dy.dtype(), T => {
            let experts: Vec<&[T]> = x[1..].iter().map(|x| x.host::<T>()).collect();
            let (w, dy, d, count) = (w.host::<T>(), dy.host::<T>(), dy.cols(), experts.len());
            let (dlogits, dexperts) = dx.split_at_mut(1);
            if let Some(dlogits) = &mut dlogits[0] {
                backward_logits(dy, w, &experts, d, dlogits.host_mut());
            }
            for (e, dx) in dexperts.iter_mut().enumerate() {
                let Some(dx) = dx else { continue };
                parallel::for_rows(dx.host_mut::<T>(), d, |row, dx| {
                    for (r, dx) in dx.chunks_exact_mut(d).enumerate() {
                        parallel::axpy(w[(row + r) * count + e], &dy[(row + r) * d..][..d], dx);
                    }
                });
            }
        });
        Ok(())
    }
}

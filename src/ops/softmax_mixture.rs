//! Mixtures of experts by softmax gates: MMoE, PLE and the softmax variant of the fusion gate.

use base::parallel::prelude::*;

use super::cpu::{RowChunk, hosts, row_chunks};
use super::launch::{POINTERS, launch, pointers};
use super::{check, check_shape, saved};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::parallel::{axpy, dot, rows_per_chunk};
use engine::simd::{SimdWork, simd};
use engine::{Backward, Gpu, Op, Real, Tensor};

/// y_k = sum_e softmax(logits_k)_e x_e for K tasks over the same experts, which are read once for all tasks.
///
/// Inputs logits (B, E) of each task, then E experts (B, d) each; outputs K of (B, d).
#[derive(Clone, Debug)]
pub struct SoftmaxMixture {
    tasks: usize,
    /// softmax(logits_k), (B, E) each
    weights: Option<Vec<Tensor>>,
}

impl Default for SoftmaxMixture {
    fn default() -> Self {
        SoftmaxMixture::new(1)
    }
}

/// Some rows of the forward pass, beginning with row `first`: weights and mixtures of every task.
struct ForwardChunk<'a, T> {
    first: usize,
    logits: &'a [&'a [T]],
    experts: &'a [&'a [T]],
    w: Vec<&'a mut [T]>,
    y: Vec<&'a mut [T]>,
    d: usize,
}

impl<T: Real> SimdWork for ForwardChunk<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let (d, count) = (self.d, self.experts.len());
        for ((logits, w), y) in self.logits.iter().zip(self.w).zip(self.y) {
            let logits = &logits[self.first * count..][..w.len()];
            for (w, z) in w.chunks_exact_mut(count).zip(logits.chunks_exact(count)) {
                let top = z.iter().fold(T::neg_infinity(), |m, &z| m.max(z));
                w.iter_mut().zip(z).for_each(|(w, &z)| *w = z - top);
            }
            // All rows at once, so that a few experts still fill vectors.
            w.iter_mut().for_each(|w| *w = w.fast_exp());
            for w in w.chunks_exact_mut(count) {
                let sum: T = w.iter().copied().sum();
                w.iter_mut().for_each(|w| *w /= sum);
            }
            for (r, (y, w)) in y.chunks_exact_mut(d).zip(w.chunks_exact(count)).enumerate() {
                let at = (self.first + r) * d;
                y.iter_mut().zip(&self.experts[0][at..at + d]).for_each(|(y, &x)| *y = w[0] * x);
                for (x, &w) in self.experts[1..].iter().zip(&w[1..]) {
                    axpy(w, &x[at..at + d], y);
                }
            }
        }
    }
}

/// Some rows of the backward pass, of the tasks that have a gradient.
struct BackwardChunk<'a, T> {
    first: usize,
    rows: usize,
    experts: &'a [&'a [T]],
    w: &'a [&'a [T]],
    dy: &'a [&'a [T]],
    dlogits: RowChunk<'a, T>,
    dexperts: RowChunk<'a, T>,
    d: usize,
}

impl<T: Real> SimdWork for BackwardChunk<'_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(mut self) {
        let (d, count) = (self.d, self.experts.len());
        let mut dw = vec![T::zero(); count];
        for r in 0..self.rows {
            let row = self.first + r;
            for ((dy, w), dlogits) in self.dy.iter().zip(self.w).zip(&mut self.dlogits) {
                let (dy, w) = (&dy[row * d..][..d], &w[row * count..][..count]);
                if let Some(dlogits) = dlogits {
                    // dlogits_e += w_e (<dy, x_e> - sum_f w_f <dy, x_f>)
                    dw.iter_mut().zip(self.experts).for_each(|(dw, x)| *dw = dot(dy, &x[row * d..][..d]));
                    let inner = dot(w, &dw);
                    let dlogits = &mut dlogits[r * count..][..count];
                    for ((dz, &w), &dw) in dlogits.iter_mut().zip(w).zip(&dw) {
                        *dz += w * (dw - inner);
                    }
                }
                for (dx, &w) in self.dexperts.iter_mut().zip(w) {
                    if let Some(dx) = dx {
                        axpy(w, dy, &mut dx[r * d..][..d]);
                    }
                }
            }
        }
    }
}

/// The gradients of those tasks' logits.
fn of_tasks<'a>(dlogits: &'a mut [Option<Tensor>], tasks: &'a [usize]) -> impl Iterator<Item = Option<&'a mut Tensor>> {
    dlogits.iter_mut().enumerate().filter(|(k, _)| tasks.contains(k)).map(|(_, dz)| dz.as_mut())
}

fn forward<T: Real>(logits: &[&Tensor], x: &[&Tensor], w: &mut [Tensor], y: &mut [Tensor]) {
    let (rows, d) = x[0].shape();
    let (logits, experts) = (hosts::<T>(logits.iter().copied()), hosts::<T>(x.iter().copied()));
    let per = rows_per_chunk((experts.len() + y.len()) * d);
    let count = rows.div_ceil(per);
    let w = row_chunks::<T>(w.iter_mut().map(Some), per, count);
    let y = row_chunks::<T>(y.iter_mut().map(Some), per, count);
    w.into_par_iter().zip(y).enumerate().for_each(|(i, (w, y))| {
        let (w, y) = (w.into_iter().flatten().collect(), y.into_iter().flatten().collect());
        simd(ForwardChunk { first: i * per, logits: &logits, experts: &experts, w, y, d });
    });
}

/// `tasks`: those with a gradient.
fn backward<T: Real>(tasks: &[usize], x: &[&Tensor], w: &[Tensor], dy: &[Option<&Tensor>], dx: &mut [Option<Tensor>]) {
    let (rows, d) = x[0].shape();
    let experts = hosts::<T>(x.iter().copied());
    let w = hosts::<T>(tasks.iter().map(|&k| &w[k]));
    let (dlogits, dexperts) = dx.split_at_mut(dy.len());
    let dy = hosts::<T>(dy.iter().copied().flatten());
    let per = rows_per_chunk((experts.len() + dy.len()) * d);
    let count = rows.div_ceil(per);
    let dlogits = row_chunks::<T>(of_tasks(dlogits, tasks), per, count);
    let dexperts = row_chunks::<T>(dexperts.iter_mut().map(Option::as_mut), per, count);
    dlogits.into_par_iter().zip(dexperts).enumerate().for_each(|(i, (dlogits, dexperts))| {
        let (first, n) = (i * per, per.min(rows - i * per));
        let (experts, w, dy) = (&experts, &w, &dy);
        simd(BackwardChunk { first, rows: n, experts, w, dy, dlogits, dexperts, d });
    });
}

fn addresses<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> [u64; POINTERS] {
    pointers(tensors.into_iter().map(Tensor::address))
}

fn addresses_mut<'a>(tensors: impl IntoIterator<Item = Option<&'a mut Tensor>>) -> [u64; POINTERS] {
    pointers(tensors.into_iter().map(|t| t.map_or(0, Tensor::address_mut)))
}

/// Of tensors that are all there.
fn outputs(tensors: &mut [Tensor]) -> [u64; POINTERS] {
    addresses_mut(tensors.iter_mut().map(Some))
}

impl SoftmaxMixture {
    /// One mixture for each of `tasks` tasks.
    pub fn new(tasks: usize) -> SoftmaxMixture {
        SoftmaxMixture { tasks, weights: None }
    }

    fn run_gpu(gpu: &Gpu, logits: &[&Tensor], x: &[&Tensor], w: &mut [Tensor], y: &mut [Tensor]) -> Result<()> {
        let ((rows, d), experts) = (x[0].shape(), x.len());
        let grid = Grid::warps(rows, 256);
        let tasks = logits.chunks(POINTERS).zip(w.chunks_mut(POINTERS)).zip(y.chunks_mut(POINTERS));
        for ((logits, w), y) in tasks {
            let (tasks, w) = (logits.len(), outputs(w));
            let logits = addresses(logits.iter().copied());
            launch!(gpu, kernels::SOFTMAX_MIXTURE_WEIGHTS, grid; w, logits, rows, experts, tasks)?;
            for (i, part) in x.chunks(POINTERS).enumerate() {
                let (first, count) = (i * POINTERS, part.len());
                launch!(gpu, kernels::SOFTMAX_MIXTURE_FWD, grid;
                    outputs(y), w, addresses(part.iter().copied()), first, count, experts, rows, d, tasks)?;
            }
        }
        Ok(())
    }

    fn run_gpu_backward(
        gpu: &Gpu,
        tasks: &[usize],
        x: &[&Tensor],
        w: &[Tensor],
        dy: &[Option<&Tensor>],
        dx: &mut [Option<Tensor>],
    ) -> Result<()> {
        let ((rows, d), experts) = (x[0].shape(), x.len());
        let grid = Grid::warps(rows, 256);
        let (dlogits, dexperts) = dx.split_at_mut(dy.len());
        for tasks in tasks.chunks(POINTERS) {
            let up = addresses(tasks.iter().filter_map(|&k| dy[k]));
            let weights = addresses(tasks.iter().map(|&k| &w[k]));
            let mut dw = tasks.iter().map(|_| w[0].empty_like(rows, experts)).collect::<Result<Vec<Tensor>>>()?;
            let parts = x.chunks(POINTERS).zip(dexperts.chunks_mut(POINTERS));
            for (i, (part, dpart)) in parts.enumerate() {
                let (first, count) = (i * POINTERS, part.len());
                let (part, dpart) =
                    (addresses(part.iter().copied()), addresses_mut(dpart.iter_mut().map(Option::as_mut)));
                launch!(gpu, kernels::SOFTMAX_MIXTURE_BWD, grid;
                    outputs(&mut dw), dpart, up, weights, part, first, count, experts, rows, d, tasks.len())?;
            }
            launch!(gpu, kernels::SOFTMAX_MIXTURE_WEIGHTS_BWD, grid;
                addresses_mut(of_tasks(dlogits, tasks)), addresses(&dw), weights, rows, experts, tasks.len())?;
        }
        Ok(())
    }
}

impl Op for SoftmaxMixture {
    fn name(&self) -> &'static str {
        "softmax_mixture"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        check(
            self.tasks > 0 && x.len() > self.tasks,
            "softmax_mixture",
            || format!("logits of {} tasks and at least one expert", self.tasks),
            || format!("{}", x.len()),
        )?;
        let (logits, experts) = x.split_at(self.tasks);
        let (rows, d) = experts[0].shape();
        for logits in logits {
            check_shape("softmax_mixture", "logits", logits, rows, experts.len())?;
        }
        for expert in &experts[1..] {
            check_shape("softmax_mixture", "expert", expert, rows, d)?;
        }
        let each =
            |cols: usize| -> Result<Vec<Tensor>> { (0..self.tasks).map(|_| x[0].empty_like(rows, cols)).collect() };
        let (mut w, mut y) = (each(experts.len())?, each(d)?);
        if rows > 0 && d > 0 {
            match x[0].gpu() {
                Some(gpu) => Self::run_gpu(gpu, logits, experts, &mut w, &mut y)?,
                None => dispatch_float!(x[0].dtype(), T => forward::<T>(logits, experts, &mut w, &mut y)),
            }
        }
        self.weights = Some(w);
        Ok(y)
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let (w, experts) = (saved("softmax_mixture", &self.weights)?, &x[self.tasks..]);
        let tasks: Vec<usize> = (0..self.tasks).filter(|&k| dy[k].is_some()).collect();
        if tasks.is_empty() || experts[0].is_empty() {
            return Ok(());
        }
        match x[0].gpu() {
            Some(gpu) => Self::run_gpu_backward(gpu, &tasks, experts, w, dy, dx),
            None => {
                dispatch_float!(x[0].dtype(), T => backward::<T>(&tasks, experts, w, dy, dx));
                Ok(())
            }
        }
    }
}

//! Mixtures of experts by softmax gates: MMoE, PLE and the softmax variant of the fusion gate.

use base::parallel::prelude::*;

use super::{check, check_shape, saved};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::parallel::{Work, axpy, dot, rows_per_chunk, vectorized_work};
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

/// Tasks, and experts, of one launch (`Pointers` of common.cuh).
const POINTERS: usize = 8;

/// Some rows of the forward pass, beginning with row `first`: weights and mixtures of every task.
struct Forward<'a, T> {
    first: usize,
    logits: &'a [&'a [T]],
    experts: &'a [&'a [T]],
    w: Vec<&'a mut [T]>,
    y: Vec<&'a mut [T]>,
    d: usize,
}

impl<T: Real> Work for Forward<'_, T> {
    #[inline(always)]
    fn run(self) {
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
    dlogits: Vec<Option<&'a mut [T]>>,
    dexperts: Vec<Option<&'a mut [T]>>,
    d: usize,
}

impl<T: Real> Work for BackwardChunk<'_, T> {
    #[inline(always)]
    fn run(mut self) {
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

/// RowSplits of `rows` rows of each tensor: for each piece, one slice of each.
fn pieces<'a, T: Real>(
    tensors: impl Iterator<Item = Option<&'a mut Tensor>>,
    rows: usize,
    count: usize,
) -> Vec<Vec<Option<&'a mut [T]>>> {
    let mut pieces: Vec<Vec<Option<&mut [T]>>> = vec![];
    pieces.resize_with(count, Vec::new);
    for tensor in tensors {
        match tensor {
            None => pieces.iter_mut().for_each(|piece| piece.push(None)),
            Some(t) => {
                let cols = t.cols();
                let parts = t.host_mut::<T>().chunks_mut(rows * cols);
                pieces.iter_mut().zip(parts).for_each(|(piece, part)| piece.push(Some(part)));
            }
        }
    }
    pieces
}

fn hosts<'a, T: Real>(tensors: impl Iterator<Item = &'a Tensor>) -> Vec<&'a [T]> {
    tensors.map(|t| t.host::<T>()).collect()
}

fn forward<T: Real>(logits: &[&Tensor], x: &[&Tensor], w: &mut [Tensor], y: &mut [Tensor]) {
    let (rows, d) = x[0].shape();
    let (logits, experts) = (hosts::<T>(logits.iter().copied()), hosts::<T>(x.iter().copied()));
    let per = rows_per_chunk((experts.len() + y.len()) * d);
    let count = rows.div_ceil(per);
    let w = pieces::<T>(w.iter_mut().map(Some), per, count);
    let y = pieces::<T>(y.iter_mut().map(Some), per, count);
    w.into_par_iter().zip(y).enumerate().for_each(|(i, (w, y))| {
        let (w, y) = (w.into_iter().flatten().collect(), y.into_iter().flatten().collect());
        vectorized_work(Forward { first: i * per, logits: &logits, experts: &experts, w, y, d });
    });
}

/// `tasks`: those with a gradient.
fn backward<T: Real>(
    tasks: &[usize],
    x: &[&Tensor],
    w: &[Tensor],
    dy: &[Option<&Tensor>],
    dx: &mut [Option<Tensor>],
) {
    let (rows, d) = x[0].shape();
    let experts = hosts::<T>(x.iter().copied());
    let w = hosts::<T>(tasks.iter().map(|&k| &w[k]));
    let (dlogits, dexperts) = dx.split_at_mut(dy.len());
    let dy = hosts::<T>(dy.iter().copied().flatten());
    let per = rows_per_chunk((experts.len() + dy.len()) * d);
    let count = rows.div_ceil(per);
    let wanted = dlogits.iter_mut().enumerate().filter(|(k, _)| tasks.contains(k)).map(|(_, dz)| dz.as_mut());
    let dlogits = pieces::<T>(wanted, per, count);
    let dexperts = pieces::<T>(dexperts.iter_mut().map(Option::as_mut), per, count);
    dlogits.into_par_iter().zip(dexperts).enumerate().for_each(|(i, (dlogits, dexperts))| {
        let (first, n) = (i * per, per.min(rows - i * per));
        let (experts, w, dy) = (&experts, &w, &dy);
        vectorized_work(BackwardChunk { first, rows: n, experts, w, dy, dlogits, dexperts, d });
    });
}

fn addresses<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> [u64; POINTERS] {
    let mut pointers = [0; POINTERS];
    pointers.iter_mut().zip(tensors).for_each(|(p, t)| *p = t.address());
    pointers
}

fn addresses_mut<'a>(tensors: impl Iterator<Item = Option<&'a mut Tensor>>) -> [u64; POINTERS] {
    let mut pointers = [0; POINTERS];
    pointers.iter_mut().zip(tensors).for_each(|(p, t)| *p = t.map_or(0, Tensor::address_mut));
    pointers
}

impl SoftmaxMixture {
    /// One mixture for each of `tasks` tasks.
    pub fn new(tasks: usize) -> SoftmaxMixture {
        SoftmaxMixture { tasks, weights: None }
    }

    fn run_gpu(
        gpu: &Gpu,
        logits: &[&Tensor],
        x: &[&Tensor],
        w: &mut [Tensor],
        y: &mut [Tensor],
    ) -> Result<()> {
        let ((rows, d), experts) = (x[0].shape(), x.len());
        let grid = Grid::warps(rows, 256);
        for (k, logits) in logits.chunks(POINTERS).enumerate() {
            let tasks = k * POINTERS..k * POINTERS + logits.len();
            gpu.launch(kernels::MIX_SOFTMAX, grid)
                .value(addresses_mut(w[tasks.clone()].iter_mut().map(Some)))
                .value(addresses(logits.iter().copied()))
                .count(rows)
                .count(experts)
                .count(tasks.len())
                .run()?;
            for (i, part) in x.chunks(POINTERS).enumerate() {
                gpu.launch(kernels::MIX_FWD, grid)
                    .value(addresses_mut(y[tasks.clone()].iter_mut().map(Some)))
                    .value(addresses(w[tasks.clone()].iter()))
                    .value(addresses(part.iter().copied()))
                    .count(i * POINTERS)
                    .count(part.len())
                    .count(experts)
                    .count(rows)
                    .count(d)
                    .count(tasks.len())
                    .run()?;
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
            let weights = addresses(tasks.iter().map(|&k| &w[k]));
            let mut dw =
                tasks.iter().map(|_| w[0].empty_like(rows, experts)).collect::<Result<Vec<Tensor>>>()?;
            for (i, part) in x.chunks(POINTERS).enumerate() {
                let dpart = dexperts[i * POINTERS..].iter_mut().take(POINTERS).map(Option::as_mut);
                gpu.launch(kernels::MIX_BWD, grid)
                    .value(addresses_mut(dw.iter_mut().map(Some)))
                    .value(addresses_mut(dpart))
                    .value(addresses(tasks.iter().filter_map(|&k| dy[k])))
                    .value(weights)
                    .value(addresses(part.iter().copied()))
                    .count(i * POINTERS)
                    .count(part.len())
                    .count(experts)
                    .count(rows)
                    .count(d)
                    .count(tasks.len())
                    .run()?;
            }
            let wanted =
                dlogits.iter_mut().enumerate().filter(|(k, _)| tasks.contains(k)).map(|(_, dz)| dz.as_mut());
            gpu.launch(kernels::MIX_SOFTMAX_BWD, grid)
                .value(addresses_mut(wanted))
                .value(addresses(dw.iter()))
                .value(weights)
                .count(rows)
                .count(experts)
                .count(tasks.len())
                .run()?;
        }
        Ok(())
    }
}

impl Op for SoftmaxMixture {
    fn name(&self) -> &'static str {
        "softmax mix"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        check(
            self.tasks > 0 && x.len() > self.tasks,
            "softmax mix",
            || format!("logits of {} tasks and at least one expert", self.tasks),
            || format!("{}", x.len()),
        )?;
        let (logits, experts) = x.split_at(self.tasks);
        let (rows, d) = experts[0].shape();
        for logits in logits {
            check_shape("softmax mix", "logits", logits, rows, experts.len())?;
        }
        for expert in &experts[1..] {
            check_shape("softmax mix", "expert", expert, rows, d)?;
        }
        let each = |cols: usize| -> Result<Vec<Tensor>> {
            (0..self.tasks).map(|_| x[0].empty_like(rows, cols)).collect()
        };
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
        let (w, experts) = (saved("softmax mix", &self.weights)?, &x[self.tasks..]);
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

//! The update rules, and how the CPU runs them: one pass over parameter, state and gradient.

use std::mem::take;

use base::parallel::prelude::*;

use super::{Rule, gpu};
use crate::dispatch_float;
use crate::parallel;
use crate::simd::{self, SimdWork, fma};
use crate::{Factor, Real, RowSet, Tensor};
use base::Result;

/// One parameter that has a gradient in this step. All tensors are unshared and not empty.
pub(super) struct Update<'a> {
    /// Which step of this parameter it is, from 1.
    pub steps: u64,
    /// The parameter's row in a GPU's table of scalars.
    pub row: usize,
    pub value: &'a mut Tensor,
    /// The rows that move, where not all do.
    pub rows: Option<&'a RowSet>,
    /// The gradient is the sum of factor times tensor; there is at least one.
    pub terms: Vec<(Factor, &'a Tensor)>,
    pub state: &'a mut [Tensor],
}

impl Rule {
    /// State before the first step, for a parameter like `value`.
    pub(super) fn start(self, value: &Tensor) -> Result<Tensor> {
        match self {
            Rule::Adagrad { initial, .. } if initial != 0.0 => {
                let values = vec![initial; value.len()];
                Tensor::from_f64(&value.device(), value.dtype(), value.rows(), value.cols(), &values)
            }
            _ => value.zeros_like(),
        }
    }

    /// The rule's scalars at a parameter's step `k`.
    pub(super) fn scalars(self, lr: f64, decay: f64, k: u64) -> Scalars {
        let k = k as f64;
        match self {
            Rule::Sgd { momentum, dampening, nesterov } => {
                let (keep, rate) = if k == 1.0 { (0.0, 1.0) } else { (momentum, 1.0 - dampening) };
                Scalars::Sgd(SgdScalars {
                    lr,
                    keep,
                    rate,
                    nesterov: if nesterov { momentum } else { 0.0 },
                    decay,
                })
            }
            Rule::Adagrad { lr_decay, eps, .. } => {
                let lr = lr / (1.0 + (k - 1.0) * lr_decay);
                Scalars::Scaled(ScaledScalars { lr, keep: 1.0, rate: 1.0, eps, decay })
            }
            Rule::RmsProp { alpha, eps } => {
                Scalars::Scaled(ScaledScalars { lr, keep: alpha, rate: 1.0 - alpha, eps, decay })
            }
            Rule::Adam { beta1, beta2, eps } | Rule::AdamW { beta1, beta2, eps } => {
                let decoupled = matches!(self, Rule::AdamW { .. });
                Scalars::Adam(AdamScalars {
                    beta1,
                    rate1: 1.0 - beta1,
                    beta2,
                    rate2: 1.0 - beta2,
                    size: lr / (1.0 - beta1.powf(k)),
                    root2: (1.0 - beta2.powf(k)).sqrt(),
                    eps,
                    decay: if decoupled { 0.0 } else { decay },
                    shrink: if decoupled { 1.0 - lr * decay } else { 1.0 },
                })
            }
        }
    }
}

/// As the kernels of optim.cu take them.
#[derive(Clone, Copy)]
pub(super) enum Scalars {
    Sgd(SgdScalars),
    Scaled(ScaledScalars),
    Adam(AdamScalars),
}

/// Columns of a GPU's table of scalars.
pub(super) const SCALARS: usize = 9;

impl Scalars {
    /// A row of that table.
    pub(super) fn row(&self) -> [f32; SCALARS] {
        match *self {
            Scalars::Adam(s) => {
                [s.beta1, s.rate1, s.beta2, s.rate2, s.size, s.root2, s.eps, s.decay, s.shrink]
            }
            Scalars::Sgd(s) => [s.lr, s.keep, s.rate, s.nesterov, s.decay, 0.0, 0.0, 0.0, 0.0],
            Scalars::Scaled(s) => [s.lr, s.keep, s.rate, s.eps, s.decay, 0.0, 0.0, 0.0, 0.0],
        }
        .map(|x| x as f32)
    }
}

#[derive(Clone, Copy)]
pub(super) struct SgdScalars {
    pub lr: f64,
    pub keep: f64,
    pub rate: f64,
    pub nesterov: f64,
    pub decay: f64,
}

#[derive(Clone, Copy)]
pub(super) struct ScaledScalars {
    pub lr: f64,
    pub keep: f64,
    pub rate: f64,
    pub eps: f64,
    pub decay: f64,
}

#[derive(Clone, Copy)]
pub(super) struct AdamScalars {
    pub beta1: f64,
    pub rate1: f64,
    pub beta2: f64,
    pub rate2: f64,
    pub size: f64,
    pub root2: f64,
    pub eps: f64,
    pub decay: f64,
    pub shrink: f64,
}

/// `table`: the scalars of every parameter where they live on a GPU.
pub(super) fn run(
    (rule, lr, decay): (Rule, f64, f64),
    table: Option<&Tensor>,
    mut updates: Vec<Update>,
) -> Result<()> {
    if let Some(table) = table {
        return gpu::run(rule, table, updates);
    }
    for update in &mut updates {
        let scalars = rule.scalars(lr, decay, update.steps);
        dispatch_float!(update.value.dtype(), T => match &scalars {
            Scalars::Adam(s) => apply::<T, 2>(s, update),
            Scalars::Scaled(s) => apply::<T, 1>(s, update),
            Scalars::Sgd(s) if update.state.is_empty() => apply::<T, 0>(s, update),
            Scalars::Sgd(s) => apply::<T, 1>(s, update),
        }?);
    }
    Ok(())
}

/// An update of some elements, with the K parts of the rule's state. `#[inline(always)]`, without closures.
trait Elements<T, const K: usize>: Sync {
    fn update<const ISA: u8>(&self, p: &mut [T], g: &[T], state: [&mut [T]; K]);
}

impl<T: Real> Elements<T, 2> for AdamScalars {
    #[inline(always)]
    fn update<const ISA: u8>(&self, p: &mut [T], g: &[T], [m, v]: [&mut [T]; 2]) {
        let [beta1, rate1, beta2, rate2] = [self.beta1, self.rate1, self.beta2, self.rate2].map(T::of);
        let [size, root2, eps, decay] = [self.size, self.root2, self.eps, self.decay].map(T::of);
        let shrink = T::of(self.shrink);
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = fma::<ISA, T>(decay, *p, g);
            *m = fma::<ISA, T>(beta1, *m, rate1 * g);
            *v = fma::<ISA, T>(beta2, *v, rate2 * g * g);
            *p = fma::<ISA, T>(shrink, *p, -(size * *m / (v.sqrt() / root2 + eps)));
        }
    }
}

impl<T: Real> Elements<T, 1> for SgdScalars {
    #[inline(always)]
    fn update<const ISA: u8>(&self, p: &mut [T], g: &[T], [b]: [&mut [T]; 1]) {
        let [lr, keep, rate, nesterov, decay] =
            [self.lr, self.keep, self.rate, self.nesterov, self.decay].map(T::of);
        for ((p, &g), b) in p.iter_mut().zip(g).zip(b) {
            let g = fma::<ISA, T>(decay, *p, g);
            *b = fma::<ISA, T>(keep, *b, rate * g);
            let step = if nesterov > T::zero() { fma::<ISA, T>(nesterov, *b, g) } else { *b };
            *p = fma::<ISA, T>(-lr, step, *p);
        }
    }
}

impl<T: Real> Elements<T, 0> for SgdScalars {
    #[inline(always)]
    fn update<const ISA: u8>(&self, p: &mut [T], g: &[T], _: [&mut [T]; 0]) {
        let [lr, decay] = [self.lr, self.decay].map(T::of);
        for (p, &g) in p.iter_mut().zip(g) {
            *p = fma::<ISA, T>(-lr, fma::<ISA, T>(decay, *p, g), *p);
        }
    }
}

impl<T: Real> Elements<T, 1> for ScaledScalars {
    #[inline(always)]
    fn update<const ISA: u8>(&self, p: &mut [T], g: &[T], [s]: [&mut [T]; 1]) {
        let [lr, keep, rate, eps, decay] = [self.lr, self.keep, self.rate, self.eps, self.decay].map(T::of);
        for ((p, &g), s) in p.iter_mut().zip(g).zip(s) {
            let g = fma::<ISA, T>(decay, *p, g);
            *s = fma::<ISA, T>(keep, *s, rate * g * g);
            *p -= lr * g / (s.sqrt() + eps);
        }
    }
}

/// Elements of a task under a dense gradient, and rows of one under a row-sparse gradient. A task reads and writes few
/// long stretches of memory: with tasks of 4,096 elements a step took a tenth longer.
const CHUNK: usize = 256 * 1024;
/// A processor that fetches ahead on its own stops at the end of each page of each stream, and here are up to four:
/// elements that are updated at a time, and how far ahead the next are asked for. A seventh of the time.
const BLOCK: usize = 64;
const DISTANCE: usize = 256;
const ROWS: usize = 256;
/// Rows between the request for one and its update.
const PREFETCH_DISTANCE: usize = 6;

/// Parameter and state, from the same element on.
struct Part<'a, T, const K: usize> {
    p: &'a mut [T],
    state: [&'a mut [T]; K],
}

impl<'a, T, const K: usize> Part<'a, T, K> {
    /// Cuts the first `n` elements off.
    fn split(&mut self, n: usize) -> Part<'a, T, K> {
        let cut = |slice: &mut &'a mut [T]| {
            let (first, rest) = take(slice).split_at_mut(n);
            *slice = rest;
            first
        };
        Part { p: cut(&mut self.p), state: self.state.each_mut().map(cut) }
    }
}

/// The gradient of some elements, as a sum of terms.
struct Sum<'a, T> {
    terms: &'a [(T, &'a [T])],
    /// First element and how many.
    first: usize,
    len: usize,
}

impl<'a, T: Real> Sum<'a, T> {
    /// The gradient itself, where a term with factor 1 is all of it.
    #[inline(always)]
    fn single(&self) -> Option<&'a [T]> {
        match self.terms {
            [(factor, g)] if *factor == T::one() => Some(&g[self.first..self.first + self.len]),
            _ => None,
        }
    }

    /// Elements `at ..` of it in `out`.
    #[inline(always)]
    fn form(&self, at: usize, out: &mut [T]) {
        out.fill(T::zero());
        for (factor, g) in self.terms {
            parallel::axpy(*factor, &g[self.first + at..][..out.len()], out);
        }
    }
}

/// Elements of a sum that are formed at a time: they stay in the first-level cache until they are used.
const FORMED: usize = 1024;

fn apply<T: Real, const K: usize>(rule: &impl Elements<T, K>, update: &mut Update) -> Result<()> {
    let Ok(state) = <&mut [Tensor; K]>::try_from(&mut *update.state) else {
        unreachable!("a rule has as many state tensors as it names");
    };
    let state = state.each_mut().map(|t| t.host_mut::<T>());
    let cols = update.value.cols();
    let mut rest = Part { p: update.value.host_mut::<T>(), state };
    let mut terms: Vec<(T, &[T])> = vec![];
    for (factor, g) in &update.terms {
        terms.push((T::of(factor.known()?), g.host::<T>()));
    }
    let terms = &terms[..];
    let Some(rows) = update.rows else {
        let mut tasks = Vec::with_capacity(rest.p.len().div_ceil(CHUNK));
        for first in (0..rest.p.len()).step_by(CHUNK) {
            let len = rest.p.len().min(CHUNK);
            tasks.push(Stretch { rule, g: Sum { terms, first, len }, part: rest.split(len) });
        }
        tasks.into_par_iter().for_each(simd::simd);
        return Ok(());
    };
    // Rows ascend, so each task's rows lie in one stretch of the table.
    let mut tasks = Vec::with_capacity(rows.len().div_ceil(ROWS));
    let mut base = 0;
    for (i, ids) in rows.ids().host().chunks(ROWS).enumerate() {
        let stop = ids[ids.len() - 1] as usize + 1;
        let g = Sum { terms, first: i * ROWS * cols, len: ids.len() * cols };
        tasks.push(Scattered { rule, g, ids, base, cols, part: rest.split((stop - base) * cols) });
        base = stop;
    }
    tasks.into_par_iter().for_each(simd::simd);
    Ok(())
}

/// Prefetches the block that comes `DISTANCE` elements after the start of `rest`.
#[inline(always)]
fn ask_ahead<T>(rest: &[T]) {
    if let Some(block) = rest.get(DISTANCE..DISTANCE + BLOCK) {
        parallel::prefetch(block);
    }
}

struct Stretch<'a, T, R, const K: usize> {
    rule: &'a R,
    g: Sum<'a, T>,
    part: Part<'a, T, K>,
}

impl<T: Real, R: Elements<T, K>, const K: usize> SimdWork for Stretch<'_, T, R, K> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Stretch { rule, g, mut part } = self;
        if let Some(g) = g.single() {
            for at in (0..g.len()).step_by(BLOCK) {
                let g = &g[at..];
                ask_ahead(g);
                ask_ahead(part.p);
                for s in &part.state {
                    ask_ahead(s);
                }
                let Part { p, state } = part.split(BLOCK.min(g.len()));
                rule.update::<ISA>(p, &g[..p.len()], state);
            }
            return;
        }
        let mut formed = [T::zero(); FORMED];
        for at in (0..g.len).step_by(FORMED) {
            let formed = &mut formed[..FORMED.min(g.len - at)];
            g.form(at, formed);
            let Part { p, state } = part.split(formed.len());
            rule.update::<ISA>(p, formed, state);
        }
    }
}

/// Rows `ids` of a stretch that begins with row `base`.
struct Scattered<'a, T, R, const K: usize> {
    rule: &'a R,
    /// (ids, cols)
    g: Sum<'a, T>,
    ids: &'a [u32],
    base: usize,
    cols: usize,
    part: Part<'a, T, K>,
}

impl<T: Real, R: Elements<T, K>, const K: usize> SimdWork for Scattered<'_, T, R, K> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Scattered { rule, g, ids, base, cols, part: Part { p, mut state } } = self;
        let single = g.single();
        let mut formed = vec![T::zero(); if single.is_some() { 0 } else { cols }];
        for (k, &id) in ids.iter().enumerate() {
            if let Some(&next) = ids.get(k + PREFETCH_DISTANCE) {
                let at = (next as usize - base) * cols;
                parallel::prefetch(&p[at..at + cols]);
                for s in &state {
                    parallel::prefetch(&s[at..at + cols]);
                }
            }
            let at = (id as usize - base) * cols;
            let mut parts = [const { None }; K];
            for (part, s) in parts.iter_mut().zip(&mut state) {
                *part = Some(&mut s[at..at + cols]);
            }
            let g = match single {
                Some(g) => &g[k * cols..][..cols],
                None => {
                    g.form(k * cols, &mut formed);
                    &formed[..]
                }
            };
            rule.update::<ISA>(&mut p[at..at + cols], g, parts.map(Option::unwrap_or_default));
        }
    }
}

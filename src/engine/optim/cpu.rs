//! Updates on the CPU: one pass over parameter, states and gradient.

use std::marker::PhantomData;
use std::mem::take;

use base::Result;
use base::parallel::prelude::*;

use super::{SCALARS, Scalars};
use crate::dispatch_float;
use crate::parallel;
use crate::simd::{self, SimdWork};
use crate::{Factor, Real, RowSet, Tensor};

/// One parameter that has a gradient in this step. All tensors are unshared and not empty.
pub struct Update<'a> {
    /// Which step of this parameter it is, from 1.
    pub step: u64,
    /// The parameter's row in a GPU's table of scalars.
    pub row: usize,
    pub value: &'a mut Tensor,
    /// The rows that move, where not all do.
    pub rows: Option<&'a RowSet>,
    /// The gradient is the sum of factor times tensor; there is at least one.
    pub terms: Vec<(Factor, &'a Tensor)>,
    pub state: &'a mut [Tensor],
}

/// The update of some elements by an optimizer with K states. `#[inline(always)]`, without closures.
pub(super) trait Elements<const K: usize>: 'static {
    fn update<const ISA: u8, T: Real>(scalars: &[T; SCALARS], p: &mut [T], g: &[T], state: [&mut [T]; K]);
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

/// Moves the parameter by the rule `U`.
pub(super) fn apply<U: Elements<K>, const K: usize>(scalars: Scalars, update: &mut Update) -> Result<()> {
    dispatch_float!(update.value.dtype(), T => apply_in::<T, U, K>(scalars.map(T::of), update))
}

fn apply_in<T: Real, U: Elements<K>, const K: usize>(scalars: [T; SCALARS], update: &mut Update) -> Result<()> {
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
            tasks.push(Stretch::<T, U, K> {
                rule: PhantomData,
                scalars,
                g: Sum { terms, first, len },
                part: rest.split(len),
            });
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
        tasks.push(Scattered::<T, U, K> {
            rule: PhantomData,
            scalars,
            g,
            ids,
            base,
            cols,
            part: rest.split((stop - base) * cols),
        });
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

struct Stretch<'a, T, U, const K: usize> {
    rule: PhantomData<fn() -> U>,
    scalars: [T; SCALARS],
    g: Sum<'a, T>,
    part: Part<'a, T, K>,
}

impl<T: Real, U: Elements<K>, const K: usize> SimdWork for Stretch<'_, T, U, K> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Stretch { scalars, g, mut part, .. } = self;
        if let Some(g) = g.single() {
            for at in (0..g.len()).step_by(BLOCK) {
                let g = &g[at..];
                ask_ahead(g);
                ask_ahead(part.p);
                for s in &part.state {
                    ask_ahead(s);
                }
                let Part { p, state } = part.split(BLOCK.min(g.len()));
                U::update::<ISA, T>(&scalars, p, &g[..p.len()], state);
            }
            return;
        }
        let mut formed = [T::zero(); FORMED];
        for at in (0..g.len).step_by(FORMED) {
            let formed = &mut formed[..FORMED.min(g.len - at)];
            g.form(at, formed);
            let Part { p, state } = part.split(formed.len());
            U::update::<ISA, T>(&scalars, p, formed, state);
        }
    }
}

/// Rows `ids` of a stretch that begins with row `base`.
struct Scattered<'a, T, U, const K: usize> {
    rule: PhantomData<fn() -> U>,
    scalars: [T; SCALARS],
    /// (ids, cols)
    g: Sum<'a, T>,
    ids: &'a [u32],
    base: usize,
    cols: usize,
    part: Part<'a, T, K>,
}

impl<T: Real, U: Elements<K>, const K: usize> SimdWork for Scattered<'_, T, U, K> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Scattered { scalars, g, ids, base, cols, part: Part { p, mut state }, .. } = self;
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
            U::update::<ISA, T>(&scalars, &mut p[at..at + cols], g, parts.map(Option::unwrap_or_default));
        }
    }
}

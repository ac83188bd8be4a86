//! The multi-task head as ranking needs it: the logit of one task, for every pair of a learner and a course.
//!
//! The first layer on [u | i | u * i] is W_u u + W_i i + W_h (u * i). The first two products are made once for each
//! learner and each course. The third is (W_h diag(u)) i: for one learner a product of scaled weights with all
//! courses, so that no pair's input is ever formed. What follows runs on panels of sixteen courses that stay in cache.

use super::tile::{self, Avx2, COLUMNS, Group, Panel, Portable, Unit};
use crate::{Activation, PairFeatures};
use base::{Error, Result};
use engine::parallel::Work;
use engine::{Real, Tensor};

/// A head of dense layers, as steps on a slab of values: its rows are features, its columns courses of one learner.
/// A step reads rows before those that it writes. The last row of the slab is the logit.
#[derive(Clone, Debug)]
pub struct PairHead {
    /// D, the width of a learner's and a course's vector.
    pub(super) dim: usize,
    /// Outputs of the first layers, side by side: rows 0 .. hidden of the slab.
    pub(super) hidden: usize,
    /// (D, hidden) each, where the bottom has the block.
    pub(super) of_learner: Option<Vec<f32>>,
    pub(super) of_course: Option<Vec<f32>>,
    pub(super) of_product: Option<Vec<f32>>,
    pub(super) bias: Vec<f32>,
    /// After the first `active` of those rows.
    pub(super) activation: Activation,
    pub(super) active: usize,
    pub(super) steps: Vec<Step>,
    /// Rows of the slab.
    pub(super) rows: usize,
}

/// Rows `to ..` of the slab from rows before them.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// act(x W + b): w (inputs, outputs)
    Dense { from: usize, inputs: usize, to: usize, outputs: usize, w: Vec<f32>, b: Vec<f32>, act: Activation },
    /// The mean of `parts` blocks of `width` rows.
    Mean { from: usize, parts: usize, width: usize, to: usize },
    /// g s + (1 - g) t with g the sigmoid of `gates` logits, `width` of them or one; s and t stand at `from`.
    Gate { from: usize, width: usize, logits: usize, gates: usize, to: usize },
    /// `parts` blocks of `width` rows from `from`, weighed by the softmax of as many logits.
    Softmax { from: usize, parts: usize, width: usize, logits: usize, to: usize },
}

impl PairHead {
    /// Begins with the first layers of several MLPs, each (W, b) with W (input, width), on the bottom vector; then come
    /// layers that `activation` does not follow.
    pub fn new(
        bottom: PairFeatures,
        dim: usize,
        first: &[(Tensor, Tensor)],
        plain: &[(Tensor, Tensor)],
        activation: Activation,
    ) -> Result<PairHead> {
        let input = bottom.width(dim);
        let active: usize = first.iter().map(|(w, _)| w.cols()).sum();
        let hidden = active + plain.iter().map(|(w, _)| w.cols()).sum::<usize>();
        let (mut w, mut bias) = (vec![0.0; input * hidden], vec![]);
        let mut at = 0;
        for (part, b) in first.iter().chain(plain) {
            let width = part.cols();
            if part.rows() != input || b.len() != width {
                let got = format!("{part:?} and {b:?}");
                return Err(Error::shape("rank", format!("a first layer on {input} columns"), got));
            }
            for (row, values) in w.chunks_exact_mut(hidden).zip(part.to_vec()?.chunks_exact(width)) {
                row[at..at + width].copy_from_slice(values);
            }
            bias.extend(b.to_vec()?);
            at += width;
        }
        let block = |i: usize| Some(w[i * dim * hidden..(i + 1) * dim * hidden].to_vec());
        let (of_learner, of_course, of_product) = match bottom {
            PairFeatures::Concat => (block(0), block(1), None),
            PairFeatures::Hadamard => (None, None, block(0)),
            PairFeatures::ConcatHadamard => (block(0), block(1), block(2)),
        };
        Ok(PairHead {
            dim,
            hidden,
            of_learner,
            of_course,
            of_product,
            bias,
            activation,
            active,
            steps: vec![],
            rows: hidden,
        })
    }

    /// The first of `n` new rows.
    pub fn reserve(&mut self, n: usize) -> usize {
        self.rows += n;
        self.rows - n
    }

    /// Rows `to ..` = act(rows `from ..` W + b).
    pub fn dense(
        &mut self,
        from: usize,
        (w, b): (&Tensor, &Tensor),
        act: Activation,
        to: usize,
    ) -> Result<()> {
        let (inputs, outputs) = w.shape();
        self.check(from + inputs, to, outputs)?;
        if b.len() != outputs {
            return Err(Error::shape("rank", format!("{outputs} biases"), format!("{b:?}")));
        }
        self.steps.push(Step::Dense { from, inputs, to, outputs, w: w.to_vec()?, b: b.to_vec()?, act });
        Ok(())
    }

    /// Rows `to ..` = the mean of `parts` blocks of `width` rows from `from`.
    pub fn mean(&mut self, from: usize, parts: usize, width: usize, to: usize) -> Result<()> {
        self.check(from + parts * width, to, width)?;
        self.steps.push(Step::Mean { from, parts, width, to });
        Ok(())
    }

    /// Rows `to ..` = g s + (1 - g) t, with s and t of `width` rows each from `from`, and g the sigmoid of `gates` rows
    /// from `logits`: one, or `width`.
    pub fn gate(&mut self, from: usize, width: usize, logits: usize, gates: usize, to: usize) -> Result<()> {
        self.check((from + 2 * width).max(logits + gates), to, width)?;
        self.steps.push(Step::Gate { from, width, logits, gates, to });
        Ok(())
    }

    /// Rows `to ..` = `parts` blocks of `width` rows from `from`, weighed by the softmax of `parts` rows from `logits`.
    pub fn softmax(
        &mut self,
        from: usize,
        parts: usize,
        width: usize,
        logits: usize,
        to: usize,
    ) -> Result<()> {
        self.check((from + parts * width).max(logits + parts), to, width)?;
        self.steps.push(Step::Softmax { from, parts, width, logits, to });
        Ok(())
    }

    fn check(&self, read: usize, to: usize, n: usize) -> Result<()> {
        match read <= to && to + n <= self.rows {
            true => Ok(()),
            false => Err(Error::shape(
                "rank",
                format!("rows below {to} read and rows below {} written", self.rows),
                format!("{read} and {}", to + n),
            )),
        }
    }

    /// Multiply-adds for each pair of a learner and a course.
    pub fn multiply_adds(&self) -> usize {
        let first = if self.of_product.is_some() { self.dim * self.hidden } else { 0 };
        let dense = |step: &Step| match step {
            Step::Dense { inputs, outputs, .. } => inputs * outputs,
            _ => 0,
        };
        first + self.steps.iter().map(dense).sum::<usize>()
    }
}

/// A head with its weights as the CPU reads them.
pub(super) struct Packed<'a> {
    head: &'a PairHead,
    /// Groups of the product block's rows, and of each dense step's.
    product: Vec<Group>,
    dense: Vec<Vec<Group>>,
}

impl<'a> Packed<'a> {
    pub fn new(head: &'a PairHead) -> Packed<'a> {
        let pack = |w: &[f32], inputs, outputs| {
            let mut out = vec![];
            tile::groups(outputs, inputs, |row, k| w[k * outputs + row], &mut out);
            out
        };
        let product = head.of_product.as_ref().map_or(vec![], |w| pack(w, head.dim, head.hidden));
        let dense = head.steps.iter().map(|step| match step {
            Step::Dense { w, inputs, outputs, .. } => pack(w, *inputs, *outputs),
            _ => vec![],
        });
        Packed { head, product, dense: dense.collect() }
    }

    pub fn hidden(&self) -> usize {
        self.head.hidden
    }

    /// The product block's weights for one learner: W_h diag(u).
    pub fn scale(&self, u: &[f32], out: &mut Vec<Group>) {
        out.clear();
        if self.product.is_empty() {
            return;
        }
        for group in self.product.chunks_exact(self.head.dim) {
            out.extend(group.iter().zip(u).map(|(w, u)| w.map(|w| w * u)));
        }
    }
}

/// The head's logits of one learner for the courses of some panels, into `out`, or added to it.
pub(super) struct Logits<'a> {
    pub packed: &'a Packed<'a>,
    /// From `Packed::scale`.
    pub scaled: &'a [Group],
    /// (hidden) W_u u + b.
    pub of_learner: &'a [f32],
    /// `hidden` for each panel: W_i i. Empty where the bottom has no such block.
    pub of_course: &'a [Panel],
    /// `dim` for each panel.
    pub courses: &'a [Panel],
    pub slab: &'a mut [Panel],
    pub out: &'a mut [f32],
    pub add: bool,
}

#[inline(always)]
fn activate(act: Activation, rows: &mut [Panel]) {
    match act {
        Activation::Identity => {}
        Activation::Relu => {
            for row in rows {
                for z in row {
                    *z = if *z > 0.0 { *z } else { 0.0 };
                }
            }
        }
        act => {
            for row in rows {
                for z in row {
                    *z = act.apply(*z);
                }
            }
        }
    }
}

/// y = g s + (1 - g) t, g the sigmoid of u.
#[inline(always)]
fn gate(u: &Panel, s: &Panel, t: &Panel, y: &mut Panel) {
    for (((y, u), s), t) in y.iter_mut().zip(u).zip(s).zip(t) {
        let g = u.sigmoid();
        *y = g * s + (1.0 - g) * t;
    }
}

/// y = the rows of `x` from `from`, in `parts` blocks, weighed by the softmax of the rows from `logits`.
#[inline(always)]
fn softmax(x: &[Panel], from: usize, parts: usize, logits: usize, y: &mut [Panel]) {
    let (mut top, mut sum) = ([f32::NEG_INFINITY; COLUMNS], [0.0f32; COLUMNS]);
    for z in &x[logits..logits + parts] {
        top.iter_mut().zip(z).for_each(|(top, z)| *top = top.max(*z));
    }
    let width = y.len();
    y.iter_mut().for_each(|y| *y = [0.0; COLUMNS]);
    for part in 0..parts {
        let mut weight = x[logits + part];
        for ((w, top), sum) in weight.iter_mut().zip(&top).zip(&mut sum) {
            *w = (*w - top).fast_exp();
            *sum += *w;
        }
        for (y, x) in y.iter_mut().zip(&x[from + part * width..]) {
            for ((y, x), w) in y.iter_mut().zip(x).zip(&weight) {
                *y += w * x;
            }
        }
    }
    for y in y {
        y.iter_mut().zip(&sum).for_each(|(y, sum)| *y /= sum);
    }
}

#[inline(always)]
fn run_step(unit: impl Unit, step: &Step, groups: &[Group], slab: &mut [Panel]) {
    match *step {
        Step::Dense { from, inputs, to, outputs, ref b, act, .. } => {
            let (x, y) = slab.split_at_mut(to);
            let y = &mut y[..outputs];
            for (y, b) in y.iter_mut().zip(b) {
                *y = [*b; COLUMNS];
            }
            tile::multiply(unit, groups, &x[from..from + inputs], y);
            activate(act, y);
        }
        Step::Mean { from, parts, width, to } => {
            let (x, y) = slab.split_at_mut(to);
            for (i, y) in y[..width].iter_mut().enumerate() {
                *y = [0.0; COLUMNS];
                for part in 0..parts {
                    for (y, x) in y.iter_mut().zip(&x[from + part * width + i]) {
                        *y += x;
                    }
                }
                for y in y {
                    *y /= parts as f32;
                }
            }
        }
        Step::Gate { from, width, logits, gates, to } => {
            let (x, y) = slab.split_at_mut(to);
            for (i, y) in y[..width].iter_mut().enumerate() {
                let u = &x[logits + if gates == 1 { 0 } else { i }];
                gate(u, &x[from + i], &x[from + width + i], y);
            }
        }
        Step::Softmax { from, parts, width, logits, to } => {
            let (x, y) = slab.split_at_mut(to);
            softmax(x, from, parts, logits, &mut y[..width]);
        }
    }
}

impl Work for Logits<'_> {
    #[inline(always)]
    fn run(self) {
        match Avx2::found() {
            Some(unit) => self.with(unit),
            None => self.with(Portable),
        }
    }
}

impl Logits<'_> {
    #[inline(always)]
    fn with(self, unit: impl Unit) {
        let Packed { head, ref dense, .. } = *self.packed;
        let width = if self.scaled.is_empty() { 0 } else { head.dim };
        for (p, out) in self.out.chunks_exact_mut(COLUMNS).enumerate() {
            let courses = &self.courses[p * width..(p + 1) * width];
            let of_course = match self.of_course.is_empty() {
                true => self.of_course,
                false => &self.of_course[p * head.hidden..(p + 1) * head.hidden],
            };
            let first = &mut self.slab[..head.hidden];
            for (first, u) in first.iter_mut().zip(self.of_learner) {
                *first = [*u; COLUMNS];
            }
            for (first, i) in first.iter_mut().zip(of_course) {
                for (first, i) in first.iter_mut().zip(i) {
                    *first += i;
                }
            }
            tile::multiply(unit, self.scaled, courses, first);
            activate(head.activation, &mut first[..head.active]);
            for (step, groups) in head.steps.iter().zip(dense) {
                run_step(unit, step, groups, self.slab);
            }
            let logits = self.slab[head.rows - 1];
            for (out, z) in out.iter_mut().zip(logits) {
                *out = if self.add { *out + z } else { z };
            }
        }
    }
}

//! The multi-task head as ranking needs it: the logit of one task, for every pair of a learner and a course.
//!
//! The first layer on [u | i | u * i] is W_u u + W_i i + W_h (u * i). The first two products are made once for each
//! learner and each course. The third is (W_h diag(u)) i: for one learner a product of scaled weights with all
//! courses, so that no pair's input is ever formed. What follows runs on panels of sixteen courses that stay in cache.

use super::tile::{self, COLUMNS, Group, Panel, multiply};
use crate::{Activation, PairFeatures};
use base::{Error, Result};
use engine::simd::SimdWork;
use engine::{Real, Tensor};

/// A head of dense layers, as steps on a slab of values: its rows are features, its columns courses of one learner.
/// A step reads rows before those that it writes. The last row of the slab is the logit.
#[derive(Clone, Debug)]
pub struct PairHead {
    /// D, the width of a learner's and a course's vector.
    pub(super) dim: usize,
    /// Outputs of the first layers, side by side: rows 0 .. hidden of the slab.
    pub(super) hidden: usize,
    /// (D, hidden) each, where the pair's features have the block.
    pub(super) of_learner: Option<Vec<f32>>,
    pub(super) of_course: Option<Vec<f32>>,
    pub(super) of_product: Option<Vec<f32>>,
    pub(super) bias: Vec<f32>,
    /// After the first `active` of those rows.
    pub(super) activation: Activation,
    pub(super) active: usize,
    pub(super) steps: Vec<Step>,
    /// Of all dense steps; see `Step::weights`.
    pub(super) weights: Vec<f32>,
    /// Rows of the slab.
    pub(super) rows: usize,
}

/// What a step does, as topk_head.cu numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Kind {
    /// act(x W + b)
    #[default]
    Dense,
    /// The mean of `parts` blocks of `outputs` rows.
    Mean,
    /// g s + (1 - g) t with g the sigmoid of `inputs` logits, `outputs` of them or one; s and t stand at `from`.
    Gate,
    /// `parts` blocks of `outputs` rows, weighted by the softmax of as many logits.
    Softmax,
}

/// Rows `to .. to + outputs` of the slab from rows before them (`Step` of topk_head.cu).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    pub kind: Kind,
    pub from: usize,
    pub inputs: usize,
    pub to: usize,
    pub outputs: usize,
    pub parts: usize,
    /// First row of the logits.
    pub logits: usize,
    /// First of the head's weights: W (inputs, outputs), then b, each from a multiple of 4.
    pub weights: usize,
    pub act: Activation,
}

impl PairHead {
    /// Begins with the first layers of several MLPs, each (W, b) with W (input, width), on the features of a pair; then come
    /// layers that `activation` does not follow.
    pub fn new(
        features: PairFeatures,
        dim: usize,
        first: &[(Tensor, Tensor)],
        plain: &[(Tensor, Tensor)],
        activation: Activation,
    ) -> Result<PairHead> {
        let input = features.width(dim);
        let active: usize = first.iter().map(|(w, _)| w.cols()).sum();
        let hidden = active + plain.iter().map(|(w, _)| w.cols()).sum::<usize>();
        let (mut w, mut bias) = (vec![0.0; input * hidden], vec![]);
        for (part, b) in first.iter().chain(plain) {
            let (at, width) = (bias.len(), part.cols());
            if part.rows() != input || b.len() != width {
                let got = format!("{part:?} and {b:?}");
                return Err(Error::shape("topk", format!("a first layer on {input} columns"), got));
            }
            for (row, values) in w.chunks_exact_mut(hidden).zip(part.to_vec()?.chunks_exact(width)) {
                row[at..at + width].copy_from_slice(values);
            }
            bias.extend(b.to_vec()?);
        }
        let block = |i: usize| Some(w[i * dim * hidden..(i + 1) * dim * hidden].to_vec());
        let (of_learner, of_course, of_product) = match features {
            PairFeatures::Concat => (block(0), block(1), None),
            PairFeatures::Hadamard => (None, None, block(0)),
            PairFeatures::ConcatHadamard => (block(0), block(1), block(2)),
        };
        let (steps, weights, rows) = (vec![], vec![0.0; 4], hidden);
        Ok(PairHead { dim, hidden, of_learner, of_course, of_product, bias, activation, active, steps, weights, rows })
    }

    /// The first of `n` new rows.
    pub fn reserve(&mut self, n: usize) -> usize {
        self.rows += n;
        self.rows - n
    }

    /// Rows `to ..` = act(rows `from ..` W + b).
    pub fn dense(&mut self, from: usize, (w, b): (&Tensor, &Tensor), act: Activation, to: usize) -> Result<()> {
        let ((inputs, outputs), weights) = (w.shape(), self.weights.len());
        if b.len() != outputs {
            return Err(Error::shape("topk", format!("{outputs} biases"), format!("{b:?}")));
        }
        self.push(from + inputs, Step { from, inputs, to, outputs, weights, act, ..Step::default() })?;
        for values in [w, b] {
            self.weights.extend(values.to_vec()?);
            self.weights.resize(self.weights.len().next_multiple_of(4), 0.0);
        }
        Ok(())
    }

    /// Rows `to ..` = the mean of `parts` blocks of `width` rows from `from`.
    pub fn mean(&mut self, from: usize, parts: usize, width: usize, to: usize) -> Result<()> {
        let step = Step { kind: Kind::Mean, from, parts, outputs: width, to, ..Step::default() };
        self.push(from + parts * width, step)
    }

    /// Rows `to ..` = g s + (1 - g) t, with s and t of `width` rows each from `from`, and g the sigmoid of `gates` rows
    /// from `logits`: one, or `width`.
    pub fn gate(&mut self, from: usize, width: usize, logits: usize, gates: usize, to: usize) -> Result<()> {
        let step = Step { kind: Kind::Gate, from, inputs: gates, outputs: width, logits, to, ..Step::default() };
        self.push((from + 2 * width).max(logits + gates), step)
    }

    /// Rows `to ..` = `parts` blocks of `width` rows from `from`, weighted by the softmax of `parts` rows from `logits`.
    pub fn softmax(&mut self, from: usize, parts: usize, width: usize, logits: usize, to: usize) -> Result<()> {
        let step = Step { kind: Kind::Softmax, from, parts, outputs: width, logits, to, ..Step::default() };
        self.push((from + parts * width).max(logits + parts), step)
    }

    /// Appends a step that reads rows before `end`.
    fn push(&mut self, end: usize, step: Step) -> Result<()> {
        let last = step.to + step.outputs;
        if end > step.to || last > self.rows {
            let expected = format!("rows below {} read and rows below {} written", step.to, self.rows);
            return Err(Error::shape("topk", expected, format!("{end} and {last}")));
        }
        self.steps.push(step);
        Ok(())
    }

    /// Multiply-adds for each pair of a learner and a course.
    pub fn multiply_adds(&self) -> usize {
        let first = if self.of_product.is_some() { self.dim * self.hidden } else { 0 };
        let dense = self.steps.iter().filter(|step| step.kind == Kind::Dense);
        first + dense.map(|step| step.inputs * step.outputs).sum::<usize>()
    }
}

/// A head with its weights as the CPU reads them.
pub(super) struct PackedHead<'a> {
    head: &'a PairHead,
    /// Groups of the product block's rows, and of each dense step's.
    product: Vec<Group>,
    dense: Vec<Vec<Group>>,
}

impl<'a> PackedHead<'a> {
    pub fn new(head: &'a PairHead) -> PackedHead<'a> {
        let pack = |w: &[f32], inputs, outputs| {
            let mut out = vec![];
            tile::groups(outputs, inputs, |row, k| w[k * outputs + row], &mut out);
            out
        };
        let product = head.of_product.as_ref().map_or(vec![], |w| pack(w, head.dim, head.hidden));
        let dense = head.steps.iter().map(|step| match step.kind {
            Kind::Dense => pack(&head.weights[step.weights..], step.inputs, step.outputs),
            _ => vec![],
        });
        PackedHead { head, product, dense: dense.collect() }
    }

    pub fn hidden(&self) -> usize {
        self.head.hidden
    }

    /// The product block's weights for one learner: W_h diag(u).
    pub fn scale(&self, u: &[f32], out: &mut Vec<Group>) {
        out.clear();
        for group in self.product.chunks_exact(self.head.dim) {
            out.extend(group.iter().zip(u).map(|(w, u)| w.map(|w| w * u)));
        }
    }
}

/// The head's logits of one learner for the courses of some panels, into `out`, or added to it.
pub(super) struct HeadLogits<'a> {
    pub packed: &'a PackedHead<'a>,
    /// From `PackedHead::scale`.
    pub scaled: &'a [Group],
    /// (hidden) W_u u + b.
    pub of_learner: &'a [f32],
    /// `hidden` for each panel: W_i i. Empty where the pair's features have no such block.
    pub of_course: &'a [Panel],
    /// `dim` for each panel.
    pub courses: &'a [Panel],
    pub slab: &'a mut [Panel],
    pub out: &'a mut [f32],
    pub add: bool,
}

impl SimdWork for HeadLogits<'_> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let PackedHead { head, ref dense, .. } = *self.packed;
        let (width, hidden) = (if self.scaled.is_empty() { 0 } else { head.dim }, head.hidden);
        for (p, out) in self.out.chunks_exact_mut(COLUMNS).enumerate() {
            let of_course = self.of_course.get(p * hidden..(p + 1) * hidden).unwrap_or_default();
            let first = &mut self.slab[..hidden];
            first.iter_mut().zip(self.of_learner).for_each(|(first, u)| *first = [*u; COLUMNS]);
            first.iter_mut().zip(of_course).for_each(|(first, i)| add(first, i));
            multiply::<ISA>(self.scaled, &self.courses[p * width..(p + 1) * width], first);
            activate(head.activation, &mut first[..head.active]);
            for (step, groups) in head.steps.iter().zip(dense) {
                run_step::<ISA>(step, &head.weights, groups, self.slab);
            }
            let logits = self.slab[head.rows - 1];
            for (out, z) in out.iter_mut().zip(logits) {
                *out = if self.add { *out + z } else { z };
            }
        }
    }
}

#[inline(always)]
fn run_step<const ISA: u8>(step: &Step, weights: &[f32], groups: &[Group], slab: &mut [Panel]) {
    let Step { kind, from, inputs, to, outputs, parts, logits, act, .. } = *step;
    let (x, y) = slab.split_at_mut(to);
    let y = &mut y[..outputs];
    match kind {
        Kind::Dense => {
            let bias = &weights[step.weights + (inputs * outputs).next_multiple_of(4)..];
            y.iter_mut().zip(bias).for_each(|(y, b)| *y = [*b; COLUMNS]);
            multiply::<ISA>(groups, &x[from..from + inputs], y);
            activate(act, y);
        }
        Kind::Mean => {
            for (i, y) in y.iter_mut().enumerate() {
                *y = [0.0; COLUMNS];
                (0..parts).for_each(|part| add(y, &x[from + part * outputs + i]));
                y.iter_mut().for_each(|y| *y /= parts as f32);
            }
        }
        Kind::Gate => {
            for (i, y) in y.iter_mut().enumerate() {
                let u = &x[logits + if inputs == 1 { 0 } else { i }];
                gate(u, &x[from + i], &x[from + outputs + i], y);
            }
        }
        Kind::Softmax => softmax(x, from, parts, logits, y),
    }
}

/// y += x
#[inline(always)]
fn add(y: &mut Panel, x: &Panel) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

#[inline(always)]
fn activate(act: Activation, rows: &mut [Panel]) {
    if act != Activation::Identity {
        rows.as_flattened_mut().iter_mut().for_each(|z| *z = act.apply(*z));
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

/// y = the rows of `x` from `from`, in `parts` blocks, weighted by the softmax of the rows from `logits`.
#[inline(always)]
fn softmax(x: &[Panel], from: usize, parts: usize, logits: usize, y: &mut [Panel]) {
    let (mut top, mut sum) = ([f32::NEG_INFINITY; COLUMNS], [0.0f32; COLUMNS]);
    for z in &x[logits..logits + parts] {
        top.iter_mut().zip(z).for_each(|(top, z)| *top = top.max(*z));
    }
    let width = y.len();
    y.fill([0.0; COLUMNS]);
    for part in 0..parts {
        let mut weight = x[logits + part];
        weight.iter_mut().zip(&top).for_each(|(w, top)| *w = (*w - top).fast_exp());
        add(&mut sum, &weight);
        for (y, x) in y.iter_mut().zip(&x[from + part * width..]) {
            y.iter_mut().zip(x).zip(&weight).for_each(|((y, x), w)| *y += w * x);
        }
    }
    for y in y {
        y.iter_mut().zip(&sum).for_each(|(y, sum)| *y /= sum);
    }
}

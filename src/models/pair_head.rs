//! From a head's operations on the tape to the steps of a ranking.

use std::collections::BTreeMap;

use super::head::{Head, HeadCtx, Recorded, Step};
use crate::config::HeadConfig;
use crate::engine::{Params, Tape, Tensor, Var};
use crate::layers::{ForwardCtx, Mlp};
use crate::ops::{Activation, PairHead};
use crate::{Error, Result};

impl Step {
    /// What output `i` is made of.
    fn inputs(&self, i: usize) -> Vec<Var> {
        match self {
            Step::MatchScore | Step::Features => vec![],
            Step::Mlps(_, inputs) => vec![inputs[i % inputs.len()]],
            Step::Mixture(experts, logits) => [experts, &[*logits][..]].concat(),
            Step::Gate(inputs, _) => inputs.to_vec(),
            Step::Mean(parts) | Step::Concat(parts) => parts.clone(),
        }
    }
}

fn refused(why: &str) -> Error {
    Error::shape("head", "a first logit that is made by the operations of HeadCtx alone", why)
}

/// The first task's logit of `head` for rankings, of vectors with `dim` columns. `None` where it is the match score (8);
/// `Error::Shape` where it depends on an operation that rankings do not have.
pub fn pair_head(head: &dyn Head, config: &HeadConfig, params: &Params, dim: usize) -> Result<Option<PairHead>> {
    let Some(first) = params.iter().next() else { return Ok(None) };
    let (device, dtype) = (&first.value.device(), first.value.dtype());
    let mut tape = Tape::inference();
    let vars = params.on_tape(&mut tape);
    let z = tape.constant(Tensor::zeros(device, dtype, 1, dim)?);
    let ctx = &mut ForwardCtx { tape: &mut tape, vars: &vars, device, dtype, dropout: None };
    let mut c = HeadCtx::new(ctx, config, [z, z]);
    c.recorded = Some(vec![]);
    let logits = head.forward(&mut c)?.logits;
    let steps = c.recorded.take().unwrap_or_default();
    let logit = *logits.first().ok_or_else(|| refused("no logit"))?;

    // What the logit depends on, operands in the order in which a step reads them: those of one step side by side.
    let (mut needed, mut open) = (vec![], vec![logit]);
    while let Some(var) = open.pop() {
        if needed.contains(&var) {
            continue;
        }
        needed.push(var);
        let made = |r: &Recorded| r.outputs.iter().position(|&y| y == var).map(|i| r.step.inputs(i));
        let inputs = steps.iter().find_map(made).ok_or_else(|| refused("another operation"))?;
        open.extend(inputs.into_iter().rev());
    }
    let needed_of = |r: &Recorded| -> Vec<usize> {
        needed.iter().filter_map(|var| r.outputs.iter().position(|y| y == var)).collect()
    };
    let steps: Vec<(&Recorded, Vec<usize>)> =
        steps.iter().map(|r| (r, needed_of(r))).filter(|(_, needed)| !needed.is_empty()).collect();
    match &steps[..] {
        [(Recorded { step: Step::MatchScore, .. }, _)] => Ok(None),
        _ => Compiler::new(config, params, dim, &tape, &steps)?.compile(&steps, logit).map(Some),
    }
}

/// A `PairHead` as it grows, and where its values stand.
struct Compiler<'a> {
    head: PairHead,
    params: &'a Params,
    tape: &'a Tape,
    /// The first row of a value, by its place on the tape.
    rows: BTreeMap<usize, usize>,
}

impl<'a> Compiler<'a> {
    /// Begins with all layers on the features, side by side, those without activation last. Their outputs stand in the
    /// place of those of their MLPs until `compile` has done the other layers.
    fn new(
        config: &HeadConfig,
        params: &'a Params,
        dim: usize,
        tape: &'a Tape,
        steps: &[(&Recorded, Vec<usize>)],
    ) -> Result<Compiler<'a>> {
        let features = steps.iter().find(|(r, _)| matches!(r.step, Step::Features)).map(|(r, _)| r.outputs[0]);
        let mut first = vec![];
        for (Recorded { step, outputs }, needed) in steps {
            let Step::Mlps(mlps, inputs) = step else { continue };
            if inputs.iter().all(|input| Some(*input) == features) {
                let layer = |&i: &usize| Ok((outputs[i], mlps[i].values(params, 0)?, mlps[i].activation(0)));
                first.extend(needed.iter().map(layer).collect::<Result<Vec<_>>>()?);
            }
        }
        first.sort_by_key(|(_, _, activation)| *activation == Activation::Identity);
        let active = first.iter().filter(|(_, _, activation)| *activation != Activation::Identity).count();
        let activation = first.first().map_or(Activation::Identity, |(_, _, activation)| *activation);
        if first[..active].iter().any(|(_, _, other)| *other != activation) {
            return Err(refused("first layers of several activations"));
        }
        let (mut rows, mut at, mut layers) = (BTreeMap::new(), 0, vec![]);
        for (output, layer, _) in first {
            rows.insert(output.id(), at);
            at += layer.0.cols();
            layers.push(layer);
        }
        let head = PairHead::new(config.bottom, dim, &layers[..active], &layers[active..], activation)?;
        Ok(Compiler { head, params, tape, rows })
    }

    fn compile(mut self, steps: &[(&Recorded, Vec<usize>)], logit: Var) -> Result<PairHead> {
        for (Recorded { step, outputs }, needed) in steps {
            match step {
                Step::MatchScore => return Err(refused("the match score on the way to it")),
                Step::Features => {}
                Step::Mlps(mlps, inputs) => {
                    // The first layer on the features is there.
                    let done = usize::from(self.rows.contains_key(&outputs[needed[0]].id()));
                    let from = |&i: &usize| self.row(if done == 1 { outputs[i] } else { inputs[i % inputs.len()] });
                    let mut from = needed.iter().map(from).collect::<Result<Vec<_>>>()?;
                    for layer in done..mlps[0].depth() {
                        from = self.layer(mlps, needed, layer, &from)?;
                    }
                    self.rows.extend(needed.iter().map(|&i| outputs[i].id()).zip(from));
                }
                Step::Mixture(experts, logits) => {
                    let (width, logits) = (self.width(outputs[0]), self.row(*logits)?);
                    let from = self.side_by_side(experts)?;
                    let to = self.make(outputs[0], width);
                    self.head.softmax(from, experts.len(), width, logits, to)?;
                }
                Step::Gate(parts, mlp) => {
                    let (width, from) = (self.width(outputs[0]), self.side_by_side(parts)?);
                    let logits = self.layer(std::slice::from_ref(mlp), &[0], 0, &[from])?[0];
                    let gates = mlp.values(self.params, 0)?.0.cols();
                    let to = self.make(outputs[0], width);
                    self.head.gate(from, width, logits, gates, to)?;
                }
                Step::Mean(parts) => {
                    let (width, from) = (self.width(outputs[0]), self.side_by_side(parts)?);
                    let to = self.make(outputs[0], width);
                    self.head.mean(from, parts.len(), width, to)?;
                }
                Step::Concat(parts) => {
                    let from = self.side_by_side(parts)?;
                    self.rows.insert(outputs[0].id(), from);
                }
            }
        }
        // The last row is the logit.
        let from = self.row(logit)?;
        if from + 1 != self.head.reserve(0) {
            let to = self.head.reserve(1);
            self.head.mean(from, 1, 1, to)?;
        }
        Ok(self.head)
    }

    fn row(&self, var: Var) -> Result<usize> {
        self.rows.get(&var.id()).copied().ok_or_else(|| refused("the features themselves on the way to it"))
    }

    fn width(&self, var: Var) -> usize {
        self.tape.value(var).cols()
    }

    fn make(&mut self, var: Var, width: usize) -> usize {
        let to = self.head.reserve(width);
        self.rows.insert(var.id(), to);
        to
    }

    /// Layer `layer` of some MLPs, each on the rows from `from`: where their outputs begin, which stand side by side.
    fn layer(&mut self, mlps: &[Mlp], which: &[usize], layer: usize, from: &[usize]) -> Result<Vec<usize>> {
        let values = which.iter().map(|&i| mlps[i].values(self.params, layer)).collect::<Result<Vec<_>>>()?;
        let width = values.first().map_or(0, |(w, _)| w.cols());
        let first = self.head.reserve(values.len() * width);
        let to: Vec<usize> = (0..values.len()).map(|j| first + j * width).collect();
        for (j, (w, b)) in values.iter().enumerate() {
            self.head.dense(from[j], (w, b), mlps[which[j]].activation(layer), to[j])?;
        }
        Ok(to)
    }

    /// Where `parts` begin, one after the other: copied where they do not stand so.
    fn side_by_side(&mut self, parts: &[Var]) -> Result<usize> {
        let rows = parts.iter().map(|&part| self.row(part)).collect::<Result<Vec<_>>>()?;
        let widths: Vec<usize> = parts.iter().map(|&part| self.width(part)).collect();
        if (1..parts.len()).all(|i| rows[i] == rows[i - 1] + widths[i - 1]) {
            return Ok(rows[0]);
        }
        let first = self.head.reserve(widths.iter().sum());
        let mut to = first;
        for (from, width) in rows.into_iter().zip(widths) {
            self.head.mean(from, 1, width, to)?;
            to += width;
        }
        Ok(first)
    }
}

//! A stack of dense layers.

use super::{ForwardCtx, ParamBuilder};
use crate::Result;
use crate::engine::{Owner, ParamId, Params, Tensor, Var};
use crate::ops::{Activation, GroupedMlp, Linear};

#[derive(Clone, Debug)]
pub struct Mlp {
    /// W and b; a layer may have no b.
    layers: Vec<(ParamId, Option<ParamId>)>,
    hidden: Activation,
    last: Activation,
}

impl Mlp {
    /// `input` -> widths[0] -> ... -> widths[last]; `hidden` between layers, `last` after the last one.
    pub fn new(
        b: &mut ParamBuilder,
        name: &str,
        owner: Owner,
        input: usize,
        widths: &[usize],
        hidden: Activation,
        last: Activation,
    ) -> Result<Mlp> {
        let mut layers = vec![];
        let mut from = input;
        for (i, &to) in widths.iter().enumerate() {
            let w = b.xavier(&format!("{name}.{i}.w"), owner, from, to)?;
            layers.push((w, Some(b.zeros(&format!("{name}.{i}.b"), owner, 1, to)?)));
            from = to;
        }
        Ok(Mlp { layers, hidden, last })
    }

    /// One layer without activation: the logits of a gate.
    pub fn linear(
        b: &mut ParamBuilder,
        name: &str,
        owner: Owner,
        (input, outputs): (usize, usize),
        bias: bool,
    ) -> Result<Mlp> {
        let w = b.xavier(&format!("{name}.w"), owner, input, outputs)?;
        let bias = bias.then(|| b.zeros(&format!("{name}.b"), owner, 1, outputs)).transpose()?;
        Ok(Mlp { layers: vec![(w, bias)], hidden: Activation::Identity, last: Activation::Identity })
    }

    /// x (B, input) -> (B, last width)
    pub fn forward(&self, ctx: &mut ForwardCtx, x: Var) -> Result<Var> {
        let mut x = x;
        for i in 0..self.layers.len() {
            let [w, b] = self.on_tape(ctx, i)?;
            x = ctx.tape.apply(Linear { activation: self.activation(i) }, &[x, w, b])?;
        }
        Ok(x)
    }

    /// All of `mlps`, which have the same widths and activations, over one input or one input each: one output each.
    pub fn grouped<'a>(
        ctx: &mut ForwardCtx,
        mlps: impl IntoIterator<Item = &'a Mlp>,
        inputs: &[Var],
    ) -> Result<Vec<Var>> {
        let mlps: Vec<&Mlp> = mlps.into_iter().collect();
        let Some(first) = mlps.first() else { return Ok(vec![]) };
        let op = GroupedMlp::new(mlps.len(), first.layers.len(), first.hidden, first.last);
        let mut all = inputs.to_vec();
        for mlp in &mlps {
            for i in 0..mlp.layers.len() {
                all.extend(mlp.on_tape(ctx, i)?);
            }
        }
        ctx.tape.apply_all(op, &all)
    }

    /// W and b of layer `i` on the tape; zeros where it has no b.
    pub fn on_tape(&self, ctx: &mut ForwardCtx, i: usize) -> Result<[Var; 2]> {
        let (w, b) = self.layers[i];
        let w = ctx.param(w);
        match b {
            Some(b) => Ok([w, ctx.param(b)]),
            None => Ok([w, ctx.zeros(1, ctx.cols(w))?]),
        }
    }

    /// How many layers there are.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// The values of W and b of layer `i`; zeros where it has no b.
    pub fn values(&self, params: &Params, i: usize) -> Result<(Tensor, Tensor)> {
        let (w, b) = self.layers[i];
        let w = params.get(w).value.clone();
        let b = match b {
            Some(b) => params.get(b).value.clone(),
            None => Tensor::zeros(&w.device(), w.dtype(), 1, w.cols())?,
        };
        Ok((w, b))
    }

    /// What follows layer `i`.
    pub fn activation(&self, i: usize) -> Activation {
        if i + 1 == self.layers.len() { self.last } else { self.hidden }
    }

    /// The weight matrices, without biases.
    pub fn weights(&self) -> impl Iterator<Item = ParamId> + '_ {
        self.layers.iter().map(|(w, _)| *w)
    }
}

//! A stack of dense layers.

use super::{ForwardCtx, ParamBuilder};
use crate::Result;
use crate::engine::{Owner, ParamId, Var};
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

    /// One product without bias or activation: the logits of a gate over experts.
    pub fn linear(
        b: &mut ParamBuilder,
        name: &str,
        owner: Owner,
        input: usize,
        outputs: usize,
    ) -> Result<Mlp> {
        let w = b.xavier(&format!("{name}.w"), owner, input, outputs)?;
        Ok(Mlp { layers: vec![(w, None)], hidden: Activation::Identity, last: Activation::Identity })
    }

    /// x (B, input) -> (B, last width)
    pub fn forward(&self, pass: &mut ForwardCtx, x: Var) -> Result<Var> {
        let mut x = x;
        for i in 0..self.layers.len() {
            let [w, b] = self.on_tape(pass, i)?;
            x = pass.tape.apply(Linear { activation: self.activation(i) }, &[x, w, b])?;
        }
        Ok(x)
    }

    /// All of `mlps`, which have the same widths and activations, over one input or one input each: one output each.
    pub fn bank<'a>(
        pass: &mut ForwardCtx,
        mlps: impl IntoIterator<Item = &'a Mlp>,
        inputs: &[Var],
    ) -> Result<Vec<Var>> {
        let mlps: Vec<&Mlp> = mlps.into_iter().collect();
        let Some(first) = mlps.first() else { return Ok(vec![]) };
        let bank = GroupedMlp::new(mlps.len(), first.layers.len(), first.hidden, first.last);
        let mut all = inputs.to_vec();
        for mlp in &mlps {
            for i in 0..mlp.layers.len() {
                all.extend(mlp.on_tape(pass, i)?);
            }
        }
        pass.tape.apply_all(bank, &all)
    }

    fn on_tape(&self, pass: &mut ForwardCtx, i: usize) -> Result<[Var; 2]> {
        let (w, b) = self.layers[i];
        let w = pass.param(w);
        match b {
            Some(b) => Ok([w, pass.param(b)]),
            None => Ok([w, pass.zeros(1, pass.cols(w))?]),
        }
    }

    /// How many layers there are.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// W and, where there is one, b of layer `i`.
    pub fn layer(&self, i: usize) -> (ParamId, Option<ParamId>) {
        self.layers[i]
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

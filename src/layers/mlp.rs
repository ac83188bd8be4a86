//! A stack of dense layers.

use super::{Builder, Pass};
use crate::Result;
use crate::engine::{Owner, ParamId, Var};
use crate::ops::{Activation, Linear, MlpBank};

#[derive(Clone, Debug)]
pub struct Mlp {
    pub(super) layers: Vec<(ParamId, ParamId)>,
    hidden: Activation,
    last: Activation,
}

impl Mlp {
    /// `input` -> widths[0] -> ... -> widths[last]; `hidden` between layers, `last` after the last one.
    pub fn new(
        b: &mut Builder,
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
            layers.push((w, b.zeros(&format!("{name}.{i}.b"), owner, 1, to)?));
            from = to;
        }
        Ok(Mlp { layers, hidden, last })
    }

    /// x (B, input) -> (B, last width)
    pub fn forward(&self, pass: &mut Pass, x: Var) -> Result<Var> {
        let mut x = x;
        for (i, (w, b)) in self.layers.iter().enumerate() {
            let activation = if i + 1 == self.layers.len() { self.last } else { self.hidden };
            let inputs = [x, pass.param(*w), pass.param(*b)];
            x = pass.tape.apply(Linear { activation }, &inputs)?;
        }
        Ok(x)
    }

    /// All of `mlps`, which have the same widths and activations, over one input or one input each: one output each.
    pub fn bank<'a>(
        pass: &mut Pass,
        mlps: impl IntoIterator<Item = &'a Mlp>,
        inputs: &[Var],
    ) -> Result<Vec<Var>> {
        let mlps: Vec<&Mlp> = mlps.into_iter().collect();
        let Some(first) = mlps.first() else { return Ok(vec![]) };
        let bank = MlpBank::new(mlps.len(), first.layers.len(), first.hidden, first.last);
        let mut all = inputs.to_vec();
        for (w, b) in mlps.iter().flat_map(|mlp| &mlp.layers) {
            all.extend([pass.param(*w), pass.param(*b)]);
        }
        pass.tape.apply_all(bank, &all)
    }

    /// The weight matrices, without biases.
    pub fn weights(&self) -> impl Iterator<Item = ParamId> + '_ {
        self.layers.iter().map(|(w, _)| *w)
    }
}

//! Several MLPs of the same widths at once: experts over one input, or towers over inputs of their own.
//!
//! Between layers a tile of rows stays in the cache, forward and backward. Over one input the members' first layers are
//! one product with their weights side by side.

mod cpu;
mod gpu;

use super::activation::Activation;
use super::{check, check_shape, saved};
use base::Result;
use engine::dispatch_float;
use engine::{Backward, Op, Tensor};

/// y_e = act(... hidden(x W_e1 + b_e1) ... W_eL + b_eL) of E members. Formulas (9)-(11), experts, gates' logits, towers.
///
/// Inputs: one x (B, n) for all members or one for each; then, member by member and layer by layer, W (n, d) and
/// b (1, d). Outputs: E of (B, last width). A member whose output has no gradient costs nothing in the backward pass.
#[derive(Clone, Debug)]
pub struct GroupedMlp {
    members: usize,
    layers: usize,
    hidden: Activation,
    last: Activation,
    /// Outputs of all layers but the last, members side by side: (B, E d_l).
    saved: Option<Vec<Tensor>>,
}

/// What the code of both devices needs to know of the inputs.
struct Shape {
    members: usize,
    rows: usize,
    /// One x for all members.
    shared: bool,
    /// Of the input and of each layer's output.
    widths: Vec<usize>,
    hidden: Activation,
    last: Activation,
}

impl Shape {
    fn layers(&self) -> usize {
        self.widths.len() - 1
    }

    fn sources(&self) -> usize {
        if self.shared { 1 } else { self.members }
    }

    fn activation(&self, layer: usize) -> Activation {
        if layer + 1 == self.layers() { self.last } else { self.hidden }
    }

    /// Place of W among the op's inputs; b is the next.
    fn weight(&self, member: usize, layer: usize) -> usize {
        self.sources() + 2 * (member * self.layers() + layer)
    }

    /// Place of the member's x.
    fn source(&self, member: usize) -> usize {
        if self.shared { 0 } else { member }
    }
}

impl GroupedMlp {
    /// `members` MLPs of `layers` layers each; `hidden` between layers, `last` after the last one.
    pub fn new(members: usize, layers: usize, hidden: Activation, last: Activation) -> GroupedMlp {
        GroupedMlp { members, layers, hidden, last, saved: None }
    }

    fn shape(&self, x: &[&Tensor]) -> Result<Shape> {
        let parameters = 2 * self.members * self.layers;
        let sources = x.len().saturating_sub(parameters);
        check(
            parameters > 0 && (sources == 1 || sources == self.members),
            "grouped_mlp",
            || format!("1 or {} inputs and {parameters} parameters", self.members),
            || format!("{} in all", x.len()),
        )?;
        let (rows, from) = x[0].shape();
        for other in &x[1..sources] {
            check_shape("grouped_mlp", "x", other, rows, from)?;
        }
        let mut widths = vec![from];
        widths.extend((0..self.layers).map(|layer| x[sources + 2 * layer].cols()));
        let (hidden, last) = (self.hidden, self.last);
        // A single MLP has a shared input.
        let shape = Shape { members: self.members, rows, shared: sources == 1, widths, hidden, last };
        for member in 0..self.members {
            for layer in 0..self.layers {
                let (at, from, to) = (shape.weight(member, layer), shape.widths[layer], shape.widths[layer + 1]);
                check_shape("grouped_mlp", "W", x[at], from, to)?;
                check_shape("grouped_mlp", "b", x[at + 1], 1, to)?;
            }
        }
        Ok(shape)
    }
}

impl Op for GroupedMlp {
    fn name(&self) -> &'static str {
        "grouped_mlp"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let shape = self.shape(x)?;
        let (rows, inner) = (shape.rows, &shape.widths[1..shape.layers()]);
        let mut hidden: Vec<Tensor> =
            inner.iter().map(|d| x[0].empty_like(rows, shape.members * d)).collect::<Result<_>>()?;
        let out = shape.widths[shape.layers()];
        let mut y: Vec<Tensor> = (0..shape.members).map(|_| x[0].empty_like(rows, out)).collect::<Result<_>>()?;
        if rows > 0 {
            match x[0].gpu() {
                Some(gpu) => gpu::forward(gpu, &shape, x, &mut hidden, &mut y)?,
                None => dispatch_float!(x[0].dtype(), T => cpu::forward::<T>(&shape, x, &mut hidden, &mut y)),
            }
        }
        self.saved = Some(hidden);
        Ok(y)
    }

    fn backward(&self, Backward { x, y, dy, dx }: Backward) -> Result<()> {
        let (shape, hidden) = (self.shape(x)?, saved("grouped_mlp", &self.saved)?);
        if shape.rows == 0 || dy.iter().all(Option::is_none) {
            return Ok(());
        }
        match x[0].gpu() {
            Some(gpu) => gpu::backward(gpu, &shape, x, hidden, y, dy, dx),
            None => {
                dispatch_float!(x[0].dtype(), T => cpu::backward::<T>(&shape, x, hidden, y, dy, dx));
                Ok(())
            }
        }
    }
}

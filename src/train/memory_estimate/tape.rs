//! `engine::Tape` without values: what an op takes in its forward and backward pass, by the shapes.

use super::ledger::{Ledger, Part, Piece, Place};

/// A value on the tape.
pub(super) type Var = usize;

struct Value {
    floats: usize,
    requires_grad: bool,
    /// What it holds; parameters, and values that were forgotten, hold nothing here.
    piece: Option<Piece>,
}

struct Node {
    name: &'static str,
    inputs: Vec<Var>,
    outputs: std::ops::Range<Var>,
    backward: usize,
    saved: Vec<Piece>,
}

/// Floats that an op holds beside its outputs.
#[derive(Clone, Copy, Default)]
pub(super) struct Extra {
    /// From its forward to its backward pass.
    pub saved: usize,
    /// While a pass runs.
    pub forward: usize,
    pub backward: usize,
}

pub(super) struct ShadowTape<'a> {
    pub ledger: &'a mut Ledger,
    values: Vec<Value>,
    nodes: Vec<Node>,
    inference: bool,
}

/// Gradients of parameters, by their place.
pub(super) type Grads = Vec<Option<Piece>>;

impl<'a> ShadowTape<'a> {
    pub fn new(ledger: &'a mut Ledger, inference: bool) -> ShadowTape<'a> {
        ShadowTape { ledger, values: vec![], nodes: vec![], inference }
    }

    /// A parameter, of which some rows are gathered where `compact`.
    pub fn parameter(&mut self, floats: usize, compact: bool) -> Var {
        let piece =
            compact.then(|| self.ledger.take(Place::Tensor, Part::Activations, "gathered rows", 4 * floats));
        self.values.push(Value { floats, requires_grad: !self.inference, piece });
        self.values.len() - 1
    }

    pub fn constant(&mut self, floats: usize) -> Var {
        let piece = Some(self.ledger.take(Place::Tensor, Part::Activations, "constants", 4 * floats));
        self.values.push(Value { floats, requires_grad: false, piece });
        self.values.len() - 1
    }

    pub fn floats(&self, var: Var) -> usize {
        self.values[var].floats
    }

    pub fn op(&mut self, name: &'static str, inputs: &[Var], outputs: &[usize]) -> Vec<Var> {
        self.op_with(name, inputs, outputs, 4, Extra::default())
    }

    /// `outputs` in floats of `width` bytes.
    pub fn op_with(
        &mut self,
        name: &'static str,
        inputs: &[Var],
        outputs: &[usize],
        width: usize,
        extra: Extra,
    ) -> Vec<Var> {
        let requires_grad = inputs.iter().any(|&v| self.values[v].requires_grad);
        let first = self.values.len();
        let saved = match extra.saved {
            0 => vec![],
            n => vec![self.ledger.take(Place::Tensor, Part::Activations, name, 4 * n)],
        };
        for &floats in outputs {
            let piece = Some(self.ledger.take(Place::Tensor, Part::Activations, name, width * floats));
            self.values.push(Value { floats, requires_grad, piece });
        }
        self.ledger.touch(Place::Tensor, Part::Activations, name, 4 * extra.forward);
        let outputs = first..self.values.len();
        if requires_grad {
            let (inputs, backward) = (inputs.to_vec(), extra.backward);
            self.nodes.push(Node { name, inputs, outputs: outputs.clone(), backward, saved });
        } else {
            saved.into_iter().for_each(|piece| self.ledger.free(piece));
        }
        outputs.collect()
    }

    /// As `Tape::forget`.
    pub fn forget(&mut self, var: Var) {
        if self.inference
            && let Some(piece) = self.values[var].piece.take()
        {
            self.ledger.free(piece);
            self.ledger.empty_cache();
        }
    }

    /// Gradients of the first `parameters` values, of one loss or the sum of several.
    pub fn backward(&mut self, losses: &[Var], parameters: usize) -> Grads {
        let mut grads: Vec<Option<Piece>> = vec![None; self.values.len()];
        let gradient = |ledger: &mut Ledger, name: &str, floats: usize| {
            ledger.take(Place::Tensor, Part::Gradients, name, 4 * floats)
        };
        for &loss in losses {
            grads[loss].get_or_insert_with(|| gradient(self.ledger, "losses", 1));
        }
        for node in self.nodes.iter().rev() {
            if grads[node.outputs.clone()].iter().all(Option::is_none) {
                continue;
            }
            for &v in &node.inputs {
                if self.values[v].requires_grad && grads[v].is_none() {
                    let name = if v < parameters { "of parameters" } else { node.name };
                    grads[v] = Some(gradient(self.ledger, name, self.values[v].floats));
                }
            }
            self.ledger.touch(Place::Tensor, Part::Gradients, node.name, 4 * node.backward);
            for i in node.outputs.clone().filter(|i| !losses.contains(i)) {
                if let Some(piece) = grads[i].take() {
                    self.ledger.free(piece);
                }
            }
        }
        for rest in grads.drain(parameters..).flatten() {
            self.ledger.free(rest);
        }
        grads
    }

    /// Frees what the tape holds.
    pub fn end(self) {
        self.end_but(&[]);
    }

    /// As `end`, for all but some values.
    pub fn end_but(self, kept: &[Var]) -> Vec<Piece> {
        let (mut left, mut freed) = (vec![], vec![]);
        for (var, value) in self.values.into_iter().enumerate() {
            if kept.contains(&var) { &mut left } else { &mut freed }.extend(value.piece);
        }
        let saved = self.nodes.into_iter().flat_map(|node| node.saved);
        freed.into_iter().chain(saved).for_each(|piece| self.ledger.free(piece));
        left
    }
}

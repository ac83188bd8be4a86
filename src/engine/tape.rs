//! Reverse-mode automatic differentiation over coarse ops.
//!
//! A tape is a Wengert list: values in the order in which they were made, which is a topological order. Walking
//! it backwards from a loss gives the gradients; several losses walk the same tape one after the other, which is
//! how each task's own gradient is had for weighting.

use std::collections::BTreeMap;

use super::memory;
use super::rows::RowSet;
use super::tensor::Tensor;
use base::{Error, Result};

/// A value on a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var(usize);

impl Var {
    /// Its position on the tape.
    pub fn id(self) -> usize {
        self.0
    }
}

/// What an op's backward pass reads, and what it adds to.
pub struct Backward<'a> {
    /// The inputs and outputs of the forward pass.
    pub x: &'a [&'a Tensor],
    pub y: &'a [&'a Tensor],
    /// The gradient of each output; `None` where the loss does not depend on it.
    pub dy: &'a [Option<&'a Tensor>],
    /// The gradient of each input that requires one, of the input's shape, and f32 where the input is stored in 16 bits.
    pub dx: &'a mut [Option<Tensor>],
}

/// A differentiable operation with its options, and what its backward needs of its forward.
pub trait Op {
    fn name(&self) -> &'static str;

    /// Checks shapes and computes the outputs. All inputs live on one device and have one dtype, but for those of
    /// which `takes_half` says that they may be stored in 16 bits.
    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>>;

    /// Adds the gradients of the inputs that require one.
    ///
    /// The gradient of an input that is a `Tape::parameter_of_rows` is compact; only ops that say so take one.
    fn backward(&self, c: Backward) -> Result<()>;

    /// Whether `backward` writes every element of each `dx[i]` instead of adding to it: it then gets tensors of
    /// undefined content, and no time goes into clearing them.
    fn overwrites(&self) -> bool {
        false
    }

    /// Whether input `i` may be stored in bf16 or f16 beside others in f32.
    fn takes_half(&self, _i: usize) -> bool {
        false
    }
}

impl Op for Box<dyn Op> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        (**self).forward(x)
    }

    fn backward(&self, c: Backward) -> Result<()> {
        (**self).backward(c)
    }

    fn overwrites(&self) -> bool {
        (**self).overwrites()
    }

    fn takes_half(&self, i: usize) -> bool {
        (**self).takes_half(i)
    }
}

struct Node {
    op: Box<dyn Op>,
    inputs: Vec<Var>,
    /// The outputs are the values `first .. first + count`.
    first: usize,
    count: usize,
}

#[derive(Default)]
pub struct Tape {
    values: Vec<Tensor>,
    /// Whether a gradient flows into the value: it is a parameter or depends on one.
    requires_grad: Vec<bool>,
    /// Rows of the gradient, where that is not of the value's shape.
    compact: BTreeMap<usize, usize>,
    nodes: Vec<Node>,
    inference: bool,
}

/// Gradients of one loss, by value.
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// The gradient of `var`, of those that `Tape::backward` keeps; `None` when the loss does not depend on it.
    pub fn take(&mut self, var: Var) -> Option<Tensor> {
        self.0[var.0].take()
    }

    pub fn get(&self, var: Var) -> Option<&Tensor> {
        self.0[var.0].as_ref()
    }
}

impl Tape {
    pub fn new() -> Tape {
        Tape::default()
    }

    /// A tape that keeps values but cannot go backwards.
    pub fn inference() -> Tape {
        Tape { inference: true, ..Tape::default() }
    }

    /// A value without gradient.
    pub fn constant(&mut self, value: Tensor) -> Var {
        self.push(value, false)
    }

    /// A value whose gradient is wanted.
    pub fn parameter(&mut self, value: Tensor) -> Var {
        self.push(value, !self.inference)
    }

    /// A table whose gradient is wanted for some `rows` alone, as a compact tensor (U, cols), by ops that read these
    /// rows and no others.
    pub fn parameter_of_rows(&mut self, table: Tensor, rows: &RowSet) -> Result<Var> {
        if table.rows() != rows.of() {
            let (expected, got) = (format!("a table of {} rows", rows.of()), format!("{}", table.rows()));
            return Err(Error::shape("row set", expected, got));
        }
        let var = self.parameter(table);
        self.compact.insert(var.0, rows.len());
        Ok(var)
    }

    fn push(&mut self, value: Tensor, requires_grad: bool) -> Var {
        self.values.push(value);
        self.requires_grad.push(requires_grad);
        Var(self.values.len() - 1)
    }

    pub fn value(&self, var: Var) -> &Tensor {
        &self.values[var.0]
    }

    /// Forgets a large value that nobody reads any more, where the tape does not go backwards. Its memory does not wait
    /// for a tensor of its size: the next layer's has another, and over a whole graph each is a gigabyte.
    pub fn forget(&mut self, var: Var) -> Result<()> {
        if self.inference {
            let value = &mut self.values[var.0];
            *value = Tensor::empty(&value.device(), value.dtype(), 0, value.cols())?;
            memory::empty_cache();
        }
        Ok(())
    }

    /// The same value with no gradient behind it.
    pub fn detach(&mut self, var: Var) -> Var {
        self.constant(self.value(var).clone())
    }

    pub fn apply(&mut self, op: impl Op + 'static, inputs: &[Var]) -> Result<Var> {
        Ok(self.apply_all(op, inputs)?[0])
    }

    /// As `apply`, for ops with several outputs.
    pub fn apply_all(&mut self, mut op: impl Op + 'static, inputs: &[Var]) -> Result<Vec<Var>> {
        let x: Vec<&Tensor> = inputs.iter().map(|v| &self.values[v.0]).collect();
        check_inputs(&op, &x)?;
        let outputs = op.forward(&x)?;
        let requires_grad = inputs.iter().any(|v| self.requires_grad[v.0]);
        let (first, count) = (self.values.len(), outputs.len());
        let vars = outputs.into_iter().map(|y| self.push(y, requires_grad)).collect();
        if requires_grad {
            self.nodes.push(Node { op: Box::new(op), inputs: inputs.to_vec(), first, count });
        }
        Ok(vars)
    }

    /// Gradients of `sum_i <seed_i, var_i>` with respect to every parameter that it depends on, and to every var. Those of
    /// what ops made on the way are dropped once they are passed on: over a whole graph they outgrow the parameters'.
    pub fn backward(&self, seeds: &[(Var, Tensor)]) -> Result<Gradients> {
        let mut grads: Vec<Option<Tensor>> = vec![None; self.values.len()];
        for (var, seed) in seeds {
            if seed.shape() != self.values[var.0].shape() {
                return Err(Error::shape(
                    "backward",
                    format!("{:?}", self.values[var.0].shape()),
                    format!("{:?}", seed.shape()),
                ));
            }
            match &mut grads[var.0] {
                Some(grad) => grad.add_scaled(1.0, seed)?,
                none => *none = Some(seed.clone()),
            }
        }
        for node in self.nodes.iter().rev() {
            let outputs = node.first..node.first + node.count;
            if grads[outputs.clone()].iter().all(Option::is_none) {
                continue;
            }
            let x: Vec<&Tensor> = node.inputs.iter().map(|v| &self.values[v.0]).collect();
            let y: Vec<&Tensor> = self.values[outputs.clone()].iter().collect();
            // Gradients are moved out for the op to add to, and moved back. An input that appears twice finds
            // its place empty the second time and gets a gradient of its own, added when it comes back.
            let mut dx = Vec::with_capacity(node.inputs.len());
            for v in &node.inputs {
                let value = &self.values[v.0];
                let rows = self.compact.get(&v.0).copied().unwrap_or(value.rows());
                dx.push(match self.requires_grad[v.0] {
                    false => None,
                    // What is there already is added afterwards.
                    true if node.op.overwrites() => {
                        Some(Tensor::empty(&value.device(), value.dtype().compute_dtype(), rows, value.cols())?)
                    }
                    true => Some(match grads[v.0].take() {
                        Some(mut grad) => {
                            grad.make_unique()?;
                            grad
                        }
                        None => Tensor::zeros(&value.device(), value.dtype().compute_dtype(), rows, value.cols())?,
                    }),
                });
            }
            {
                let dy: Vec<Option<&Tensor>> = grads[outputs.clone()].iter().map(Option::as_ref).collect();
                node.op.backward(Backward { x: &x, y: &y, dy: &dy, dx: &mut dx })?;
            }
            for i in outputs.filter(|i| seeds.iter().all(|(var, _)| var.0 != *i)) {
                grads[i] = None;
            }
            for (v, grad) in node.inputs.iter().zip(dx) {
                match (&mut grads[v.0], grad) {
                    (Some(have), Some(more)) => have.add_scaled(1.0, &more)?,
                    (place, Some(grad)) => *place = Some(grad),
                    (_, None) => {}
                }
            }
        }
        Ok(Gradients(grads))
    }
}

/// Fails unless all inputs live on one device and have one type, or one of those that the op takes beside it.
fn check_inputs(op: &impl Op, x: &[&Tensor]) -> Result<()> {
    let Some(first) = x.first() else { return Ok(()) };
    let (device, float) = (first.device(), first.dtype().compute_dtype());
    let fits = |i: usize, t: &Tensor| {
        t.device() == device && t.dtype().compute_dtype() == float && (!t.dtype().is_half() || op.takes_half(i))
    };
    match x.iter().enumerate().find(|(i, t)| !fits(*i, t)) {
        None => Ok(()),
        Some((i, odd)) => Err(Error::shape(
            op.name(),
            format!("all inputs as {float:?} on {}", device.name()),
            format!("{:?} on {} as input {i}", odd.dtype(), odd.device().name()),
        )),
    }
}

//! Named parameters, in one fixed order.

use std::sync::Arc;

use super::device::Device;
use super::rows::{Gradient, RowSet};
use super::tape::{Gradients, Tape, Var};
use super::tensor::Tensor;
use base::Result;

/// Whose gradients move a parameter (docs/model.md: theta and phi_k).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Moved by the balanced sum of all losses.
    Shared,
    /// Belongs to one task: moved by the plain sum, or that of losses with the weights of a rule about whole losses.
    Task(usize),
}

#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub value: Tensor,
    pub owner: Owner,
}

/// A list, not a map: the order is the same in every run, and so are the bits of every sum over it.
#[derive(Clone, Debug, Default)]
pub struct Params {
    list: Vec<Param>,
}

/// A parameter's place in `Params`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamId(pub usize);

impl Params {
    pub fn add(&mut self, name: impl Into<String>, owner: Owner, value: Tensor) -> ParamId {
        self.list.push(Param { name: name.into(), value, owner });
        ParamId(self.list.len() - 1)
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn get(&self, id: ParamId) -> &Param {
        &self.list[id.0]
    }

    pub fn get_mut(&mut self, id: ParamId) -> &mut Param {
        &mut self.list[id.0]
    }

    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.list.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Param> {
        self.list.iter_mut()
    }

    pub fn find(&self, name: &str) -> Option<ParamId> {
        self.list.iter().position(|p| p.name == name).map(ParamId)
    }

    /// Number of floats in all parameters.
    pub fn elements(&self) -> usize {
        self.list.iter().map(|p| p.value.len()).sum()
    }

    /// Puts every parameter on a tape, in order.
    pub fn on_tape(&self, tape: &mut Tape) -> Vec<Var> {
        self.list.iter().map(|p| tape.parameter(p.value.clone())).collect()
    }

    /// As `on_tape`, but where `rows[i]` is a set, parameter i stands on the tape as its rows alone, a compact tensor
    /// (U, cols). `rows` may be shorter than the list: what it does not reach stands there in full.
    pub fn rows_on_tape(&self, tape: &mut Tape, rows: &[Option<Arc<RowSet>>]) -> Result<Vec<Var>> {
        let leaf = |(i, p): (usize, &Param)| {
            let value = match rows.get(i).and_then(Option::as_ref) {
                Some(rows) => rows.gather(&p.value)?,
                None => p.value.clone(),
            };
            Ok(tape.parameter(value))
        };
        self.list.iter().enumerate().map(leaf).collect()
    }

    pub fn to_device(&self, device: &Device) -> Result<Params> {
        let list = self.list.iter().map(|p| Ok(Param { value: p.value.to_device(device)?, ..p.clone() }));
        Ok(Params { list: list.collect::<Result<_>>()? })
    }
}

/// The gradient of parameter i, which stands on the tape as `var`, after `Params::rows_on_tape` with these `rows`.
pub fn take_gradient(grads: &mut Gradients, (i, var): (usize, Var), rows: &[Option<Arc<RowSet>>]) -> Option<Gradient> {
    let grad = grads.take(var)?;
    Some(match rows.get(i).and_then(Option::as_ref) {
        Some(rows) => Gradient::Rows(rows.clone(), grad),
        None => Gradient::Dense(grad),
    })
}

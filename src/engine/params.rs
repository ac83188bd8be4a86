//! Named parameters, in one fixed order.

use super::device::Device;
use super::tape::{Tape, Var};
use super::tensor::Tensor;
use crate::Result;

/// Whose gradients move a parameter (docs/model.md: theta and phi_k).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Moved by the balanced sum of all losses.
    Shared,
    /// Belongs to one task: moved by the plain sum.
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

    pub fn to_device(&self, device: &Device) -> Result<Params> {
        let list = self.list.iter().map(|p| Ok(Param { value: p.value.to_device(device)?, ..p.clone() }));
        Ok(Params { list: list.collect::<Result<_>>()? })
    }
}

//! What models are made of: parameters with the ops that use them.

mod encoder;
mod history;
mod mlp;

use crate::Result;
use crate::engine::{DType, Device, Owner, ParamId, Params, Philox, StepRandom, Tape, Tensor, Var};

pub use encoder::Encoder;
pub use history::{Histories, Relations, recency_bucket};
pub use mlp::Mlp;

/// Makes parameters, each from random numbers of its own: adding one does not change the others.
pub struct ParamBuilder<'a> {
    pub params: Params,
    pub device: &'a Device,
    pub dtype: DType,
    /// Of the initial values; without one they are all 0.
    seed: Option<u64>,
}

/// Streams of parameters start here; other uses of the seed keep below.
const INIT_STREAM: u64 = 1 << 32;

impl<'a> ParamBuilder<'a> {
    pub fn new(device: &'a Device, dtype: DType, seed: u64) -> Self {
        ParamBuilder { params: Params::default(), device, dtype, seed: Some(seed) }
    }

    /// Parameters of 0: for a checkpoint to replace, or for their shapes alone.
    pub fn blank(device: &'a Device, dtype: DType) -> Self {
        ParamBuilder { params: Params::default(), device, dtype, seed: None }
    }

    /// Normal values of the given standard deviation.
    pub fn normal(&mut self, name: &str, owner: Owner, rows: usize, cols: usize, std: f64) -> Result<ParamId> {
        let Some(seed) = self.seed else { return self.zeros(name, owner, rows, cols) };
        let random = Philox::new(seed, INIT_STREAM + self.params.len() as u64);
        let value = |i: usize| std * random.normal_at(i as u64);
        let value = Tensor::from_fn(self.device, self.dtype, rows, cols, value)?;
        Ok(self.params.add(name, owner, value))
    }

    /// Xavier's normal initialization of a map from `rows` to `cols` dimensions.
    pub fn xavier(&mut self, name: &str, owner: Owner, rows: usize, cols: usize) -> Result<ParamId> {
        self.normal(name, owner, rows, cols, (2.0 / (rows + cols) as f64).sqrt())
    }

    pub fn zeros(&mut self, name: &str, owner: Owner, rows: usize, cols: usize) -> Result<ParamId> {
        Ok(self.params.add(name, owner, Tensor::zeros(self.device, self.dtype, rows, cols)?))
    }
}

/// One forward pass: the tape, the parameters on it, and whether it trains.
pub struct ForwardCtx<'a> {
    pub tape: &'a mut Tape,
    pub vars: &'a [Var],
    pub device: &'a Device,
    pub dtype: DType,
    /// Random numbers of this step's dropout; absent when nothing is to be dropped.
    pub dropout: Option<StepRandom>,
}

impl ForwardCtx<'_> {
    pub fn param(&self, id: ParamId) -> Var {
        self.vars[id.0]
    }

    pub fn zeros(&mut self, rows: usize, cols: usize) -> Result<Var> {
        let zeros = Tensor::zeros(self.device, self.dtype, rows, cols)?;
        Ok(self.tape.constant(zeros))
    }

    pub fn rows(&self, var: Var) -> usize {
        self.tape.value(var).rows()
    }

    pub fn cols(&self, var: Var) -> usize {
        self.tape.value(var).cols()
    }
}

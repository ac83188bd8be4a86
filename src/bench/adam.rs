//! Adam over a table of vectors.

use super::{Case, Cost, Inputs};
use crate::Result;
use crate::engine::optim::Optimizer;
use crate::engine::{Owner, Params};

pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let (rows, d) = (inputs.sizes.learners, inputs.sizes.dim);
    let table = (rows * d * 4) as f64;
    let mut params = Params::default();
    params.add("table", Owner::Shared, inputs.random(rows, d, 0.1, 30)?);
    let gradient = vec![Some(inputs.random(rows, d, 1.0, 31)?)];
    let mut adam = Optimizer::new("adam", 1e-3, 0.0)?;
    // Parameter, gradient and both moments are read; parameter and moments are written. Two moving averages, the root,
    // the quotient and the step: 12 operations an element.
    let cost = Cost { bytes: 7.0 * table, flops: (rows * d * 12) as f64 };
    Ok(vec![Case::new("adam/dense", cost, move || adam.step(&mut params, &gradient))])
}

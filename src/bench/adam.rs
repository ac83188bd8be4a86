//! Adam over a table of embeddings: all of it, and some of its rows.

use std::sync::Arc;

use super::{Case, Cost, Inputs};
use crate::Result;
use crate::engine::optim::Optimizer;
use crate::engine::{Gradient, Owner, Params, RowSet};

pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let (table, d) = (inputs.sizes.learners, inputs.sizes.dim);
    let step = |name: String, rows: usize, gradient: Gradient| -> Result<Case> {
        let mut params = Params::default();
        params.add("table", Owner::Shared, inputs.random(table, d, 0.1, 30)?);
        let gradient = vec![Some(gradient)];
        let mut adam = Optimizer::new("adam", 1e-3, 0.0)?;
        // Parameter, gradient and both moments are read; parameter and moments are written. Two moving averages, the
        // root, the quotient and the step: 12 operations an element.
        let cost = Cost { bytes: (7 * rows * d * 4) as f64, flops: (12 * rows * d) as f64 };
        Ok(Case::new(name, cost, move || adam.step(&mut params, &gradient)))
    };
    let mut cases = vec![step("adam/dense".into(), table, Gradient::Dense(inputs.random(table, d, 1.0, 31)?))?];
    for &rows in &inputs.sizes.rows {
        let ids = inputs.distinct(rows, table, 30);
        let gradient = inputs.random(ids.len(), d, 1.0, 32)?;
        let touched = ids.len();
        let set = Arc::new(RowSet::new(&inputs.device, ids, table)?);
        cases.push(step(format!("adam/rows/{rows}"), touched, Gradient::Rows(set, gradient))?);
    }
    Ok(cases)
}

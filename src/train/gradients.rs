//! Forward and backward of one step: losses, each task's gradient, and the weighted sum of gradients for each parameter.

use std::sync::Arc;

use super::step_metrics::{Seeds, StepMetrics, weighted};
use crate::Result;
use crate::engine::gradient_weighting::{Combine, GradientWeighting, Report, Weighing};
use crate::engine::{Factor, Gradient, Gradients, Owner, Params, RowSet, Tape, Var, take_gradient};
use crate::models::{Loss, Model, Role, StepInputs};

/// A parameter's gradient as factors times gradients.
pub(super) type Terms = Vec<(Factor, Gradient)>;

/// Parameters on a tape, by the rows of them that it holds.
struct OnTape<'a> {
    tape: &'a Tape,
    params: &'a Params,
    vars: &'a [Var],
    rows: &'a [Option<Arc<RowSet>>],
}

/// Losses of uploaded inputs, and the terms of each parameter's gradient.
pub(super) fn gradients(
    model: &dyn Model,
    inputs: &StepInputs,
    combine: Combine,
    weighting: &mut GradientWeighting,
    seeds: &mut Seeds,
) -> Result<(StepMetrics, Vec<Terms>)> {
    let mut tape = Tape::new();
    let vars = model.params().rows_on_tape(&mut tape, &inputs.rows)?;
    let losses = model.losses(&mut tape, &vars, inputs)?;
    let on_tape = OnTape { tape: &tape, params: model.params(), vars: &vars, rows: &inputs.rows };
    let (terms, report) = match combine {
        Combine::Sum => {
            let all: Vec<&Loss> = losses.losses.iter().collect();
            let sums = on_tape.of(seeds.gradients(&tape, &all)?);
            (sums.into_iter().map(|g| g.into_iter().map(unweighted).collect()).collect(), None)
        }
        _ => {
            let (terms, report) = on_tape.weigh(&losses.losses, weighting, seeds)?;
            (terms, Some(report))
        }
    };
    Ok((StepMetrics::new(model.tasks(), &tape, &losses, report)?, terms))
}

/// The loss of uploaded triples, and each parameter's gradient. Waits for the loss.
pub(super) fn triple_gradients(
    model: &dyn Model,
    inputs: &StepInputs,
    seeds: &mut Seeds,
) -> Result<(f64, Vec<Option<Gradient>>)> {
    let mut tape = Tape::new();
    let vars = model.params().rows_on_tape(&mut tape, &inputs.rows)?;
    let loss = model.triple_loss(&mut tape, &vars, inputs)?;
    let value = tape.value(loss).scalar()?;
    let seed = seeds.one_hot(&tape, loss, 0, 1.0)?;
    let grads = tape.backward(&[(loss, seed)])?;
    let on_tape = OnTape { tape: &tape, params: model.params(), vars: &vars, rows: &inputs.rows };
    Ok((value, on_tape.of(grads)))
}

fn unweighted(gradient: Gradient) -> (Factor, Gradient) {
    (Factor::Known(1.0), gradient)
}

impl OnTape<'_> {
    /// Each parameter's gradient.
    fn of(&self, mut grads: Gradients) -> Vec<Option<Gradient>> {
        self.vars.iter().enumerate().map(|(i, v)| take_gradient(&mut grads, (i, *v), self.rows)).collect()
    }

    /// Each weighted loss's own gradient with its weight by the rule of the run; constraints are added as they are.
    /// Parameters of one task get the plain sum, unless the rule weights whole losses.
    fn weigh(
        &self,
        losses: &[Loss],
        weighting: &mut GradientWeighting,
        seeds: &mut Seeds,
    ) -> Result<(Vec<Terms>, Report)> {
        let constraints: Vec<&Loss> = losses.iter().filter(|l| l.role == Role::Constraint).collect();
        let mut by_loss =
            weighted(losses).map(|l| seeds.gradients(self.tape, &[l])).collect::<Result<Vec<Gradients>>>()?;
        let plain = match constraints.is_empty() {
            true => None,
            false => Some(seeds.gradients(self.tape, &constraints)?),
        };
        let mut terms: Vec<Terms> = vec![vec![]; self.vars.len()];
        let (mut shared, mut shared_grads, mut of_tasks) = (vec![], vec![], vec![]);
        for (i, (param, var)) in self.params.iter().zip(self.vars).enumerate() {
            let own: Vec<Option<Gradient>> =
                by_loss.iter_mut().map(|g| take_gradient(g, (i, *var), self.rows)).collect();
            match param.owner {
                Owner::Shared => {
                    shared.push(i);
                    shared_grads.push(own);
                }
                Owner::Task(_) => of_tasks.push((i, own)),
            }
        }
        let Weighing { factors, whole, report } = weighting.begin(&shared_grads)?;
        for (i, own) in of_tasks {
            terms[i] = whole.iter().zip(own).filter_map(|(w, g)| Some((w.clone(), g?))).collect();
        }
        for ((i, grads), factors) in shared.into_iter().zip(shared_grads).zip(factors) {
            terms[i] = factors.into_iter().zip(grads).filter_map(|(w, g)| Some((w, g?))).collect();
            // A term of weight 0 need not be read, but a parameter whose terms all have it is still moved by its state.
            let zero = |w: &Factor| matches!(w, Factor::Known(0.0));
            if terms[i].iter().any(|(w, _)| !zero(w)) {
                terms[i].retain(|(w, _)| !zero(w));
            }
        }
        if let Some(plain) = plain {
            for (terms, gradient) in terms.iter_mut().zip(self.of(plain)) {
                terms.extend(gradient.map(unweighted));
            }
        }
        Ok((terms, report))
    }
}

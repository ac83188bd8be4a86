//! The update rules on a GPU: small parameters of the same step share a launch.

use super::Rule;
use super::update::Update;
use crate::device::{Grid, Kernel, Launch, kernels};
use crate::sum::{Factors, POINTERS};
use crate::{Factor, Tensor};
use base::{Error, Result};

/// Terms of a gradient that a launch adds up; more are added before.
const TERMS: usize = 4;
/// Parameters with more moving elements than this get a launch of their own.
const LARGE: usize = 1 << 18;

pub(super) fn run(rule: Rule, table: &Tensor, updates: Vec<Update>) -> Result<()> {
    // A model has dozens of small tensors, and a launch costs more than their update.
    let (mut groups, mut open): (Vec<Vec<Update>>, Vec<Vec<Update>>) = (vec![], vec![]);
    for update in updates {
        if update.terms[0].1.len() > LARGE {
            groups.push(vec![update]);
            continue;
        }
        match open.iter_mut().find(|g| g.len() < POINTERS && g[0].rows.is_some() == update.rows.is_some()) {
            Some(group) => group.push(update),
            None => open.push(vec![update]),
        }
    }
    groups.extend(open);
    groups.iter_mut().try_for_each(|group| launch(rule, table, group))
}

/// One launch for up to `POINTERS` tensors of the same kind.
fn launch(rule: Rule, table: &Tensor, group: &mut [Update]) -> Result<()> {
    let Some(gpu) = table.gpu() else {
        return Err(Error::shape("optimizer", "tensors of one device", "of two"));
    };
    let none = [0u64; POINTERS];
    let (mut values, mut ids, mut counts, mut state) = (none, none, none, [none; 2]);
    let (mut grads, mut factors, mut weights) = ([none; TERMS], [Factors::none(); TERMS], None);
    let (mut cols, mut rows) = ([0u32; POINTERS], [0u32; POINTERS]);
    let (sparse, mut longest) = (group[0].rows.is_some(), 0);
    // Sums of what one launch does not take live until it is queued.
    let mut sums = vec![];
    for update in group.iter().filter(|u| u.terms.len() > TERMS) {
        sums.push(Tensor::sum_of(&update.terms[TERMS - 1..])?);
    }
    let mut more = sums.iter();
    for (i, update) in group.iter_mut().enumerate() {
        let first = update.terms[0].1;
        values[i] = update.value.address_mut();
        counts[i] = first.len() as u64;
        longest = longest.max(first.len());
        let sum = if update.terms.len() > TERMS { more.next() } else { None };
        let kept = if sum.is_some() { TERMS - 1 } else { update.terms.len() };
        let terms = update.terms[..kept].iter().cloned().chain(sum.map(|sum| (Factor::Known(1.0), sum)));
        for (k, (factor, tensor)) in terms.enumerate() {
            grads[k][i] = tensor.address();
            factors[k].set(i, &factor, &mut weights)?;
        }
        rows[i] = update.row as u32;
        for (places, tensor) in state.iter_mut().zip(update.state.iter_mut()) {
            places[i] = tensor.address_mut();
        }
        if let Some(rows) = update.rows {
            ids[i] = rows.ids().address();
            counts[i] = rows.len() as u64;
            cols[i] = update.value.cols() as u32;
        }
    }
    let columns = Grid::cover(longest.div_ceil(4), 256);
    let grid = Grid { blocks: [columns.blocks[0], group.len() as u32, 1], ..columns };
    let start = |dense: Kernel, rows: Kernel, states: usize| -> Launch {
        let launch = gpu.launch(if sparse { rows } else { dense }, grid).value(values);
        let launch = state[..states].iter().fold(launch, |launch, s| launch.value(*s));
        let launch = grads.iter().fold(launch, |launch, g| launch.value(*g));
        let launch = factors.iter().fold(launch, |launch, f| launch.value(*f)).value(counts);
        if sparse { launch.value(ids).value(cols) } else { launch }
    };
    let launch = match rule {
        Rule::Adam { .. } | Rule::AdamW { .. } => start(kernels::ADAM_STEP, kernels::ADAM_STEP_ROWS, 2),
        Rule::Sgd { .. } => start(kernels::SGD_STEP, kernels::SGD_STEP_ROWS, 1),
        Rule::Adagrad { .. } | Rule::RmsProp { .. } => {
            start(kernels::SCALED_STEP, kernels::SCALED_STEP_ROWS, 1)
        }
    };
    launch.optional(weights.as_ref()).tensor(table).value(rows).run()
}

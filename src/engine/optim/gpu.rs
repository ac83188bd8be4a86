//! Updates on a GPU: small parameters of the same step share a launch.

use base::{Error, Result};
use bytemuck::{Pod, Zeroable};

use super::Update;
use crate::device::{Grid, Kernel};
use crate::sum::{Factors, POINTERS};
use crate::{Factor, Tensor};

/// Terms of a gradient that a launch adds up; more are added before.
const TERMS: usize = 4;
/// Parameters with more moving elements than this get a launch of their own.
const LARGE: usize = 1 << 18;

/// `struct Step` of kernels/optim.cu: up to eight tensors.
#[repr(C)]
#[derive(Clone, Copy, Zeroable, Pod)]
struct Step {
    values: [u64; POINTERS],
    states: [[u64; POINTERS]; 2],
    grads: [[u64; POINTERS]; TERMS],
    factors: [Factors; TERMS],
    counts: [u64; POINTERS],
    /// Null where all rows move.
    ids: [u64; POINTERS],
    cols: [u32; POINTERS],
    /// Rows of the table of scalars.
    rows: [u32; POINTERS],
    weights: u64,
    table: u64,
}

const _: () = assert!(size_of::<Step>() == 912, "as kernels/optim.cu asserts");

pub(super) fn run(kernel: Kernel, table: &Tensor, updates: Vec<Update>) -> Result<()> {
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
    groups.iter_mut().try_for_each(|group| launch(kernel, table, group))
}

/// One launch for up to `POINTERS` tensors, all of whose rows move, or some.
fn launch(kernel: Kernel, table: &Tensor, group: &mut [Update]) -> Result<()> {
    let Some(gpu) = table.gpu() else {
        return Err(Error::shape("optimizer", "tensors of one device", "of two"));
    };
    let mut step = Step { factors: [Factors::none(); TERMS], table: table.address(), ..Zeroable::zeroed() };
    let (mut weights, mut longest) = (None, 0);
    // Sums of what one launch does not take live until it is queued.
    let mut sums = vec![];
    for update in group.iter().filter(|u| u.terms.len() > TERMS) {
        sums.push(Tensor::sum_of(&update.terms[TERMS - 1..])?);
    }
    let mut more = sums.iter();
    for (i, update) in group.iter_mut().enumerate() {
        let first = update.terms[0].1;
        step.values[i] = update.value.address_mut();
        step.counts[i] = first.len() as u64;
        longest = longest.max(first.len());
        let sum = if update.terms.len() > TERMS { more.next() } else { None };
        let kept = if sum.is_some() { TERMS - 1 } else { update.terms.len() };
        let terms = update.terms[..kept].iter().cloned().chain(sum.map(|sum| (Factor::Known(1.0), sum)));
        for (k, (factor, tensor)) in terms.enumerate() {
            step.grads[k][i] = tensor.address();
            step.factors[k].set(i, &factor, &mut weights)?;
        }
        step.rows[i] = update.row as u32;
        for (places, tensor) in step.states.iter_mut().zip(update.state.iter_mut()) {
            places[i] = tensor.address_mut();
        }
        if let Some(rows) = update.rows {
            step.ids[i] = rows.ids().address();
            step.counts[i] = rows.len() as u64;
            step.cols[i] = update.value.cols() as u32;
        }
    }
    step.weights = weights.as_ref().map_or(0, Tensor::address);
    let columns = Grid::cover(longest.div_ceil(4), 256);
    let grid = Grid { blocks: [columns.blocks[0], group.len() as u32, 1], ..columns };
    gpu.launch(kernel, grid).value(step).run()
}

//! TransD's margin loss with one corrupted tail per triple, and all its gradients.

use super::{Case, Cost, Inputs, forward, gradients};
use crate::Result;
use crate::engine::{Device, Tape, Tensor};
use crate::ops::{TransD, TransDLoss, TransDOptions, Triples};

const RELATIONS: usize = 30;

/// A batch as it is sampled: ids in the order of the triples.
#[derive(Clone)]
struct Batch {
    device: Device,
    entities: usize,
    heads: Vec<u32>,
    relations: Vec<u32>,
    tails: Vec<u32>,
    corrupted: Vec<u32>,
}

impl Batch {
    /// Sorts the ids and builds the schedules of the kernels.
    fn sort(&self) -> Result<Triples> {
        Triples::new(
            &self.device,
            (self.entities, RELATIONS),
            (&self.heads, &self.relations, &self.tails),
            (&self.heads, &self.corrupted),
        )
    }
}

/// Heads, relations, tails and corrupted tails of a batch.
pub(super) fn ids(inputs: &Inputs) -> [Vec<u32>; 4] {
    let (count, entities) = (inputs.sizes.triples, inputs.sizes.learners);
    [(entities, 0), (RELATIONS, 1), (entities, 2), (entities, 3)].map(|(n, list)| inputs.ids(count, n, list))
}

/// The loss and its gradients from unsorted ids, then its parts: sorting the ids, and the rest with sorted ids.
pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let (count, entities, d) = (inputs.sizes.triples, inputs.sizes.learners, inputs.sizes.dim);
    let [heads, relations, tails, corrupted] = ids(inputs);
    let batch = Batch { device: inputs.device.clone(), entities, heads, relations, tails, corrupted };
    let table = |rows: usize, table: u64| inputs.random(rows, d, 0.3, table);
    let tables = [table(entities, 10)?, table(entities, 11)?, table(RELATIONS, 12)?, table(RELATIONS, 13)?];
    let seed = Tensor::new(&inputs.device, 1, 1, &[1.0])?;
    let options = TransDOptions { loss: TransDLoss::Margin { gamma: 1.0 }, l2: 0.0, ..TransDOptions::default() };
    let loss = move |tape: &mut Tape, triples: Triples| {
        // The gradients of E and P are of the batch's rows alone.
        let [e, p, r, r_p] = tables.each_ref().map(Tensor::clone);
        let rows = triples.rows().clone();
        let (e, p) = (tape.parameter_of_rows(e, &rows)?, tape.parameter_of_rows(p, &rows)?);
        let (r, r_p) = (tape.parameter(r), tape.parameter(r_p));
        tape.apply(TransD::new(options, triples), &[e, p, r, r_p])
    };

    // Rows of E and P are read once for every distinct entity, and their gradients written; four ids a triple.
    let mut used: Vec<u32> = [&batch.heads[..], &batch.tails, &batch.corrupted].concat();
    used.sort_unstable();
    used.dedup();
    let rows = (used.len() * 2 * d * 4) as f64;
    let ids = (count * 4 * 4) as f64;
    // An entity: its scalar and projection, 4 d; backward r_p . G and two scaled additions, 6 d. A triple: two residuals
    // and their squares, 8 d; backward both gradients of the projections, 4 d, and the sums for r and r_p, 8 d.
    let (ahead, back) = ((count * (3 * 4 + 8) * d) as f64, (count * (3 * 6 + 12) * d) as f64);
    let all = Cost { bytes: 2.0 * rows + ids, flops: ahead + back };
    let sorted = batch.sort()?;
    Ok(vec![
        gradients("transd/loss+gradients", all, seed.clone(), {
            let (loss, batch) = (loss.clone(), batch.clone());
            move |tape| loss(tape, batch.sort()?)
        }),
        Case::new("transd/sort", Cost { bytes: 3.0 * ids, flops: 0.0 }, move || batch.sort().map(drop)),
        forward("transd/sorted/forward", Cost { bytes: rows + ids, flops: ahead }, {
            let (loss, sorted) = (loss.clone(), sorted.clone());
            move |tape| loss(tape, sorted.clone())
        }),
        gradients("transd/sorted/forward+backward", all, seed, move |tape| loss(tape, sorted.clone())),
    ])
}

//! Attention over the enrolments of all learners, in both directions. With 16-bit storage each case rounds the rows, as a
//! training step does.

use std::sync::Arc;

use super::{Case, Cost, Inputs, forward, gradients};
use crate::Result;
use crate::engine::{DType, Tape, Tensor, Var};
use crate::ops::{Aggregate, Cast, LogitKind, Query, RelationAttention};

/// Dot-product attention from given queries (as in graph libraries), TransD's attention as the model trains it, and
/// aggregation with fixed weights (as in deeper layers).
pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let d = inputs.sizes.dim;
    let graph = Arc::new(inputs.graph(1)?);
    let (nodes, edges) = (graph.num_dst, graph.edges());
    let row = (nodes * d * 4) as f64;
    let stored = inputs.sizes.stored()?;
    let x = inputs.random(nodes, d, 0.5, 0)?;
    let p = inputs.random(nodes, d, 0.5, 1)?;
    let (r, r_p) = (inputs.random(1, d, 0.5, 2)?, inputs.random(1, d, 0.1, 3)?);
    let seed = inputs.random(nodes, d, 1.0, 4)?;
    let zero = |rows: usize, cols: usize| Tensor::zeros(&inputs.device, x.dtype(), rows, cols);
    let bias = zero(1, 1)?;

    // The queries of all nodes, one group each; nothing is projected.
    let q = inputs.random(graph.groups.count, d, 0.5, 5)?;
    let (o, p_none, r_none) = (zero(graph.groups.count, 1)?, zero(0, d)?, zero(0, d)?);
    let dot = {
        let (graph, x, bias) = (graph.clone(), x.clone(), bias.clone());
        move |tape: &mut Tape| {
            let (q, x) = (tape.parameter(q.clone()), tape.parameter(x.clone()));
            let [o, p, r, bias] = [&o, &p_none, &r_none, &bias].map(|t| tape.constant(t.clone()));
            let [q, x, p] = rows(tape, stored, [q, x, p])?;
            let attend = RelationAttention::new(graph.clone(), LogitKind::Dot, 1.0);
            Ok(tape.apply_all(attend, &[q, o, x, p, r, bias])?[0])
        }
    };
    let transd = {
        let (graph, x, r, r_p) = (graph.clone(), x.clone(), r.clone(), r_p.clone());
        let p = p.clone();
        move |tape: &mut Tape| {
            let [x, p, r, r_p] = [&x, &p, &r, &r_p].map(|t| tape.parameter(t.clone()));
            let bias = tape.constant(bias.clone());
            let u = tape.apply_all(Query::new(graph.clone(), LogitKind::Tanh), &[x, p, r, r_p])?;
            let attend = RelationAttention::new(graph.clone(), LogitKind::Tanh, 1.0);
            let [q, x, p] = rows(tape, stored, [u[0], x, p])?;
            Ok(tape.apply_all(attend, &[q, u[1], x, p, r_p, bias])?[0])
        }
    };
    // Nodes without edges have no query.
    let query_seed = inputs.random(graph.groups.count, d, 1.0, 7)?;
    let query = {
        let (graph, x, p) = (graph.clone(), x.clone(), p.clone());
        move |tape: &mut Tape| {
            let [x, p, r, r_p] = [&x, &p, &r, &r_p].map(|t| tape.parameter(t.clone()));
            tape.apply(Query::new(graph.clone(), LogitKind::Tanh), &[x, p, r, r_p])
        }
    };
    let weights = inputs.random(edges, 1, 0.5, 6)?;
    let aggregate = move |tape: &mut Tape| {
        let (alpha, x) = (tape.constant(weights.clone()), tape.parameter(x.clone()));
        let [x] = rows(tape, stored, [x])?;
        tape.apply(Aggregate::new(graph.clone()), &[alpha, x])
    };

    // Forward: X and Q are read and the output is written; each edge's source id is read once (32 bits). An edge costs a
    // dot product and an addition of a scaled row, 2 d operations each.
    let ids = (edges * 4) as f64;
    // With 16-bit storage a table is read in f32, written, and read again by the edges.
    let cast = |tables: f64| if stored.is_half() { tables * row } else { 0.0 };
    let once = Cost { bytes: 3.0 * row + cast(2.0) + ids, flops: (edges * 4 * d) as f64 };
    // Backward: X, Q and the gradient of the output are read, dX and dQ written. An edge costs d alpha (a dot product),
    // and additions to dQ once and to dX twice: 8 d. The tables are read as they are stored.
    let back = |tables: f64| if stored.is_half() { -0.5 * tables * row } else { 0.0 };
    let both = Cost { bytes: 8.0 * row + cast(2.0) + back(2.0) + 2.0 * ids, flops: (edges * 12 * d) as f64 };
    // X and P instead of X and Q; a node's own work (its scalar, projection and tanh) is counted as 6 d forward and 12 d
    // backward.
    let transd_forward = Cost { flops: once.flops + (nodes * 6 * d) as f64, ..once };
    let transd_both = Cost { flops: both.flops + (nodes * 18 * d) as f64, ..both };
    let query_both = Cost { bytes: 8.0 * row, flops: (nodes * 18 * d) as f64 };
    // X and the output; backward its gradient and dX. Weights and ids of the edges both times.
    let fixed = Cost { bytes: 4.0 * row + cast(1.0) + 4.0 * ids, flops: (edges * 4 * d) as f64 };
    Ok(vec![
        forward("attention/forward", once, dot.clone()),
        gradients("attention/forward+backward", both, seed.clone(), dot),
        forward("attention/transd/forward", transd_forward, transd.clone()),
        gradients("attention/transd/forward+backward", transd_both, seed.clone(), transd),
        gradients("attention/query/forward+backward", query_both, query_seed, query),
        gradients("attention/fixed/forward+backward", fixed, seed, aggregate),
    ])
}

/// The tables as the edges read them.
fn rows<const N: usize>(tape: &mut Tape, stored: DType, mut tables: [Var; N]) -> Result<[Var; N]> {
    if stored.is_half() {
        for table in &mut tables {
            *table = tape.apply(Cast::to(stored), &[*table])?;
        }
    }
    Ok(tables)
}

//! Steps on sampled neighbourhoods. Sampling, sorting and the choice of rows are part of the work; every step draws anew.

use std::sync::Arc;

use super::{BATCH, Case, Cost, Inputs, SEED, batch, bpr, config};
use crate::Result;
use crate::engine::optim::Optimizer;
use crate::engine::{
    DType, Device, Gradient, Owner, Params, Philox, RowSet, Tape, Tensor, Var, take_gradient,
};
use crate::graph::Blocks;
use crate::layers::{Builder, Encoder, Pass, Relations};
use crate::ops::{Attend, Combine, Gather, LogitKind, Query, Rows};

const FAN_OUT: [usize; 2] = [10, 10];
/// Of the encoder: one for each hop.
const LAYERS: [usize; 2] = [64, 32];

/// Two hops of x + attention over what was drawn, without projections or dense layers, from one table.
pub(super) fn plain(inputs: &Inputs) -> Result<Case> {
    let (nodes, d, device) = (inputs.nodes(), inputs.sizes.dim, inputs.device.clone());
    let graph = inputs.graph(1)?;
    let mut params = Params::default();
    params.add("table", Owner::Shared, inputs.random(nodes, d, 0.1, 50)?);
    params.add("r", Owner::Shared, inputs.random(1, d, 0.1, 51)?);
    let batch = batch(inputs);
    let all = batch.concat();
    let draw = move |step: u64, device: &Device| {
        Blocks::sample(&graph, device, &all, &[], &FAN_OUT, Philox::new(SEED, step))
    };
    let cost = cost(&draw(0, &device)?, 1, d, 0.0);
    let mut train = Train::new(&device, params)?;
    Ok(Case::new("step/sampled", cost, move || {
        let blocks = draw(train.step, &device)?;
        let rows = vec![Some(rows(&blocks, &device, nodes)?)];
        train.step(rows, |tape, vars| {
            let x = hops(tape, &device, &blocks, vars)?;
            let level = &blocks.levels[0];
            bpr(tape, &device, x, batch.each_ref().map(|ids| level.places(ids)))
        })
    }))
}

/// X of level 0: X_h = E_h + sum alpha X_(h+1), alpha the softmax of tanh(E_h + r) . X_(h+1).
fn hops(tape: &mut Tape, device: &Device, blocks: &Blocks, vars: &[Var]) -> Result<Var> {
    let (mut e, r) = (vec![vars[0]], vars[1]);
    for pair in blocks.levels.windows(2).rev() {
        let rows = Rows::new(device, pair[1].places(pair[0].ids()), pair[1].len())?;
        e.push(tape.apply(Gather::new(rows), &[e[e.len() - 1]])?);
    }
    let d = tape.value(r).cols();
    let mut constant = |rows: usize, cols: usize| -> Result<Var> {
        Ok(tape.constant(Tensor::zeros(device, DType::F32, rows, cols)?))
    };
    let (none, r_none, bias) = (constant(0, d)?, constant(1, d)?, constant(1, 1)?);
    let mut x = e[0];
    for (block, &own) in blocks.blocks.iter().rev().zip(&e[1..]) {
        let (graph, kind) = (block.graph.clone(), LogitKind::Tanh);
        let p = tape.constant(Tensor::zeros(device, DType::F32, graph.heads, d)?);
        let q = tape.apply_all(Query::new(graph.clone(), kind), &[own, p, r, r_none])?;
        let heard = tape.apply_all(Attend::new(graph, kind, 1.0), &[q[0], q[1], x, none, none, bias])?;
        x = tape.apply(Combine::sum(2), &[own, heard[0]])?;
    }
    Ok(x)
}

/// The model's own encoder: TransD's attention, two layers, stacked.
pub(super) fn encoder(inputs: &Inputs) -> Result<Case> {
    let (learners, courses, d) = (inputs.sizes.learners, inputs.sizes.courses, inputs.sizes.dim);
    let device = inputs.device.clone();
    let mut config = config(d, &LAYERS);
    config.model.fan_out = FAN_OUT.to_vec();
    let relations = Relations { kg: 0, self_loop: false };
    let mut b = Builder::new(&device, DType::F32, SEED);
    let edges = inputs.edges(relations.count() as u32);
    let encoder = Encoder::new(&mut b, &config, relations, (learners, courses, courses), &edges)?;
    let (params, nodes) = (b.params, inputs.nodes());
    let [entity, entity_proj, ..] = encoder.transd();
    let batch = batch(inputs);
    let all = batch.concat();
    let first = encoder.sample(&device, &all, &[], Philox::new(SEED, 0))?;
    // Two products for every head of a hop, and back twice as much.
    let [inner, outer] = [first.levels[0].len(), first.levels[1].len()];
    let dense = 12 * (outer * d * LAYERS[0] + inner * LAYERS[0] * LAYERS[1]);
    let cost = cost(&first, 2, d, dense as f64);
    let count = params.len();
    let mut train = Train::new(&device, params)?;
    Ok(Case::new("step/sampled/encoder", cost, move || {
        let blocks = encoder.sample(&device, &all, &[], Philox::new(SEED, train.step))?;
        let mut rows_of = vec![None; count];
        let set = rows(&blocks, &device, nodes)?;
        rows_of[entity.0] = Some(set.clone());
        rows_of[entity_proj.0] = Some(set);
        train.step(rows_of, |tape, vars| {
            let pass = &mut Pass { tape, vars, device: &device, dtype: DType::F32, dropout: None };
            let states = encoder.sampled_nodes(pass, &blocks)?;
            let z = encoder.stack(pass, &states)?;
            let level = &blocks.levels[0];
            bpr(pass.tape, &device, z, batch.each_ref().map(|ids| level.places(ids)))
        })
    }))
}

/// The rows that a sample reads.
fn rows(blocks: &Blocks, device: &Device, nodes: usize) -> Result<Arc<RowSet>> {
    Ok(Arc::new(RowSet::new(device, blocks.nodes().ids().to_vec(), nodes)?))
}

/// Of `tables` tables the rows that are read, with both moments, and written back with them; attention as in
/// attention/forward+backward, and Adam.
fn cost(blocks: &Blocks, tables: usize, d: usize, dense: f64) -> Cost {
    let rows = tables * blocks.nodes().len() * d;
    let edges: usize = blocks.blocks.iter().map(|block| block.graph.edges()).sum();
    Cost { bytes: (6 * rows * 4) as f64, flops: dense + (12 * edges * d + 12 * rows + 6 * BATCH * d) as f64 }
}

/// Parameters with their optimizer.
struct Train {
    params: Params,
    adam: Optimizer,
    one: Tensor,
    step: u64,
}

impl Train {
    fn new(device: &Device, params: Params) -> Result<Train> {
        let one = Tensor::new(device, 1, 1, &[1.0])?;
        Ok(Train { params, adam: Optimizer::new("adam", 1e-3, 0.0)?, one, step: 0 })
    }

    /// A step of the loss that `build` makes; of the parameters, `rows` stand on the tape.
    fn step(
        &mut self,
        rows: Vec<Option<Arc<RowSet>>>,
        build: impl FnOnce(&mut Tape, &[Var]) -> Result<Var>,
    ) -> Result<()> {
        let mut tape = Tape::new();
        let vars = self.params.rows_on_tape(&mut tape, &rows)?;
        let loss = build(&mut tape, &vars)?;
        let mut gradients = tape.backward(&[(loss, self.one.clone())])?;
        let of = |(i, var): (usize, &Var)| take_gradient(&mut gradients, (i, *var), &rows);
        let gradients: Vec<Option<Gradient>> = vars.iter().enumerate().map(of).collect();
        drop(tape);
        self.step += 1;
        self.adam.step(&mut self.params, &gradients)
    }
}

//! A training step on sampled neighbourhoods: two hops of ten edges, BPR on a batch of triplets, row-sparse Adam.

use std::sync::Arc;

use super::{Case, Cost, Inputs};
use crate::Result;
use crate::config::{AttentionMode, Config, Logit};
use crate::engine::optim::Optimizer;
use crate::engine::{
    DType, Device, Gradient, Owner, Params, Philox, RowSet, Tape, Tensor, Var, take_gradient,
};
use crate::graph::{Blocks, Graph};
use crate::layers::{Encoder, ForwardCtx, ParamBuilder, Relations};
use crate::ops::{Bpr, Combine, Gather, LogitKind, Query, RelationAttention, Rows};

const FAN_OUT: [usize; 2] = [10, 10];
const BATCH: usize = 1024;
const SEED: u64 = 20;

/// Nodes of the batch's learners, courses taken and courses not taken.
fn triplets(inputs: &Inputs) -> [Vec<u32>; 3] {
    let (learners, courses) = (inputs.sizes.learners, inputs.sizes.courses);
    let of_courses = |list| inputs.ids(BATCH, courses, list).iter().map(|c| learners as u32 + c).collect();
    [inputs.ids(BATCH, learners, 20), of_courses(21), of_courses(22)]
}

/// What both cases share: new neighbourhoods in every step, the rows that they reach, and Adam on these alone.
struct Step {
    device: Device,
    batch: [Vec<u32>; 3],
    params: Params,
    /// Tables of nodes: the first parameters.
    tables: usize,
    adam: Optimizer,
    one: Tensor,
    steps: u64,
}

impl Step {
    fn new(inputs: &Inputs, params: Params, tables: usize) -> Result<Step> {
        Ok(Step {
            device: inputs.device.clone(),
            batch: triplets(inputs),
            params,
            tables,
            adam: Optimizer::new("adam", 1e-3, 0.0)?,
            one: Tensor::new(&inputs.device, 1, 1, &[1.0])?,
            steps: 0,
        })
    }

    fn sample(&self, graph: &Graph) -> Result<Blocks> {
        let random = Philox::new(SEED, self.steps);
        Blocks::sample(graph, &self.device, &self.batch.concat(), &[], &FAN_OUT, random)
    }

    /// `represent` gives Z of the nodes of level 0.
    fn run(
        &mut self,
        graph: &Graph,
        represent: impl Fn(&mut ForwardCtx, &Blocks) -> Result<Var>,
    ) -> Result<()> {
        let blocks = self.sample(graph)?;
        self.steps += 1;
        let set = RowSet::new(&self.device, blocks.nodes().ids().to_vec(), graph.num_dst)?;
        let rows = vec![Some(Arc::new(set)); self.tables];
        let mut tape = Tape::new();
        let vars = self.params.rows_on_tape(&mut tape, &rows)?;
        let pass = &mut ForwardCtx {
            tape: &mut tape,
            vars: &vars,
            device: &self.device,
            dtype: DType::F32,
            dropout: None,
        };
        let z = represent(pass, &blocks)?;
        let level = &blocks.levels[0];
        let mut triplet = vec![];
        for ids in &self.batch {
            let rows = Rows::new(pass.device, level.places(ids), level.len())?;
            triplet.push(pass.tape.apply(Gather::new(rows), &[z])?);
        }
        let loss = pass.tape.apply(Bpr::new(0.0), &triplet)?;
        let mut gradients = tape.backward(&[(loss, self.one.clone())])?;
        let of = |(i, v): (usize, &Var)| take_gradient(&mut gradients, (i, *v), &rows);
        let gradients: Vec<Option<Gradient>> = vars.iter().enumerate().map(of).collect();
        drop(tape);
        self.adam.step(&mut self.params, &gradients)
    }
}

pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    Ok(vec![residual(inputs)?, encoder(inputs)?])
}

/// One table; a hop is x + sum of softmax(tanh(x + r) . x') x' over the neighbours x', as small graph recommenders have
/// it: the work of the peers' step.
fn residual(inputs: &Inputs) -> Result<Case> {
    let d = inputs.sizes.dim;
    let graph = inputs.graph(1)?;
    let mut params = Params::default();
    params.add("entity", Owner::Shared, inputs.random(inputs.nodes(), d, 0.1, 50)?);
    let relation = params.add("relation", Owner::Shared, inputs.random(1, d, 0.1, 51)?);
    let mut step = Step::new(inputs, params, 1)?;
    let cost = cost(&step.sample(&graph)?, d, 1, false);
    let work = move || {
        step.run(&graph, |pass, blocks| {
            // From the outermost hop inwards: heads are the raw vectors, tails what the hop before made of them.
            let (mut raw, mut x) = (vec![pass.vars[0]], pass.vars[0]);
            for h in (0..FAN_OUT.len()).rev() {
                let (heads, tails) = (&blocks.levels[h], &blocks.levels[h + 1]);
                let rows = Rows::new(pass.device, tails.places(heads.ids()), tails.len())?;
                let own = pass.tape.apply(Gather::new(rows), &[raw[raw.len() - 1]])?;
                raw.push(own);
                let graph = &blocks.blocks[h].graph;
                // Nothing is projected: the query takes vectors of zero for that, attention none at all.
                let (p, r_p) = (pass.zeros(heads.len(), d)?, pass.zeros(1, d)?);
                let query = Query::new(graph.clone(), LogitKind::Tanh);
                let query = pass.tape.apply_all(query, &[own, p, pass.param(relation), r_p])?;
                let (none, bias) = (pass.zeros(0, d)?, pass.zeros(1, 1)?);
                let attend = RelationAttention::new(graph.clone(), LogitKind::Tanh, 1.0);
                let heard = pass.tape.apply_all(attend, &[query[0], query[1], x, none, none, bias])?;
                x = pass.tape.apply(Combine::sum(2), &[own, heard[0]])?;
            }
            Ok(x)
        })
    };
    Ok(Case::new("step/sampled", cost, work))
}

/// The encoder of WAA-TA: E and P, differentiated attention, two layers of bi-interaction, all layers stacked.
fn encoder(inputs: &Inputs) -> Result<Case> {
    let (d, learners, courses) = (inputs.sizes.dim, inputs.sizes.learners, inputs.sizes.courses);
    let mut config = Config::default();
    config.model.dim = d;
    config.model.layers = vec![d; FAN_OUT.len()];
    config.model.fan_out = FAN_OUT.to_vec();
    config.model.message_dropout = 0.0;
    config.attention.mode = AttentionMode::Differentiated;
    config.attention.logit = Logit::KgatTanh;
    let relations = Relations { kg: 0, self_loop: false };
    let mut b = ParamBuilder::new(&inputs.device, DType::F32, SEED);
    let edges = inputs.edges(relations.count() as u32);
    let encoder = Encoder::new(&mut b, &config, relations, (learners, courses, courses), &edges, 0)?;
    let mut step = Step::new(inputs, b.params, 2)?;
    let cost = cost(&step.sample(encoder.graph())?, d, 2, true);
    let work = move || {
        step.run(encoder.graph(), |pass, blocks| {
            let states = encoder.sampled_nodes(pass, blocks)?;
            encoder.stack(pass, &states)
        })
    };
    Ok(Case::new("step/sampled-encoder", cost, work))
}

/// Of the first step's neighbourhoods. A row of a table is read once, with both moments, and all three are written back;
/// the rows in between (20 MB) stay in the cache. An edge's tail is looked up once.
fn cost(blocks: &Blocks, d: usize, tables: usize, layers: bool) -> Cost {
    let edges: usize = blocks.blocks.iter().map(|b| b.graph.edges()).sum();
    let heads: usize = blocks.blocks.iter().map(|b| b.graph.num_dst).sum();
    let rows = tables * blocks.nodes().len();
    let bytes = (6 * rows * d * 4 + 4 * edges) as f64;
    // An edge: logit and sum, 4 d; back two products of rows and two sums, 8 d. A head: query and its gradient, 10 d.
    // Adam: 12 an element.
    let mut flops = (edges * 12 * d + heads * 10 * d + rows * 12 * d) as f64;
    if layers {
        // Two products of a layer, and back twice as much.
        flops += (heads * 2 * d * d * 2 * 3) as f64;
    }
    Cost { bytes, flops }
}

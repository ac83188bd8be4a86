//! Training steps: BPR on a batch of triplets, gradients and Adam, over the whole graph and over sampled neighbourhoods.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::{Case, Cost, Inputs};
use crate::Result;
use crate::config::{AttentionMode, Config, Logit};
use crate::engine::device::CapturedGraph;
use crate::engine::optim::Optimizer;
use crate::engine::{DType, Device, Gradient, Owner, Params, Philox, RowSet, Tape, Tensor, Var, take_gradient};
use crate::graph::{Blocks, Graph};
use crate::layers::{Encoder, ForwardCtx, ParamBuilder, Relations};
use crate::ops::{Bpr, Combine, Gather, LogitKind, Query, RelationAttention, Rows};

/// Widths of the layers over the whole graph.
const LAYERS: [usize; 3] = [64, 32, 16];
/// Edges that are sampled for a node, hop by hop.
const FAN_OUT: [usize; 2] = [10, 10];
/// Learners of a batch, each with a course taken and one not taken.
const BATCH: usize = 1024;
const SEED: u64 = 20;

/// Learners, courses taken and courses not taken of a batch.
pub(super) fn triplets(inputs: &Inputs) -> [Vec<u32>; 3] {
    let (learners, courses) = (inputs.sizes.learners, inputs.sizes.courses);
    [(learners, 20), (courses, 21), (courses, 22)].map(|(n, list)| inputs.ids(BATCH, n, list))
}

pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let mut cases = full_graph(inputs)?;
    cases.push(sampled(inputs)?);
    cases.push(sampled_encoder(inputs)?);
    Ok(cases)
}

/// Parameters with their optimizer, and a batch.
struct Step {
    device: Device,
    params: Params,
    adam: Optimizer,
    /// Nodes of the triplets.
    batch: [Vec<u32>; 3],
    one: Tensor,
}

impl Step {
    fn new(inputs: &Inputs, params: Params) -> Result<Step> {
        let [own, taken, other] = triplets(inputs);
        let node = |courses: Vec<u32>| courses.iter().map(|c| inputs.sizes.learners as u32 + c).collect();
        Ok(Step {
            device: inputs.device.clone(),
            params,
            adam: Optimizer::new("adam", 1e-3, 0.0)?,
            batch: [own, node(taken), node(other)],
            one: Tensor::new(&inputs.device, 1, 1, &[1.0])?,
        })
    }

    /// One step. `triplet` gives Z of the batch; the first parameters stand on the tape as `rows` says.
    fn run(
        &mut self,
        rows: &[Option<Arc<RowSet>>],
        triplet: impl FnOnce(&mut ForwardCtx) -> Result<[Var; 3]>,
    ) -> Result<()> {
        let mut tape = Tape::new();
        let vars = self.params.rows_on_tape(&mut tape, rows)?;
        let (device, dtype) = (&self.device, DType::F32);
        let pass = &mut ForwardCtx { tape: &mut tape, vars: &vars, device, dtype, dropout: None };
        let triplet = triplet(pass)?;
        let loss = pass.tape.apply(Bpr::new(0.0), &triplet)?;
        let mut gradients = tape.backward(&[(loss, self.one.clone())])?;
        let of = |(i, v): (usize, &Var)| take_gradient(&mut gradients, (i, *v), rows);
        let gradients: Vec<Option<Gradient>> = vars.iter().enumerate().map(of).collect();
        drop(tape);
        self.adam.step(&mut self.params, &gradients)
    }
}

/// The encoder of WAA-TA with differentiated attention, and its parameters.
fn encoder(inputs: &Inputs, layers: &[usize], fan_out: &[usize]) -> Result<(Encoder, Params)> {
    let (learners, courses) = (inputs.sizes.learners, inputs.sizes.courses);
    let mut config = Config::default();
    config.model.dim = inputs.sizes.dim;
    config.model.layers = layers.to_vec();
    config.model.fan_out = fan_out.to_vec();
    config.model.message_dropout = 0.0;
    config.attention.mode = AttentionMode::Differentiated;
    config.attention.logit = Logit::KgatTanh;
    let relations = Relations { kg: 0, self_loop: false };
    let mut b = ParamBuilder::new(&inputs.device, DType::F32, SEED);
    let edges = inputs.edges(relations.count() as u32);
    let encoder = Encoder::new(&mut b, &config, relations, (learners, courses, courses), &edges, 0)?;
    Ok((encoder, b.params))
}

/// Every node of the graph; all parameters move.
fn full_graph(inputs: &Inputs) -> Result<Vec<Case>> {
    struct Full {
        step: Step,
        encoder: Encoder,
        nodes: usize,
    }
    impl Full {
        /// What the host sends for a step.
        fn upload(&mut self) -> Result<[Rows; 3]> {
            self.step.adam.prepare(&self.step.params)?;
            let of = |ids: &Vec<u32>| Rows::new(&self.step.device, ids.clone(), self.nodes);
            let [own, taken, other] = &self.step.batch;
            Ok([of(own)?, of(taken)?, of(other)?])
        }

        fn run(&mut self, [own, taken, other]: &[Rows; 3]) -> Result<()> {
            let encoder = &self.encoder;
            self.step.run(&[], |pass| {
                let states = encoder.nodes(pass)?;
                let mut of = |rows: &Rows| encoder.rows(pass, &states, rows);
                Ok([of(own)?, of(taken)?, of(other)?])
            })
        }
    }

    let (encoder, params) = encoder(inputs, &LAYERS, &[])?;
    let cost = full_graph_cost(inputs.nodes(), 2 * inputs.enrolments().len(), inputs.sizes.dim);
    let full = Full { step: Step::new(inputs, params)?, encoder, nodes: inputs.nodes() };
    let full = Rc::new(RefCell::new(full));
    let eager = full.clone();
    let mut cases = vec![Case::new("step/full-graph", cost, move || {
        let full = &mut *eager.borrow_mut();
        let rows = full.upload()?;
        full.run(&rows)
    })];
    if let Device::Gpu(gpu) = inputs.device.clone() {
        let mut captured = None;
        cases.push(Case::new("step/full-graph/captured", cost, move || {
            let full = &mut *full.borrow_mut();
            if let Some((inputs, work)) = &captured {
                gpu.restage(inputs, || full.upload())?;
                return CapturedGraph::replay(work);
            }
            // Once without capture: it loads the kernels and allocates the moments.
            let rows = full.upload()?;
            full.run(&rows)?;
            let (rows, inputs) = gpu.pack(|| full.upload())?;
            let ((), work) = gpu.capture(|| full.run(&rows))?;
            captured = Some((inputs, work));
            Ok(())
        }));
    }
    Ok(cases)
}

fn full_graph_cost(nodes: usize, edges: usize, d: usize) -> Cost {
    let row = |width: usize| (nodes * width * 4) as f64;
    // Adam on E and P reads parameter, gradient and both moments and writes three of them. Attention as in
    // attention/transd, for the first layer.
    let mut bytes = 2.0 * 7.0 * row(d) + 8.0 * row(d) + (edges * 8) as f64;
    let mut flops = (edges * 12 * d + nodes * 18 * d) as f64;
    let mut from = d;
    for (l, to) in LAYERS.into_iter().enumerate() {
        // A layer reads its states and writes the next; backward reads both and the next's gradient, and writes its own.
        // Of the last layer only the batch's rows have a gradient.
        let passes = if l + 1 == LAYERS.len() { 1 } else { 3 };
        bytes += passes as f64 * (row(from) + row(to));
        // Two products, and twice as much backward.
        flops += (nodes * 2 * from * to * 2 * passes) as f64;
        if l > 0 {
            // The edges' weights and their gradients; messages (2 d), d x (2 d) and d alpha (2 d).
            bytes += (edges * 4 * 4) as f64;
            flops += (edges * 2 * passes * from) as f64;
        }
        from = to;
    }
    Cost { bytes, flops }
}

/// New neighbourhoods in every step, the rows that they reach, and Adam on these alone.
struct Sampled {
    step: Step,
    /// Tables of nodes: the first parameters.
    tables: usize,
    steps: u64,
}

impl Sampled {
    fn new(inputs: &Inputs, params: Params, tables: usize) -> Result<Sampled> {
        Ok(Sampled { step: Step::new(inputs, params)?, tables, steps: 0 })
    }

    fn sample(&self, graph: &Graph) -> Result<Blocks> {
        let random = Philox::new(SEED, self.steps);
        Blocks::sample(graph, &self.step.device, &self.step.batch.concat(), &[], &FAN_OUT, random)
    }

    /// `represent` gives Z of the nodes of level 0.
    fn run(&mut self, graph: &Graph, represent: impl Fn(&mut ForwardCtx, &Blocks) -> Result<Var>) -> Result<()> {
        let blocks = self.sample(graph)?;
        self.steps += 1;
        let set = RowSet::new(&self.step.device, blocks.nodes().ids().to_vec(), graph.num_dst)?;
        let rows = vec![Some(Arc::new(set)); self.tables];
        let level = &blocks.levels[0];
        let place = |ids: &Vec<u32>| Rows::new(&self.step.device, level.places(ids), level.len());
        let [own, taken, other] = &self.step.batch;
        let places = [place(own)?, place(taken)?, place(other)?];
        self.step.run(&rows, |pass| {
            let z = represent(pass, &blocks)?;
            let mut of = |rows: &Rows| pass.tape.apply(Gather::new(rows.clone()), &[z]);
            let [own, taken, other] = &places;
            Ok([of(own)?, of(taken)?, of(other)?])
        })
    }
}

/// One table; a hop is x + sum of softmax(tanh(x + r) . x') x' over the neighbours x', as in small graph recommenders:
/// the work of the step in scripts/peers.
fn sampled(inputs: &Inputs) -> Result<Case> {
    let d = inputs.sizes.dim;
    let graph = inputs.graph(1)?;
    let mut params = Params::default();
    params.add("entity", Owner::Shared, inputs.random(inputs.nodes(), d, 0.1, 50)?);
    let relation = params.add("relation", Owner::Shared, inputs.random(1, d, 0.1, 51)?);
    let mut step = Sampled::new(inputs, params, 1)?;
    let cost = sampled_cost(&step.sample(&graph)?, d, 1, false);
    let represent = move |pass: &mut ForwardCtx, blocks: &Blocks| {
        // From the outermost hop inwards: destinations are the raw vectors, sources the output of the hop before.
        let (mut raw, mut x) = (vec![pass.vars[0]], pass.vars[0]);
        for h in (0..FAN_OUT.len()).rev() {
            let (heads, tails) = (&blocks.levels[h], &blocks.levels[h + 1]);
            let rows = Rows::new(pass.device, tails.places(heads.ids()), tails.len())?;
            let own = pass.tape.apply(Gather::new(rows), &[raw[raw.len() - 1]])?;
            raw.push(own);
            let graph = &blocks.blocks[h].graph;
            // There is no projection: the query takes vectors of zero for it, attention none.
            let (p, r_p) = (pass.zeros(heads.len(), d)?, pass.zeros(1, d)?);
            let query = Query::new(graph.clone(), LogitKind::Tanh);
            let query = pass.tape.apply_all(query, &[own, p, pass.param(relation), r_p])?;
            let (none, bias) = (pass.zeros(0, d)?, pass.zeros(1, 1)?);
            let attention = RelationAttention::new(graph.clone(), LogitKind::Tanh, 1.0);
            let sum = pass.tape.apply_all(attention, &[query[0], query[1], x, none, none, bias])?;
            x = pass.tape.apply(Combine::sum(2), &[own, sum[0]])?;
        }
        Ok(x)
    };
    Ok(Case::new("step/sampled", cost, move || step.run(&graph, represent)))
}

/// The encoder of WAA-TA: E and P, differentiated attention, two layers of bi-interaction, all layers stacked.
fn sampled_encoder(inputs: &Inputs) -> Result<Case> {
    let d = inputs.sizes.dim;
    let (encoder, params) = encoder(inputs, &[d; FAN_OUT.len()], &FAN_OUT)?;
    let mut step = Sampled::new(inputs, params, 2)?;
    let cost = sampled_cost(&step.sample(encoder.graph())?, d, 2, true);
    let work = move || {
        step.run(encoder.graph(), |pass, blocks| {
            let states = encoder.sampled_nodes(pass, blocks)?;
            encoder.stack(pass, &states)
        })
    };
    Ok(Case::new("step/sampled-encoder", cost, work))
}

/// Of the first step's neighbourhoods. A row of a table is read once, with both moments, and all three are written;
/// the rows in between (20 MB) stay in the cache. An edge's source is looked up once.
fn sampled_cost(blocks: &Blocks, d: usize, tables: usize, layers: bool) -> Cost {
    let edges: usize = blocks.blocks.iter().map(|b| b.graph.edges()).sum();
    let heads: usize = blocks.blocks.iter().map(|b| b.graph.num_dst).sum();
    let rows = tables * blocks.nodes().len();
    let bytes = (6 * rows * d * 4 + 4 * edges) as f64;
    // An edge: logit and sum, 4 d; backward two dot products and two sums, 8 d. A destination: query and its gradient,
    // 10 d. Adam: 12 an element.
    let mut flops = (edges * 12 * d + heads * 10 * d + rows * 12 * d) as f64;
    if layers {
        // Two products of a layer, and twice as much backward.
        flops += (heads * 2 * d * d * 2 * 3) as f64;
    }
    Cost { bytes, flops }
}

//! A whole training step of the attentive encoder: BPR on a batch of triplets, gradients, dense Adam.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Case, Cost, Inputs};
use crate::Result;
use crate::config::{AttentionMode, Config, Logit};
use crate::engine::device::CapturedGraph;
use crate::engine::optim::Optimizer;
use crate::engine::{DType, Device, Gradient, Params, Tape, Tensor};
use crate::layers::{Encoder, ForwardCtx, ParamBuilder, Relations};
use crate::ops::{Bpr, Rows};

const LAYERS: [usize; 3] = [64, 32, 16];
/// Learners of a batch, each with a course taken and one not taken.
const BATCH: usize = 1024;
const SEED: u64 = 20;

/// Learners, courses taken and courses not taken of a batch.
pub(super) fn triplets(inputs: &Inputs) -> [Vec<u32>; 3] {
    let (learners, courses) = (inputs.sizes.learners, inputs.sizes.courses);
    [(learners, 20), (courses, 21), (courses, 22)].map(|(n, list)| inputs.ids(BATCH, n, list))
}

/// Every node of the graph, attention differentiated, all parameters moved.
pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let (d, learners, courses) = (inputs.sizes.dim, inputs.sizes.learners, inputs.sizes.courses);
    let mut config = Config::default();
    config.model.dim = d;
    config.model.layers = LAYERS.to_vec();
    config.model.message_dropout = 0.0;
    config.attention.mode = AttentionMode::Differentiated;
    config.attention.logit = Logit::KgatTanh;
    let device = inputs.device.clone();
    let relations = Relations { kg: 0, self_loop: false };
    let mut b = ParamBuilder::new(&device, DType::F32, SEED);
    let edges = inputs.edges(relations.count() as u32);
    let encoder = Encoder::new(&mut b, &config, relations, (learners, courses, courses), &edges, 0)?;
    let params = b.params;
    let adam = Optimizer::new("adam", 1e-3, 0.0)?;
    let (nodes, edges) = (inputs.nodes(), edges.len());
    let shifted = |ids: Vec<u32>| ids.iter().map(|&c| learners as u32 + c).collect::<Vec<u32>>();
    let [own, taken, other] = triplets(inputs);
    let batch = [own, shifted(taken), shifted(other)];
    let one = Tensor::new(&device, 1, 1, &[1.0])?;
    let gpu = match &device {
        Device::Cpu => None,
        Device::Gpu(gpu) => Some(gpu.clone()),
    };
    let step = Rc::new(RefCell::new(Step { encoder, params, adam, batch, nodes, one, device }));
    let (launched, cost) = (step.clone(), full_graph(nodes, edges, d));
    let mut cases = vec![Case::new("step/full-graph", cost, move || {
        let step = &mut *launched.borrow_mut();
        let rows = step.send()?;
        step.run(&rows)
    })];
    if let Some(gpu) = gpu {
        let mut recorded = None;
        cases.push(Case::new("step/full-graph/captured", cost, move || {
            let step = &mut *step.borrow_mut();
            if let Some((inputs, work)) = &recorded {
                gpu.restage(inputs, || step.send())?;
                return CapturedGraph::replay(work);
            }
            // Once as it is: kernels are loaded, and moments are there.
            let rows = step.send()?;
            step.run(&rows)?;
            let (rows, inputs) = gpu.pack(|| step.send())?;
            let ((), work) = gpu.capture(|| step.run(&rows))?;
            recorded = Some((inputs, work));
            Ok(())
        }));
    }
    Ok(cases)
}

struct Step {
    encoder: Encoder,
    params: Params,
    adam: Optimizer,
    /// Nodes of learners, courses taken and courses not taken.
    batch: [Vec<u32>; 3],
    nodes: usize,
    one: Tensor,
    device: Device,
}

impl Step {
    /// What the host gives to a step.
    fn send(&mut self) -> Result<[Rows; 3]> {
        self.adam.prepare(&self.params)?;
        let of = |ids: &Vec<u32>| Rows::new(&self.device, ids.clone(), self.nodes);
        Ok([of(&self.batch[0])?, of(&self.batch[1])?, of(&self.batch[2])?])
    }

    fn run(&mut self, [own, taken, other]: &[Rows; 3]) -> Result<()> {
        let mut tape = Tape::new();
        let vars = self.params.on_tape(&mut tape);
        let loss = {
            let (device, dtype) = (&self.device, DType::F32);
            let pass = &mut ForwardCtx { tape: &mut tape, vars: &vars, device, dtype, dropout: None };
            let states = self.encoder.nodes(pass)?;
            let mut of = |rows: &Rows| self.encoder.rows(pass, &states, rows);
            let triplet = [of(own)?, of(taken)?, of(other)?];
            pass.tape.apply(Bpr::new(0.0), &triplet)?
        };
        let mut gradients = tape.backward(&[(loss, self.one.clone())])?;
        let gradients: Vec<Option<Gradient>> =
            vars.iter().map(|v| gradients.take(*v).map(Gradient::Dense)).collect();
        drop(tape);
        self.adam.step(&mut self.params, &gradients)
    }
}

fn full_graph(nodes: usize, edges: usize, d: usize) -> Cost {
    let row = |width: usize| (nodes * width * 4) as f64;
    // Adam on E and P reads parameter, gradient and both moments and writes three of them back. Attention as in
    // attention/transd, for the first layer.
    let mut bytes = 2.0 * 7.0 * row(d) + 8.0 * row(d) + (edges * 8) as f64;
    let mut flops = (edges * 12 * d + nodes * 18 * d) as f64;
    let mut from = d;
    for (l, to) in LAYERS.into_iter().enumerate() {
        // A layer reads its states and writes the next; back it reads both and the next's gradient, and writes its own.
        // Of the last layer only the batch's rows have a gradient.
        let passes = if l + 1 == LAYERS.len() { 1 } else { 3 };
        bytes += passes as f64 * (row(from) + row(to));
        // Two products, and back twice as much.
        flops += (nodes * 2 * from * to * 2 * passes) as f64;
        if l > 0 {
            // The edges' weights and their gradients, and with them messages (2 d), d x (2 d) and d alpha (2 d).
            bytes += (edges * 4 * 4) as f64;
            flops += (edges * 2 * passes * from) as f64;
        }
        from = to;
    }
    Cost { bytes, flops }
}

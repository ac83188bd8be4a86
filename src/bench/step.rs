//! A whole training step of the attentive encoder: BPR on a batch of triplets, gradients, dense Adam.

use super::{Case, Cost, Inputs};
use crate::Result;
use crate::config::{AttentionMode, Config, Logit};
use crate::engine::optim::Optimizer;
use crate::engine::{DType, Gradient, Tape, Tensor};
use crate::layers::{Builder, Encoder, Pass, Relations};
use crate::ops::Bpr;

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
    let mut b = Builder::new(&device, DType::F32, SEED);
    let edges = inputs.edges(relations.count() as u32);
    let encoder = Encoder::new(&mut b, &config, relations, (learners, courses, courses), &edges)?;
    let mut params = b.params;
    let mut adam = Optimizer::new("adam", 1e-3, 0.0)?;
    let (nodes, edges) = (inputs.nodes(), edges.len());
    let shifted = |ids: Vec<u32>| ids.iter().map(|&c| learners as u32 + c).collect::<Vec<u32>>();
    let [own, taken, other] = triplets(inputs);
    let batch = [own, shifted(taken), shifted(other)];
    let one = Tensor::new(&device, 1, 1, &[1.0])?;
    let work = move || {
        let mut tape = Tape::new();
        let vars = params.on_tape(&mut tape);
        let loss = {
            let pass =
                &mut Pass { tape: &mut tape, vars: &vars, device: &device, dtype: DType::F32, dropout: None };
            let states = encoder.nodes(pass)?;
            let mut of = |ids: &Vec<u32>| encoder.rows(pass, &states, ids.clone());
            let triplet = [of(&batch[0])?, of(&batch[1])?, of(&batch[2])?];
            pass.tape.apply(Bpr::new(0.0), &triplet)?
        };
        let mut gradients = tape.backward(&[(loss, one.clone())])?;
        let gradients: Vec<Option<Gradient>> =
            vars.iter().map(|v| gradients.take(*v).map(Gradient::Dense)).collect();
        drop(tape);
        adam.step(&mut params, &gradients)
    };
    Ok(vec![Case::new("step/full-graph", full_graph(nodes, edges, d), work)])
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

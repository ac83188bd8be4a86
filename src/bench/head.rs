//! A multi-task head on 2 d inputs: four experts 128-64 under one softmax gate per task, three towers 32-1, binary cross-entropy.

use super::{Case, Cost, Inputs, forward, gradients};
use crate::Result;
use crate::engine::{DType, Owner, Tape, Tensor};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::{Activation, BceLoss, Combine, SoftmaxMixture};

const EXPERTS: usize = 4;
const EXPERT: [usize; 2] = [128, 64];
const TASKS: usize = 3;
const TOWER: [usize; 2] = [32, 1];
const SEED: u64 = 20;

/// `count` networks, each with parameters of its own.
fn networks(
    b: &mut ParamBuilder,
    (name, count): (&str, usize),
    owner: fn(usize) -> Owner,
    input: usize,
    widths: &[usize],
    output: Activation,
) -> Result<Vec<Mlp>> {
    let network = |i| Mlp::new(b, &format!("{name}.{i}"), owner(i), input, widths, Activation::Relu, output);
    (0..count).map(network).collect()
}

/// Loss and gradients of all parameters and of the input, and the forward pass alone, for every batch size.
pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let input = 2 * inputs.sizes.dim;
    let mut cases = vec![];
    for &batch in &inputs.sizes.batches {
        let device = inputs.device.clone();
        let mut b = ParamBuilder::new(&device, DType::F32, SEED);
        let (relu, none) = (Activation::Relu, Activation::Identity);
        let experts = networks(&mut b, ("expert", EXPERTS), |_| Owner::Shared, input, &EXPERT, relu)?;
        let gates = networks(&mut b, ("gate", TASKS), Owner::Task, input, &[EXPERTS], none)?;
        let towers = networks(&mut b, ("tower", TASKS), Owner::Task, EXPERT[1], &TOWER, none)?;
        let params = b.params;
        let x = inputs.random(batch, input, 1.0, 20)?;
        let labels: Vec<f32> = inputs.ids(batch * TASKS, 10, 10).iter().map(|&y| f32::from(u8::from(y < 3))).collect();
        let labels = Tensor::new(&inputs.device, batch, TASKS, &labels)?;
        let seed = Tensor::new(&inputs.device, 1, 1, &[1.0])?;
        let elements = params.elements();
        let build = std::rc::Rc::new(move |tape: &mut Tape| {
            let vars = params.on_tape(tape);
            let (x, labels) = (tape.parameter(x.clone()), tape.constant(labels.clone()));
            let pass = &mut ForwardCtx { tape, vars: &vars, device: &device, dtype: DType::F32, dropout: None };
            // MMoE: a softmax gate over the experts for each task, then its tower.
            let experts = Mlp::grouped(pass, &experts, &[x])?;
            let gates = Mlp::grouped(pass, &gates, &[x])?;
            let mixed = pass.tape.apply_all(SoftmaxMixture::new(TASKS), &[gates, experts].concat())?;
            let mut logits = Mlp::grouped(pass, &towers, &mixed)?;
            logits.push(labels);
            let losses = pass.tape.apply_all(BceLoss::of_parts(TASKS), &logits)?;
            // The mean over all pairs and tasks.
            pass.tape.apply(Combine::mean(TASKS), &losses)
        });
        // Products of the experts, and per task the gate, the mixture and the tower; twice as much backward, for the
        // gradients of inputs and of weights.
        let [wide, out] = EXPERT;
        let expert = EXPERTS * (input * wide + wide * out);
        let task = TASKS * (input * EXPERTS + EXPERTS * out + out * TOWER[0] + TOWER[0]);
        let flops = (2 * batch * (expert + task)) as f64;
        // x, labels and logits; the parameters. Backward: the gradients of x and of the parameters.
        let rows = (batch * (input + 2 * TASKS) * 4) as f64;
        let once = Cost { bytes: rows + (elements * 4) as f64, flops };
        let both = Cost { bytes: once.bytes + (batch * 2 * input * 4 + elements * 2 * 4) as f64, flops: 3.0 * flops };
        let again = build.clone();
        cases.push(gradients(format!("head/forward+backward/{batch}"), both, seed, move |tape| build(tape)));
        cases.push(forward(format!("head/forward/{batch}"), once, move |tape| again(tape)));
    }
    Ok(cases)
}

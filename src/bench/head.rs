//! A multi-task head on 2 d inputs: four experts 128-64 under one softmax gate per task, three towers 32-1, binary cross-entropy.

use super::{Case, Cost, Inputs, forward, gradients};
use crate::Result;
use crate::engine::{DType, Owner, Tape, Tensor, Var};
use crate::layers::{ForwardCtx, Mlp, ParamBuilder};
use crate::ops::{Activation, BceLoss, Combine, SoftmaxMixture};

const EXPERTS: usize = 4;
const EXPERT: [usize; 2] = [128, 64];
const TASKS: usize = 3;
const TOWER: [usize; 2] = [32, 1];
const SEED: u64 = 20;

/// MMoE, made of the engine's layers.
struct Mmoe {
    experts: Vec<Mlp>,
    gates: Vec<Mlp>,
    towers: Vec<Mlp>,
}

impl Mmoe {
    /// `input`: width of a learner's and a course's vector together.
    fn new(b: &mut ParamBuilder, input: usize) -> Result<Mmoe> {
        let (relu, none) = (Activation::Relu, Activation::Identity);
        let expert = |b: &mut ParamBuilder, e: usize| {
            Mlp::new(b, &format!("expert.{e}"), Owner::Shared, input, &EXPERT, relu, relu)
        };
        let gate = |b: &mut ParamBuilder, k: usize| {
            Mlp::new(b, &format!("gate.{k}"), Owner::Task(k), input, &[EXPERTS], none, none)
        };
        let tower = |b: &mut ParamBuilder, k: usize| {
            Mlp::new(b, &format!("tower.{k}"), Owner::Task(k), EXPERT[1], &TOWER, relu, none)
        };
        Ok(Mmoe {
            experts: (0..EXPERTS).map(|e| expert(b, e)).collect::<Result<_>>()?,
            gates: (0..TASKS).map(|k| gate(b, k)).collect::<Result<_>>()?,
            towers: (0..TASKS).map(|k| tower(b, k)).collect::<Result<_>>()?,
        })
    }

    /// x (B, 2 d) -> logits (B, 1) of each task
    fn forward(&self, pass: &mut ForwardCtx, x: Var) -> Result<Vec<Var>> {
        let experts = Mlp::grouped(pass, &self.experts, &[x])?;
        let mut gates = Mlp::grouped(pass, &self.gates, &[x])?;
        gates.extend(experts);
        let mixed = pass.tape.apply_all(SoftmaxMixture::new(TASKS), &gates)?;
        Mlp::grouped(pass, &self.towers, &mixed)
    }
}

/// Loss and gradients of all parameters and of the input, and the forward pass alone, for every batch size.
pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let input = 2 * inputs.sizes.dim;
    let mut cases = vec![];
    for &batch in &inputs.sizes.batches {
        let device = inputs.device.clone();
        let mut b = ParamBuilder::new(&device, DType::F32, SEED);
        let head = Mmoe::new(&mut b, input)?;
        let params = b.params;
        let x = inputs.random(batch, input, 1.0, 20)?;
        let labels: Vec<f32> =
            inputs.ids(batch * TASKS, 10, 10).iter().map(|&y| f32::from(u8::from(y < 3))).collect();
        let labels = Tensor::new(&inputs.device, batch, TASKS, &labels)?;
        let seed = Tensor::new(&inputs.device, 1, 1, &[1.0])?;
        let elements = params.elements();
        let build = std::rc::Rc::new(move |tape: &mut Tape| {
            let vars = params.on_tape(tape);
            let (x, labels) = (tape.parameter(x.clone()), tape.constant(labels.clone()));
            let pass =
                &mut ForwardCtx { tape, vars: &vars, device: &device, dtype: DType::F32, dropout: None };
            let mut inputs = head.forward(pass, x)?;
            inputs.push(labels);
            let losses = pass.tape.apply_all(BceLoss::of_parts(TASKS), &inputs)?;
            // The mean over all pairs and tasks.
            pass.tape.apply(Combine::mean(TASKS), &losses)
        });
        // Products of the experts, and per task the gate, the mixture and the tower; back twice as much, for the
        // gradients of inputs and of weights.
        let [wide, out] = EXPERT;
        let expert = EXPERTS * (input * wide + wide * out);
        let task = TASKS * (input * EXPERTS + EXPERTS * out + out * TOWER[0] + TOWER[0]);
        let flops = (2 * batch * (expert + task)) as f64;
        // x, labels and logits; the parameters. Back the gradients of x and of the parameters.
        let rows = (batch * (input + 2 * TASKS) * 4) as f64;
        let once = Cost { bytes: rows + (elements * 4) as f64, flops };
        let both = Cost {
            bytes: once.bytes + (batch * 2 * input * 4 + elements * 2 * 4) as f64,
            flops: 3.0 * flops,
        };
        let again = build.clone();
        cases.push(gradients(format!("head/forward+backward/{batch}"), both, seed, move |tape| build(tape)));
        cases.push(forward(format!("head/forward/{batch}"), once, move |tape| again(tape)));
    }
    Ok(cases)
}

//! Recorded work: a replay gives the bits of the same work run step by step, and memory stays as long as it is needed.

mod common;

use common::{HostDriver, Order};
use waata::engine::optim::Optimizer;
use waata::engine::{Device, Gpu, Gradient, Owner, Params, Philox, Tape, Tensor};
use waata::ops::{Activation, L2Normalize, Linear};

fn gpu() -> Gpu {
    Gpu::new(HostDriver::new(Order::Shuffle(9)))
}

fn draw(stream: u64, count: usize) -> Vec<f32> {
    let random = Philox::new(8, stream);
    (0..count).map(|i| 0.3 * random.normal_at(i as u64) as f32).collect()
}

const ROWS: usize = 37;
const SHAPES: [(usize, usize); 4] = [(20, 33), (1, 33), (33, 8), (1, 8)];

fn parameters(device: &Device) -> Params {
    let mut params = Params::default();
    for (i, (rows, cols)) in SHAPES.into_iter().enumerate() {
        let value = Tensor::new(device, rows, cols, &draw(i as u64, rows * cols)).unwrap();
        params.add(format!("p{i}"), Owner::Shared, value);
    }
    params
}

/// Forward, backward and update of a network of two layers: a whole training step whose launches have no value that
/// changes from step to step.
fn step(params: &mut Params, x: &Tensor, optimizer: &mut Optimizer) -> waata::Result<Tensor> {
    let mut tape = Tape::new();
    let vars = params.on_tape(&mut tape);
    let input = tape.constant(x.clone());
    let hidden = tape.apply(Linear { activation: Activation::Elu }, &[input, vars[0], vars[1]])?;
    let scores = tape.apply(Linear { activation: Activation::Identity }, &[hidden, vars[2], vars[3]])?;
    let y = tape.apply(L2Normalize::default(), &[scores])?;
    let out = tape.value(y).clone();
    let upstream = Tensor::new(&x.device(), ROWS, 8, &draw(9, ROWS * 8))?;
    let mut grads = tape.backward(&[(y, upstream)])?;
    let grads: Vec<Option<Gradient>> = vars.iter().map(|v| grads.take(*v).map(Gradient::Dense)).collect();
    drop(tape);
    optimizer.step(params, &grads)?;
    Ok(out)
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_vec().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn replayed_training_steps_have_the_bits_of_single_ones() {
    let batches: Vec<Vec<f32>> = (20..24).map(|stream| draw(stream, ROWS * 20)).collect();
    let optimizer = || Optimizer::new("sgd", 0.1, 0.01).unwrap();

    let eager = Device::Gpu(gpu());
    let (mut want, mut single) = (parameters(&eager), optimizer());
    let mut outputs = vec![];
    for batch in &batches {
        let x = Tensor::new(&eager, ROWS, 20, batch).unwrap();
        outputs.push(bits(&step(&mut want, &x, &mut single).unwrap()));
    }

    let gpu = gpu();
    let device = Device::Gpu(gpu.clone());
    let (mut got, mut recorded) = (parameters(&device), optimizer());
    let mut x = Tensor::new(&device, ROWS, 20, &batches[0]).unwrap();
    let (out, captured) = gpu.capture(|| step(&mut got, &x, &mut recorded)).unwrap();
    for (batch, output) in batches.iter().zip(&outputs) {
        x.write(batch).unwrap();
        captured.replay().unwrap();
        assert_eq!(bits(&out), *output);
    }
    for (got, want) in got.iter().zip(want.iter()) {
        assert_eq!(bits(&got.value), bits(&want.value), "{}", want.name);
    }
}

#[test]
fn memory_of_a_recording_is_nobody_elses() {
    let gpu = gpu();
    let device = Device::Gpu(gpu.clone());
    let a = Tensor::new(&device, 8, 32, &[1.0; 256]).unwrap();
    let (sum, captured) = gpu
        .capture(|| {
            let mut sum = a.zeros_like()?;
            // A block that is freed while recording is used again by the recording.
            for factor in [1.0, 2.0, 3.0] {
                let mut scaled = Tensor::zeros(&device, a.dtype(), 8, 32)?;
                scaled.add_scaled(factor, &a)?;
                sum.add_scaled(1.0, &scaled)?;
            }
            Ok(sum)
        })
        .unwrap();
    // The input's owner goes; its memory stays until the recording goes, too.
    drop(a);
    for _ in 0..3 {
        let others: Vec<Tensor> = (0..8).map(|i| Tensor::new(&device, 8, 32, &[i as f32; 256]).unwrap()).collect();
        captured.replay().unwrap();
        assert_eq!(sum.to_vec().unwrap(), [6.0; 256]);
        for (i, other) in others.iter().enumerate() {
            assert_eq!(other.to_vec().unwrap(), [i as f32; 256]);
        }
    }
    // What came out of it outlives it.
    drop(captured);
    assert_eq!(sum.to_vec().unwrap(), [6.0; 256]);
    drop(sum);
    assert_eq!(gpu.memory_in_use().0, 0);
}

#[test]
fn what_cannot_be_recorded_is_an_error_and_leaves_nothing_behind() {
    let gpu = gpu();
    let device = Device::Gpu(gpu.clone());
    let a = Tensor::new(&device, 2, 2, &[1.0; 4]).unwrap();
    let waits = gpu.capture(|| a.to_vec());
    assert!(waits.err().unwrap().to_string().contains("while work is recorded"));
    let nested = gpu.capture(|| gpu.capture(|| Ok(())).map(|_| ()));
    assert!(nested.err().unwrap().to_string().contains("recording within a recording"));
    assert_eq!(a.to_vec().unwrap(), [1.0; 4]);
    let (b, captured) = gpu.capture(|| Tensor::zeros(&device, a.dtype(), 1, 3)).unwrap();
    captured.replay().unwrap();
    assert_eq!(b.to_vec().unwrap(), [0.0; 3]);
}

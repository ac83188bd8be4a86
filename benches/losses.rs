//! The losses of training, forward and backward into zeroed gradients as the tape runs them, on the CPU.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use waata::engine::{DType, Device, Op, Philox, Tensor};
use waata::ops::{SoftmaxLoss, SoftmaxOptions, TransD, TransDLoss, TransDOptions, Triples};

fn random(rows: usize, cols: usize, stream: u64) -> Tensor {
    let random = Philox::new(1, stream);
    let values: Vec<f32> = (0..rows * cols).map(|i| 0.2 * (random.uniform_at(i as u64) - 0.5)).collect();
    Tensor::new(&Device::Cpu, rows, cols, &values).unwrap()
}

fn step(op: &mut impl Op, x: &[&Tensor]) -> Vec<Option<Tensor>> {
    let y = op.forward(x).unwrap();
    let one = Tensor::from_f64(&Device::Cpu, DType::F32, 1, 1, &[1.0]).unwrap();
    let mut dx: Vec<Option<Tensor>> = x.iter().map(|x| Some(x.zeros_like().unwrap())).collect();
    op.backward(x, &[&y[0]], &[Some(&one)], &mut dx).unwrap();
    dx
}

/// 65,536 triples with a corrupted tail, 300,000 entities, 20 relations, n = m = 64, margin loss.
fn transd(c: &mut Criterion) {
    let (count, entities, relations, d) = (65_536usize, 300_000usize, 20usize, 64usize);
    let ids = |stream: u64, below: usize| -> Vec<u32> {
        let random = Philox::new(2, stream);
        (0..count).map(|i| random.below_at(i as u64, below as u32)).collect()
    };
    let (heads, tails, corrupted) = (ids(0, entities), ids(1, entities), ids(2, entities));
    let kinds = ids(3, relations);
    let x =
        [(entities, 0), (entities, 1), (relations, 2), (relations, 3)].map(|(rows, s)| random(rows, d, s));
    let x = x.each_ref();
    let sort = || {
        let columns = (&heads[..], &kinds[..], &tails[..]);
        Triples::new(&Device::Cpu, (entities, relations), columns, (&heads, &corrupted)).unwrap()
    };
    let options =
        TransDOptions { loss: TransDLoss::Margin { gamma: 1.0 }, l2: 0.0, ..TransDOptions::default() };
    let mut group = c.benchmark_group("transd");
    group.sample_size(30);
    group.bench_function("sort the batch", |b| b.iter(|| black_box(sort())));
    let mut op = TransD::new(options, sort());
    group.bench_function("zero the gradients", |b| b.iter(|| black_box(x.map(|x| x.zeros_like().unwrap()))));
    group.bench_function("forward", |b| b.iter(|| black_box(op.forward(&x).unwrap())));
    group.bench_function("forward and backward", |b| b.iter(|| black_box(step(&mut op, &x))));
    group.finish();
}

/// 1,024 learners against 3,321 courses, D = 64.
fn softmax_loss(c: &mut Criterion) {
    let (rows, courses, d) = (1024usize, 3321usize, 64usize);
    let targets = (0..rows).map(|b| (b * 31 % courses) as u32).collect();
    let options = SoftmaxOptions::default();
    let mut op = SoftmaxLoss::new(&Device::Cpu, targets, courses, None, options).unwrap();
    let x = [random(rows, d, 5), random(courses, d, 6), random(1, courses, 7)];
    c.bench_function("softmax_loss", |b| b.iter(|| black_box(step(&mut op, &x.each_ref()))));
}

criterion_group!(benches, transd, softmax_loss);
criterion_main!(benches);

//! The cases of `waata bench` under criterion: `cargo bench -- attention`. Sizes are a tenth of the defaults, so that
//! every case has time for its samples; `WAATA_BENCH=full` takes the defaults.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use waata::bench::{Family, Inputs, Sizes};
use waata::engine::{Backward, Device, Op, Tensor};
use waata::ops::{SoftmaxLoss, SoftmaxOptions};

fn sizes() -> Sizes {
    let full = Sizes::default();
    if std::env::var("WAATA_BENCH").is_ok_and(|size| size == "full") {
        return full;
    }
    Sizes {
        learners: full.learners / 10,
        enrolments: full.enrolments / 10,
        ranked: full.ranked / 10,
        triples: full.triples / 10,
        batches: vec![1024],
        rows: vec![10_000],
        ..full
    }
}

fn families(c: &mut Criterion) {
    let inputs = Inputs::new(&Device::Cpu, &sizes());
    let mut group = c.benchmark_group("waata");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for family in Family::ALL {
        for mut case in family.cases(&inputs).expect("sizes that fit") {
            group.bench_function(&case.name, |b| b.iter(|| (case.work)().expect("shapes fit")));
        }
    }
    group.finish();
}

/// 1,024 learners against 3,321 courses, d = 64: loss and gradients.
fn softmax_loss(c: &mut Criterion) {
    let inputs = Inputs::new(&Device::Cpu, &Sizes::default());
    let (rows, courses, d) = (1024usize, 3321usize, 64usize);
    let targets = (0..rows).map(|b| (b * 31 % courses) as u32).collect();
    let options = SoftmaxOptions::default();
    let mut op = SoftmaxLoss::new(&Device::Cpu, targets, courses, None, options).expect("ids are in range");
    let table = |rows, cols, i| inputs.random(rows, cols, 0.06, i).expect("memory");
    let x = [table(rows, d, 0), table(courses, d, 1), table(1, courses, 2)];
    let one = Tensor::new(&Device::Cpu, 1, 1, &[1.0]).expect("one value");
    c.bench_function("softmax_loss", |b| {
        b.iter(|| {
            let y = op.forward(&x.each_ref()).expect("shapes fit");
            let mut dx = x.each_ref().map(|x| Some(x.zeros_like().expect("memory")));
            op.backward(Backward { x: &x.each_ref(), y: &[&y[0]], dy: &[Some(&one)], dx: &mut dx })
                .expect("shapes fit");
            dx
        })
    });
}

criterion_group!(benches, families, softmax_loss);
criterion_main!(benches);

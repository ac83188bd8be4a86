//! Relation attention at 300,000 learners x 4,216 courses: 2.1 M enrolments, both directions, 64 columns.
//! Learners are uniform, courses follow Zipf's law (exponent 0.8).

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use waata::engine::{Device, Op, Philox, Tensor};
use waata::graph::{Edge, Graph};
use waata::ops::{Attend, LogitKind, Query};

const LEARNERS: usize = 300_000;
const COURSES: usize = 4_216;
const ENROLMENTS: usize = 2_100_000;
const N: usize = 64;

/// Learners first, then courses; relation 0 from learner to course and 1 back.
fn enrolments() -> Graph {
    let mut cumulative = Vec::with_capacity(COURSES);
    let mut total = 0.0;
    for rank in 1..=COURSES {
        total += (rank as f64).powf(-0.8);
        cumulative.push(total);
    }
    let draw = Philox::new(11, 0);
    let mut pairs: Vec<(u32, u32)> = (0..ENROLMENTS as u64)
        .map(|i| {
            let at = draw.uniform_at(4 * i) as f64 * total;
            let course = cumulative.partition_point(|&c| c < at).min(COURSES - 1);
            (draw.below_at(ENROLMENTS as u64 * 4 + i, LEARNERS as u32), course as u32)
        })
        .collect();
    pairs.sort_unstable();
    let edge = |head, relation, tail| Edge { head, relation, tail, bucket: 0 };
    let edges: Vec<Edge> = pairs
        .into_iter()
        .flat_map(|(learner, course)| {
            let course = LEARNERS as u32 + course;
            [edge(learner, 0, course), edge(course, 1, learner)]
        })
        .collect();
    let nodes = LEARNERS + COURSES;
    Graph::new(&Device::Cpu, nodes, nodes, 2, &edges).expect("ids are in range")
}

fn random(rows: usize, cols: usize, stream: u64) -> Tensor {
    let draw = Philox::new(5, stream);
    let values: Vec<f32> = (0..(rows * cols) as u64).map(|i| 0.2 * (draw.uniform_at(i) - 0.5)).collect();
    Tensor::new(&Device::Cpu, rows, cols, &values).expect("the length fits")
}

fn step(op: &mut dyn Op, x: &[&Tensor], seeds: &[Option<&Tensor>]) {
    let y = op.forward(x).expect("shapes fit");
    if !seeds.is_empty() {
        let mut dx: Vec<_> = x.iter().map(|x| Some(x.zeros_like().expect("memory"))).collect();
        let y: Vec<&Tensor> = y.iter().collect();
        op.backward(x, &y, seeds, &mut dx).expect("shapes fit");
        black_box(dx);
    }
    black_box(y);
}

fn attention(c: &mut Criterion) {
    let graph = Arc::new(enrolments());
    let nodes = graph.heads;
    let (x, p) = (random(nodes, N, 1), random(nodes, N, 2));
    let (r, r_p) = (random(2, N, 3), random(2, N, 4));
    let bias = random(1, 1, 5);
    let mut query = Query::new(graph.clone(), LogitKind::Tanh);
    let uo = query.forward(&[&x, &p, &r, &r_p]).expect("shapes fit");
    let d_u = random(graph.groups.count, N, 6);
    let d_agg = random(nodes, N, 7);
    let mut attend = Attend::new(graph.clone(), LogitKind::Tanh, 1.0);

    let mut group = c.benchmark_group("attention");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    let inputs = [&uo[0], &uo[1], &x, &p, &r_p, &bias];
    group.bench_function("attend forward", |b| b.iter(|| step(&mut attend, &inputs, &[])));
    let seeds = [Some(&d_agg), None, None];
    group.bench_function("attend forward + backward", |b| b.iter(|| step(&mut attend, &inputs, &seeds)));
    let inputs = [&x, &p, &r, &r_p];
    group.bench_function("query forward", |b| b.iter(|| step(&mut query, &inputs, &[])));
    let seeds = [Some(&d_u), None];
    group.bench_function("query forward + backward", |b| b.iter(|| step(&mut query, &inputs, &seeds)));
    group.finish();
}

criterion_group!(benches, attention);
criterion_main!(benches);

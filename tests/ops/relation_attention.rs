use waata::engine::{DType, Device, Gpu, Philox, Tape, Tensor};
use waata::ops::{LogitKind, RelationAttention};

use crate::common::{HostDriver, Order};
use crate::graphs::{BUCKETS, example, examples};
use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for example in examples() {
        // Equal widths with and without a kernel of their own, either one larger, and more than a register tile.
        for (n, m) in [(64, 64), (32, 32), (5, 3), (3, 7), (150, 140)] {
            let wide = n > 64;
            if wide && example.edges.len() > 100 && n != 150 {
                continue;
            }
            for (logit, temperature) in [(LogitKind::Tanh, 1.0), (LogitKind::Gat { slope: 0.2 }, 0.7)] {
                let graph = example.clone();
                let (heads, tails, groups) = (example.heads, example.tails, example.groups());
                let name = format!("{} ({heads}) {n} {m} {logit:?}", example.name);
                cases.push(
                    Case::new(name, move |device| RelationAttention::new(graph.on(device), logit, temperature))
                        .input(groups, m)
                        .input(groups, 1)
                        .input(tails, n)
                        .input(tails, n)
                        .input(example.relations, m)
                        .input(BUCKETS, 1),
                );
            }
        }
    }
    // Without a projection, with and without equal widths.
    for (example, (n, m)) in examples().into_iter().flat_map(|e| [(e.clone(), (64, 64)), (e, (5, 3))]) {
        let (graph, tails, groups) = (example.clone(), example.tails, example.groups());
        cases.push(
            Case::new(format!("{} plain {n} {m}", example.name), move |device| {
                RelationAttention::new(graph.on(device), LogitKind::Dot, 1.3)
            })
            .input(groups, m)
            .input(groups, 1)
            .input(tails, n)
            .constant(0, n, vec![])
            .constant(0, m, vec![])
            .input(BUCKETS, 1),
        );
    }
    cases
}

crate::op_tests!(cases);

/// Outputs and gradients of a graph under the upstream gradients that `with` asks for (agg, alpha). The CPU must stream
/// over its pairs exactly where it has them.
fn run(graph: &str, device: &Device, dtype: DType, with: [bool; 2]) -> Vec<Vec<f64>> {
    let example = example(graph);
    let (n, m) = (64, 64);
    let random = |rows: usize, cols: usize, stream: u64| {
        let draw = Philox::new(9, stream);
        let values: Vec<f64> = (0..(rows * cols) as u64).map(|i| 0.5 * draw.normal_at(i)).collect();
        Tensor::from_f64(device, dtype, rows, cols, &values).unwrap()
    };
    let (groups, tails) = (example.groups(), example.tails);
    let shapes = [(groups, m), (groups, 1), (tails, n), (tails, n), (example.relations, m), (BUCKETS, 1)];
    let inputs: Vec<Tensor> = (0..).zip(shapes).map(|(i, (r, c))| random(r, c, i)).collect();
    let graph = example.on(device);
    if let (true, Some(pairs)) = (example.paired, &graph.bipartite) {
        assert!(pairs.chunks.len() > 2, "one chunk has nothing to merge");
    }
    let op = RelationAttention::new(graph, LogitKind::Gat { slope: 0.2 }, 0.7);
    assert_eq!(op.is_streamed(&inputs.iter().collect::<Vec<_>>()), example.paired && *device == Device::Cpu);
    let mut tape = Tape::new();
    let x: Vec<_> = inputs.into_iter().map(|x| tape.parameter(x)).collect();
    let y = tape.apply_all(op, &x).unwrap();
    let shape = |i: usize| tape.value(y[i]).shape();
    let seeds: Vec<_> =
        (0..2).filter(|&i| with[i]).map(|i| (y[i], random(shape(i).0, shape(i).1, 10 + i as u64))).collect();
    let mut grads = tape.backward(&seeds).unwrap();
    let mut all: Vec<Vec<f64>> = y.iter().map(|&y| tape.value(y).to_f64().unwrap()).collect();
    all.extend(x.iter().map(|&x| grads.take(x).unwrap().to_f64().unwrap()));
    all
}

/// Backward is linear in what comes from above: the two outputs' gradients, each alone, add up to both together.
#[test]
fn either_output_may_be_unused() {
    let executor = Device::Gpu(Gpu::new(HostDriver::new(Order::Forward)));
    for (device, dtype, tolerance) in [(Device::Cpu, DType::F64, 1e-12), (executor, DType::F32, 1e-4)] {
        for graph in ["hub", "enrolments"] {
            let [both, agg, alpha] =
                [[true, true], [true, false], [false, true]].map(|with| run(graph, &device, dtype, with));
            // Behind the three outputs come the gradients.
            for i in 3..both.len() {
                let scale = both[i].iter().fold(1.0f64, |max, x| max.max(x.abs()));
                for ((both, agg), alpha) in both[i].iter().zip(&agg[i]).zip(&alpha[i]) {
                    assert!((both - agg - alpha).abs() <= tolerance * scale, "{}: input {}", device.name(), i - 3);
                }
            }
        }
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| ["hub", "enrolments"].map(|graph| run(graph, &Device::Cpu, DType::F32, [true, true])))
    };
    assert_eq!(on(1), on(3));
}

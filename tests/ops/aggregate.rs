use waata::engine::Device;
use waata::ops::{Aggregate, laplacian_weights};

use crate::graphs::examples;
use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for example in examples() {
        for n in [64, 1, 5, 130] {
            let graph = example.clone();
            cases.push(
                Case::new(format!("{} {n}", example.name), move |device| Aggregate::new(graph.on(device)))
                    .input(example.edges.len(), 1)
                    .input(example.tails, n),
            );
        }
    }
    cases
}

crate::op_tests!(cases);

/// The weights of a head sum to the number of relations that it has.
#[test]
fn laplacian() {
    for example in examples() {
        let graph = example.on(&Device::Cpu);
        let weights = laplacian_weights(&graph);
        for v in 0..graph.num_dst {
            let sum: f64 = graph.row(v).map(|e| weights[e] as f64).sum();
            let relations = graph.groups.dst_splits.of(v).map(|p| graph.groups.dst_splits.range(p).len());
            assert!((sum - relations.sum::<usize>() as f64).abs() < 1e-4, "{}: head {v}", example.name);
        }
    }
}

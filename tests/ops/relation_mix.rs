use waata::ops::RelationMix;

use crate::graphs::examples;
use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for example in examples() {
        for n in [64, 5] {
            let graph = example.clone();
            cases.push(
                Case::new(format!("{} {n}", example.name), move |device| RelationMix::new(graph.on(device)))
                    .input(example.edges.len(), 1)
                    .input(example.tails, 1)
                    .input(example.relations, n),
            );
        }
    }
    cases
}

crate::op_tests!(cases);

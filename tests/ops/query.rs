use waata::ops::{LogitKind, Query};

use crate::graphs::examples;
use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for example in examples() {
        for (n, m) in [(64, 64), (5, 3), (3, 7), (1, 1)] {
            for logit in [LogitKind::Tanh, LogitKind::Dot, LogitKind::Gat { slope: 0.2 }] {
                let graph = example.clone();
                let name = format!("{} {n} {m} {logit:?}", example.name);
                let case = Case::new(name, move |device| Query::new(graph.on(device), logit))
                    .input(example.heads, n)
                    .input(example.heads, n)
                    .input(example.relations, m)
                    .input(example.relations, m);
                cases.push(if matches!(logit, LogitKind::Gat { .. }) { case.input(3, m) } else { case });
            }
        }
    }
    cases
}

crate::op_tests!(cases);

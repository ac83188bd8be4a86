use waata::ops::{Attend, LogitKind};

use crate::graphs::{BUCKETS, examples};
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
                    Case::new(name, move |device| Attend::new(graph.on(device), logit, temperature))
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
    cases
}

crate::op_tests!(cases);

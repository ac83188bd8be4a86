use waata::ops::{Combine, Concat};

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for widths in [vec![1], vec![3, 1, 2], vec![16, 33, 1, 7]] {
        for n in [0, 1, 41] {
            let case = Case::new(format!("concat {n} x {widths:?}"), |_| Concat);
            cases.push(widths.iter().fold(case, |case, &d| case.input(n, d)));
        }
    }
    // Ten inputs take two launches.
    for inputs in [1, 3, 10] {
        for (n, d) in [(0, 2), (1, 1), (21, 19)] {
            let weights: Vec<f64> = (0..inputs).map(|i| 0.5 * i as f64 - 1.0).collect();
            let variants = [Combine::sum(inputs), Combine::mean(inputs), Combine { weights }];
            for op in variants {
                let case = Case::new(format!("combine {inputs} of {n}x{d} {:?}", op.weights), move |_| op.clone());
                cases.push((0..inputs).fold(case, |case, _| case.input(n, d)));
            }
        }
    }
    cases
}

crate::op_tests!(cases);

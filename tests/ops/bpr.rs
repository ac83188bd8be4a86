use waata::ops::Bpr;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (rows, d) in [(0, 3), (1, 1), (7, 5), (65, 40), (300, 2)] {
        for l2 in [0.0, 0.2] {
            let case = Case::new(format!("{rows}x{d} {l2}"), move |_| Bpr::new(l2));
            cases.push(case.input(rows, d).input(rows, d).input(rows, d));
        }
    }
    // Margins far out on both sides: no overflow, no vanished gradient.
    let row = |x: f64| vec![x, -x];
    let case = Case::new("extremes", |_| Bpr::new(0.0));
    cases.push(case.input_of(2, 1, vec![1.0, 1.0]).input_of(2, 1, row(60.0)).input_of(2, 1, row(-60.0)));
    cases
}

crate::op_tests!(cases);

use waata::ops::{L1, L2, RowSum};

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    // 5,000 elements take two partial sums.
    for (n, d) in [(0, 3), (1, 1), (9, 7), (100, 50)] {
        cases.push(Case::new(format!("l1 {n}x{d}"), |_| L1 { lambda: 0.01 }).input(n, d));
        cases.push(Case::new(format!("l2 {n}x{d}"), |_| L2 { lambda: 0.3 }).input(n, d));
    }
    for (n, d) in [(0, 2), (3, 0), (1, 1), (5, 4), (40, 70)] {
        cases.push(Case::new(format!("row sum {n}x{d}"), |_| RowSum).input(n, d));
    }
    cases.push(Case::new("l1 of three", |_| L1 { lambda: 0.5 }).input(3, 4).input(1, 4).input(20, 2));
    cases.push(Case::new("l2 of three", |_| L2 { lambda: 1e-5 }).input(6, 4).input(6, 4).input(6, 4));
    cases
}

crate::op_tests!(cases);

use waata::ops::RowDot;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    [(0, 3), (1, 1), (5, 7), (300, 1), (65, 64), (3, 300)]
        .map(|(b, d)| Case::new(format!("{b}x{d}"), |_| RowDot).input(b, d).input(b, d))
        .into()
}

crate::op_tests!(cases);

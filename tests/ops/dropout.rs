use waata::engine::Philox;
use waata::ops::Dropout;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for rate in [0.0, 0.1, 0.9] {
        // Sizes on every remainder of four, and over one chunk of the CPU code.
        for (n, d) in [(0, 3), (1, 1), (2, 3), (3, 5), (40, 51)] {
            let random = Philox::new(0x1234_5678_9ABC_DEF0, 0xFEDC_BA98_7654_3210);
            cases.push(
                Case::new(format!("{n}x{d} rate {rate}"), move |_| Dropout { rate, random }).input(n, d),
            );
        }
    }
    cases
}

crate::op_tests!(cases);

use waata::ops::PairFeatures;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for op in [PairFeatures::Concat, PairFeatures::Hadamard, PairFeatures::ConcatHadamard] {
        for (n, d) in [(0, 3), (1, 1), (5, 7), (37, 40)] {
            cases.push(Case::new(format!("{op:?} {n}x{d}"), move |_| op).input(n, d).input(n, d));
        }
    }
    cases
}

crate::op_tests!(cases);

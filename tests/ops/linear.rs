use waata::ops::{Activation, Linear};

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    // Nothing, one, odd, a tile's edge and beyond it; the long batch takes the split-k product of dW.
    for (b, n, d) in [(0, 3, 2), (1, 1, 1), (5, 7, 3), (64, 16, 64), (65, 33, 70), (700, 9, 5)] {
        for activation in [Activation::Identity, Activation::Relu, Activation::LeakyRelu(0.2), Activation::Elu] {
            cases.push(
                Case::new(format!("{b}x{n}x{d} {activation:?}"), move |_| Linear { activation })
                    .input(b, n)
                    .input(n, d)
                    .input(1, d),
            );
        }
    }
    cases
}

crate::op_tests!(cases);

#[test]
fn matrix_units() {
    crate::harness::matrix_units(smooth_cases());
}

/// Without kinks: near one, rounding decides a slope.
pub fn smooth_cases() -> Vec<Case> {
    let cases = [(1, 1, 1), (5, 7, 3), (65, 33, 70), (600, 9, 5)].map(|(b, n, d)| {
        let activation = Activation::Elu;
        Case::new(format!("{b}x{n}x{d}"), move |_| Linear { activation }).input(b, n).input(n, d).input(1, d)
    });
    cases.into()
}

use waata::engine::{Device, Op, Tensor};
use waata::ops::Gate;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (n, d) in [(0, 3), (1, 1), (5, 7), (70, 40)] {
        for gates in [1, d] {
            cases.push(
                Case::new(format!("{n}x{d}, {gates} gates"), |_| Gate)
                    .input(n, d)
                    .input(n, d)
                    .input(2 * d, gates)
                    .input(1, gates),
            );
        }
    }
    cases
}

crate::op_tests!(cases);

/// An open gate passes S and a closed one T, without NaN at the ends of the sigmoid.
#[test]
fn ends_of_the_gate() {
    let t = |cols: usize, values: &[f32]| Tensor::new(&Device::Cpu, values.len() / cols, cols, values).unwrap();
    for (bias, want) in [(200.0, [1.0, 2.0]), (-200.0, [3.0, 4.0])] {
        let (s, spec, w, b) = (t(2, &[1.0, 2.0]), t(2, &[3.0, 4.0]), t(1, &[0.0; 4]), t(1, &[bias]));
        let y = Gate.forward(&[&s, &spec, &w, &b]).unwrap();
        assert_eq!(y[0].to_vec().unwrap(), want);
    }
}

use waata::engine::{Device, Op, Philox, Tensor};
use waata::ops::{Aggregator, BiInteraction};

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (n, d_in, d_out) in [(0, 3, 2), (1, 1, 1), (5, 7, 3), (70, 33, 18)] {
        for aggregator in [Aggregator::Bi, Aggregator::Gcn, Aggregator::GraphSage] {
            for (slope, rate) in [(0.01, 0.0), (0.2, 0.3)] {
                let name = format!("{aggregator:?} {n}x{d_in}x{d_out} slope {slope} dropout {rate}");
                let mut case = Case::new(name, move |_| {
                    BiInteraction::new(aggregator, slope, rate, Some(Philox::new(11, 5)))
                })
                .input(n, d_in)
                .input(n, d_in);
                for (rows, cols) in aggregator.weights(d_in, d_out) {
                    case = case.input(rows, cols);
                }
                cases.push(case);
            }
        }
    }
    cases
}

crate::op_tests!(cases);

#[test]
fn refuses_weights_of_another_shape() {
    let t = |rows, cols| Tensor::new(&Device::Cpu, rows, cols, &vec![0.0; rows * cols]).unwrap();
    let mut op = BiInteraction::new(Aggregator::Bi, 0.01, 0.1, None);
    let (x, w, b) = (t(3, 2), t(2, 4), t(1, 4));
    assert!(op.forward(&[&x, &x, &w, &w, &b, &b]).is_ok());
    assert!(op.forward(&[&x, &x, &w, &t(3, 4), &b, &b]).is_err());
    assert!(op.forward(&[&x, &t(2, 2), &w, &w, &b, &b]).is_err());
    assert!(op.forward(&[&x, &x, &w, &b]).is_err());
}

use waata::engine::{Device, Op, Tensor};
use waata::ops::L2Normalize;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    // The high floor has rows on both sides of it.
    for floor in [1e-12, 0.7] {
        for (n, d) in [(0, 3), (4, 1), (7, 2), (33, 31), (5, 200)] {
            cases.push(
                Case::new(format!("{n}x{d} floor {floor}"), move |_| L2Normalize::new(floor)).input(n, d),
            );
        }
    }
    cases
}

crate::op_tests!(cases);

#[test]
fn a_zero_row_stays_zero() {
    let x = Tensor::new(&Device::Cpu, 2, 2, &[0.0, 0.0, 3.0, 4.0]).unwrap();
    let y = L2Normalize::default().forward(&[&x]).unwrap();
    assert_eq!(y[0].to_vec().unwrap(), [0.0, 0.0, 0.6, 0.8]);
}

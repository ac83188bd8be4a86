use waata::engine::{Device, Op, Philox, Tensor};
use waata::ops::Dropout;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for rate in [0.0, 0.1, 0.9] {
        // Sizes on every remainder of four, and over one chunk of the CPU code.
        for (n, d) in [(0, 3), (1, 1), (2, 3), (3, 5), (40, 51)] {
            let random = Philox::new(0x1234_5678_9ABC_DEF0, 0xFEDC_BA98_7654_3210);
            cases.push(Case::new(format!("{n}x{d} rate {rate}"), move |_| Dropout { rate, random }).input(n, d));
        }
    }
    cases
}

crate::op_tests!(cases);

#[test]
fn keeps_its_share_and_the_mean() {
    let x = Tensor::new(&Device::Cpu, 1, 100_000, &vec![1.0; 100_000]).unwrap();
    let y = Dropout { rate: 0.3, random: Philox::new(1, 2) }.forward(&[&x]).unwrap()[0].to_vec().unwrap();
    let kept = y.iter().filter(|&&y| y != 0.0).count() as f64 / 1e5;
    assert!((kept - 0.7).abs() < 0.01, "{kept}");
    assert!(y.iter().all(|&y| y == 0.0 || (y - 1.0 / 0.7).abs() < 1e-6));
}

#[test]
fn refuses_a_rate_of_one() {
    let x = Tensor::new(&Device::Cpu, 1, 1, &[1.0]).unwrap();
    assert!(Dropout { rate: 1.0, random: Philox::new(1, 2) }.forward(&[&x]).is_err());
}

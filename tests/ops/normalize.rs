use waata::engine::{Device, Gpu, Tape, Tensor};
use waata::ops::L2Normalize;

use crate::common::{HostDriver, Order};
use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    // The high floor has rows on both sides of it.
    for floor in [1e-12, 0.7] {
        for (n, d) in [(0, 3), (4, 1), (7, 2), (33, 31), (5, 200)] {
            cases.push(Case::new(format!("{n}x{d} floor {floor}"), move |_| L2Normalize::new(floor)).input(n, d));
        }
    }
    cases
}

crate::op_tests!(cases);

#[test]
fn a_zero_row_stays_zero_and_has_no_gradient() {
    let executor = Device::Gpu(Gpu::new(HostDriver::new(Order::Forward)));
    for device in [Device::Cpu, executor] {
        let mut tape = Tape::new();
        let x = tape.parameter(Tensor::new(&device, 2, 2, &[0.0, 0.0, 3.0, 4.0]).unwrap());
        let y = tape.apply(L2Normalize::default(), &[x]).unwrap();
        assert_eq!(tape.value(y).to_vec().unwrap(), [0.0, 0.0, 0.6, 0.8]);
        let upstream = Tensor::new(&device, 2, 2, &[1.0, -2.0, 4.0, -3.0]).unwrap();
        let dx = tape.backward(&[(y, upstream)]).unwrap().take(x).unwrap().to_vec().unwrap();
        assert_eq!(dx[..2], [0.0, 0.0]);
        assert!((dx[2] - 0.8).abs() < 1e-6 && (dx[3] + 0.6).abs() < 1e-6, "{dx:?}");
    }
}

use waata::engine::{Device, Op, Tensor};
use waata::ops::{SoftmaxLoss, SoftmaxOptions};

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    let sizes = [(0usize, 5usize, 3usize), (1, 1, 1), (3, 7, 5), (33, 300, 9), (140, 17, 4)];
    for (rows, courses, d) in sizes {
        for (scale, label_smoothing, masked) in
            [(1.0, 0.0, false), (2.5, 0.1, false), (1.5, 0.0, true), (0.7, 0.2, true)]
        {
            let make = move |device: &Device| {
                let targets: Vec<u32> = (0..rows).map(|b| ((b * 5 + 2) % courses) as u32).collect();
                // Rows of none, some with repeats, and all courses; a target among them stays.
                let mut offsets = vec![0u64];
                let mut ids: Vec<u32> = vec![];
                for b in 0..rows {
                    match b % 3 {
                        0 => {}
                        1 => ids.extend((0..courses as u32).step_by(2).chain([0])),
                        _ => ids.extend(0..courses as u32),
                    }
                    offsets.push(ids.len() as u64);
                }
                let excluded = masked.then_some((&offsets[..], &ids[..]));
                let options = SoftmaxOptions { scale, label_smoothing };
                SoftmaxLoss::new(device, targets, courses, excluded, options).unwrap()
            };
            let name = format!("{rows}x{courses}x{d} {scale} {label_smoothing} {masked}");
            cases.push(Case::new(name, make).input(rows, d).input(courses, d).input(1, courses));
        }
    }
    cases
}

crate::op_tests!(cases);

#[test]
fn by_hand_and_refusals() {
    let new =
        |targets: Vec<u32>, excluded, options| SoftmaxLoss::new(&Device::Cpu, targets, 3, excluded, options);
    let t = |rows, cols, v: &[f32]| Tensor::new(&Device::Cpu, rows, cols, v).unwrap();
    let (u, items, bias) = (t(1, 1, &[1.0]), t(3, 1, &[0.0, 0.0, 7.0]), t(1, 3, &[0.0, 3f32.ln(), 0.0]));
    // Course 2 is excluded: logits 0 and ln 3, so the first has probability 1/4.
    let mut op = new(vec![0], Some((&[0, 1], &[2])), SoftmaxOptions::default()).unwrap();
    let y = op.forward(&[&u, &items, &bias]).unwrap();
    assert!((y[0].scalar().unwrap() - 4f64.ln()).abs() < 1e-6);
    assert!(new(vec![3], None, SoftmaxOptions::default()).is_err());
    assert!(new(vec![0], Some((&[0], &[])), SoftmaxOptions::default()).is_err());
    assert!(new(vec![0], Some((&[0, 1], &[3])), SoftmaxOptions::default()).is_err());
    assert!(new(vec![0], None, SoftmaxOptions { scale: 1.0, label_smoothing: 1.0 }).is_err());
}

use waata::engine::{DType, Device, Gpu, Op, Tensor};
use waata::ops::{SoftmaxLoss, SoftmaxOptions};

use crate::common::{HostDriver, Order};
use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    // The last two in blocks of 32 rows, with 6 and 1 left over.
    let all = usize::MAX;
    let sizes = [(0usize, 5usize, 3usize, all), (1, 1, 1, all), (3, 7, 5, all), (33, 300, 9, all), (140, 17, 4, all)];
    for (rows, courses, d, most) in sizes.into_iter().chain([(70, 7, 5, 32 * 7), (33, 6, 2, 0)]) {
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
                let loss = SoftmaxLoss::new(device, targets, courses, excluded, options).unwrap();
                if most == all { loss } else { loss.with_most_logits(most) }
            };
            let name = format!("{rows}x{courses}x{d} {most} {scale} {label_smoothing} {masked}");
            cases.push(Case::new(name, make).input(rows, d).input(courses, d).input(1, courses));
        }
    }
    cases
}

crate::op_tests!(cases);

#[test]
fn by_hand_and_refusals() {
    let new = |targets: Vec<u32>, excluded, options| SoftmaxLoss::new(&Device::Cpu, targets, 3, excluded, options);
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

/// Of a course that is certain and right the loss is what all others hold, however little; next to the largest logit's
/// own share of 1 it would vanish.
#[test]
fn small_losses_keep_their_digits() {
    let executor = Device::Gpu(Gpu::new(HostDriver::new(Order::Forward)));
    let sides = [(&Device::Cpu, DType::F64, 1e-14), (&Device::Cpu, DType::F32, 1e-5), (&executor, DType::F32, 1e-5)];
    for (device, dtype, tolerance) in sides {
        for lead in [-20.0, -1.0, 0.0, 1.0, 10.0, 20.0, 30.0, 60.0f64] {
            // The target has `lead`, two others 0 and -1, and one that is excluded more than all.
            let tensor = |rows, cols, x: &[f64]| Tensor::from_f64(device, dtype, rows, cols, x).unwrap();
            let bias = tensor(1, 4, &[0.0, lead, 90.0, -1.0]);
            let excluded = Some((&[0u64, 1][..], &[2u32][..]));
            let mut op = SoftmaxLoss::new(device, vec![1], 4, excluded, SoftmaxOptions::default()).unwrap();
            let x = [&tensor(1, 1, &[1.0]), &tensor(4, 1, &[0.0; 4]), &bias];
            let got = op.forward(&x).unwrap().remove(0).to_f64().unwrap()[0];
            let others = 1.0 + (-1f64).exp();
            let want = match lead > 0.0 {
                true => ((-lead).exp() * others).ln_1p(),
                false => -lead + (lead.exp() + (others - 1.0)).ln_1p(),
            };
            assert!((got - want).abs() <= tolerance * want, "{dtype:?}, ahead by {lead}: {got}, want {want}");
        }
    }
}

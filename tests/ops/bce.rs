use waata::engine::{DType, Device, Gpu, Op, Philox, Tensor};
use waata::ops::BceLoss;

use crate::common::{HostDriver, Order};
use crate::harness::Case;

fn bits(stream: u64, n: usize) -> Vec<f64> {
    (0..n).map(|i| (Philox::new(3, stream).u32_at(i as u64) & 1) as f64).collect()
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (b, k) in [(0, 2), (1, 1), (7, 3), (2500, 2)] {
        for weighted in [false, true] {
            let weights: Vec<f32> = (0..k).filter(|_| weighted).map(|i| 2.0 + i as f32).collect();
            let case = move |masked: bool| {
                let (name, weights) = (format!("{b}x{k} weights {weights:?} masked {masked}"), weights.clone());
                let case = Case::new(name, move |_| BceLoss::with_pos_weight(weights.clone()));
                case.input(b, k).constant(b, k, bits(1, b * k))
            };
            cases.push(case(false));
            cases.push(case(true).constant(b, k, bits(2, b * k)));
        }
    }
    // Logits of each task in a tensor of its own; nine tasks take two launches.
    for (b, parts, cols) in [(1, 2, 1), (1030, 3, 1), (9, 3, 3)] {
        let k = parts * cols;
        let case = Case::new(format!("{b} rows, {parts} parts of {cols}"), move |_| BceLoss::of_parts(parts));
        let case = (0..parts).fold(case, |case, _| case.input(b, cols));
        cases.push(case.constant(b, k, bits(1, b * k)).constant(b, k, bits(2, b * k)));
    }
    // Logits of either sign against either label, and a label between the two.
    let z = vec![80.0, 80.0, -80.0, -80.0, 0.0, 3.0];
    let y = vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.25];
    cases.push(Case::new("extremes", |_| BceLoss::new()).input_of(6, 1, z).constant(6, 1, y));
    let mask = vec![0.0, 1.0, 0.0, 1.0];
    cases.push(
        Case::new("a task without labels", |_| BceLoss::new())
            .input(2, 2)
            .constant(2, 2, vec![1.0; 4])
            .constant(2, 2, mask),
    );
    cases
}

crate::op_tests!(cases);

/// The loss of a label that is certain and right is e^-|z|, however small; of a label between the two it is |z| times
/// what is missing, and the same.
#[test]
fn small_losses_keep_their_digits() {
    let executor = Device::Gpu(Gpu::new(HostDriver::new(Order::Forward)));
    let sides = [(&Device::Cpu, DType::F64, 1e-14), (&Device::Cpu, DType::F32, 1e-5), (&executor, DType::F32, 1e-5)];
    for (device, dtype, tolerance) in sides {
        for z in [-60.0, -30.0, -20.0, -10.0, -1.0, 0.0, 1.0, 10.0, 20.0, 30.0, 60.0f64] {
            let right = if z > 0.0 { 1.0 } else { 0.0 };
            for y in [right, 0.25, 1.0 - right] {
                let tensor = |x: f64| Tensor::from_f64(device, dtype, 1, 1, &[x]).unwrap();
                let mut op = BceLoss::new();
                let got = op.forward(&[&tensor(z), &tensor(y)]).unwrap().remove(0).to_f64().unwrap()[0];
                let want = z.abs() * (y - right).abs() + (-z.abs()).exp().ln_1p();
                let off = (got - want).abs();
                assert!(off <= tolerance * want, "{dtype:?}, logit {z}, label {y}: {got}, want {want}");
            }
        }
    }
}

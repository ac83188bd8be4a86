use waata::engine::{DType, Device, Op, Tensor};
use waata::ops::{BceLoss, Funnel};

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for op in [Funnel::Both, Funnel::Either] {
        let inputs = if op == Funnel::Both { 2 } else { 3 };
        for (rows, cols) in [(0, 1), (1, 1), (300, 1), (37, 3)] {
            let case = Case::new(format!("{op:?} {rows}x{cols}"), move |_| op);
            cases.push((0..inputs).fold(case, |case, _| case.input(rows, cols)));
        }
        // Saturated probabilities of either sign in every place.
        let ends: Vec<f64> = vec![-80.0, -20.0, 0.0, 20.0, 80.0];
        let count = ends.len().pow(inputs);
        let case = Case::new(format!("{op:?} at the ends"), move |_| op);
        cases.push((0..inputs).fold(case, |case, k| {
            let values = (0..count).map(|i| ends[i / ends.len().pow(k) % ends.len()]).collect();
            case.input_of(count, 1, values)
        }));
    }
    cases
}

crate::op_tests!(cases);

fn logits(values: &[f64]) -> Tensor {
    Tensor::from_f64(&Device::Cpu, DType::F32, values.len(), 1, values).unwrap()
}

/// Against the formulas in probabilities, where those have digits.
#[test]
fn probabilities() {
    let s = |x: f64| 1.0 / (1.0 + (-x).exp());
    let logit = |p: f64| (p / (1.0 - p)).ln();
    let (c, a, b) = ([-2.0, 0.3, 1.5], [0.7, -1.1, 3.0], [-0.4, 2.2, -2.5]);
    let both = Funnel::Both.forward(&[&logits(&a), &logits(&b)]).unwrap().remove(0).to_f64().unwrap();
    let inputs = [&logits(&c), &logits(&a), &logits(&b)];
    let either = Funnel::Either.forward(&inputs).unwrap().remove(0).to_f64().unwrap();
    for i in 0..3 {
        let want = logit(s(a[i]) * s(b[i]));
        assert!((both[i] - want).abs() < 1e-6, "{} {want}", both[i]);
        let want = logit(s(c[i]) * s(a[i]) + s(-c[i]) * s(b[i]));
        assert!((either[i] - want).abs() < 1e-6, "{} {want}", either[i]);
    }
}

/// In f32, -ln(1 - s(20)^2) = 19.307, where 1 - p is 0; and finite far beyond.
#[test]
fn cross_entropy_of_a_product_is_finite() {
    for (x, want) in [(20.0, 19.306_852), (80.0, 79.306_85), (800.0, 799.306_85)] {
        let z = Funnel::Both.forward(&[&logits(&[x]), &logits(&[x])]).unwrap().remove(0);
        let loss = BceLoss::of_parts(1).forward(&[&z, &logits(&[0.0])]).unwrap().remove(0);
        assert!((loss.scalar().unwrap() - want).abs() < 1e-4, "{x}: {}", loss.scalar().unwrap());
    }
}

use waata::engine::{Device, Tape, Tensor};
use waata::ops::{Orthogonality, OrthogonalityForm};

use crate::harness::Case;

const FORMS: [OrthogonalityForm; 6] = [
    OrthogonalityForm::GramMean,
    OrthogonalityForm::Gram,
    OrthogonalityForm::GramNorm,
    OrthogonalityForm::Inner,
    OrthogonalityForm::Cosine,
    OrthogonalityForm::FdnCode,
];

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for form in FORMS {
        for (n, d) in [(0, 3), (1, 1), (5, 7), (300, 12), (9, 40)] {
            cases.push(Case::new(format!("{form:?} {n}x{d}"), move |_| Orthogonality::new(form)).input(n, d).input(n, d));
        }
    }
    cases
}

crate::op_tests!(cases);

/// Loss and dS for S, T of two columns.
fn value(form: OrthogonalityForm, s: &[f32], t: &[f32]) -> (f64, Vec<f32>) {
    let mut tape = Tape::new();
    let [s, t] = [s, t].map(|x| tape.parameter(Tensor::new(&Device::Cpu, x.len() / 2, 2, x).unwrap()));
    let loss = tape.apply(Orthogonality::new(form), &[s, t]).unwrap();
    let mut grads = tape.backward(&[(loss, Tensor::new(&Device::Cpu, 1, 1, &[1.0]).unwrap())]).unwrap();
    (tape.value(loss).scalar().unwrap(), grads.take(s).unwrap().to_vec().unwrap())
}

#[test]
fn zero_features_have_no_gradient() {
    for form in FORMS {
        assert_eq!(value(form, &[0.0; 4], &[0.0; 4]), (0.0, vec![0.0; 4]), "{form:?}");
    }
}

/// Rows that are orthogonal pair by pair are not orthogonal as feature spaces, and FDN's code sees no angle at all.
#[test]
fn forms_differ_as_documented() {
    let (s, t) = ([1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]);
    assert_eq!(value(OrthogonalityForm::Gram, &s, &t).0, 2.0);
    assert_eq!(value(OrthogonalityForm::GramMean, &s, &t).0, 0.5);
    assert_eq!(value(OrthogonalityForm::Inner, &s, &t).0, 0.0);
    assert_eq!(value(OrthogonalityForm::Cosine, &s, &t).0, 0.0);
    assert_eq!(value(OrthogonalityForm::FdnCode, &s, &t).0, 1.0);
}

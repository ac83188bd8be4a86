use waata::engine::{Device, Tape, Tensor};
use waata::ops::{OrthForm, Orthogonality};

use crate::harness::Case;

const FORMS: [OrthForm; 6] = [OrthForm::A, OrthForm::A0, OrthForm::B, OrthForm::C, OrthForm::D, OrthForm::FdnCode];

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for form in FORMS {
        for (n, d) in [(0, 3), (1, 1), (5, 7), (300, 12), (9, 40)] {
            cases.push(
                Case::new(format!("{form:?} {n}x{d}"), move |_| Orthogonality::new(form)).input(n, d).input(n, d),
            );
        }
    }
    cases
}

crate::op_tests!(cases);

/// Loss and dS for S, T of two columns.
fn value(form: OrthForm, s: &[f32], t: &[f32]) -> (f64, Vec<f32>) {
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
    assert_eq!(value(OrthForm::A0, &s, &t).0, 2.0);
    assert_eq!(value(OrthForm::A, &s, &t).0, 0.5);
    assert_eq!(value(OrthForm::C, &s, &t).0, 0.0);
    assert_eq!(value(OrthForm::D, &s, &t).0, 0.0);
    assert_eq!(value(OrthForm::FdnCode, &s, &t).0, 1.0);
}

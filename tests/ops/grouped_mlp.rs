use waata::ops::{Activation, GroupedMlp};

use crate::harness::Case;

/// `shared`: one input for all members.
fn case(rows: usize, members: usize, shared: bool, widths: &[usize], act: Activation) -> Case {
    let layers = widths.len() - 1;
    let name = format!("{members} of {widths:?}, {rows} rows, shared {shared}, {act:?}");
    let mut case = Case::new(name, move |_| GroupedMlp::new(members, layers, act, Activation::Elu));
    for _ in 0..if shared { 1 } else { members } {
        case = case.input(rows, widths[0]);
    }
    for _ in 0..members {
        for pair in widths.windows(2) {
            case = case.input(pair[0], pair[1]).input(1, pair[1]);
        }
    }
    case
}

pub fn cases() -> Vec<Case> {
    let (relu, leaky) = (Activation::Relu, Activation::LeakyRelu(0.2));
    vec![
        case(0, 2, true, &[3, 4, 2], relu),
        case(1, 1, true, &[1, 1], Activation::Identity),
        case(1, 2, false, &[1, 3, 1], leaky),
        case(5, 3, true, &[7, 4], leaky),
        case(7, 3, false, &[5, 1], Activation::Identity),
        case(70, 3, true, &[33, 20, 9], relu),
        case(65, 2, false, &[16, 8, 8, 1], leaky),
        // More members than one launch takes, and more rows than one tile and one split of them.
        case(20, 9, true, &[6, 5, 3], relu),
        case(20, 9, false, &[6, 5, 3], relu),
        case(700, 2, true, &[9, 7, 5], relu),
    ]
}

crate::op_tests!(cases);

#[test]
fn matrix_units() {
    crate::harness::matrix_units(smooth_cases());
}

/// Without kinks: near one, rounding decides a slope.
pub fn smooth_cases() -> Vec<Case> {
    let none = Activation::Identity;
    vec![
        case(5, 3, true, &[7, 4, 3], none),
        case(70, 2, true, &[33, 20, 9], none),
        case(20, 9, false, &[6, 5, 1], none),
        case(530, 2, true, &[9, 7], none),
    ]
}

/// Only some members have a gradient: the others' parameters get none, and the shared input only theirs.
#[test]
fn members_without_gradient() {
    use waata::engine::{DType, Device, Philox, Tape, Tensor};
    let random = |rows: usize, cols: usize, stream: u64| {
        let random = Philox::new(9, stream);
        let values: Vec<f64> = (0..rows * cols).map(|i| random.normal_at(i as u64)).collect();
        Tensor::from_f64(&Device::Cpu, DType::F64, rows, cols, &values).unwrap()
    };
    let run = |members: &[u64]| {
        let mut tape = Tape::new();
        let x = tape.parameter(random(6, 4, 100));
        let mut inputs = vec![x];
        for &e in members {
            for (i, (r, c)) in [(4, 3), (1, 3), (3, 2), (1, 2)].into_iter().enumerate() {
                inputs.push(tape.parameter(random(r, c, 10 * e + i as u64)));
            }
        }
        let mlps = GroupedMlp::new(members.len(), 2, Activation::Relu, Activation::Relu);
        let y = tape.apply_all(mlps, &inputs).unwrap();
        let chosen = members.iter().position(|&e| e == 1).unwrap();
        let mut grads = tape.backward(&[(y[chosen], random(6, 2, 50))]).unwrap();
        let of_chosen = inputs[1 + 4 * chosen..][..4].iter();
        [x].iter().chain(of_chosen).map(|v| grads.take(*v).unwrap().to_f64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run(&[0, 1, 2]), run(&[1]));
}

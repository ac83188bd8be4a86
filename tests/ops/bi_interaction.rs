use waata::engine::{Backward, Device, Op, Philox, Tensor};
use waata::ops::{Aggregator, BiInteraction};

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (n, d_in, d_out) in [(0, 3, 2), (1, 1, 1), (5, 7, 3), (70, 33, 18)] {
        for aggregator in [Aggregator::Bi, Aggregator::Gcn, Aggregator::GraphSage] {
            for (slope, rate) in [(0.01, 0.0), (0.2, 0.3)] {
                let name = format!("{aggregator:?} {n}x{d_in}x{d_out} slope {slope} dropout {rate}");
                let mut case =
                    Case::new(name, move |_| BiInteraction::new(aggregator, slope, rate, Some(Philox::new(11, 5))))
                        .input(n, d_in)
                        .input(n, d_in);
                for (rows, cols) in aggregator.weights(d_in, d_out) {
                    case = case.input(rows, cols);
                }
                cases.push(case);
            }
        }
    }
    // Widths that the CPU multiplies by tiles, with rows left over behind blocks and tiles.
    for (n, d_in, d_out, rate) in [(41, 16, 32, 0.0), (33, 32, 16, 0.3), (9, 64, 112, 0.0)] {
        let make = move |_: &Device| BiInteraction::new(Aggregator::Bi, 0.2, rate, Some(Philox::new(11, 5)));
        let mut case = Case::new(format!("tiles {n}x{d_in}x{d_out} dropout {rate}"), make);
        case = case.input(n, d_in).input(n, d_in);
        for (rows, cols) in Aggregator::Bi.weights(d_in, d_out) {
            case = case.input(rows, cols);
        }
        cases.push(case);
    }
    cases
}

crate::op_tests!(cases);

/// Rows without a gradient are passed over: the others' gradients are those of the op on these rows alone.
#[test]
fn rows_without_a_gradient_change_nothing() {
    const ROWS: usize = 150;
    let random = |rows: usize, cols: usize, stream: u64| {
        let draw = Philox::new(7, stream);
        let values: Vec<f32> = (0..(rows * cols) as u64).map(|i| draw.uniform_at(i) - 0.5).collect();
        Tensor::new(&Device::Cpu, rows, cols, &values).unwrap()
    };
    let kept: Vec<usize> = (0..ROWS).filter(|row| row % 19 == 3 || (60..64).contains(row)).collect();
    let rows_of = |t: &Tensor| -> Tensor {
        let (values, cols) = (t.to_vec().unwrap(), t.cols());
        let rows: Vec<f32> = kept.iter().flat_map(|r| values[r * cols..][..cols].to_vec()).collect();
        Tensor::new(&Device::Cpu, kept.len(), cols, &rows).unwrap()
    };
    let (x, a, dy) = (random(ROWS, 20, 1), random(ROWS, 20, 2), random(ROWS, 16, 3));
    let weights = [random(20, 16, 4), random(20, 16, 5), random(1, 16, 6), random(1, 16, 7)];
    let gradients = |x: &Tensor, a: &Tensor, dy: &Tensor, start: Option<f32>| -> Vec<Tensor> {
        let mut op = BiInteraction::new(Aggregator::Bi, 0.1, 0.0, None);
        let inputs: Vec<&Tensor> = [x, a].into_iter().chain(&weights).collect();
        let y = op.forward(&inputs).unwrap();
        let zeros = |t: &&Tensor| {
            let mut zeros = t.zeros_like().unwrap();
            if let Some(start) = start {
                zeros.write(&vec![start; t.len()]).unwrap();
            }
            Some(zeros)
        };
        let mut dx: Vec<Option<Tensor>> = inputs.iter().map(zeros).collect();
        op.backward(Backward { x: &inputs, y: &[&y[0]], dy: &[Some(dy)], dx: &mut dx }).unwrap();
        dx.into_iter().flatten().collect()
    };
    let mut sparse = vec![0.0; ROWS * 16];
    for &row in &kept {
        sparse[row * 16..][..16].copy_from_slice(&dy.to_vec().unwrap()[row * 16..][..16]);
    }
    let sparse = Tensor::new(&Device::Cpu, ROWS, 16, &sparse).unwrap();
    let alone = gradients(&rows_of(&x), &rows_of(&a), &rows_of(&dy), None);
    for start in [None, Some(1.0)] {
        let all = gradients(&x, &a, &sparse, start);
        let begin = start.unwrap_or_default();
        for (i, (all, alone)) in all.iter().zip(&alone).enumerate() {
            let got = if i < 2 { rows_of(all) } else { all.clone() };
            let pairs = got.to_vec().unwrap().into_iter().zip(alone.to_vec().unwrap());
            assert!(pairs.into_iter().all(|(g, w)| (g - begin - w).abs() < 1e-5), "input {i} from {begin}");
        }
        for t in &all[..2] {
            let others = t.to_vec().unwrap().into_iter().enumerate().filter(|(i, _)| !kept.contains(&(i / 20)));
            assert!(others.into_iter().all(|(_, v)| v == begin));
        }
    }
}

#[test]
fn refuses_weights_of_another_shape() {
    let t = |rows, cols| Tensor::new(&Device::Cpu, rows, cols, &vec![0.0; rows * cols]).unwrap();
    let mut op = BiInteraction::new(Aggregator::Bi, 0.01, 0.1, None);
    let (x, w, b) = (t(3, 2), t(2, 4), t(1, 4));
    assert!(op.forward(&[&x, &x, &w, &w, &b, &b]).is_ok());
    assert!(op.forward(&[&x, &x, &w, &t(3, 4), &b, &b]).is_err());
    assert!(op.forward(&[&x, &t(2, 2), &w, &w, &b, &b]).is_err());
    assert!(op.forward(&[&x, &x, &w, &b]).is_err());
}

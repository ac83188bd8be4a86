//! Gradient weighting against hand computations, torch-rechub's recorded values and the traps of public versions; its
//! kernels against the CPU code.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use waata::engine::gradient_weighting::{Combine, CosineKind, GradientWeighting, Granularity, Options, Strategy};
use waata::engine::{DType, Device, Gradient, Philox, RowSet, Tensor};

use common::{devices, golden};

type Grads = Vec<Vec<Option<Gradient>>>;

fn row(values: &[f64]) -> Option<Gradient> {
    Some(Tensor::from_f64(&Device::Cpu, DType::F64, 1, values.len(), values).unwrap().into())
}

fn options(combine: Combine) -> Options {
    Options { combine, beta: 0.0, ..Options::default() }
}

fn combine(options: Options, grads: Grads) -> Vec<Option<Vec<f64>>> {
    let (combined, _) = GradientWeighting::new(options.clone()).combine(grads).unwrap();
    combined.into_iter().map(|g| g.map(|g| g.tensor().to_f64().unwrap())).collect()
}

fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-12), "{got:?}, want {want:?}");
}

/// |G_0| = 5, |G_1| = 10, <G_0, G_1> = 30, cos 0.6; |G_2| = 1, cos -0.8.
fn example() -> Grads {
    vec![vec![row(&[3.0, 4.0]), row(&[10.0, 0.0]), row(&[0.0, -1.0])]]
}

#[test]
fn plain_sum() {
    close(combine(options(Combine::Sum), example())[0].as_ref().unwrap(), &[13.0, 3.0]);
}

#[test]
fn metabalance_by_hand() {
    // Ratios 5/10 and 5/1, relaxed by 0.7: 0.65 and 3.8.
    for (strategy, want) in [(Strategy::C, [9.5, 0.2]), (Strategy::A, [9.5, 3.0]), (Strategy::B, [13.0, 0.2])] {
        let got = combine(Options { strategy, ..options(Combine::MetaBalance) }, example());
        close(got[0].as_ref().unwrap(), &want);
    }
}

#[test]
fn cosine_by_hand() {
    close(combine(options(Combine::Cosine), example())[0].as_ref().unwrap(), &[9.0, 4.0]);
    let unweighted = Options { cosine: CosineKind::Unweighted, ..options(Combine::Cosine) };
    close(combine(unweighted, example())[0].as_ref().unwrap(), &[13.0, 4.0]);
    close(combine(options(Combine::MetaBalanceCosine), example())[0].as_ref().unwrap(), &[3.0 + 0.6 * 6.5, 4.0]);
}

#[test]
fn the_log_says_what_was_done() {
    let (_, log) = GradientWeighting::new(options(Combine::MetaBalanceCosine)).combine(example()).unwrap();
    close(&log.norms, &[5.0, 10.0, 1.0]);
    close(&log.cosines, &[1.0, 0.6, -0.8]);
    close(&log.weights, &[1.0, 0.39, 0.0]);
    close(&log.by_tensor[0], &[1.0, 0.39, 0.0]);
}

/// Two tensors that disagree: of both together the cosine is 0, tensor by tensor it is 1 and -1.
#[test]
fn granularity() {
    let grads = || vec![vec![row(&[1.0]), row(&[2.0])], vec![row(&[1.0]), row(&[-2.0])]];
    let with = |granularity| Options { cosine_granularity: granularity, ..options(Combine::Cosine) };
    assert_eq!(combine(with(Granularity::Global), grads()), [Some(vec![1.0]), Some(vec![1.0])]);
    assert_eq!(combine(with(Granularity::Tensor), grads()), [Some(vec![3.0]), Some(vec![1.0])]);

    let grads = || vec![vec![row(&[3.0]), row(&[6.0])], vec![row(&[4.0]), row(&[8.0])], vec![row(&[0.0]), row(&[5.0])]];
    let with = |granularity| Options { granularity, relax: 1.0, ..options(Combine::MetaBalance) };
    let by = 5.0 / 125f64.sqrt();
    for (got, want) in
        combine(with(Granularity::Global), grads()).iter().zip([3.0 + 6.0 * by, 4.0 + 8.0 * by, 5.0 * by])
    {
        close(got.as_ref().unwrap(), &[want]);
    }
    assert_eq!(combine(with(Granularity::Tensor), grads()), [Some(vec![6.0]), Some(vec![8.0]), Some(vec![0.0])]);
}

#[test]
fn moving_averages() {
    let mut balancer = GradientWeighting::new(Options { combine: Combine::MetaBalance, ..Options::default() });
    balancer.combine(example()).unwrap();
    close(balancer.moving_norms(), &[0.5, 1.0, 0.1]);
    balancer.combine(vec![vec![row(&[0.0, 0.0]), row(&[0.0, 20.0]), None]]).unwrap();
    // A zero gradient is a length of 0; an absent one says nothing.
    close(balancer.moving_norms(), &[0.45, 2.9, 0.1]);
}

/// A division by the moving average of a loss that has only had zero gradients would make NaN.
#[test]
fn zero_gradients_make_no_nan() {
    let zero = || row(&[0.0, 0.0]);
    for rule in [Combine::MetaBalance, Combine::Cosine, Combine::MetaBalanceCosine] {
        let got = combine(options(rule), vec![vec![row(&[3.0, 4.0]), zero()]]);
        close(got[0].as_ref().unwrap(), &[3.0, 4.0]);
        let got = combine(options(rule), vec![vec![zero(), zero()]]);
        close(got[0].as_ref().unwrap(), &[0.0, 0.0]);
    }
    let got = combine(options(Combine::MetaBalance), vec![vec![zero(), row(&[1.0, 0.0])]]);
    close(got[0].as_ref().unwrap(), &[0.3, 0.0]);
}

/// A loss that misses one tensor neither stops the balancing of the tensors after it nor loses the sum there.
#[test]
fn a_missing_gradient_concerns_its_tensor_alone() {
    let grads = vec![
        vec![row(&[1.0]), None, row(&[10.0])],
        vec![row(&[1.0]), row(&[10.0]), None],
        vec![row(&[1.0]), row(&[10.0]), row(&[10.0])],
        vec![None, None, None],
    ];
    let with = Options { relax: 1.0, ..options(Combine::MetaBalance) };
    assert_eq!(combine(with, grads), [Some(vec![2.0]), Some(vec![2.0]), Some(vec![3.0]), None]);
}

#[test]
fn a_tensor_without_the_target_keeps_its_gradients() {
    let grads = || vec![vec![None, row(&[10.0]), row(&[1.0])], vec![row(&[1.0]), row(&[-1.0]), row(&[1.0])]];
    let with = |combine| Options { cosine_granularity: Granularity::Tensor, ..options(combine) };
    for rule in [Combine::MetaBalance, Combine::Cosine, Combine::MetaBalanceCosine] {
        assert_eq!(combine(with(rule), grads())[0], Some(vec![11.0]), "{rule:?}");
    }
    // Over all tensors together there is a target: loss 1 points away from it, loss 2 along it.
    let global = combine(options(Combine::Cosine), grads());
    close(global[0].as_ref().unwrap(), &[1.0 / 2f64.sqrt()]);
}

#[test]
fn values_of_torch_rechub() {
    let recorded = golden::read("metabalance.json");
    for variant in recorded["variants"].as_array().unwrap() {
        let number = |key: &str| variant[key].as_f64().unwrap();
        let (relax, beta, eps) = (number("relax"), number("beta"), number("eps"));
        let mut balancer =
            GradientWeighting::new(Options { combine: Combine::MetaBalance, relax, beta, eps, ..Options::default() });
        let steps = recorded["step_gradients"].as_array().unwrap();
        for (losses, want) in steps.iter().zip(variant["steps"].as_array().unwrap()) {
            let tensors = losses[0].as_array().unwrap().len();
            let of = |i: usize, t: usize| golden::numbers(&losses[i][t]);
            let grads = (0..tensors).map(|t| (0..3).map(|i| row(&of(i, t))).collect()).collect();
            let (combined, _) = balancer.combine(grads).unwrap();
            for (t, got) in combined.iter().enumerate() {
                let m = golden::numbers(&want["moving_norms"][t]);
                close(&balancer.moving_norms()[3 * t..3 * t + 3], &m);
                // The class gives the target, too, its factor, which is 1 but for eps.
                let factor = relax * m[0] / (m[0] + eps) + 1.0 - relax;
                let mut got = got.as_ref().unwrap().tensor().to_f64().unwrap();
                got.iter_mut().zip(of(0, t)).for_each(|(g, target)| *g += (factor - 1.0) * target);
                close(&got, &golden::numbers(&want["combined"][t]));
            }
        }
    }
}

#[test]
fn a_restored_state_has_every_bit() {
    let mut balancer = GradientWeighting::new(Options::default());
    for _ in 0..3 {
        balancer.combine(example()).unwrap();
    }
    let saved: BTreeMap<String, Tensor> = balancer.state().unwrap().into_iter().collect();
    let mut twin = GradientWeighting::new(Options::default());
    twin.restore(&saved).unwrap();
    assert_eq!(balancer.moving_norms(), twin.moving_norms());
}

#[test]
fn refuses_another_number_of_losses() {
    let mut balancer = GradientWeighting::new(Options::default());
    balancer.combine(example()).unwrap();
    assert!(balancer.combine(vec![vec![row(&[1.0]), row(&[1.0])]]).is_err());
    assert!(balancer.combine(vec![vec![row(&[1.0])], vec![]]).is_err());
    assert!(GradientWeighting::new(Options::default()).combine(vec![vec![row(&[1.0]), row(&[1.0, 2.0])]]).is_err());
    assert!(GradientWeighting::new(Options::default()).combine(vec![]).unwrap().0.is_empty());
}

/// Six losses take two launches a tensor, 9,000 elements more than one block.
fn gradients(device: &Device, dtype: DType) -> Grads {
    let shapes = [(1, 1), (90, 100), (0, 3), (7, 5), (3, 3)];
    let grad = |t: usize, i: usize| {
        let (rows, cols) = shapes[t];
        let random = Philox::new(t as u64, i as u64);
        let values: Vec<f64> = (0..rows * cols).map(|k| random.normal_at(k as u64) * (i + 1) as f64 + 0.3).collect();
        let absent = (t, i) == (3, 0) || (t, i) == (1, 2) || t == 4;
        (!absent).then(|| Tensor::from_f64(device, dtype, rows, cols, &values).unwrap().into())
    };
    (0..shapes.len()).map(|t| (0..6).map(|i| grad(t, i)).collect()).collect()
}

#[test]
fn kernels_agree_with_the_cpu() {
    let devices = devices();
    for rule in [Combine::Sum, Combine::MetaBalance, Combine::Cosine, Combine::MetaBalanceCosine] {
        for granularity in [Granularity::Tensor, Granularity::Global] {
            let options = Options { granularity, cosine_granularity: granularity, ..options(rule) };
            let run = |device: &Device, dtype| {
                GradientWeighting::new(options.clone()).combine(gradients(device, dtype)).unwrap()
            };
            let (want, want_log) = run(&Device::Cpu, DType::F64);
            let cpu = ("CPU f32".to_string(), Device::Cpu);
            for (on, device) in devices.iter().chain([&cpu]) {
                let (got, log) = run(device, DType::F32);
                for (got, want) in log.by_tensor.iter().flatten().zip(want_log.by_tensor.iter().flatten()) {
                    assert!((got - want).abs() <= 1e-5, "{rule:?} on {on}: weight {got}, want {want}");
                }
                for (got, want) in got.iter().zip(&want) {
                    let (Some(got), Some(want)) = (got, want) else {
                        assert!(got.is_none() && want.is_none());
                        continue;
                    };
                    let (got, want) = (got.tensor().to_f64().unwrap(), want.tensor().to_f64().unwrap());
                    for (g, w) in got.iter().zip(want) {
                        assert!((g - w).abs() <= 1e-4, "{rule:?} on {on}: {g}, want {w}");
                    }
                }
            }
        }
    }
}

/// Row-sparse gradients weigh as the dense ones that they stand for, and their sum has their rows.
#[test]
fn row_sparse_gradients() {
    let rows = Arc::new(RowSet::new(&Device::Cpu, vec![1, 4], 6).unwrap());
    let of = |values: [f64; 4]| {
        let tensor = Tensor::from_f64(&Device::Cpu, DType::F64, 2, 2, &values).unwrap();
        let mut dense = vec![0.0; 12];
        dense[2..4].copy_from_slice(&values[..2]);
        dense[8..10].copy_from_slice(&values[2..]);
        let dense = Tensor::from_f64(&Device::Cpu, DType::F64, 6, 2, &dense).unwrap();
        (Some(Gradient::Rows(rows.clone(), tensor)), Some(Gradient::Dense(dense)))
    };
    let (target, dense_target) = of([3.0, 4.0, 1.0, -2.0]);
    let (other, dense_other) = of([6.0, 1.0, -1.0, 5.0]);
    for rule in [Combine::Sum, Combine::MetaBalance, Combine::Cosine, Combine::MetaBalanceCosine] {
        let run = |grads| GradientWeighting::new(options(rule)).combine(vec![grads]).unwrap();
        let (got, log) = run(vec![target.clone(), other.clone()]);
        let (want, want_log) = run(vec![dense_target.clone(), dense_other.clone()]);
        assert_eq!(log, want_log);
        let (got, want) = (got[0].as_ref().unwrap(), want[0].as_ref().unwrap());
        assert_eq!(got.rows().unwrap().ids().host(), [1, 4]);
        let (got, want) = (got.tensor().to_f64().unwrap(), want.tensor().to_f64().unwrap());
        assert_eq!(got, [&want[2..4], &want[8..10]].concat());
    }
    let elsewhere = Arc::new(RowSet::new(&Device::Cpu, vec![1, 5], 6).unwrap());
    let odd = Gradient::Rows(elsewhere, other.as_ref().unwrap().tensor().clone());
    let mixed = [vec![target.clone(), Some(odd)], vec![target, dense_other]];
    assert!(mixed.into_iter().all(|g| GradientWeighting::new(options(Combine::Sum)).combine(vec![g]).is_err()));
}

//! Uncertainty, dynamic averages, GradNorm, PCGrad and CAGrad: values by hand or by another way, problems whose Pareto
//! fronts are known, and the same weights from kernels as from the CPU.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use waata::engine::gradient_weighting::{BalanceLog, Combine, GradientWeighting, Options};
use waata::engine::optim::named;
use waata::engine::{DType, Device, Factor, Gradient, Philox, Tensor};

use common::devices;

type Grads = Vec<Vec<Option<Gradient>>>;

const OF_LOSSES: [Combine; 3] = [Combine::Uncertainty, Combine::DynamicAverage, Combine::GradNorm];
const OF_CONFLICTS: [Combine; 2] = [Combine::PcGrad, Combine::CaGrad];

fn row(values: &[f64]) -> Option<Gradient> {
    Some(Tensor::from_f64(&Device::Cpu, DType::F64, 1, values.len(), values).unwrap().into())
}

fn balancer(combine: Combine) -> GradientWeighting {
    GradientWeighting::new(Options { combine, ..Options::default() })
}

/// One gradient per loss, on one tensor.
fn grads(vectors: &[Vec<f64>]) -> Grads {
    vec![vectors.iter().map(|v| row(v)).collect()]
}

fn weights(balancer: &mut GradientWeighting, vectors: &[Vec<f64>]) -> Vec<f64> {
    balancer.combine(grads(vectors)).unwrap().1.weights
}

fn close(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() <= tolerance), "{got:?}, want {want:?}");
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(weights: &[f64], vectors: &[Vec<f64>]) -> Vec<f64> {
    let at = |k: usize| weights.iter().zip(vectors).map(|(w, v)| w * v[k]).sum();
    (0..vectors[0].len()).map(at).collect()
}

/// A rule about losses takes a step in which losses and norms are these.
fn observe(balancer: &mut GradientWeighting, losses: &[f64], norms: &[f64], lr: f64) {
    let log = BalanceLog { norms: norms.to_vec(), ..BalanceLog::default() };
    balancer.observe(losses, &log, lr).unwrap();
}

fn loss_weights(balancer: &GradientWeighting) -> Vec<f64> {
    balancer.loss_weights().unwrap().unwrap()
}

/// exp(-s) L + s / 2 of each loss falls as finite differences say, and its minimum is s = ln(2 L).
#[test]
fn uncertainty_descends_its_own_loss() {
    let losses = [0.9, 0.3, 2.0];
    let total = |s: &[f64]| -> f64 { s.iter().zip(losses).map(|(s, l)| (-s).exp() * l + s / 2.0).sum() };
    let (mut rule, lr, h) = (balancer(Combine::Uncertainty), 0.1, 1e-6);
    let mut s = vec![0.0; 3];
    for _ in 0..5 {
        observe(&mut rule, &losses, &[1.0; 3], lr);
        let slope = |i: usize| {
            let moved = |by: f64| total(&(0..3).map(|k| s[k] + if k == i { by } else { 0.0 }).collect::<Vec<_>>());
            (moved(h) - moved(-h)) / (2.0 * h)
        };
        s = (0..3).map(|i| s[i] - lr * slope(i)).collect();
        close(&loss_weights(&rule), &s.iter().map(|s| (-s).exp()).collect::<Vec<_>>(), 1e-6);
    }
    (0..2000).for_each(|_| observe(&mut rule, &losses, &[1.0; 3], lr));
    close(&loss_weights(&rule), &losses.map(|l| 1.0 / (2.0 * l)), 1e-5);
}

/// The weights multiply shared gradients and those of one task alike; the shared ones are logged.
#[test]
fn weights_of_losses_reach_every_parameter() {
    for combine in OF_LOSSES {
        let mut rule = balancer(combine);
        let vectors = [vec![3.0, 4.0], vec![10.0, 0.0]];
        close(&weights(&mut rule, &vectors), &[1.0, 1.0], 0.0);
        for losses in [[1.0, 0.5], [0.8, 0.5], [0.4, 0.5]] {
            rule.begin_epoch();
            observe(&mut rule, &losses, &[5.0, 10.0], 0.01);
        }
        rule.begin_epoch();
        let want = loss_weights(&rule);
        assert!((want[0] - want[1]).abs() > 1e-3, "{combine:?}: {want:?}");
        let whole = rule.begin(&grads(&vectors)).unwrap().whole;
        let known = |w: &Factor| if let Factor::Known(w) = w { *w } else { f64::NAN };
        let whole: Vec<f64> = whole.iter().map(known).collect();
        close(&whole, &want, 0.0);
        let (combined, log) = rule.combine(grads(&vectors)).unwrap();
        close(&log.weights, &want, 1e-12);
        close(&combined[0].as_ref().unwrap().tensor().to_f64().unwrap(), &add(&want, &vectors), 1e-12);
    }
}

#[test]
fn dynamic_average_by_hand() {
    let mut rule = balancer(Combine::DynamicAverage);
    // Means of two steps each: 1.0 and 2.0, then 0.5 and 1.8.
    for (epoch, steps) in [[[0.8, 1.0], [1.2, 3.0]], [[0.6, 1.7], [0.4, 1.9]]].iter().enumerate() {
        rule.begin_epoch();
        if epoch == 1 {
            close(&loss_weights(&rule), &[1.0, 1.0], 0.0);
        }
        steps.iter().for_each(|losses| observe(&mut rule, losses, &[1.0; 2], 0.1));
    }
    close(&loss_weights(&rule), &[1.0, 1.0], 0.0);
    rule.begin_epoch();
    let (a, b) = ((0.5f64 / 2.0).exp(), (0.9f64 / 2.0).exp());
    close(&loss_weights(&rule), &[2.0 * a / (a + b), 2.0 * b / (a + b)], 1e-12);
    // An epoch that begins twice, as after a resume, is one.
    rule.begin_epoch();
    close(&loss_weights(&rule), &[2.0 * a / (a + b), 2.0 * b / (a + b)], 1e-12);
}

#[test]
fn gradnorm_by_hand() {
    let (mut rule, lr) = (balancer(Combine::GradNorm), 0.01);
    // Rates are 1 in the first step; the mean length is 7.5, the first gradient shorter and the second longer.
    observe(&mut rule, &[1.0, 2.0], &[5.0, 10.0], lr);
    let moved = [1.0 + 5.0 * lr, 1.0 - 10.0 * lr];
    let sum = moved[0] + moved[1];
    let w = moved.map(|w| 2.0 * w / sum);
    close(&loss_weights(&rule), &w, 1e-6);
    // The first has halved, the second not fallen: rates 2/3 and 4/3 to the power 1.5.
    observe(&mut rule, &[0.5, 2.0], &[5.0, 10.0], lr);
    let lengths = [5.0 * w[0], 10.0 * w[1]];
    let mean = (lengths[0] + lengths[1]) / 2.0;
    let sign = |i: usize, rate: f64| (lengths[i] - mean * rate.powf(1.5)).signum();
    assert_eq!((sign(0, 2.0 / 3.0), sign(1, 4.0 / 3.0)), (1.0, -1.0));
    let moved = [w[0] - 5.0 * lr, w[1] + 10.0 * lr];
    let sum = moved[0] + moved[1];
    close(&loss_weights(&rule), &moved.map(|w| 2.0 * w / sum), 1e-6);
    // However large the step, no weight is lost, and their sum stays.
    observe(&mut rule, &[0.5, 2.0], &[5.0, 10.0], 1e6);
    let far = loss_weights(&rule);
    assert!(far.iter().all(|w| *w > 0.0) && (far.iter().sum::<f64>() - 2.0).abs() < 1e-5, "{far:?}");
}

#[test]
fn pcgrad_by_hand() {
    // p_0 = (1, 0) + (-1, 1) / 2, p_1 = (-1, 1) + (1, 0).
    let vectors = [vec![1.0, 0.0], vec![-1.0, 1.0]];
    let mut rule = balancer(Combine::PcGrad);
    let (combined, log) = rule.combine(grads(&vectors)).unwrap();
    close(&combined[0].as_ref().unwrap().tensor().to_f64().unwrap(), &[0.5, 1.5], 1e-12);
    close(&log.weights, &[2.0, 1.5], 1e-12);
    close(&log.norms, &[1.0, 2f64.sqrt()], 1e-12);
    close(&log.cosines, &[1.0, -0.5f64.sqrt()], 1e-12);
    // Without conflict it is the sum.
    close(&weights(&mut rule, &[vec![1.0, 0.0], vec![1.0, 1.0], vec![0.0, 2.0]]), &[1.0; 3], 0.0);
}

/// The projections themselves, on the vectors, in one of the orders that there are; which one depends on step and seed.
#[test]
fn pcgrad_in_every_order() {
    let vectors = [vec![1.0, 0.2, -0.3], vec![-1.0, 0.5, 0.1], vec![-0.2, -1.0, 0.4]];
    let project = |i: usize, order: [usize; 2]| {
        let mut p = vectors[i].clone();
        for j in order {
            let inner = dot(&p, &vectors[j]);
            if inner < 0.0 {
                let by = inner / dot(&vectors[j], &vectors[j]);
                p.iter_mut().zip(&vectors[j]).for_each(|(p, g)| *p -= by * g);
            }
        }
        p
    };
    let orders = |i: usize| [[(i + 1) % 3, (i + 2) % 3], [(i + 2) % 3, (i + 1) % 3]];
    let mut possible = vec![];
    for choice in 0..8usize {
        let parts: Vec<Vec<f64>> = (0..3).map(|i| project(i, orders(i)[choice >> i & 1])).collect();
        possible.push(add(&[1.0; 3], &parts));
    }
    let drawn = |seed: u64| -> Vec<usize> {
        let mut rule = GradientWeighting::new(Options { combine: Combine::PcGrad, seed, ..Options::default() });
        let at = |step: u64| {
            rule.prepare(&Device::Cpu, step).unwrap();
            let got = add(&weights(&mut rule, &vectors), &vectors);
            let same = |want: &Vec<f64>| want.iter().zip(&got).all(|(w, g)| (w - g).abs() < 1e-12);
            possible.iter().position(same).unwrap_or_else(|| panic!("{got:?} is none of {possible:?}"))
        };
        (0..60).map(at).collect()
    };
    let first = drawn(1);
    assert!(first.iter().collect::<BTreeSet<_>>().len() >= 3, "{first:?}");
    assert_eq!(first, drawn(1));
    assert_ne!(first, drawn(2));
}

/// The objective of CAGrad's weights, on the vectors.
fn worst(w: &[f64], vectors: &[Vec<f64>], c: f64) -> f64 {
    let mean = add(&vec![1.0 / w.len() as f64; w.len()], vectors);
    let chosen = add(w, vectors);
    dot(&chosen, &mean) + c * dot(&mean, &mean).sqrt() * dot(&chosen, &chosen).sqrt()
}

#[test]
fn cagrad_by_hand() {
    // Lengths 2 and 1 at a right angle: g_0 = (1, 1/2), and the shorter is the one worse served.
    let vectors = [vec![2.0, 0.0], vec![0.0, 1.0]];
    let (mut best, mut least) = (0.0, f64::INFINITY);
    for k in 0..=1_000_000 {
        let w = k as f64 / 1e6;
        let value = worst(&[w, 1.0 - w], &vectors, 0.4);
        if value < least {
            (best, least) = (w, value);
        }
    }
    let chosen = [2.0 * best, 1.0 - best];
    let reach = 0.4 * 1.25f64.sqrt() / dot(&chosen, &chosen).sqrt();
    let want = [best, 1.0 - best].map(|w| (1.0 + 2.0 * reach * w) / 1.16);
    close(&weights(&mut balancer(Combine::CaGrad), &vectors), &want, 1e-5);
    // One loss, and c = 0, are the plain sum; equal gradients share alike.
    close(&weights(&mut balancer(Combine::CaGrad), &[vec![2.0, 3.0]]), &[1.0], 0.0);
    let mut plain = GradientWeighting::new(Options { combine: Combine::CaGrad, c: 0.0, ..Options::default() });
    close(&weights(&mut plain, &vectors), &[1.0, 1.0], 0.0);
    close(&weights(&mut balancer(Combine::CaGrad), &[vec![1.0], vec![1.0]]), &[1.4 / 1.16; 2], 1e-12);
}

/// Against a grid over the simplex, for random gradients in few and in many dimensions, conflicting and not.
#[test]
fn cagrad_is_at_the_minimum_of_a_grid() {
    for case in 0..40u64 {
        let random = Philox::new(case, 3);
        let (dims, shift) = ([2, 3, 20][case as usize % 3], [0.0, 0.5, -0.5, 0.1][case as usize % 4]);
        let scale = |i: usize| [1.0, 4.0, 0.2][i];
        let vector = |i: usize| -> Vec<f64> {
            let at = |k: usize| scale(i) * (random.normal_at((i * dims + k) as u64) + shift);
            (0..dims).map(at).collect()
        };
        let vectors: Vec<Vec<f64>> = (0..3).map(vector).collect();
        let (c, n) = (0.4, 200);
        let mut least = f64::INFINITY;
        for a in 0..=n {
            for b in 0..=n - a {
                let w = [a, b, n - a - b].map(|w| w as f64 / n as f64);
                least = least.min(worst(&w, &vectors, c));
            }
        }
        // w out of the weights: they are (1 + k w_i) / (1 + c^2), and the w add up to 1.
        let found = weights(&mut balancer(Combine::CaGrad), &vectors);
        let scaled: Vec<f64> = found.iter().map(|x| x * (1.0 + c * c) - 1.0).collect();
        let sum: f64 = scaled.iter().sum();
        let w: Vec<f64> = scaled.iter().map(|x| x / sum).collect();
        assert!(w.iter().all(|w| (-1e-12..=1.0 + 1e-12).contains(w)), "case {case}: {w:?}");
        let (got, mean) = (worst(&w, &vectors, c), add(&[1.0 / 3.0; 3], &vectors));
        assert!(got <= least + 1e-9 * dot(&mean, &mean), "case {case}: {got} at {w:?}, on the grid {least}");
        // What is made of it serves the worst-served loss at least as well as the mean does, and stays near the mean.
        let direction: Vec<f64> = add(&found, &vectors).iter().map(|x| x * (1.0 + c * c) / 3.0).collect();
        let worst_of = |d: &[f64]| vectors.iter().map(|g| dot(g, d)).fold(f64::INFINITY, f64::min);
        assert!(worst_of(&direction) >= worst_of(&mean) - 1e-9, "case {case}");
        let off: Vec<f64> = direction.iter().zip(&mean).map(|(d, m)| d - m).collect();
        assert!((dot(&off, &off).sqrt() - c * dot(&mean, &mean).sqrt()).abs() < 1e-9, "case {case}");
    }
}

#[test]
fn zero_and_opposite_gradients_make_no_nan() {
    for combine in OF_LOSSES.into_iter().chain(OF_CONFLICTS) {
        for vectors in [
            [vec![0.0, 0.0], vec![0.0, 0.0], vec![0.0, 0.0]],
            [vec![3.0, 4.0], vec![0.0, 0.0], vec![0.0, 0.0]],
            [vec![3.0, 4.0], vec![-3.0, -4.0], vec![0.0, 0.0]],
            [vec![1.0, 1.0], vec![1.0, 1.0], vec![-2.0, -2.0]],
        ] {
            let mut rule = balancer(combine);
            for _ in 0..3 {
                let (combined, log) = rule.combine(grads(&vectors)).unwrap();
                let sum = combined[0].as_ref().unwrap().tensor().to_f64().unwrap();
                assert!(sum.iter().chain(&log.weights).all(|x| x.is_finite()), "{combine:?} {vectors:?}: {log:?}");
                rule.observe(&[0.0, 0.5, 1.0], &log, 0.1).unwrap();
            }
        }
        // Losses that reach no common tensor, and none at all.
        let mut rule = balancer(combine);
        let apart = vec![vec![row(&[1.0]), None], vec![None, row(&[-2.0])], vec![None, None]];
        let (combined, log) = rule.combine(apart).unwrap();
        assert!(combined[2].is_none() && log.cosines[1] == 0.0);
        assert!(balancer(combine).combine(vec![]).unwrap().0.is_empty());
    }
}

/// The shortest vector between two gradients: 0 where no direction lowers both losses, on the Pareto set.
fn stationarity(a: &[f64], b: &[f64]) -> f64 {
    let apart: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let t = if dot(&apart, &apart) > 0.0 { (-dot(b, &apart) / dot(&apart, &apart)).clamp(0.0, 1.0) } else { 0.0 };
    let shortest: Vec<f64> = b.iter().zip(&apart).map(|(b, d)| b + t * d).collect();
    dot(&shortest, &shortest).sqrt()
}

/// Two quadratics whose axes differ, so that the Pareto set between their minima is a curve; plain descent along the
/// weighted gradients ends on it.
#[test]
fn descent_ends_on_the_pareto_set() {
    let axes = [[1.0, 4.0, 0.5], [3.0, 0.5, 1.0]];
    let minima = [[1.0, 0.0, -1.0], [-1.0, 1.0, 0.5]];
    let gradient = |i: usize, x: &[f64]| -> Vec<f64> { (0..3).map(|k| axes[i][k] * (x[k] - minima[i][k])).collect() };
    // Above 0, as cross-entropies are.
    let loss = |i: usize, x: &[f64]| -> f64 {
        0.1 + (0..3).map(|k| axes[i][k] * (x[k] - minima[i][k]).powi(2) / 2.0).sum::<f64>()
    };
    let sum = Combine::Sum;
    let mut ends = BTreeMap::new();
    for combine in OF_LOSSES.into_iter().chain(OF_CONFLICTS).chain([sum]) {
        let mut rule = balancer(combine);
        let mut x = vec![4.0, -3.0, 2.0];
        for step in 0..4000 {
            rule.prepare(&Device::Cpu, step).unwrap();
            if step % 10 == 0 {
                rule.begin_epoch();
            }
            let both = [gradient(0, &x), gradient(1, &x)];
            let (combined, log) = rule.combine(grads(&both)).unwrap();
            let lr = if combine == Combine::Uncertainty { 0.05 } else { 0.5 / (10.0 + step as f64) };
            rule.observe(&[loss(0, &x), loss(1, &x)], &log, lr).unwrap();
            let direction = combined[0].as_ref().unwrap().tensor().to_f64().unwrap();
            x.iter_mut().zip(direction).for_each(|(x, d)| *x -= 0.02 * d);
        }
        let off = stationarity(&gradient(0, &x), &gradient(1, &x));
        assert!(off < 1e-3, "{combine:?} ends at {x:?}, {off} from a Pareto point");
        ends.insert(format!("{combine:?}"), x);
    }
    // Rules about losses prefer other points of the set than the plain sum.
    for combine in [Combine::Uncertainty, Combine::GradNorm] {
        let apart: f64 = ends[&format!("{combine:?}")].iter().zip(&ends["Sum"]).map(|(a, b)| (a - b).abs()).sum();
        assert!(apart > 0.01, "{combine:?} ends where the sum does: {ends:?}");
    }
}

/// Every number that a rule has learned is in its state: a twin restored from it goes on with the same bits.
#[test]
fn a_restored_rule_goes_on_with_the_same_bits() {
    let adam = named("adam").unwrap();
    for combine in OF_LOSSES {
        let options = Options { combine, learner: adam.clone(), ..Options::default() };
        let mut rule = GradientWeighting::new(options.clone());
        let restored = |rule: &GradientWeighting| {
            let saved: BTreeMap<String, Tensor> = rule.state().unwrap().into_iter().collect();
            let mut twin = GradientWeighting::new(options.clone());
            twin.restore(&saved).unwrap();
            twin
        };
        let mut fresh = restored(&rule);
        for step in 0..11u64 {
            if step % 3 == 0 {
                rule.begin_epoch();
                fresh.begin_epoch();
            }
            let at = |i: u64| Philox::new(1, 2).uniform_at(4 * step + i) as f64 + 0.1;
            for rule in [&mut rule, &mut fresh] {
                rule.combine(grads(&[vec![1.0], vec![2.0]])).unwrap();
                observe(rule, &[at(0), at(1)], &[at(2), at(3)], 0.05);
            }
            assert_eq!(loss_weights(&rule), loss_weights(&fresh), "{combine:?} step {step}");
            fresh = restored(&fresh);
        }
        assert_ne!(loss_weights(&rule), [1.0, 1.0]);
        assert!(rule.combine(grads(&[vec![1.0]])).is_err(), "another number of losses");
        // What another rule has saved is refused where it does not fit.
        let mut cut: BTreeMap<String, Tensor> = rule.state().unwrap().into_iter().collect();
        for name in ["learned", "epoch_1"] {
            if cut.contains_key(name) {
                cut.insert(name.into(), Tensor::new(&Device::Cpu, 1, 4, &[0.0; 4]).unwrap());
            }
        }
        assert!(GradientWeighting::new(options.clone()).restore(&cut).is_err(), "{combine:?}");
    }
}

/// Five losses on tensors of several sizes, some absent, with conflicts among them: those after the target point against it
/// or against each other.
fn large(device: &Device, dtype: DType) -> Grads {
    let shapes = [(1, 1), (90, 200), (0, 3), (7, 5), (3, 3)];
    let direction = [1.0, -0.8, 0.6, -0.4, 1.1];
    let grad = |t: usize, i: usize| {
        let (rows, cols) = shapes[t];
        let random = Philox::new(t as u64, i as u64);
        let at = |k: usize| random.normal_at(k as u64) * 0.7 + direction[i] * (1.0 + (k % 7) as f64 / 7.0);
        let values: Vec<f64> = (0..rows * cols).map(at).collect();
        let absent = (t, i) == (3, 0) || (t, i) == (1, 2) || t == 4;
        (!absent).then(|| Tensor::from_f64(device, dtype, rows, cols, &values).unwrap().into())
    };
    (0..shapes.len()).map(|t| (0..5).map(|i| grad(t, i)).collect()).collect()
}

#[test]
fn kernels_agree_with_the_cpu() {
    let cpu = ("CPU f32".to_string(), Device::Cpu);
    let devices = devices();
    for combine in OF_LOSSES.into_iter().chain(OF_CONFLICTS) {
        let run = |device: &Device, dtype| {
            let mut rule = balancer(combine);
            let mut steps = vec![];
            for step in 0..3 {
                rule.begin_epoch();
                rule.prepare(device, step).unwrap();
                steps.push(rule.combine(large(device, dtype)).unwrap());
                let losses = [1.0, 0.9, 0.8, 0.7, 0.6].map(|l: f64| l.powi(step as i32 + 1));
                // GradNorm's steps are as long as the gradients, those of log-variances no longer than 1.
                let lr = if combine == Combine::Uncertainty { 0.1 } else { 0.001 };
                rule.observe(&losses, &steps.last().unwrap().1, lr).unwrap();
            }
            steps
        };
        let want = run(&Device::Cpu, DType::F64);
        assert!(want[2].1.weights.iter().any(|w| (w - 1.0).abs() > 1e-3), "{combine:?}: {:?}", want[2].1);
        for (on, device) in devices.iter().chain([&cpu]) {
            for (step, ((got, log), (want, want_log))) in run(device, DType::F32).iter().zip(&want).enumerate() {
                let name = format!("{combine:?} on {on}, step {step}");
                for (got, want) in [
                    (&log.norms, &want_log.norms),
                    (&log.cosines, &want_log.cosines),
                    (&log.weights, &want_log.weights),
                ] {
                    assert!(
                        got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-5 * w.abs().max(1.0)),
                        "{name}: {got:?}, want {want:?}"
                    );
                }
                for (got, want) in got.iter().zip(want) {
                    let (Some(got), Some(want)) = (got, want) else {
                        assert!(got.is_none() && want.is_none());
                        continue;
                    };
                    let (got, want) = (got.tensor().to_f64().unwrap(), want.tensor().to_f64().unwrap());
                    assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 1e-4), "{name}");
                }
            }
        }
    }
}

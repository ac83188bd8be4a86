//! The ranking kernels against the CPU's tiles, and both against scores that are computed pair by pair.

use waata::engine::{Device, Gpu, Philox, Tensor};
use waata::eval::{NO_COURSE, Scorer, TopK};
use waata::graph::IdSets;
use waata::ops::{Activation, Dot, PairFeatures, PairHead};

use crate::common;

/// What is wrong with the ranking on a device.
type Check = Box<dyn Fn(&Device) -> Result<(), String>>;

fn devices() -> Vec<(String, Device)> {
    std::iter::once(("CPU".into(), Device::Cpu)).chain(common::devices()).collect()
}

fn everywhere(checks: Vec<Check>) {
    for (on, device) in devices() {
        checks.iter().for_each(|check| check(&device).unwrap_or_else(|why| panic!("{why} on {on}")));
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn seen(rows: usize, courses: usize) -> Vec<Vec<u32>> {
    (0..rows as u32).map(|b| (0..courses as u32).filter(|c| (c + b) % 4 == 1).collect()).collect()
}

/// The best of given scores (rows, courses) by a full sort.
fn sorted(scores: &[f32], seen: &[Vec<u32>], courses: usize, k: usize) -> TopK {
    let mut top = TopK { k, ids: vec![], scores: vec![] };
    for (row, seen) in scores.chunks_exact(courses).zip(seen) {
        let mut ids: Vec<u32> = (0..courses as u32).filter(|id| !seen.contains(id)).collect();
        ids.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
        ids.resize(ids.len().max(k), NO_COURSE);
        let score = |&id: &u32| row.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        top.scores.extend(ids[..k].iter().map(score));
        top.ids.extend(&ids[..k]);
    }
    top
}

/// Small whole numbers: every order of summation gives the same scores, and most are ties.
fn whole(rows: usize, cols: usize, stream: u64, below: u32) -> Vec<f32> {
    let random = Philox::new(8, stream);
    (0..rows * cols).map(|i| random.below_at(i as u64, below) as f32 - (below / 2) as f32).collect()
}

/// Learners, courses, columns and k.
fn match_check((rows, courses, dim, k): (usize, usize, usize, usize)) -> Check {
    let (u, i, bias) = (whole(rows, dim, 1, 5), whole(courses, dim, 2, 5), whole(1, courses, 3, 9));
    let mut scores = vec![];
    for u in u.chunks_exact(dim) {
        let dot = |i: &[f32]| u.iter().zip(i).map(|(u, i)| u * i).sum::<f32>();
        scores.extend(i.chunks_exact(dim).zip(&bias).map(|(i, bias)| 2.0 * dot(i) + bias));
    }
    let want = sorted(&scores, &seen(rows, courses), courses.max(1), k);
    Box::new(move |device| {
        let tensor = |rows, cols, values: &[f32]| Tensor::new(device, rows, cols, values).unwrap();
        let dot = Dot { scale: 2.0, bias: Some(tensor(1, courses, &bias)) };
        let scorer = Scorer::new(tensor(courses, dim, &i), Some(dot), None).unwrap();
        let seen = IdSets::new(device, seen(rows, courses), courses).unwrap();
        let got = scorer.rank(&tensor(rows, dim, &u), &seen, k).map_err(|e| e.to_string())?;
        let holds = if courses > 0 { got == want } else { got.ids.iter().all(|&id| id == NO_COURSE) };
        ensure(holds, || format!("{rows} x {courses} x {dim}, k {k}: {got:?}, want {want:?}"))
    })
}

pub fn match_checks() -> Vec<Check> {
    let sizes = [
        (1, 1, 1, 3),
        (35, 300, 5, 10),
        (3, 700, 17, 128),
        (70, 131, 33, 50),
        (2, 40, 16, 40),
        (0, 4, 2, 1),
        (2, 0, 3, 1),
    ];
    sizes.map(match_check).into()
}

#[test]
fn match_scores_and_ties() {
    everywhere(match_checks());
}

#[test]
fn infinities_rank_and_nan_is_named_by_its_row() {
    for (_, device) in devices() {
        let bias = [0.0, -0.0, f32::NEG_INFINITY, f32::INFINITY, -1.0];
        let bias = Some(Tensor::new(&device, 1, 5, &bias).unwrap());
        let courses = Tensor::new(&device, 5, 1, &[0.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
        let scorer = Scorer::new(courses, Some(Dot { scale: 1.0, bias }), None).unwrap();
        let none = IdSets::none(&device, 2, 5).unwrap();
        let learners = Tensor::new(&device, 2, 1, &[0.0, 0.0]).unwrap();
        assert_eq!(scorer.rank(&learners, &none, 128).unwrap().row(1), [3, 0, 1, 4, 2]);
        let learners = Tensor::new(&device, 2, 1, &[0.0, f32::NAN]).unwrap();
        let error = scorer.rank(&learners, &none, 2).unwrap_err().to_string();
        assert!(error.contains("row 1"), "{error}");
        assert!(scorer.rank(&learners, &none, 0).is_err() && scorer.rank(&learners, &none, 129).is_err());
    }
}

/// One learner for whom course c has the score `scores[c]`.
fn rank_scores(scores: &[f32], seen: &[u32], k: usize) -> waata::Result<TopK> {
    let courses = Tensor::new(&Device::Cpu, scores.len(), 1, scores)?;
    let seen = IdSets::new(&Device::Cpu, [seen.to_vec()], scores.len())?;
    Scorer::match_score(courses)?.rank(&Tensor::new(&Device::Cpu, 1, 1, &[1.0])?, &seen, k)
}

/// Long rows come in several tiles of courses; with few distinct values most scores are ties.
#[test]
fn a_long_row_is_selected_as_by_a_full_sort() {
    for (courses, k, values) in [
        (1, 5, 9),
        (60, 10, 9),
        (1000, 128, 9),
        (1000, 50, 1 << 20),
        (300, 1, 9),
        (12_000, 50, 3),
        (12_000, 128, 1 << 20),
        (5121, 7, 1),
    ] {
        for row in 0..4 {
            let scores = whole(1, courses, 10 + row as u64, values);
            let seen: Vec<u32> = (0..courses as u32).filter(|c| (c * 7 + row as u32).is_multiple_of(5)).collect();
            let want = sorted(&scores, std::slice::from_ref(&seen), courses, k);
            assert_eq!(rank_scores(&scores, &seen, k).unwrap(), want, "{courses} courses, k {k}, {values} values");
        }
    }
}

#[test]
fn signs_of_zero_and_infinities_among_those_seen() {
    let values = [0.0, -0.0, f32::NEG_INFINITY, f32::INFINITY, -1.0];
    assert_eq!(rank_scores(&values, &[], 128).unwrap().row(0), [3, 0, 1, 4, 2]);
    assert_eq!(rank_scores(&values, &[2, 3], 128).unwrap().row(0), [0, 1, 4]);
    let seen: Vec<u32> = (0..390).collect();
    let none = rank_scores(&[f32::NEG_INFINITY; 400], &seen, 20).unwrap();
    assert_eq!(none.row(0), (390..400).collect::<Vec<_>>());
}

#[test]
fn a_nan_is_seen_wherever_it_stands() {
    for at in [0, 7, 333, 5119, 5120, 5999] {
        let mut row: Vec<f32> = (0..6000).map(|i| (i % 97) as f32).collect();
        row[at] = f32::NAN;
        assert!(rank_scores(&row, &[], 10).is_err(), "{at}");
        assert!(rank_scores(&row, &[at as u32], 10).is_err(), "{at}, of a course that is left out too");
    }
}

/// Random weights (n, m) of one device.
fn dense(device: &Device, inputs: usize, outputs: usize, stream: u64) -> (Tensor, Tensor) {
    let random = Philox::new(3, stream);
    let value = |i: usize| 0.5 * random.normal_at(i as u64) as f32;
    let w: Vec<f32> = (0..inputs * outputs).map(value).collect();
    let b: Vec<f32> = (0..outputs).map(|i| value(inputs * outputs + i)).collect();
    (Tensor::new(device, inputs, outputs, &w).unwrap(), Tensor::new(device, 1, outputs, &b).unwrap())
}

/// A head with every kind of step: two MLPs of widths (w, n), their mean, a gate and a softmax, a tower.
fn head(device: &Device, bottom: PairFeatures, dim: usize, (w, n): (usize, usize)) -> PairHead {
    let layer = |inputs, outputs, stream| dense(device, inputs, outputs, stream);
    let (first, second) = (layer(bottom.width(dim), w, 1), layer(bottom.width(dim), w, 2));
    // Logits of the softmax that see the pair itself.
    let choice = 2 * w;
    let plain = [layer(bottom.width(dim), 3, 6)];
    let mut head = PairHead::new(bottom, dim, &[first, second], &plain, Activation::Relu).unwrap();
    let both = head.reserve(2 * n);
    for j in 0..2 {
        let (weights, b) = layer(w, n, 3 + j as u64);
        head.dense(j * w, (&weights, &b), Activation::Elu, both + j * n).unwrap();
    }
    let logits = head.reserve(n);
    let (weights, b) = layer(2 * n, n, 5);
    head.dense(both, (&weights, &b), Activation::Identity, logits).unwrap();
    // The gated features, the mean and a layer of both lie side by side, as the softmax reads them.
    let mixed = head.reserve(3 * n);
    head.gate(both, n, logits, n, mixed).unwrap();
    head.mean(both, 2, n, mixed + n).unwrap();
    let (weights, b) = layer(2 * n, n, 8);
    head.dense(both, (&weights, &b), Activation::Relu, mixed + 2 * n).unwrap();
    let fused = head.reserve(n);
    head.softmax(mixed, 3, n, choice, fused).unwrap();
    let scalar = head.reserve(1);
    let (weights, b) = layer(n, 1, 7);
    head.dense(fused, (&weights, &b), Activation::LeakyRelu(0.1), scalar).unwrap();
    head
}

/// The same, pair by pair in f64.
fn logit(weights: &dyn Fn(usize, usize, u64) -> (Vec<f64>, Vec<f64>), x: &[f64], (w, n): (usize, usize)) -> f64 {
    let layer = |x: &[f64], outputs: usize, stream| -> Vec<f64> {
        let (weights, b) = weights(x.len(), outputs, stream);
        (0..outputs)
            .map(|o| b[o] + x.iter().enumerate().map(|(i, x)| x * weights[i * outputs + o]).sum::<f64>())
            .collect()
    };
    let relu = |x: Vec<f64>| -> Vec<f64> { x.into_iter().map(|x| x.max(0.0)).collect() };
    let elu = |x: Vec<f64>| -> Vec<f64> { x.into_iter().map(|x| if x > 0.0 { x } else { x.exp_m1() }).collect() };
    let s = elu(layer(&relu(layer(x, w, 1)), n, 3));
    let t = elu(layer(&relu(layer(x, w, 2)), n, 4));
    let gates = layer(&[&s[..], &t[..]].concat(), n, 5);
    let gate = |i: usize| 1.0 / (1.0 + (-gates[i]).exp());
    let gated: Vec<f64> = (0..n).map(|i| gate(i) * s[i] + (1.0 - gate(i)) * t[i]).collect();
    let mean: Vec<f64> = (0..n).map(|i| (s[i] + t[i]) / 2.0).collect();
    let third = relu(layer(&[&s[..], &t[..]].concat(), n, 8));
    let choice: Vec<f64> = layer(x, 3, 6).into_iter().map(f64::exp).collect();
    let parts = [&gated, &mean, &third];
    let mixed = |i: usize| parts.iter().zip(&choice).map(|(x, c)| x[i] * c).sum::<f64>();
    let fused: Vec<f64> = (0..n).map(|i| mixed(i) / choice.iter().sum::<f64>()).collect();
    let z = layer(&fused, 1, 7)[0];
    if z > 0.0 { z } else { 0.1f32 as f64 * z }
}

/// The bottom, (learners, courses, columns), (w, n) of the head, and whether the match score is added.
type HeadSizes = (PairFeatures, (usize, usize, usize), (usize, usize), bool);

fn head_check((bottom, (rows, courses, dim), widths, dot): HeadSizes) -> Check {
    let weights = |inputs, outputs, stream| {
        let (w, b) = dense(&Device::Cpu, inputs, outputs, stream);
        (w.to_f64().unwrap(), b.to_f64().unwrap())
    };
    let random = |rows: usize, stream| -> Vec<f32> {
        (0..rows * dim).map(|i| Philox::new(4, stream).normal_at(i as u64) as f32).collect()
    };
    let (u, i) = (random(rows, 1), random(courses, 2));
    let bias: Vec<f32> = (0..courses).map(|c| c as f32 * 0.01).collect();
    let mut want = vec![];
    for u in u.chunks_exact(dim) {
        for (c, i) in i.chunks_exact(dim).enumerate() {
            let product: Vec<f64> = u.iter().zip(i).map(|(&u, &i)| u as f64 * i as f64).collect();
            let plain: Vec<f64> = u.iter().chain(i).map(|&x| x as f64).collect();
            let x = match bottom {
                PairFeatures::Concat => plain,
                PairFeatures::Hadamard => product.clone(),
                PairFeatures::ConcatHadamard => [plain, product.clone()].concat(),
            };
            let score = if dot { 0.5 * product.iter().sum::<f64>() + bias[c] as f64 } else { 0.0 };
            want.push(score + logit(&weights, &x, widths));
        }
    }
    let scale = want.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    Box::new(move |device| {
        let tensor = |rows, cols, values: &[f32]| Tensor::new(device, rows, cols, values).unwrap();
        let dot = dot.then(|| Dot { scale: 0.5, bias: Some(tensor(1, courses, &bias)) });
        let head = head(device, bottom, dim, widths);
        let scorer = Scorer::new(tensor(courses, dim, &i), dot, Some(head)).map_err(|e| e.to_string())?;
        let seen_ids = seen(rows, courses);
        let seen = IdSets::new(device, &seen_ids, courses).unwrap();
        let k = 128;
        let top = scorer.rank(&tensor(rows, dim, &u), &seen, k).map_err(|e| e.to_string())?;
        for row in 0..rows {
            let what = format!("{bottom:?} {widths:?} row {row}");
            let (ids, scores) = (top.row(row), top.row_scores(row));
            let count = (courses - seen_ids[row].len()).min(k);
            ensure(ids.len() == count, || format!("{what}: {ids:?}, want {count}"))?;
            ensure(scores.is_sorted_by(|a, b| a >= b), || format!("{what}: {scores:?}"))?;
            for (id, score) in ids.iter().zip(scores) {
                ensure(!seen_ids[row].contains(id), || format!("{what}: course {id} was seen"))?;
                let want = want[row * courses + *id as usize];
                let near = (*score as f64 - want).abs() <= 1e-5 * scale;
                ensure(near, || format!("{what}: {score}, want {want}"))?;
            }
        }
        Ok(())
    })
}

pub fn head_checks() -> Vec<Check> {
    [
        (PairFeatures::ConcatHadamard, (7, 75, 6), (8, 12), false),
        (PairFeatures::ConcatHadamard, (2, 40, 5), (7, 3), true),
        (PairFeatures::Concat, (8, 33, 4), (5, 4), true),
        (PairFeatures::Concat, (1, 20, 4), (13, 8), false),
        (PairFeatures::Hadamard, (13, 17, 9), (9, 1), false),
        (PairFeatures::ConcatHadamard, (1, 9, 40), (400, 3), true),
    ]
    .map(head_check)
    .into()
}

#[test]
fn heads_equal_their_formulas_pair_by_pair() {
    everywhere(head_checks());
}

/// Blocks that take several learners: lists of one must not pass into the next.
#[test]
fn a_few_blocks_rank_as_many_do() {
    for order in [common::Order::Forward, common::Order::Shuffle(7)] {
        let device = Device::Gpu(Gpu::new(common::HostDriver::new(order).with_blocks("topk_", 1)));
        for check in match_checks().into_iter().chain(head_checks()) {
            check(&device).unwrap();
        }
    }
}

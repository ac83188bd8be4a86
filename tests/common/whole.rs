//! A whole model on tiny data: its losses and gradients, what they should be, and its rankings.

use waata::config::{Config, KgPhase, RankBy};
use waata::data::{Dataset, Split};
use waata::engine::{DType, Device, Gpu, Philox, Tape, Tensor};
use waata::graph::IdSets;
use waata::models::{self, Batch, Learners, Model, Recommender, TrainGraph, learners_for, triples_for_training};
use waata::train::{TrainStep, TripleSampler};

use super::{HostDriver, Order, tiny};

/// A model whose parameters are far from zero, the same on every device: values of single precision.
pub fn model(config: &Config, data: &Dataset, device: &Device, dtype: DType) -> (Box<dyn Model>, TrainGraph) {
    let graph = TrainGraph::new(config, data, &[Split::Train]);
    let mut model = models::build(config, data, &graph, device, dtype).unwrap();
    for (i, param) in model.params_mut().iter_mut().enumerate() {
        let random = Philox::new(7, i as u64);
        let ((rows, cols), start) = (param.value.shape(), param.value.to_f64().unwrap());
        let moved = |(i, x): (usize, &f64)| (x + 0.2 * random.normal_at(i as u64)) as f32 as f64;
        let values: Vec<f64> = start.iter().enumerate().map(moved).collect();
        param.value = Tensor::from_f64(device, dtype, rows, cols, &values).unwrap();
    }
    model.begin_epoch().unwrap();
    (model, graph)
}

pub fn batch(config: &Config, data: &Dataset, model: &dyn Model, graph: &TrainGraph) -> Batch {
    let joint = config.kg.is_joint(model.tasks().len());
    let triples = joint.then(|| {
        let triples = triples_for_training(config, graph);
        TripleSampler::new(config, triples, graph.nodes, graph.relations.count()).unwrap()
    });
    tiny::batch(data, config, model, triples.as_ref())
}

pub type Gradients = Vec<Option<Tensor>>;

/// Values of the losses, their weighted sum and its gradients.
pub fn evaluate(model: &dyn Model, batch: &Batch) -> (Vec<(String, f64)>, f64, Gradients) {
    let mut tape = Tape::new();
    // A fixed stream of dropout and of neighbours: the same are dropped and drawn in every evaluation.
    let random = Some(Philox::new(3, 4));
    let inputs = model.upload(batch, random).unwrap();
    let vars = model.params().rows_on_tape(&mut tape, &inputs.rows).unwrap();
    let losses = model.losses(&mut tape, &vars, &inputs).unwrap();
    let value = |l: &models::Loss| (l.name.clone(), tape.value(l.var).to_f64().unwrap()[l.column]);
    let named = losses.losses.iter().map(value).collect();
    let (total, grads) = tiny::weighted(&tape, &losses, &vars);
    let grads = model.params().iter().zip(grads).enumerate();
    let grads = grads.map(|(i, (param, grad))| match inputs.rows.get(i).and_then(Option::as_ref) {
        Some(rows) => grad.map(|grad| in_full(rows.ids().host(), &grad, &param.value)),
        None => grad,
    });
    let grads = grads.collect();
    (named, total, grads)
}

/// A gradient of some rows as one of the whole table.
fn in_full(ids: &[u32], grad: &Tensor, table: &Tensor) -> Tensor {
    let (rows, cols) = table.shape();
    let mut full = vec![0.0; rows * cols];
    for (&id, row) in ids.iter().zip(grad.to_f64().unwrap().chunks_exact(cols)) {
        full[id as usize * cols..][..cols].copy_from_slice(row);
    }
    Tensor::from_f64(&table.device(), table.dtype(), rows, cols, &full).unwrap()
}

/// The entries to check: the three largest gradients and some at random.
fn probes(grad: &[f64], stream: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..grad.len()).collect();
    Philox::new(11, stream).shuffle(&mut order);
    let mut largest = order.clone();
    largest.sort_by(|&a, &b| grad[b].abs().total_cmp(&grad[a].abs()));
    order.truncate(7);
    order.extend(&largest[..3.min(largest.len())]);
    order
}

/// Fails where a gradient is not that of differences. Of each parameter some entries are looked at.
pub fn check_gradients(name: &str, config: &Config, data: &Dataset) {
    let (mut model, graph) = model(config, data, &Device::Cpu, DType::F64);
    let batch = batch(config, data, &*model, &graph);
    let (_, total, grads) = evaluate(&*model, &batch);
    assert!(total.is_finite() && total > 0.0, "{name}: {total}");
    for (i, grad) in grads.iter().enumerate() {
        let param = model.params().iter().nth(i).unwrap();
        let (what, len) = (param.name.clone(), param.value.len());
        let grad = grad.as_ref().map_or(vec![0.0; len], |g| g.to_f64().unwrap());
        for at in probes(&grad, i as u64) {
            let eps = 1e-6;
            let moved = |model: &mut Box<dyn Model>, by: f64| {
                model.params_mut().iter_mut().nth(i).unwrap().value.host_mut::<f64>()[at] += by;
            };
            moved(&mut model, eps);
            let above = evaluate(&*model, &batch).1;
            moved(&mut model, -2.0 * eps);
            let below = evaluate(&*model, &batch).1;
            moved(&mut model, eps);
            let want = (above - below) / (2.0 * eps);
            let error = (grad[at] - want).abs();
            assert!(
                error <= 1e-6 + 1e-4 * want.abs(),
                "{name}: {what}[{at}]: gradient {}, differences {want}",
                grad[at]
            );
        }
    }
}

pub fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (got.to_f64().unwrap(), want.to_f64().unwrap());
    let scale = want.iter().fold(0.1f64, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!((g - w).abs() <= tolerance * scale, "{what}[{i}]: {g}, in double precision on the CPU {w}");
    }
}

/// Scores of all courses for each learner, out of the ranking's lists.
pub fn ranked(model: &dyn Recommender, learners: &Learners) -> Tensor {
    let encoded = model.encode().unwrap();
    let z_u = model.represent_learners(&encoded, learners).unwrap();
    let scorer = model.scorer(&encoded).unwrap();
    let (rows, courses, device) = (learners.rows(), scorer.courses(), z_u.device());
    let top = scorer.rank(&z_u, &IdSets::none(&device, rows, courses).unwrap(), courses).unwrap();
    let mut scores = vec![f32::NAN; rows * courses];
    for row in 0..rows {
        for (id, score) in top.row(row).iter().zip(top.row_scores(row)) {
            scores[row * courses + *id as usize] = *score;
        }
    }
    Tensor::new(&Device::Cpu, rows, courses, &scores).unwrap()
}

/// The same pair by pair: the first task's logit of the head as it trains, the match score (8), or their sum.
pub fn scores(model: &dyn Recommender, rank_by: RankBy, config: &Config, learners: &Learners) -> Tensor {
    let encoded = model.encode().unwrap();
    let (rows, courses) = (learners.rows(), encoded.z_courses.rows());
    let pairs: Vec<(u32, u32)> = (0..rows as u32).flat_map(|u| (0..courses as u32).map(move |i| (u, i))).collect();
    let logits = model.logits(&encoded, learners, &pairs).unwrap().to_f64().unwrap();
    let (z_u, z_i) = (model.represent_learners(&encoded, learners).unwrap(), &encoded.z_courses);
    let (d, z_u, z_i) = (z_i.cols(), z_u.to_f64().unwrap(), z_i.to_f64().unwrap());
    let bias = model.params().find("course_bias").map(|id| model.params().get(id).value.to_f64().unwrap());
    let softmax = config.loss.ranking == waata::config::Ranking::Softmax;
    let scale = if softmax { config.loss.softmax_scale } else { 1.0 };
    let score = |(at, &(u, i)): (usize, &(u32, u32))| {
        let (u, i) = (u as usize, i as usize);
        let dot: f64 = z_u[u * d..(u + 1) * d].iter().zip(&z_i[i * d..(i + 1) * d]).map(|(a, b)| a * b).sum();
        let score = scale * dot + bias.as_ref().map_or(0.0, |bias| bias[i]);
        let head = logits[at * model.tasks().len()];
        match rank_by {
            RankBy::Head => head,
            RankBy::Inner => score,
            RankBy::Both => head + score,
        }
    };
    let scores: Vec<f64> = pairs.iter().enumerate().map(score).collect();
    Tensor::from_f64(&Device::Cpu, DType::F64, rows, courses, &scores).unwrap()
}

pub fn executor() -> Device {
    Device::Gpu(Gpu::new(HostDriver::new(Order::Shuffle(5))))
}

/// Fails where losses, gradients, logits or rankings in single precision, on the CPU or by the host executor, are not
/// those of double precision on the CPU.
pub fn check_kernels(name: &str, config: &Config, data: &Dataset) {
    let (exact, graph) = model(config, data, &Device::Cpu, DType::F64);
    let batch = batch(config, data, &*exact, &graph);
    let (wanted, _, wanted_grads) = evaluate(&*exact, &batch);
    let ids: Vec<u32> = (0..5).collect();
    let learners = learners_for(data, config, &ids, &[Split::Train]);
    let pairs = [(0, 5), (3, 0), (4, 4), (2, 2)];
    let exact_encoded = exact.encode().unwrap();
    for (side, device) in [("CPU", Device::Cpu), ("executor", executor())] {
        let what = |part: &str| format!("{name} on {side}: {part}");
        let (model, _) = model(config, data, &device, DType::F32);
        let (losses, _, grads) = evaluate(&*model, &batch);
        assert_eq!(losses.len(), wanted.len());
        for ((loss, got), (_, want)) in losses.iter().zip(&wanted) {
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{}: {got}, want {want}", what(loss));
        }
        for ((param, got), want) in model.params().iter().zip(&grads).zip(&wanted_grads) {
            match (got, want) {
                (Some(got), Some(want)) => close(&what(&param.name), got, want, 2e-4),
                (None, None) => {}
                _ => panic!("{}: only one side has a gradient", what(&param.name)),
            }
        }
        let encoded = model.encode().unwrap();
        close(&what("z of courses"), &encoded.z_courses, &exact_encoded.z_courses, 1e-5);
        let logits = model.logits(&encoded, &learners, &pairs).unwrap();
        let want = exact.logits(&exact_encoded, &learners, &pairs).unwrap();
        close(&what("logits"), &logits, &want, 1e-4);
        for rank_by in [RankBy::Head, RankBy::Inner, RankBy::Both] {
            // Without layers the head is the match score itself.
            if rank_by == RankBy::Both && model.head_params().is_empty() {
                continue;
            }
            let mut config = config.clone();
            config.eval.rank_by = rank_by;
            let (model, _) = self::model(&config, data, &device, DType::F32);
            let want = scores(&*model, rank_by, &config, &learners);
            close(&what(&format!("{rank_by:?}")), &ranked(&*model, &learners), &want, 1e-5);
        }
    }
}

/// Trains on one batch until it is known by heart; the first and last values of each loss.
pub fn overfit(config: &Config, data: &Dataset, steps: usize) -> Vec<(String, f64, f64)> {
    let (mut model, graph) = model(config, data, &Device::Cpu, DType::F32);
    let mut stepper = TrainStep::new(config).unwrap();
    let batch = batch(config, data, &*model, &graph);
    let first = stepper.interaction_step(&mut *model, &batch).unwrap().values;
    let mut last = first.clone();
    for _ in 1..steps {
        last = stepper.interaction_step(&mut *model, &batch).unwrap().values;
    }
    let losses = first.into_iter().filter_map(|(k, v)| Some((k.strip_prefix("loss/")?.to_string(), v)));
    losses.map(|(name, v)| (name.clone(), v, last[&format!("loss/{name}")])).collect()
}

//! The whole model in many configurations: gradients against differences, and every launch path by the host executor.

mod common;

use waata::config::Config;
use waata::data::{Dataset, Split};
use waata::engine::{DType, Device, Gpu, Philox, Tape, Tensor};
use waata::graph::IdSets;
use waata::models::{self, Batch, Learners, Model, TrainGraph, learners_for, triples_for_training};
use waata::train::{Stepper, TripleSampler};

use common::{HostDriver, Order, tiny};

/// Settings by name; every choice that changes the path through the model occurs.
const CONFIGURATIONS: &[(&str, &[&str])] = &[
    ("differentiated", &["attention.mode=differentiated"]),
    ("refreshed", &[]),
    ("laplacian, self-loops", &["attention.mode=laplacian", "attention.self_loop=true"]),
    (
        "recency on the full graph",
        &["attention.mode=differentiated", "attention.edge_bias=recency", "attention.recency_buckets=3"],
    ),
    (
        "latest course",
        &[
            "model.propagation=history",
            "model.learner=latest_history",
            "attention.mode=differentiated",
            "attention.edge_bias=recency",
            "attention.recency_buckets=3",
            "attention.norm_power=0.5",
            "loss.ranking=softmax",
            "loss.softmax_mask_seen=true",
            "loss.label_smoothing=0.1",
            "model.layer_scale=3.0",
            "train.negatives=1",
        ],
    ),
    ("latest alone", &["model.propagation=history", "model.learner=latest", "attention.mode=differentiated"]),
    ("free learners", &["model.propagation=history", "attention.mode=differentiated"]),
    (
        "free and history, laplacian",
        &["model.propagation=history", "model.learner=free_history", "attention.mode=laplacian"],
    ),
    (
        "history without layers",
        &[
            "model.propagation=history",
            "model.learner=history",
            "attention.mode=differentiated",
            "model.layers=[]",
        ],
    ),
    ("gat", &["attention.mode=differentiated", "attention.logit=gat", "model.slope=0.2"]),
    ("dot, warm", &["attention.mode=differentiated", "attention.logit=dot", "attention.temperature=2.0"]),
    (
        "projected messages",
        &["attention.mode=differentiated", "attention.message=projected", "model.layers=[8, 8]"],
    ),
    (
        "projected, history",
        &[
            "model.propagation=history",
            "model.learner=history",
            "attention.mode=differentiated",
            "attention.message=projected",
            "model.layers=[8]",
        ],
    ),
    ("narrow relations", &["attention.mode=differentiated", "model.relation_dim=5"]),
    ("wide relations", &["attention.mode=differentiated", "model.relation_dim=11"]),
    ("gcn, sum", &["model.aggregator=gcn", "model.stack=sum", "model.layers=[8, 8]", "loss.orth=b"]),
    ("graphsage, last", &["model.aggregator=graphsage", "model.stack=last", "model.normalize=false"]),
    ("mean", &["model.stack=mean", "model.layers=[8]", "loss.orth=a0", "loss.l2=0.01"]),
    ("separate course vectors", &["model.course_output=separate", "head.score_residual=true", "loss.orth=c"]),
    ("two pairs, mean", &["head.pairs=2", "loss.orth=d", "head.activation=elu"]),
    ("two pairs, projected", &["head.pairs=2", "head.pair_merge=concat_project", "loss.l1_specific=0.01"]),
    ("fdn", &["head.pairs=2", "head.fusion=fdn_concat", "loss.orth=fdn_code", "head.bottom=concat"]),
    ("labels of enrolments alone", &["loss.label_space=enrolled"]),
    ("softmax gate", &["head.fusion=softmax_gate", "head.bottom=hadamard"]),
    ("shared scalar gate", &["head.gate=scalar", "head.shared_gate=true", "head.tower=[]"]),
    (
        "knowledge graph, margin",
        &[
            "kg.phase=joint",
            "kg.loss=margin",
            "kg.corruption=bern",
            "kg.l2=0.01",
            "loss.ranking=bpr",
            "loss.l2=0.01",
        ],
    ),
    (
        "knowledge graph, l1, clamped",
        &[
            "kg.phase=joint",
            "kg.distance=l1",
            "kg.proj_norm=clamp",
            "kg.corruption=unif",
            "loss.task_weights=[2, 0.5]",
        ],
    ),
    (
        "one task, knowledge graph",
        &["loss.tasks=[\"enrolled\"]", "kg.distance=l2", "kg.proj_norm=l2", "head.score_residual=true"],
    ),
    ("sampled", &["model.fan_out=[2, 3]", "attention.mode=differentiated", "loss.ranking=bpr"]),
    ("sampled, refreshed", &["model.fan_out=[3, 1]", "kg.phase=joint", "model.course_output=separate"]),
    (
        "sampled, laplacian, softmax",
        &[
            "model.fan_out=[1, 2]",
            "attention.mode=laplacian",
            "loss.ranking=softmax",
            "attention.self_loop=true",
        ],
    ),
    (
        "sampled, projected messages",
        &[
            "model.fan_out=[1, 2, 2]",
            "model.layers=[8, 8, 8]",
            "attention.mode=differentiated",
            "attention.message=projected",
            "attention.edge_bias=recency",
            "kg.phase=joint",
        ],
    ),
];

fn config(settings: &[&str]) -> Config {
    let small =
        ["model.dim=8", "model.layers=[6, 4]", "head.widths=[7, 5]", "head.tower=[3]", "train.negatives=2"];
    let all: Vec<&str> = small.iter().chain(settings).copied().collect();
    tiny::config(&all).unwrap_or_else(|e| panic!("{settings:?}: {e}"))
}

/// A model whose parameters are far from zero, the same on every device: values of single precision.
fn model(config: &Config, data: &Dataset, device: &Device, dtype: DType) -> (Box<dyn Model>, TrainGraph) {
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

fn batch(config: &Config, data: &Dataset, model: &dyn Model, graph: &TrainGraph) -> Batch {
    let joint = config.kg.phase == waata::config::KgPhase::Joint || model.tasks().len() == 1;
    let triples = joint.then(|| {
        let triples = triples_for_training(config, graph);
        TripleSampler::new(config, triples, graph.nodes, graph.relations.count()).unwrap()
    });
    tiny::batch(data, config, model, triples.as_ref())
}

type Gradients = Vec<Option<Tensor>>;

/// Values of the losses, their weighted sum and its gradients.
fn evaluate(model: &dyn Model, batch: &Batch) -> (Vec<(String, f64)>, f64, Gradients) {
    let mut tape = Tape::new();
    // A fixed stream of dropout and of neighbours: the same are dropped and drawn in every evaluation.
    let random = Some(Philox::new(3, 4));
    let plan = model.plan(batch, random).unwrap();
    let vars = model.params().rows_on_tape(&mut tape, &plan.rows).unwrap();
    let losses = model.losses(&mut tape, &vars, batch, &plan).unwrap();
    let value = |l: &models::Loss| (l.name.clone(), tape.value(l.var).to_f64().unwrap()[l.column]);
    let named = losses.losses.iter().map(value).collect();
    let (total, grads) = tiny::weighted(&tape, &losses, &vars);
    let grads = model.params().iter().zip(grads).enumerate();
    let grads = grads.map(|(i, (param, grad))| match plan.rows.get(i).and_then(Option::as_ref) {
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

#[test]
fn gradients_are_those_of_differences() {
    let data = tiny::dataset();
    for (name, settings) in CONFIGURATIONS {
        let config = config(settings);
        let (mut model, graph) = model(&config, &data, &Device::Cpu, DType::F64);
        let batch = batch(&config, &data, &*model, &graph);
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
}

fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (got.to_f64().unwrap(), want.to_f64().unwrap());
    let scale = want.iter().fold(0.1f64, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!((g - w).abs() <= tolerance * scale, "{what}[{i}]: {g}, in double precision on the CPU {w}");
    }
}

/// Scores of all courses for each learner, out of the ranking's lists.
fn ranked(model: &dyn Model, learners: &Learners) -> Tensor {
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
fn scores(model: &dyn Model, rank_by: &str, config: &Config, learners: &Learners) -> Tensor {
    let encoded = model.encode().unwrap();
    let (rows, courses) = (learners.rows(), encoded.z_courses.rows());
    let pairs: Vec<(u32, u32)> =
        (0..rows as u32).flat_map(|u| (0..courses as u32).map(move |i| (u, i))).collect();
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
            "head" => head,
            "inner" => score,
            _ => head + score,
        }
    };
    let scores: Vec<f64> = pairs.iter().enumerate().map(score).collect();
    Tensor::from_f64(&Device::Cpu, DType::F64, rows, courses, &scores).unwrap()
}

fn executor() -> Device {
    Device::Gpu(Gpu::new(HostDriver::new(Order::Shuffle(5))))
}

#[test]
fn kernels_agree_with_the_cpu() {
    let data = tiny::dataset();
    for (name, settings) in CONFIGURATIONS {
        let config = config(settings);
        let (exact, graph) = model(&config, &data, &Device::Cpu, DType::F64);
        let batch = batch(&config, &data, &*exact, &graph);
        let (wanted, _, wanted_grads) = evaluate(&*exact, &batch);
        let ids: Vec<u32> = (0..5).collect();
        let learners = learners_for(&data, &config, &ids, &[Split::Train]);
        let pairs = [(0, 5), (3, 0), (4, 4), (2, 2)];
        let exact_encoded = exact.encode().unwrap();
        for (side, device) in [("CPU", Device::Cpu), ("executor", executor())] {
            let what = |part: &str| format!("{name} on {side}: {part}");
            let (model, _) = model(&config, &data, &device, DType::F32);
            let (losses, _, grads) = evaluate(&*model, &batch);
            assert_eq!(losses.len(), wanted.len());
            for ((loss, got), (_, want)) in losses.iter().zip(&wanted) {
                assert!(
                    (got - want).abs() <= 1e-5 * want.abs().max(1.0),
                    "{}: {got}, want {want}",
                    what(loss)
                );
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
            for rank_by in ["head", "inner", "both"] {
                let settings: Vec<String> = settings
                    .iter()
                    .map(|s| s.to_string())
                    .chain([format!("eval.rank_by={rank_by}")])
                    .collect();
                let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
                let (model, _) = self::model(&self::config(&settings), &data, &device, DType::F32);
                let want = scores(&*model, rank_by, &config, &learners);
                close(&what(rank_by), &ranked(&*model, &learners), &want, 1e-5);
            }
        }
    }
}

/// Fan-outs that no degree exceeds leave nothing to chance: the losses and gradients are those of the whole graph.
#[test]
fn sampling_everything_is_the_whole_graph() {
    let data = tiny::dataset();
    let choices: [&[&str]; 5] = [
        &["attention.mode=differentiated", "loss.ranking=bpr"],
        &["attention.mode=laplacian", "loss.ranking=softmax", "model.course_output=separate"],
        &["kg.phase=joint"],
        &[
            "attention.mode=differentiated",
            "attention.logit=gat",
            "kg.phase=joint",
            "attention.edge_bias=recency",
        ],
        &["attention.mode=differentiated", "attention.message=projected", "model.layers=[8, 8]"],
    ];
    for settings in choices {
        let run = |more: &[&str]| {
            let all: Vec<&str> =
                settings.iter().chain(["model.message_dropout=0"].iter()).chain(more).copied().collect();
            let config = config(&all);
            let (model, graph) = model(&config, &data, &Device::Cpu, DType::F64);
            let batch = batch(&config, &data, &*model, &graph);
            let found = evaluate(&*model, &batch);
            (model, found)
        };
        let (model, (_, want, want_grads)) = run(&[]);
        let (_, (_, got, grads)) = run(&["model.fan_out=[1000, 1000]"]);
        // A constant attention is drawn from in single precision.
        assert!((got - want).abs() < 1e-6 * want.abs(), "{settings:?}: {got}, on the whole graph {want}");
        for ((param, got), want) in model.params().iter().zip(&grads).zip(&want_grads) {
            match (got, want) {
                (Some(got), Some(want)) => close(&format!("{settings:?}: {}", param.name), got, want, 1e-6),
                (None, None) => {}
                _ => panic!("{settings:?}: only one side has a gradient of {}", param.name),
            }
        }
    }
}

/// Biases begin at zero, and so does all that is made of nothing: a learner without a history.
#[test]
fn gradients_of_a_fresh_model_are_moderate() {
    let data = tiny::dataset();
    for (name, settings) in CONFIGURATIONS {
        let config = config(settings);
        let graph = TrainGraph::new(&config, &data, &[Split::Train]);
        for (device, dtype) in
            [(Device::Cpu, DType::F64), (Device::Cpu, DType::F32), (executor(), DType::F32)]
        {
            let model = models::build(&config, &data, &graph, &device, dtype).unwrap();
            let (_, _, grads) = evaluate(&*model, &batch(&config, &data, &*model, &graph));
            for (param, grad) in model.params().iter().zip(grads) {
                let values = grad.map_or(vec![], |g| g.to_f64().unwrap());
                let largest = values.iter().fold(0.0f64, |m, g| m.max(g.abs()));
                assert!(largest < 1e4, "{name}: a gradient of {} is {largest:e}", param.name);
            }
        }
    }
}

/// Trains on one batch until it is known by heart; the first and last values of each loss.
fn overfit(settings: &[&str], steps: usize) -> Vec<(String, f64, f64)> {
    let data = tiny::dataset();
    let config = config(settings);
    let (mut model, graph) = model(&config, &data, &Device::Cpu, DType::F32);
    let mut stepper = Stepper::new(&config).unwrap();
    let batch = batch(&config, &data, &*model, &graph);
    let first = stepper.enrolments(&mut *model, &batch).unwrap().values;
    let mut last = first.clone();
    for _ in 1..steps {
        last = stepper.enrolments(&mut *model, &batch).unwrap().values;
    }
    let losses = first.into_iter().filter_map(|(k, v)| Some((k.strip_prefix("loss/")?.to_string(), v)));
    losses.map(|(name, v)| (name.clone(), v, last[&format!("loss/{name}")])).collect()
}

#[test]
fn a_tiny_set_is_learnt_by_heart() {
    // ReLU units can satisfy orthogonality by dying, which ends what they could learn: with them it is left out.
    let heads: [&[&str]; 2] = [&["head.activation=elu"], &["loss.orth_weight=0"]];
    for combine in ["sum", "metabalance", "metabalance_x_cosine", "uncertainty", "pcgrad", "cagrad"] {
        for head in heads {
            let combine = format!("weighting.combine={combine}");
            let mut settings =
                vec!["model.message_dropout=0", "attention.mode=differentiated", "train.lr=0.02"];
            settings.extend(["head.widths=[32, 16]", &combine].iter().chain(head));
            for (name, first, last) in overfit(&settings, 300) {
                assert!(last < 0.01, "{settings:?}: {name} went from {first} to {last}");
            }
        }
    }
}

/// The control of the multi-task models learns the target and nothing else.
#[test]
fn a_single_task_has_one_loss() {
    let settings = [
        "model.name=single-task",
        "model.layers=[]",
        "train.lr=0.02",
        "head.widths=[32, 16]",
        "head.activation=elu",
    ];
    let losses = overfit(&settings, 300);
    let [(name, first, last)] = &losses[..] else { panic!("{losses:?}") };
    assert_eq!(name, "bce/enrolled");
    assert!(*last < 0.01, "from {first} to {last}");
}

#[test]
fn one_task_trains_with_the_knowledge_graph() {
    let settings = [
        "model.message_dropout=0",
        "train.lr=0.02",
        "loss.tasks=[\"enrolled\"]",
        "attention.mode=differentiated",
    ];
    let losses = overfit(&settings, 300);
    assert!(losses.iter().any(|(name, ..)| name == "kg"), "{losses:?}");
    for (name, first, last) in losses {
        assert!(last < 0.7 * first, "{name} went from {first} to {last}");
    }
}

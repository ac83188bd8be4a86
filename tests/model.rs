//! The whole model in many configurations: gradients against differences, and every launch path by the host executor.

mod common;

use waata::config::Config;
use waata::data::Split;
use waata::engine::{DType, Device};
use waata::models::{self, TrainGraph};

use common::tiny;
use common::whole::{batch, check_gradients, check_kernels, close, evaluate, executor, model, overfit};

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
        &["model.propagation=history", "model.learner=history", "attention.mode=differentiated", "model.layers=[]"],
    ),
    (
        "labels of histories",
        &[
            "model.propagation=history",
            "model.learner=history",
            "model.history_labels=course",
            "train.history=others",
            "attention.mode=differentiated",
            "attention.norm_power=0.5",
            "loss.ranking=softmax",
        ],
    ),
    (
        "labels of histories, laplacian",
        &[
            "model.propagation=history",
            "model.learner=free_history",
            "model.history_labels=shared",
            "attention.mode=laplacian",
        ],
    ),
    ("gat", &["attention.mode=differentiated", "attention.logit=gat", "model.slope=0.2"]),
    ("dot, warm", &["attention.mode=differentiated", "attention.logit=dot", "attention.temperature=2.0"]),
    ("projected messages", &["attention.mode=differentiated", "attention.message=projected", "model.layers=[8, 8]"]),
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
        &["kg.phase=joint", "kg.loss=margin", "kg.corruption=bern", "kg.l2=0.01", "loss.ranking=bpr", "loss.l2=0.01"],
    ),
    (
        "knowledge graph, l1, clamped",
        &["kg.phase=joint", "kg.distance=l1", "kg.proj_norm=clamp", "kg.corruption=unif", "loss.task_weights=[2, 0.5]"],
    ),
    (
        "one task, knowledge graph",
        &["loss.tasks=[\"enrolled\"]", "kg.distance=l2", "kg.proj_norm=l2", "head.score_residual=true"],
    ),
    ("sampled", &["model.fan_out=[2, 3]", "attention.mode=differentiated", "loss.ranking=bpr"]),
    ("sampled, refreshed", &["model.fan_out=[3, 1]", "kg.phase=joint", "model.course_output=separate"]),
    (
        "sampled, laplacian, softmax",
        &["model.fan_out=[1, 2]", "attention.mode=laplacian", "loss.ranking=softmax", "attention.self_loop=true"],
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
    let small = ["model.dim=8", "model.layers=[6, 4]", "head.widths=[7, 5]", "head.tower=[3]", "train.negatives=2"];
    let all: Vec<&str> = small.iter().chain(settings).copied().collect();
    tiny::config(&all).unwrap_or_else(|e| panic!("{settings:?}: {e}"))
}

#[test]
fn gradients_are_those_of_differences() {
    let data = tiny::dataset();
    CONFIGURATIONS.iter().for_each(|(name, settings)| check_gradients(name, &config(settings), &data));
}

#[test]
fn kernels_agree_with_the_cpu() {
    let data = tiny::dataset();
    CONFIGURATIONS.iter().for_each(|(name, settings)| check_kernels(name, &config(settings), &data));
}

/// Fan-outs that no degree exceeds leave nothing to chance: the losses and gradients are those of the whole graph.
#[test]
fn sampling_everything_is_the_whole_graph() {
    let data = tiny::dataset();
    let choices: [&[&str]; 5] = [
        &["attention.mode=differentiated", "loss.ranking=bpr"],
        &["attention.mode=laplacian", "loss.ranking=softmax", "model.course_output=separate"],
        &["kg.phase=joint"],
        &["attention.mode=differentiated", "attention.logit=gat", "kg.phase=joint", "attention.edge_bias=recency"],
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
        for (device, dtype) in [(Device::Cpu, DType::F64), (Device::Cpu, DType::F32), (executor(), DType::F32)] {
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

#[test]
fn a_tiny_set_is_learnt_by_heart() {
    // ReLU units can satisfy orthogonality by dying, which ends what they could learn: with them it is left out.
    let heads: [&[&str]; 2] = [&["head.activation=elu"], &["loss.orth_weight=0"]];
    for combine in ["sum", "metabalance", "metabalance_x_cosine", "uncertainty", "pcgrad", "cagrad"] {
        for head in heads {
            let combine = format!("weighting.combine={combine}");
            let mut settings = vec!["model.message_dropout=0", "attention.mode=differentiated", "train.lr=0.02"];
            settings.extend(["head.widths=[32, 16]", &combine].iter().chain(head));
            for (name, first, last) in overfit(&config(&settings), &tiny::dataset(), 300) {
                assert!(last < 0.01, "{settings:?}: {name} went from {first} to {last}");
            }
        }
    }
}

/// The control of the multi-task models learns the target and nothing else.
#[test]
fn a_single_task_has_one_loss() {
    let settings =
        ["model.name=single-task", "model.layers=[]", "train.lr=0.02", "head.widths=[32, 16]", "head.activation=elu"];
    let losses = overfit(&config(&settings), &tiny::dataset(), 300);
    let [(name, first, last)] = &losses[..] else { panic!("{losses:?}") };
    assert_eq!(name, "bce/enrolled");
    assert!(*last < 0.01, "from {first} to {last}");
}

#[test]
fn one_task_trains_with_the_knowledge_graph() {
    let settings =
        ["model.message_dropout=0", "train.lr=0.02", "loss.tasks=[\"enrolled\"]", "attention.mode=differentiated"];
    let losses = overfit(&config(&settings), &tiny::dataset(), 300);
    assert!(losses.iter().any(|(name, ..)| name == "kg"), "{losses:?}");
    for (name, first, last) in losses {
        assert!(last < 0.7 * first, "{name} went from {first} to {last}");
    }
}

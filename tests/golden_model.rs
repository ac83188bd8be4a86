//! The whole model against a literal implementation of its formulas (tests/golden/waata.py).

mod common;

use serde_json::Value;
use waata::config::Config;
use waata::data::{Dataset, Interactions, Split};
use waata::engine::{Device, Tape, Tensor};
use waata::graph::Graph;
use waata::layers::Histories;
use waata::models::{self, Batch, Encoded, Learners, Model, TrainGraph};

use common::golden::{Target, ids, numbers, read, targets};
use common::tiny;

/// The data set that gives the file's edges: enrolments from learners to courses, triples from relations of the
/// knowledge graph.
fn dataset(golden: &Value) -> Dataset {
    let count = |key: &str| golden["settings"][key].as_u64().unwrap() as u32;
    let (learners, courses) = (count("learners"), count("courses"));
    let edges = ids(&golden["graph"]["edges"]);
    let enrolments = |u: u32| {
        let of = move |e: &[u32]| (e[0] == u && e[1] == 4).then_some(e[2] - learners);
        edges.chunks_exact(3).filter_map(of)
    };
    let mut interactions = Interactions { offsets: vec![0].into(), ..Default::default() };
    for u in 0..learners {
        interactions.course.to_mut().extend(enrolments(u));
        interactions.offsets.to_mut().push(interactions.course.len() as u64);
    }
    interactions.split = vec![Split::Train; interactions.course.len()].into();
    interactions.label_values = vec![vec![0; interactions.course.len()].into()];
    let of_kg = |e: &&[u32]| e[1] < 2;
    let data = Dataset {
        name: "golden".into(),
        learner_names: (0..learners).map(|u| u.to_string()).collect(),
        entity_names: (0..courses + count("attributes")).map(|e| e.to_string()).collect(),
        courses: courses as usize,
        relation_names: vec!["0", "1"].into(),
        triples: (edges.chunks_exact(3).filter(of_kg)).map(|e| [e[0] - learners, e[1], e[2] - learners]).collect(),
        labels: vec!["completed".into()],
        interactions,
    };
    data.validate().unwrap();
    data
}

fn config(attention: &str) -> Config {
    tiny::config(&[
        &format!("attention.mode={attention}"),
        "model.dim=6",
        "model.layers=[5, 4]",
        "model.message_dropout=0",
        "head.widths=[8, 6]",
        "head.tower=[4]",
    ])
    .unwrap()
}

/// The name of a parameter in the file: there, heads of one layer have no layer number.
fn recorded_name(name: &str) -> String {
    match name.strip_prefix("aux.") {
        Some(rest) => format!("aux.{}", rest.replacen(".0.", ".", 1)),
        None => name.to_string(),
    }
}

/// A model with the file's parameters, and its graph in the file's order of edges.
fn model(target: &Target, golden: &Value, data: &Dataset, config: &Config) -> Box<dyn Model> {
    let graph = TrainGraph::new(config, data, &[Split::Train]);
    let mut model = models::build(config, data, &graph, &target.device, target.dtype).unwrap();
    let mut used = 0;
    for param in model.params_mut().iter_mut().filter(|p| p.name != "edge_bias") {
        let value = target.tensor(&golden["parameters"][recorded_name(&param.name)]);
        assert_eq!(value.shape(), param.value.shape(), "{}", param.name);
        param.value = value;
        used += 1;
    }
    assert_eq!(used, golden["parameters"].as_object().unwrap().len(), "every recorded parameter has its place");
    let nodes = graph.nodes;
    let sorted = Graph::new(&Device::Cpu, nodes, nodes, graph.relations.count(), &graph.edges).unwrap();
    for (e, want) in ids(&golden["graph"]["edges"]).chunks_exact(3).enumerate() {
        let group = sorted.group.host()[e] as usize;
        let got = [sorted.dst.host()[e], sorted.groups.relation.host()[group], sorted.src.host()[e]];
        assert_eq!(got, want, "edge {e}");
    }
    model
}

fn pairs(golden: &Value) -> Vec<(u32, u32)> {
    ids(&golden["pairs"]).chunks_exact(2).map(|p| (p[0], p[1])).collect()
}

fn learners(data: &Dataset) -> Learners {
    let mut histories = Histories::new();
    (0..data.learners()).for_each(|_| histories.push([]));
    Learners { id: (0..data.learners() as u32).collect(), histories }
}

/// Z of every node of the graph, (nodes, D): what a learner of that place among the nodes has.
fn z_of_nodes(model: &dyn Model, encoded: &Encoded) -> Tensor {
    let mut nodes = Learners::new();
    nodes.id.extend(0..encoded.nodes[0].rows() as u32);
    nodes.id.iter().for_each(|_| nodes.histories.push([]));
    model.represent_learners(encoded, &nodes).unwrap()
}

/// Single precision loses digits in a model of this depth that single ops do not.
fn tolerance(target: &Target) -> f64 {
    10.0 * target.tolerance
}

#[test]
fn representations_and_logits() {
    let golden = read("waata_forward.json");
    let (data, config) = (dataset(&golden), config("differentiated"));
    for target in targets() {
        let model = model(&target, &golden, &data, &config);
        let encoded = model.encode().unwrap();
        let same = |what: &str, got: &Tensor, want: &Value| {
            target.within(what, &got.to_f64().unwrap(), &numbers(want), tolerance(&target));
        };
        same("z", &z_of_nodes(&*model, &encoded), &golden["outputs"]["z"]);
        let z = numbers(&golden["outputs"]["z"]);
        let width = z.len() / 13;
        let courses = &z[4 * width..9 * width];
        target.within("courses", &encoded.z_courses.to_f64().unwrap(), courses, tolerance(&target));
        let logits = model.logits(&encoded, &learners(&data), &pairs(&golden)).unwrap();
        same("logits", &logits, &golden["outputs"]["logits"]);
    }
}

/// Under `refreshed` attention the model keeps alpha as a constant, which begins as that of the parameters.
#[test]
fn attention_of_the_model() {
    let golden = read("waata_forward.json");
    let (data, config) = (dataset(&golden), config("refreshed"));
    for target in targets() {
        let mut model = model(&target, &golden, &data, &config);
        model.begin_epoch().unwrap();
        let (name, alpha) = model.state().remove(0);
        assert_eq!(name, "attention");
        target.same("alpha", &alpha, &golden["outputs"]["alpha"]);
        let z = z_of_nodes(&*model, &model.encode().unwrap());
        target.within("z", &z.to_f64().unwrap(), &numbers(&golden["outputs"]["z"]), tolerance(&target));
    }
}

#[test]
fn losses_and_gradients() {
    let (golden, gradients) = (read("waata_forward.json"), read("waata_gradients.json"));
    let (data, config) = (dataset(&golden), config("differentiated"));
    let pairs = pairs(&golden);
    let batch = Batch {
        learners: learners(&data),
        positive: vec![0; data.learners()],
        negative: vec![],
        pair_row: pairs.iter().map(|p| p.0).collect(),
        pair_course: pairs.iter().map(|p| p.1).collect(),
        labels: numbers(&golden["labels"]).into_iter().map(|y| y as f32).collect(),
        mask: None,
        triples: None,
    };
    for target in targets() {
        let model = model(&target, &golden, &data, &config);
        let mut tape = Tape::new();
        let vars = model.params().on_tape(&mut tape);
        let losses = model.losses(&mut tape, &vars, &model.upload(&batch, None).unwrap()).unwrap();
        let want = &golden["losses"];
        let wanted = [
            ("bce/enrolled", &want["bce"][0]),
            ("bce/completed", &want["bce"][1]),
            ("auxiliary", &want["auxf"]),
            ("orthogonality", &want["orth"]),
        ];
        assert_eq!(losses.losses.len(), wanted.len());
        for (loss, (name, value)) in losses.losses.iter().zip(wanted) {
            assert_eq!(loss.name, name);
            let got = tape.value(loss.var).to_f64().unwrap()[loss.column];
            target.within(name, &[got], &numbers(value), tolerance(&target));
        }
        for (gate, want) in losses.gates.iter().zip(golden["outputs"]["gate"].as_array().unwrap()) {
            target.within("gate", &tape.value(*gate).to_f64().unwrap(), &numbers(want), tolerance(&target));
        }
        let (total, grads) = tiny::weighted(&tape, &losses, &vars);
        target.within("total", &[total], &numbers(&gradients["total"]), tolerance(&target));
        for (param, grad) in model.params().iter().zip(grads) {
            let grad = grad.unwrap_or_else(|| panic!("no gradient of {}", param.name)).to_f64().unwrap();
            let want = match param.name.as_str() {
                // A bias that all edges share does not change a softmax.
                "edge_bias" => vec![0.0],
                name => numbers(&gradients["gradients"][recorded_name(name)]),
            };
            target.within(&param.name, &grad, &want, tolerance(&target));
        }
    }
}

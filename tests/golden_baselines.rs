//! The baselines against other implementations of them: torch-rechub's classes (tests/golden/multitask.py) and the
//! papers' formulas in numpy (tests/golden/baselines.py).

mod common;

use serde_json::Value;
use waata::data::{Dataset, Interactions, Split};
use waata::engine::Tape;
use waata::layers::Histories;
use waata::models::{self, Batch, Learners, TrainGraph};

use common::golden::{ids, numbers, read, targets};
use common::tiny;

const LEARNERS: usize = 4;
const COURSES: usize = 5;

/// `labels` beside enrolment; `enrolments` as (learner, course), by learner.
fn dataset(labels: &[&str], enrolments: &[u32]) -> Dataset {
    let mut interactions = Interactions { offsets: vec![0].into(), ..Default::default() };
    for u in 0..LEARNERS as u32 {
        interactions.course.to_mut().extend(enrolments.chunks_exact(2).filter(|e| e[0] == u).map(|e| e[1]));
        interactions.offsets.to_mut().push(interactions.course.len() as u64);
    }
    let rows = interactions.course.len();
    interactions.split = vec![Split::Train; rows].into();
    interactions.label_values = vec![vec![0; rows].into(); labels.len()];
    let data = Dataset {
        name: "golden".into(),
        learner_names: (0..LEARNERS).map(|u| u.to_string()).collect(),
        entity_names: (0..COURSES).map(|e| e.to_string()).collect(),
        courses: COURSES,
        labels: labels.iter().map(|l| l.to_string()).collect(),
        interactions,
        ..Default::default()
    };
    data.validate().unwrap();
    data
}

fn rows_of(id: Vec<u32>) -> Learners {
    let mut histories = Histories::new();
    id.iter().for_each(|_| histories.push([]));
    Learners { id, histories }
}

/// Every pair with its labels.
fn judged(pairs: &[u32], labels: &Value) -> Batch {
    let column = |k: usize| pairs.iter().skip(k).step_by(2).copied().collect();
    Batch {
        learners: rows_of((0..LEARNERS as u32).collect()),
        positive: vec![0; LEARNERS],
        negative: vec![],
        pair_row: column(0),
        pair_course: column(1),
        labels: numbers(labels).into_iter().map(|y| y as f32).collect(),
        mask: None,
        triples: None,
    }
}

/// Every row with a positive and a negative.
fn preferred(triplets: &Value) -> Batch {
    let positive = ids(&triplets["positive"]);
    let rows = positive.len();
    Batch {
        learners: rows_of(ids(&triplets["rows"])),
        pair_row: (0..rows as u32).collect(),
        pair_course: positive.clone(),
        positive,
        negative: ids(&triplets["negative"]),
        labels: vec![1.0; rows],
        mask: None,
        triples: None,
    }
}

/// Logits, losses and the gradients of the losses' sum, in both precisions and by the kernels.
fn check(name: &str, golden: &Value, pairs: &[u32], data: &Dataset, settings: &[&str], batch: &Batch) {
    let name_it = format!("model.name={name}");
    let all: Vec<&str> = [name_it.as_str(), "model.dim=3"].into_iter().chain(settings.iter().copied()).collect();
    let config = tiny::config(&all).unwrap();
    let graph = TrainGraph::new(&config, data, &[Split::Train]);
    let recorded = golden["parameters"].as_object().unwrap();
    let pairs: Vec<(u32, u32)> = pairs.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    for target in targets() {
        let what = |part: &str| format!("{name}: {part}");
        let tolerance = 10.0 * target.tolerance;
        let mut model = models::build(&config, data, &graph, &target.device, target.dtype).unwrap();
        let names: Vec<&str> = model.params().iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names.len(), recorded.len(), "{name} has {names:?}");
        for param in model.params_mut().iter_mut() {
            let value = recorded.get(&param.name).unwrap_or_else(|| panic!("no {} of {name}", param.name));
            let value = target.tensor(value);
            assert_eq!(value.shape(), param.value.shape(), "{}", what(&param.name));
            param.value = value;
        }
        let encoded = model.encode().unwrap();
        let learners = rows_of((0..LEARNERS as u32).collect());
        let logits = model.logits(&encoded, &learners, &pairs).unwrap().to_f64().unwrap();
        target.within(&what("logits"), &logits, &numbers(&golden["logits"]), tolerance);
        if !golden["z"].is_null() {
            let nodes = rows_of((0..encoded.nodes[0].rows() as u32).collect());
            let z = model.represent_learners(&encoded, &nodes).unwrap();
            target.within(&what("z"), &z.to_f64().unwrap(), &numbers(&golden["z"]), tolerance);
        }
        let mut tape = Tape::new();
        let vars = model.params().on_tape(&mut tape);
        let losses = model.losses(&mut tape, &vars, &model.upload(batch, None).unwrap()).unwrap();
        let wanted = golden["losses"].as_object().unwrap();
        assert_eq!(losses.losses.len(), wanted.len(), "{name}");
        for loss in &losses.losses {
            let got = tape.value(loss.var).to_f64().unwrap()[loss.column];
            target.within(&what(&loss.name), &[got], &numbers(&wanted[&loss.name]), tolerance);
        }
        let (_, grads) = tiny::weighted(&tape, &losses, &vars);
        for (param, grad) in model.params().iter().zip(grads) {
            let grad = grad.unwrap_or_else(|| panic!("no gradient of {}", param.name)).to_f64().unwrap();
            let want = numbers(&golden["gradients"][&param.name]);
            target.within(&what(&param.name), &grad, &want, tolerance);
        }
    }
}

#[test]
fn mmoe_ple_and_esmm_of_torch_rechub() {
    let golden = read("multitask.json");
    let number = |key: &str| golden["settings"][key].as_u64().unwrap();
    let settings = [
        "head.bottom=concat".to_string(),
        format!("head.widths={}", golden["settings"]["widths"]),
        format!("head.tower={}", golden["settings"]["tower"]),
        format!("head.experts={}", number("experts")),
        format!("head.specific_experts={}", number("specific_experts")),
        format!("head.shared_experts={}", number("shared_experts")),
        format!("head.levels={}", number("levels")),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let (data, pairs) = (dataset(&["completed"], &[]), ids(&golden["pairs"]));
    let batch = judged(&pairs, &golden["labels"]);
    for (name, model) in golden["models"].as_object().unwrap() {
        check(name, model, &pairs, &data, &settings, &batch);
    }
}

#[test]
fn fdn_esm2_and_ctcvr_of_numpy() {
    let golden = read("baselines.json");
    let pairs = ids(&golden["pairs"]);
    let cases: [(&str, &[&str], &[&str]); 3] = [
        ("fdn", &["completed"], &["head.widths=[5, 4]"]),
        ("esm2", &["acted", "completed"], &["head.widths=[5, 4]", "head.tower=[3]"]),
        ("ctcvr", &["completed"], &["head.widths=[5, 4]", "head.tower=[3]"]),
    ];
    for (name, labels, settings) in cases {
        let model = &golden["models"][name];
        let batch = judged(&pairs, &model["labels"]);
        check(name, model, &pairs, &dataset(labels, &[]), settings, &batch);
    }
}

#[test]
fn bpr_mf_and_lightgcn_of_numpy() {
    let golden = read("baselines.json");
    let (pairs, enrolments) = (ids(&golden["pairs"]), ids(&golden["enrolments"]));
    let (data, batch) = (dataset(&[], &enrolments), preferred(&golden["triplets"]));
    for (name, layers) in [("bpr-mf", "model.layers=[]"), ("lightgcn", "model.layers=[3, 3]")] {
        let model = &golden["models"][name];
        let l2 = format!("loss.l2={}", model["l2"]);
        check(name, model, &pairs, &data, &[layers, &l2], &batch);
    }
}

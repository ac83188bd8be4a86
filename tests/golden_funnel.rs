//! Products of probabilities where they have no digits left: losses and gradients of CTCVR, ESMM and ESM2 at logits of up
//! to 80 of either sign, against 200 decimal digits (tests/golden/funnel.py).

mod common;

use serde_json::Value;
use waata::config::Config;
use waata::data::{Dataset, Split};
use waata::engine::{DType, Tape, Tensor};
use waata::models::{self, Batch, Learners, Model, TrainGraph};

use common::golden::{Target, numbers, read, targets};
use common::tiny;

/// Of each model, its networks in the file's order.
const NETWORKS: &[(&str, &[&str])] = &[
    ("ctcvr", &["net"]),
    ("esmm", &["net.0", "net.1"]),
    ("esm2", &["net.enrol", "net.act", "net.after_act", "net.without_act"]),
];

/// A model of zeros: the biases of its last layers are what its networks say.
fn zeros(config: &Config, data: &Dataset, target: &Target) -> Box<dyn Model> {
    let graph = TrainGraph::new(config, data, &[Split::Train]);
    let mut model = models::build(config, data, &graph, &target.device, target.dtype).unwrap();
    model.params_mut().iter_mut().for_each(|p| p.value = p.value.zeros_like().unwrap());
    model
}

/// Two pairs with all labels `y`: means over them are the values of one.
fn batch(tasks: usize, y: f32) -> Batch {
    let mut learners = Learners::new();
    learners.id = vec![0];
    learners.histories.push([]);
    Batch {
        learners,
        positive: vec![0],
        negative: vec![],
        pair_row: vec![0, 0],
        pair_course: vec![0, 1],
        labels: vec![y; 2 * tasks],
        mask: None,
        triples: None,
    }
}

/// Of a loss, relative to `scale`, the largest logit: cross-entropy is softplus(z) - y z, a difference of two such numbers,
/// so that of a label that is as sure as right is 0 to rounding and not the 1e-35 that it is. Gradients are relative to 1
/// likewise. Where the model is wrong, losses and gradients are large and have all their digits.
fn close(what: &str, target: &Target, got: f64, want: f64, scale: f64) {
    // A float of 80 is off by up to 4e-6, and e to its power by that share.
    let tolerance = if target.dtype == DType::F64 { 1e-14 } else { 1e-5 };
    assert!(
        got.is_finite() && (got - want).abs() <= tolerance * scale,
        "{what} on {} in {:?}: {got:e}, not {want:e}",
        target.device.name(),
        target.dtype
    );
}

fn check(model: &mut Box<dyn Model>, target: &Target, networks: &[String], point: &Value, y: usize) {
    let (logits, tasks) = (numbers(&point["logits"]), model.tasks().len());
    for (name, logit) in networks.iter().zip(&logits) {
        let id = model.params().find(name).unwrap();
        model.params_mut().get_mut(id).value = target.of(1, 1, &[*logit]);
    }
    let mut tape = Tape::new();
    let vars = model.params().on_tape(&mut tape);
    let inputs = model.upload(&batch(tasks, y as f32), None).unwrap();
    let losses = model.losses(&mut tape, &vars, &inputs).unwrap();
    assert_eq!(losses.losses.len(), point["losses"].as_array().unwrap().len());
    for (t, loss) in losses.losses.iter().enumerate() {
        let what = |part: &str| format!("{} at {logits:?}, label {y}: {} {part}", model.name(), loss.name);
        assert_eq!(loss.column, 0);
        let got = tape.value(loss.var).to_f64().unwrap()[0];
        close(&what("loss"), target, got, point["losses"][t][y].as_f64().unwrap(), 80.0);
        let one = Tensor::from_f64(&target.device, target.dtype, 1, 1, &[1.0]).unwrap();
        let mut grads = tape.backward(&[(loss.var, one)]).unwrap();
        for (k, name) in networks.iter().enumerate() {
            let place = model.params().iter().position(|p| p.name == *name).unwrap();
            let got = grads.take(vars[place]).map_or(0.0, |g| g.to_f64().unwrap()[0]);
            close(&what(name), target, got, point["gradients"][t][y][k].as_f64().unwrap(), 1.0);
        }
    }
}

#[test]
fn losses_and_gradients_at_the_ends() {
    let golden = read("funnel.json");
    for (name, networks) in NETWORKS {
        let mut data = tiny::dataset();
        if *name == "esm2" {
            data = tiny::funnel();
        }
        let model_name = format!("model.name={name}");
        let settings = [&model_name[..], "model.dim=2", "head.widths=[2]", "head.tower=[]"];
        let config = tiny::config(&settings).unwrap();
        let networks: Vec<String> = networks.iter().map(|n| format!("{n}.1.b")).collect();
        for target in targets() {
            let mut model = zeros(&config, &data, &target);
            for point in golden["models"][*name].as_array().unwrap() {
                for y in [0, 1] {
                    check(&mut model, &target, &networks, point, y);
                }
            }
        }
    }
}

//! Mistakes in published code of the baselines (docs/model.md, "What published code gets wrong"): each has a test that fails
//! where the mistake is made here.

mod common;

use waata::config::Config;
use waata::data::Dataset;
use waata::engine::{DType, Device, Op, Owner, ParamId, Tensor};
use waata::models::{Batch, Make, Model, models};
use waata::ops::{OrthForm, Orthogonality};

use common::tiny;
use common::whole::{batch, evaluate, model};

fn config(settings: &[&str]) -> Config {
    let small = ["model.dim=4", "head.widths=[6, 5]", "train.negatives=2", "model.message_dropout=0"];
    let all: Vec<&str> = small.iter().chain(settings).copied().collect();
    tiny::config(&all).unwrap()
}

struct Built {
    model: Box<dyn Model>,
    batch: Batch,
}

fn built(data: &Dataset, settings: &[&str]) -> Built {
    let config = config(settings);
    let (model, graph) = model(&config, data, &Device::Cpu, DType::F64);
    let batch = batch(&config, data, &*model, &graph);
    Built { model, batch }
}

impl Built {
    fn id(&self, name: &str) -> ParamId {
        self.model.params().find(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn set(&mut self, name: &str, value: impl Fn(usize) -> f64) {
        let id = self.id(name);
        let (rows, cols) = self.model.params().get(id).value.shape();
        let values: Vec<f64> = (0..rows * cols).map(value).collect();
        self.model.params_mut().get_mut(id).value =
            Tensor::from_f64(&Device::Cpu, DType::F64, rows, cols, &values).unwrap();
    }

    fn copy(&mut self, from: &str, to: &str) {
        let value = self.model.params().get(self.id(from)).value.clone();
        let id = self.id(to);
        self.model.params_mut().get_mut(id).value = value;
    }

    fn losses(&self) -> Vec<(String, f64)> {
        evaluate(&*self.model, &self.batch).0
    }

    /// Names of parameters that contain `part`.
    fn names(&self, part: &str) -> Vec<String> {
        let names = self.model.params().iter().map(|p| p.name.clone());
        names.filter(|name| name.contains(part)).collect()
    }

    fn logits(&self, pairs: &[(u32, u32)]) -> Vec<f64> {
        let encoded = self.model.encode().unwrap();
        self.model.logits(&encoded, &self.batch.learners, pairs).unwrap().to_f64().unwrap()
    }
}

/// torch-rechub normalizes over the batch, in gates between the product and the softmax too: a pair's loss then depends on
/// which other pairs it is learned with.
#[test]
fn a_pair_does_not_depend_on_its_batch() {
    let data = tiny::funnel();
    for entry in models() {
        if !matches!(entry.make, Make::Neural(_)) {
            continue;
        }
        let name = format!("model.name={}", entry.name);
        let mut settings = vec![&name[..], "loss.orth_weight=0", "kg.phase=off"];
        settings.extend(if name.ends_with("lightgcn") { ["model.layers=[4]"].iter() } else { [].iter() });
        let mut whole = built(&data, &settings);
        let tasks = whole.model.tasks().len();
        let together = whole.losses();
        let all = whole.batch.clone();
        let pairs = all.pair_row.len();
        let mut sums = vec![0.0; together.len()];
        for pair in 0..pairs {
            whole.batch.pair_row = vec![all.pair_row[pair]];
            whole.batch.pair_course = vec![all.pair_course[pair]];
            whole.batch.labels = all.labels[pair * tasks..][..tasks].to_vec();
            assert!(all.mask.is_none());
            whole.losses().iter().zip(&mut sums).for_each(|((_, loss), sum)| *sum += loss);
        }
        for ((loss, value), sum) in together.iter().zip(sums) {
            let mean = sum / pairs as f64;
            assert!((value - mean).abs() < 1e-12, "{name}: {loss} of the batch {value}, of its pairs {mean}");
        }
    }
}

/// FDN's authors take PLE's softmax over an axis of length 1: every gate is the constant 1, and experts are added up.
#[test]
fn gates_choose_among_experts() {
    let data = tiny::dataset();
    let cases: [(&str, &[&str], &str, &str); 3] = [
        ("mmoe", &["head.experts=3"], "gate.0.w", "expert.0"),
        ("ple", &[], "level.0.gate.0.w", "level.0.shared.0"),
        ("ple", &["head.levels=2"], "level.0.gate.shared.w", "level.0.shared.0"),
    ];
    for (name, more, gate, expert) in cases {
        let name = format!("model.name={name}");
        let settings: Vec<&str> = [&name[..]].iter().chain(more).copied().collect();
        let mut it = built(&data, &settings);
        let (_, _, grads) = evaluate(&*it.model, &it.batch);
        let place = it.model.params().iter().position(|p| p.name == gate).unwrap();
        let largest = grads[place].as_ref().unwrap().to_f64().unwrap().iter().fold(0.0f64, |m, g| m.max(g.abs()));
        assert!(largest > 1e-6, "{name} {more:?}: {gate} has no gradient");
        // Experts of one function: what is mixed is that function, whatever the gates say, since weights add up to 1.
        let mixed = |n: &String| n.starts_with("expert.") || n.starts_with("level.0.") && !n.contains("gate");
        for other in it.names("").iter().filter(|n| mixed(n)) {
            let part = other.rsplitn(3, '.').take(2).collect::<Vec<_>>();
            it.copy(&format!("{expert}.{}.{}", part[1], part[0]), other);
        }
        let before = it.losses();
        it.set(gate, |i| (i as f64 * 0.7).sin() * 3.0);
        for ((loss, a), (_, b)) in before.iter().zip(it.losses()) {
            assert!((a - b).abs() < 1e-12, "{name} {more:?}: equal experts, and the gate moves {loss}");
        }
    }
}

/// deepctr-torch makes as many shared experts as specific ones, whatever is asked for, and its gates have a hidden layer of
/// 64; LibMTL's PLE takes no vectors.
#[test]
fn experts_are_as_many_as_asked_for() {
    let data = tiny::dataset();
    for (own, shared, levels) in [(1, 3, 1), (3, 1, 2), (2, 2, 3)] {
        let settings = [
            "model.name=ple".to_string(),
            format!("head.specific_experts={own}"),
            format!("head.shared_experts={shared}"),
            format!("head.levels={levels}"),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let it = built(&data, &settings);
        let experts = |part: &str| it.names(part).iter().filter(|n| n.ends_with(".0.w")).count();
        assert_eq!((experts(".specific."), experts(".shared.")), (2 * own * levels, shared * levels));
        // A gate is one product without bias. The last level has none for the shared stream.
        assert_eq!(it.names("gate").len(), 2 * levels + (levels - 1));
        assert!(
            it.names("gate")
                .iter()
                .all(|n| n.ends_with("gate.0.w") || n.ends_with("gate.1.w") || n.ends_with("gate.shared.w"))
        );
        assert!(it.losses().iter().all(|(_, loss)| loss.is_finite()));
    }
    let it = built(&data, &["model.name=mmoe", "head.experts=5"]);
    assert_eq!(it.names("gate"), ["gate.0.w", "gate.1.w"]);
    assert_eq!(it.model.params().get(it.id("gate.0.w")).value.shape(), (12, 5));
}

/// torch-rechub counts MMoE's gates as the tasks' own and PLE's as shared. Here a task's gate is the task's in both.
#[test]
fn gates_have_one_owner_in_both_models() {
    let data = tiny::dataset();
    for name in ["mmoe", "ple"] {
        let it = built(&data, &[&format!("model.name={name}"), "head.levels=2"]);
        for param in it.model.params().iter().filter(|p| p.name.contains("gate.")) {
            let want = match param.name.rsplit('.').nth(1).unwrap() {
                "0" => Owner::Task(0),
                "1" => Owner::Task(1),
                _ => Owner::Shared,
            };
            assert_eq!(param.owner, want, "{name}: {}", param.name);
        }
    }
}

/// FDN's code takes one sample at a time and penalises |s| |t|, whatever their angle. Formula (14) over a batch is 0 where
/// no feature of S goes with one of T, and the model's default is that.
#[test]
fn orthogonality_is_about_angles() {
    let of = |values: [f64; 4]| Tensor::from_f64(&Device::Cpu, DType::F64, 2, 2, &values).unwrap();
    let value = |form, s: [f64; 4], t: [f64; 4]| {
        Orthogonality::new(form).forward(&[&of(s), &of(t)]).unwrap()[0].scalar().unwrap()
    };
    // Columns of S that are orthogonal to those of T over the batch, and the same lengths in line with each other.
    let (s, apart, along) = ([1.0, 0.0, 1.0, 0.0], [1.0, 0.0, -1.0, 0.0], [1.0, 0.0, 1.0, 0.0]);
    assert_eq!((value(OrthForm::A, s, apart), value(OrthForm::A, s, along)), (0.0, 1.0));
    assert_eq!((value(OrthForm::FdnCode, s, apart), value(OrthForm::FdnCode, s, along)), (1.0, 1.0));
    // The readings by samples see a sample's own angle.
    let (s, across) = ([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]);
    assert_eq!((value(OrthForm::D, s, across), value(OrthForm::FdnCode, s, across)), (0.0, 1.0));
    assert_eq!(config(&["model.name=fdn"]).loss.orth, OrthForm::A);
}

/// FDN's head is one linear layer over its own specific and all shared vectors, and every label weighs the same (its code
/// has positive weights of 200 and 3000).
#[test]
fn fdn_reads_all_shared_vectors_through_one_layer() {
    let it = built(&tiny::dataset(), &["model.name=fdn"]);
    assert_eq!(it.names("tower"), ["tower.0.0.w", "tower.0.0.b", "tower.1.0.w", "tower.1.0.b"]);
    assert_eq!(it.model.params().get(it.id("tower.0.0.w")).value.shape(), ((2 + 4) * 5, 1));
    let mut it = built(&tiny::dataset(), &["model.name=fdn"]);
    it.set("tower.0.0.w", |_| 0.0);
    it.set("tower.0.0.b", |_| 0.0);
    // Unweighted, the cross-entropy at p = 1/2 is ln 2 whatever the labels.
    let (name, loss) = it.losses().remove(0);
    assert_eq!(name, "bce/enrolled");
    assert!((loss - std::f64::consts::LN_2).abs() < 1e-12);
}

fn s(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// The last biases of networks whose weights are 0: their logits.
fn constants(it: &mut Built, networks: &[(&str, f64)]) {
    for (name, logit) in networks {
        it.set(&format!("{name}.2.w"), |_| 0.0);
        it.set(&format!("{name}.2.b"), |_| *logit);
    }
}

/// Mean cross-entropy of a probability with column `k` of the labels.
fn cross_entropy(it: &Built, k: usize, p: f64) -> f64 {
    let (tasks, labels) = (it.model.tasks().len(), &it.batch.labels);
    let each = labels.iter().skip(k).step_by(tasks).map(|&y| if y == 1.0 { -p.ln() } else { -(1.0 - p).ln() });
    each.sum::<f64>() / (labels.len() / tasks) as f64
}

fn same_losses(it: &Built, want: &[(&str, f64)]) {
    let losses = it.losses();
    assert_eq!(losses.len(), want.len(), "{losses:?}");
    for ((name, got), (wanted, want)) in losses.iter().zip(want) {
        assert_eq!(name, wanted);
        assert!((got - want).abs() < 1e-12, "{name}: {got}, not {want}");
    }
}

/// Public code of ESM2 multiplies logits.
#[test]
fn esm2_multiplies_probabilities() {
    let mut it = built(&tiny::funnel(), &["model.name=esm2", "head.tower=[]"]);
    let z = [0.8, -1.3, 0.4, -2.1];
    let networks = ["net.enrol", "net.act", "net.after_act", "net.without_act"];
    constants(&mut it, &networks.into_iter().zip(z).collect::<Vec<_>>());
    let [y1, y2, y3, y4] = z.map(s);
    let completes = y2 * y3 + (1.0 - y2) * y4;
    same_losses(
        &it,
        &[
            ("bce/enrolled", cross_entropy(&it, 0, y1)),
            ("bce/acted", cross_entropy(&it, 1, y1 * y2)),
            ("bce/completed", cross_entropy(&it, 2, y1 * completes)),
        ],
    );
}

/// torch-rechub's columns of ESMM are conversion, click, both: whoever takes the first for the click trains and ranks by
/// something else. And there is no loss on the conditional probability.
#[test]
fn esmm_learns_enrolment_and_the_product_alone() {
    let mut it = built(&tiny::dataset(), &["model.name=esmm", "head.tower=[]"]);
    constants(&mut it, &[("net.0", 0.9), ("net.1", -0.7)]);
    let (enrols, completes) = (s(0.9), s(-0.7));
    same_losses(
        &it,
        &[
            ("bce/enrolled", cross_entropy(&it, 0, enrols)),
            ("bce/completed", cross_entropy(&it, 1, enrols * completes)),
        ],
    );
    let judged = it.logits(&[(0, 0)]);
    assert!((judged[0] - 0.9).abs() < 1e-12 && (judged[1] + 0.7).abs() < 1e-12, "{judged:?}");
}

/// CTCVR has one output, which its only loss is about and which answers for every task.
#[test]
fn ctcvr_is_one_network() {
    let mut it = built(&tiny::dataset(), &["model.name=ctcvr", "head.tower=[]"]);
    constants(&mut it, &[("net", 0.3)]);
    same_losses(&it, &[("bce/completed", cross_entropy(&it, 1, s(0.3)))]);
    let judged = it.logits(&[(0, 0), (1, 3)]);
    assert!(judged.iter().all(|z| (z - 0.3).abs() < 1e-12), "{judged:?}");
}

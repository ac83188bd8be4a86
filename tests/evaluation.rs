//! Evaluation where there is little to evaluate: every metric is a number or absent, never NaN.

mod common;

use std::collections::BTreeMap;

use common::tiny;
use waata::config::Config;
use waata::data::{Dataset, Split};
use waata::engine::{DType, Device, Tensor};
use waata::eval::{Evaluation, PerLearner, Ranker, Slice};
use waata::models::{self, TrainGraph};

const TRAIN: &[Split] = &[Split::Train];

/// A model without training, its parameters multiplied by `scale`, on the test part.
fn evaluate(data: &Dataset, config: &Config, scale: f32) -> (Evaluation, PerLearner) {
    let graph = TrainGraph::new(config, data, TRAIN);
    let mut model = models::build(config, data, &graph, &Device::Cpu, DType::F32).unwrap();
    for param in model.params_mut().iter_mut() {
        let (rows, cols) = param.value.shape();
        let values: Vec<f32> = param.value.to_vec().unwrap().iter().map(|x| x * scale).collect();
        param.value = Tensor::new(&Device::Cpu, rows, cols, &values).unwrap();
    }
    let ranker = Ranker { model: &*model, data, config, device: &Device::Cpu };
    let (found, each) = ranker.evaluate_learners(Split::Test, &mut |_, _| {}).unwrap();
    let plain = ranker.evaluate(Split::Test, None, &mut |_, _| {}).unwrap();
    assert_eq!((&plain.metrics, &plain.slices), (&found.metrics, &found.slices));
    finite(&found.metrics);
    found.slices.iter().for_each(|s| finite(&s.metrics));
    each.metrics.values().flatten().for_each(|v| assert!(v.is_finite()));
    (found, each)
}

fn finite(metrics: &BTreeMap<String, f64>) {
    metrics.iter().for_each(|(name, v)| assert!(v.is_finite(), "{name}: {v}"));
}

fn slice<'a>(found: &'a Evaluation, name: &str) -> &'a Slice {
    found.slices.iter().find(|s| s.slice == name).unwrap()
}

fn config() -> Config {
    tiny::config(&[
        "model.dim=4",
        "model.layers=[4]",
        "head.widths=[4]",
        "eval.k=[1, 10]",
        "eval.metric=\"ndcg@10\"",
    ])
    .unwrap()
}

#[test]
fn constant_scores_and_fewer_courses_than_k() {
    // Six courses, K = 10; learners 0 and 4 have one course to find each, learner 1 none in the test part.
    let data = tiny::dataset();
    let (found, each) = evaluate(&data, &config(), 0.0);
    assert_eq!(found.learners, 2);
    assert_eq!(
        (&each.learner[..], &each.known[..], &each.wanted[..]),
        (&[0, 4][..], &[3, 4][..], &[1, 1][..])
    );
    // Equal scores rank by number: learner 0 has taken 0, 3 and 1, and sees 2, 4, 5; learner 4 sees 4 and 5.
    assert_eq!(each.metrics["mrr@10"], [0.5, 0.5]);
    assert_eq!(found.metrics["recall@1"], 0.0);
    assert_eq!(found.metrics["recall@10"], 1.0, "all that is left is on the list");
    assert_eq!(found.metrics["coverage@1"], 2.0 / 6.0);
    assert_eq!(found.metrics["coverage@10"], 3.0 / 6.0);
    // One of two classes everywhere: half of the pairs are won, and p = 1/2 costs ln 2.
    assert_eq!(found.metrics["auc/enrolled"], 0.5);
    assert!((found.metrics["logloss/enrolled"] - std::f64::consts::LN_2).abs() < 1e-7);
    // Enrolments in train: 3, 3, 2, 2, 1, 0. Learner 0 sees courses of 2, 1 and 0, learner 4 of 1 and 0.
    assert_eq!(found.metrics["arp@10"], (1.0 + 0.5) / 2.0);
    assert_eq!((slice(&found, "2-4").learners, slice(&found, "tail").learners), (2, 2));
}

#[test]
fn means_are_those_of_the_learners_and_slices_add_up() {
    let data = tiny::synthetic();
    let (found, each) = evaluate(&data, &config(), 1.0);
    assert_eq!(each.learner.len(), found.learners);
    assert!(each.learner.is_sorted() && each.wanted.iter().all(|&n| n > 0));
    for (name, values) in &each.metrics {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((found.metrics[name] - mean).abs() < 1e-12, "{name}");
    }
    let activity: Vec<&Slice> = found.slices.iter().filter(|s| s.kind == "activity").collect();
    assert_eq!(activity.iter().map(|s| s.learners).sum::<usize>(), found.learners);
    let sum: f64 =
        activity.iter().map(|s| s.learners as f64 * s.metrics.get("recall@10").unwrap_or(&0.0)).sum();
    assert!((sum / found.learners as f64 - found.metrics["recall@10"]).abs() < 1e-12);
    assert!(["head", "middle", "tail"].iter().all(|name| slice(&found, name).learners > 0));
}

#[test]
fn labels_that_are_all_equal_and_nobody_to_evaluate() {
    let mut data = tiny::dataset();
    data.interactions.label_values[0].to_mut().fill(1);
    let (found, _) = evaluate(&data, &config(), 1.0);
    assert!(!found.metrics.contains_key("auc/completed"), "there is no pair to order");
    assert!(found.metrics["logloss/completed"] > 0.0);
    // Nothing in the test part.
    let split = data.interactions.split.to_mut();
    split.iter_mut().filter(|s| **s == Split::Test).for_each(|s| *s = Split::Train);
    let (found, each) = evaluate(&data, &config(), 1.0);
    assert_eq!((found.learners, each.learner.len()), (0, 0));
    assert_eq!((found.metrics["recall@10"], found.metrics["coverage@10"]), (0.0, 0.0));
    for absent in ["auc/enrolled", "logloss/enrolled", "arp@10", "popularity@10"] {
        assert!(!found.metrics.contains_key(absent), "{absent}");
    }
    assert!(found.slices.iter().all(|s| s.learners == 0 && s.metrics.is_empty()));
}

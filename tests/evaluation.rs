//! Metrics by hand; and evaluation where there is little to evaluate: every metric is a number or absent, never NaN.

mod common;

use std::collections::BTreeMap;

use common::tiny;
use waata::config::{Config, Idcg};
use waata::data::{Dataset, Interactions, Split};
use waata::engine::{DType, Device, Tensor};
use waata::eval::{
    Evaluation, Exposure, NO_COURSE, PerLearner, Ranker, Slice, Slicer, TopK, auc, log_loss, percentiles,
    popularity_parts, ranking_metrics,
};
use waata::graph::IdSets;
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
    tiny::config(&["model.dim=4", "model.layers=[4]", "head.widths=[4]", "eval.k=[1, 10]", "eval.metric=\"ndcg@10\""])
        .unwrap()
}

#[test]
fn constant_scores_and_fewer_courses_than_k() {
    // Six courses, K = 10; learners 0 and 4 have one course to find each, learner 1 none in the test part.
    let data = tiny::dataset();
    let (found, each) = evaluate(&data, &config(), 0.0);
    assert_eq!(found.learners, 2);
    assert_eq!((&each.learner[..], &each.known[..], &each.wanted[..]), (&[0, 4][..], &[3, 4][..], &[1, 1][..]));
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
    let sum: f64 = activity.iter().map(|s| s.learners as f64 * s.metrics.get("recall@10").unwrap_or(&0.0)).sum();
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

fn lists(k: usize, rows: &[&[u32]]) -> TopK {
    let mut ids = vec![];
    for row in rows {
        ids.extend_from_slice(row);
        ids.resize(ids.len() + k - row.len(), NO_COURSE);
    }
    TopK { k, scores: vec![0.0; ids.len()], ids }
}

fn close(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-12, "got {got}, want {want}");
}

#[test]
fn ranking_metrics_by_hand() {
    // Row 0 finds courses 4 and 9 at ranks 1 and 3 of the three it wants; row 1 wants nothing; row 2 finds
    // its one course at rank 2 of a list of two.
    let top = lists(4, &[&[4, 7, 9, 1], &[1, 2, 3, 4], &[5, 6]]);
    let truth = IdSets::new(&Device::Cpu, &[vec![9, 4, 8, 4], vec![], vec![6]], 10).unwrap();
    let m = ranking_metrics(&top, &truth, &[1, 3, 4], Idcg::Truth).unwrap();
    assert_eq!(m.rows, [0, 2]);
    let third = 1.0 / 3f64.log2();
    // K = 1
    assert_eq!(m.at[0].values[0], [1.0 / 3.0, 0.0]);
    assert_eq!(m.at[0].values[1], [1.0, 0.0]);
    // K = 3: DCG of row 0 is 1 + 1/2, of an ideal 1 + 1/log2 3 + 1/2.
    let [recall, _, hit_rate, mrr] = m.at[1].means();
    close(recall, (2.0 / 3.0 + 1.0) / 2.0);
    close(m.at[1].values[1][0], 1.5 / (1.5 + third));
    close(m.at[1].values[1][1], third);
    close(hit_rate, 1.0);
    close(mrr, 0.75);
    // K = 4 is beyond the end of row 2's list.
    close(m.at[2].means()[0], recall);
    let m = ranking_metrics(&top, &truth, &[1, 4], Idcg::Retrieved).unwrap();
    close(m.at[0].values[1][0], 1.0);
    close(m.at[1].values[1][0], 1.5 / (1.0 + third));
    close(m.at[1].values[1][1], third);
    assert!(ranking_metrics(&top, &truth, &[5], Idcg::Truth).is_err());
}

#[test]
fn ranking_metrics_of_nobody() {
    let top = lists(2, &[&[0, 1]]);
    let truth = IdSets::none(&Device::Cpu, 1, 5).unwrap();
    let m = ranking_metrics(&top, &truth, &[2], Idcg::Truth).unwrap();
    assert!(m.rows.is_empty() && m.at[0].means() == [0.0; 4]);
}

#[test]
fn auc_by_hand() {
    let labels = [true, false, true, false];
    assert_eq!(auc(&[0.9, 0.8, 0.7, 0.1], &labels), Some(0.75));
    assert_eq!(auc(&[0.5; 4], &labels), Some(0.5));
    // The positive at 0.7 ties with one negative: (2 + 1.5) / 4.
    assert_eq!(auc(&[0.9, 0.7, 0.7, 0.1], &labels), Some(0.875));
    assert_eq!(auc(&[0.0, -0.0], &[true, false]), Some(0.5));
    assert_eq!(auc(&[1.0, 2.0], &[true, true]), None);
    assert_eq!(auc(&[], &[]), None);
    assert_eq!(auc(&[f32::NAN, 2.0], &[true, false]), None);
}

#[test]
fn log_loss_by_hand() {
    let ln2 = std::f64::consts::LN_2;
    close(log_loss(&[0.0, 0.0], &[true, false]).unwrap(), ln2);
    close(log_loss(&[2.0, -1.0], &[true, true]).unwrap(), ((-2f64).exp().ln_1p() + 1f64.exp().ln_1p()) / 2.0);
    // Sure and right, sure and wrong, and where exp would overflow.
    close(log_loss(&[80.0], &[true]).unwrap(), (-80f64).exp());
    close(log_loss(&[80.0, -80.0], &[false, true]).unwrap(), 80.0);
    close(log_loss(&[f32::MAX], &[false]).unwrap(), f32::MAX as f64);
    assert_eq!(log_loss(&[], &[]), None);
    assert_eq!(log_loss(&[f32::NAN], &[true]), None);
    assert_eq!(log_loss(&[f32::INFINITY, 0.0], &[true, false]), None);
}

#[test]
fn percentiles_are_one_half_on_average() {
    assert_eq!(percentiles(&[7, 1, 1, 3]), [0.875, 0.25, 0.25, 0.625]);
    assert_eq!(percentiles(&[4, 4]), [0.5, 0.5]);
    assert!(percentiles(&[]).is_empty());
}

#[test]
fn exposure_by_hand() {
    let mut exposure = Exposure::new(&[7, 1, 1, 3], &[1, 2]);
    // Two lists, an empty one, and one that is left out.
    let ids = vec![0, 3, 0, NO_COURSE, NO_COURSE, NO_COURSE, 1, 2];
    exposure.add(&TopK { k: 2, scores: vec![0.0; 8], ids }, &[0, 1, 2]);
    let mut metrics = BTreeMap::new();
    exposure.finish(&[1, 2], &mut metrics);
    let want = [
        ("arp@1", 7.0),
        ("arp@2", 6.0),
        ("coverage@1", 0.25),
        ("coverage@2", 0.5),
        ("popularity@1", 0.875),
        ("popularity@2", 0.8125),
    ];
    assert_eq!(metrics, want.map(|(name, value)| (name.to_string(), value)).into());
}

#[test]
fn exposure_where_nobody_sees_anything() {
    let mut metrics = BTreeMap::new();
    Exposure::new(&[], &[10]).finish(&[10], &mut metrics);
    assert_eq!(metrics, [("coverage@10".to_string(), 0.0)].into());
}

#[test]
fn parts_hold_thirds_of_the_enrolments() {
    // 12 of 30 enrolments before the second course, 21 before the third: head, middle, tail.
    assert_eq!(popularity_parts(&[9, 12, 0, 3, 3, 3]), [1, 0, 2, 2, 2, 2]);
    // Ties stay together, wherever a third falls among them.
    assert_eq!(popularity_parts(&[5, 5, 5, 5]), [0; 4]);
    assert_eq!(popularity_parts(&[0, 0]), [2, 2]);
    assert!(popularity_parts(&[]).is_empty());
}

#[test]
fn slices_by_hand() {
    let data = Dataset {
        learner_names: vec!["u"; 3].into(),
        entity_names: vec!["e"; 4].into(),
        courses: 4,
        interactions: Interactions {
            offsets: vec![0, 3, 4, 4].into(),
            course: vec![0, 1, 2, 0].into(),
            split: vec![Split::Train; 4].into(),
            ..Default::default()
        },
        ..Default::default()
    };
    let mut slicer = Slicer::new(&data, 1);
    // Degrees 2, 1, 1, 0: course 0 is the head, 1 and 2 begin after one half (middle), 3 is the tail.
    assert_eq!(popularity_parts(&data.course_degrees(&[Split::Train])), [0, 1, 1, 2]);
    let top = TopK { k: 2, ids: vec![0, 1, 3, 2, 1, 0], scores: vec![0.0; 6] };
    let truth = IdSets::new(&Device::Cpu, [vec![0, 3], vec![3], vec![]], 4).unwrap();
    let all = ranking_metrics(&top, &truth, &[2], Idcg::Truth).unwrap();
    slicer.add(&top, (&all.rows, &all.at), &truth, &[1, 25, 3], Idcg::Truth).unwrap();
    let slices = slicer.finish(&[2]);
    let of = |name: &str| {
        let slice = slices.iter().find(|s| s.slice == name).unwrap();
        (slice.learners, slice.metrics.get("recall@2").copied())
    };
    assert_eq!(slices.len(), 8);
    assert_eq!(of("1"), (1, Some(0.5)));
    assert_eq!(of("20+"), (1, Some(1.0)));
    assert_eq!(of("2-4"), (0, None), "a learner without anything to find is in no slice");
    assert_eq!(of("head"), (1, Some(1.0)));
    assert_eq!(of("middle"), (0, None));
    assert_eq!(of("tail"), (2, Some(0.5)));
}

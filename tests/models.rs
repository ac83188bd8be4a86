//! Every model of the registry, on tiny data with three tasks. The list is the registry's own: a new model is in it.

mod common;
#[path = "guide/two_towers.rs"]
mod two_towers;

use waata::config::{Aggregator, Config, EncoderKind};
use waata::data::{Dataset, Split};
use waata::engine::{DType, Device, Tensor};
use waata::eval::Ranker;
use waata::layers::ParamBuilder;
use waata::models::{
    self, ClosedForm, Make, MakeHead, Neural, Recommender, TrainGraph, learners_for, models as registry,
};
use waata::train::TrainStep;

use common::tiny;
use common::whole::{batch, check_gradients, check_kernels, close, executor, model, overfit, ranked};
use two_towers::TwoTowers;

/// Of models with choices of their own, further ones beside their defaults.
const VARIANTS: &[(&str, &[&str])] = &[
    ("mmoe", &["model.encoder=graph", "attention.mode=differentiated"]),
    ("ple", &["head.levels=3", "head.specific_experts=1", "head.shared_experts=3"]),
    ("fdn", &["head.activation=elu", "loss.orth=d", "head.bottom=concat"]),
    (
        "esmm",
        &[
            "model.encoder=graph",
            "model.propagation=history",
            "model.learner=free_history",
            "attention.mode=differentiated",
        ],
    ),
    ("bpr-mf", &["loss.l2=0.1"]),
    ("lightgcn", &["loss.l2=0.1", "model.stack=sum"]),
];

/// A small model of that name.
fn small(name: &str, more: &[&str]) -> Config {
    let name = format!("model.name={name}");
    let mut all = vec![&name[..], "model.dim=8", "head.widths=[7, 5]", "train.negatives=2"];
    // What a table of vectors implies does not go with layers.
    let given = Config::resolve(
        waata::config::Base::Defaults,
        &[&name[..]].iter().chain(more).map(|s| s.to_string()).collect::<Vec<_>>(),
    );
    let given = given.unwrap().model;
    if given.encoder == EncoderKind::Graph {
        let light = given.aggregator == Aggregator::Light;
        all.push(if light { "model.layers=[8, 8]" } else { "model.layers=[6, 4]" });
    }
    all.extend(more);
    tiny::config(&all).unwrap_or_else(|e| panic!("{all:?}: {e}"))
}

/// Every model that is trained by gradients, and the variants.
fn trained(check: impl Fn(&str, &[&str])) {
    for model in registry() {
        if let Make::Neural(_) = model.make {
            check(model.name, &[]);
        }
    }
    VARIANTS.iter().for_each(|(name, more)| check(name, more));
}

/// Every model with a solution, solved for the train part.
fn solved(data: &Dataset, device: &Device, check: impl Fn(&str, &Config, &ClosedForm)) {
    for entry in registry() {
        if let Make::ClosedForm(_) = entry.make {
            let config = small(entry.name, &["rankers.ease_lambda=0.5"]);
            let mut model = models::closed_form(&config, data, device).unwrap().unwrap();
            model.fit(data, &[Split::Train]).unwrap();
            check(entry.name, &config, &model);
        }
    }
}

#[test]
fn every_model_says_what_it_is() {
    for (i, model) in registry().iter().enumerate() {
        assert!(!model.shown.is_empty() && model.about.len() > 10, "{}", model.name);
        let same = |other: &models::Entry| other.name == model.name || other.shown == model.shown;
        assert!(!registry()[..i].iter().any(same), "{} is there twice", model.name);
        assert_eq!(models::find(model.name).unwrap().about, model.about);
    }
    VARIANTS.iter().for_each(|(name, _)| assert!(models::find(name).is_ok(), "{name}"));
}

/// The model of docs/adding-a-model.md is trained, and ranks by what it was trained on.
#[test]
fn the_guides_model_works() {
    let data = tiny::funnel();
    let table =
        ["model.encoder=table", "weighting.combine=sum", "loss.orth_weight=0", "loss.aux_weight=0", "train.lr=0.05"];
    let config = tiny::config(&table).unwrap();
    let graph = TrainGraph::new(&config, &data, &[Split::Train]);
    let head: MakeHead = |b, config, dim, tasks| Ok(Box::new(TwoTowers::new(b, config, dim, tasks)?));
    let made = Neural::new(
        ("two-towers", head),
        &config,
        &data,
        &graph,
        ParamBuilder::new(&Device::Cpu, DType::F32, config.seed),
    );
    let mut it = made.unwrap();
    let batch = batch(&config, &data, &it, &graph);
    let mut stepper = TrainStep::new(&config).unwrap();
    let first = stepper.interaction_step(&mut it, &batch).unwrap().values["loss/bce/enrolled"];
    let last = (0..50).map(|_| stepper.interaction_step(&mut it, &batch).unwrap().values["loss/bce/enrolled"]).last();
    assert!(last.unwrap() < 0.9 * first, "from {first} to {last:?}");
    let learners = learners_for(&data, &config, &[0, 1, 2], &[Split::Train]);
    let want = common::whole::scores(&it, config.eval.rank_by, &config, &learners);
    close("ranked", &ranked(&it, &learners), &want, 1e-5);
    assert_eq!(it.name(), "two-towers");
}

#[test]
fn gradients_are_those_of_differences() {
    let data = tiny::funnel();
    trained(|name, more| check_gradients(&format!("{name} {more:?}"), &small(name, more), &data));
}

#[test]
fn kernels_agree_with_the_cpu() {
    let data = tiny::funnel();
    trained(|name, more| check_kernels(&format!("{name} {more:?}"), &small(name, more), &data));
    let ids: Vec<u32> = (0..5).collect();
    solved(&data, &Device::Cpu, |name, config, model| {
        let learners = learners_for(&data, config, &ids, &[Split::Train]);
        let pairs: Vec<(u32, u32)> = ids.iter().flat_map(|&u| (0..6).map(move |i| (u, i))).collect();
        let judged = model.logits(&model.encode().unwrap(), &learners, &pairs).unwrap();
        let judged = Tensor::new(&Device::Cpu, 5, 6, &judged.to_vec().unwrap()).unwrap();
        close(&format!("{name}: ranked and judged"), &ranked(model, &learners), &judged, 1e-6);
        solved(&data, &executor(), |other, _, on_executor| {
            if other == name {
                close(name, &ranked(on_executor, &learners), &judged, 1e-6);
            }
        });
    });
}

/// ReLU units can satisfy orthogonality by dying, which ends what they could learn, and all units of a narrow layer can be
/// off for some pairs, which have one logit between them from then on: hence ELU.
#[test]
fn a_tiny_set_is_learnt_by_heart() {
    let data = tiny::funnel();
    trained(|name, more| {
        let mut settings = vec!["model.message_dropout=0", "train.lr=0.02", "head.widths=[32, 16]"];
        settings.push("head.activation=elu");
        settings.extend(more);
        // A norm that is penalised stays away from 0.
        settings.retain(|s| !s.starts_with("loss.l2"));
        for (loss, first, last) in overfit(&small(name, &settings), &data, 300) {
            // Penalties are sums, which begin far higher than a mean over labels does.
            assert!(last < 0.01 * first.max(1.0), "{name} {settings:?}: {loss} went from {first} to {last}");
        }
    });
}

/// Learners of courses 0 to 2 and learners of courses 3 to 5: to one who lacks one of the group's, that one is first.
#[test]
fn solutions_find_what_a_group_takes() {
    let mut data = tiny::dataset();
    let rows: [&[u32]; 5] = [&[0, 1, 2], &[0, 1, 2], &[0, 2], &[3, 4, 5], &[3, 4]];
    data.interactions.course = rows.concat().into();
    data.interactions.offsets = vec![0, 3, 6, 8, 11, 13].into();
    data.interactions.split = vec![Split::Train; 13].into();
    data.interactions.label_values[0] = vec![0; 13].into();
    data.validate().unwrap();
    solved(&data, &Device::Cpu, |name, config, model| {
        for (learner, missing) in [(2, 1), (4, 5)] {
            let learners = learners_for(&data, config, &[learner as u32], &[Split::Train]);
            let scores = ranked(model, &learners).to_vec().unwrap();
            if name == "popularity" {
                assert_eq!(scores, [3.0, 2.0, 3.0, 2.0, 2.0, 1.0], "it knows no groups");
                continue;
            }
            let new = (0..6).filter(|i| !rows[learner].contains(i));
            let best = new.max_by(|&a, &b| scores[a as usize].total_cmp(&scores[b as usize]));
            assert_eq!(best, Some(missing), "{name}, learner {learner}: {scores:?}");
        }
    });
}

/// Every metric of a model is a number or absent; its lists are too short for K, and some learners have no test course.
fn evaluated(model: &dyn Recommender, data: &Dataset, config: &Config) -> std::collections::BTreeMap<String, f64> {
    let ranker = Ranker { model, data, config, device: &Device::Cpu };
    let found = ranker.evaluate(Split::Test, None, &mut |_, _| {}).unwrap().metrics;
    for (name, value) in &found {
        assert!(value.is_finite(), "{}: {name} is {value}", model.name());
    }
    assert!(found["recall@50"] <= 1.0 && found["recall@50"] > 0.0, "{}", model.name());
    found
}

#[test]
fn labels_that_are_all_equal_make_no_nan() {
    for label in [0, 1] {
        let mut data = tiny::funnel();
        data.interactions.label_values.iter_mut().for_each(|values| values.to_mut().fill(label));
        trained(|name, more| {
            let mut settings = vec!["train.lr=0.02"];
            settings.extend(more);
            let config = small(name, &settings);
            let (mut model, graph) = model(&config, &data, &Device::Cpu, DType::F32);
            let mut stepper = TrainStep::new(&config).unwrap();
            let batch = batch(&config, &data, &*model, &graph);
            for _ in 0..50 {
                let values = stepper.interaction_step(&mut *model, &batch).unwrap().values;
                for (key, value) in values {
                    assert!(value.is_finite(), "{name} {settings:?}, labels {label}: {key} is {value}");
                }
            }
            let found = evaluated(&*model, &data, &config);
            assert!(!found.contains_key("auc/completed"), "{name}: there is no pair to order");
        });
    }
}

#[test]
fn constant_scores_make_no_nan() {
    let data = tiny::funnel();
    trained(|name, more| {
        let config = small(name, more);
        let graph = TrainGraph::new(&config, &data, &[Split::Train]);
        let mut model = models::build(&config, &data, &graph, &Device::Cpu, DType::F32).unwrap();
        for param in model.params_mut().iter_mut() {
            param.value = param.value.zeros_like().unwrap();
        }
        let found = evaluated(&*model, &data, &config);
        assert_eq!(found["auc/enrolled"], 0.5, "{name}: ties count half");
        // Learner 0 sees 2, 4, 5 and learner 4 sees 4, 5, both in this order; they are to find course 4 and course 5.
        assert_eq!((found["mrr@10"], found["recall@10"]), (0.5, 1.0), "{name}: equal scores rank by number");
        // Nobody has any score, but the losses and their gradients do not mind.
        let batch = batch(&config, &data, &*model, &graph);
        let values = TrainStep::new(&config).unwrap().interaction_step(&mut *model, &batch).unwrap().values;
        values.iter().for_each(|(key, value)| assert!(value.is_finite(), "{name}: {key} is {value}"));
    });
    solved(&data, &Device::Cpu, |_, config, model| drop(evaluated(model, &data, config)));
}

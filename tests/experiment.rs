//! Plans, search spaces and statistics of experiments, without training.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use report::tables::{
    RunRow, learners_csv, read_learners, read_results, read_summary, results_csv, summary_csv,
};
use toml::{Table, Value};
use waata::config::{Base, Config};
use waata::experiment::stats::{Difference, holm, mean, paired_bootstrap, sd};
use waata::experiment::{ComparePlan, Request, Resampling, RunSpec, Space, model_names, rungs, summarize};

// Plans

fn request(models: &[&str]) -> Request {
    Request { models: models.iter().map(|m| m.to_string()).collect(), seeds: 1, ..Default::default() }
}

#[test]
fn every_combination_seed_by_seed() {
    let mut request = request(&["waa-ta"]);
    request.optimizers = vec!["sgd".into(), "adam".into()];
    request.weightings = vec!["sum".into(), "cosine".into()];
    request.seeds = 2;
    request.settings = vec!["seed=5".into(), "train.lr=0.5".into()];
    request.settings_for = [("waa-ta".to_string(), vec!["train.lr=9".into(), "model.dim=7".into()])].into();
    let plan = ComparePlan::new(&request).unwrap();
    let names: Vec<String> = plan.runs.iter().map(RunSpec::name).collect();
    let want = |seed| {
        ["sgd-sum", "sgd-cosine", "adam-sum", "adam-cosine"].map(|n| format!("waa-ta-{n}-{seed}")).to_vec()
    };
    assert_eq!(names, [want(5), want(6)].concat());
    assert!(plan.notes.is_empty());
    for run in &plan.runs {
        assert_eq!((run.config.seed, run.config.model.dim), (run.seed, 7));
        assert_eq!(run.config.train.lr, 0.5, "--set is above --settings-for");
        let combine = Value::try_from(run.config.weighting.combine).unwrap();
        assert_eq!(combine.as_str(), Some(&*run.weighting));
        assert!(run.config.to_toml().contains(&format!("optimizer = \"{}\"", run.optimizer)));
    }
}

#[test]
fn files_keep_what_an_ablation_leaves_out() {
    let with = |model: &str, setting: &str| {
        let settings_for = [(model.to_string(), vec![setting.to_string()])].into();
        ComparePlan::new(&Request { settings_for, ..request(&[model]) }).map(|plan| plan.runs.len())
    };
    assert_eq!(with("waa-ta", "loss.orth_weight=0.5").unwrap(), 1);
    assert_eq!(with("waa-ta1", "loss.orth_weight=0.5").unwrap(), 1);
    assert_eq!(with("waa-ta3", "loss.orth_weight=0.0").unwrap(), 1);
    assert_eq!(with("waa-ta1", "weighting.combine=\"sum\"").unwrap(), 1);
    for (model, setting) in [("waa-ta3", "loss.orth_weight=0.5"), ("waa-ta1", "weighting.combine=\"pcgrad\"")]
    {
        let error = with(model, setting).unwrap_err().to_string();
        assert!(error.contains(model) && error.contains("by definition"), "{error}");
    }
}

#[test]
fn without_lists_the_settings_decide() {
    let mut request = request(&["waa-ta", "waa-ta"]);
    request.settings = vec!["train.optimizer=adagrad".into()];
    let plan = ComparePlan::new(&request).unwrap();
    assert_eq!(plan.runs.len(), 1);
    assert_eq!(plan.runs[0].name(), "waa-ta-adagrad-metabalance_x_cosine-1");
}

#[test]
fn what_makes_no_difference_is_noted() {
    let mut request = request(&["ease", "lightgcn", "waa-ta"]);
    request.optimizers = vec!["sgd".into(), "adam".into()];
    request.weightings = vec!["sum".into(), "cosine".into()];
    request.seeds = 3;
    let plan = ComparePlan::new(&request).unwrap();
    let notes = plan.notes;
    assert_eq!(notes.len(), 3);
    assert!(notes[0].starts_with("ease, lightgcn: ") && notes[0].ends_with("--weightings"), "{notes:?}");
    assert!(notes[1].starts_with("ease: ") && notes[2].starts_with("ease: "), "{notes:?}");
    assert_eq!(plan.runs.len(), 1 + 2 * 3 + 2 * 2 * 3);
}

#[test]
fn invalid_requests_are_refused() {
    let refused = |change: &dyn Fn(&mut Request), part: &str| {
        let mut request = request(&["waa-ta"]);
        change(&mut request);
        let error = ComparePlan::new(&request).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(&|r| r.models = vec!["kgat".into()], "`kgat`");
    refused(&|r| r.models = vec![], "names no model");
    refused(&|r| r.seeds = 0, "--seeds");
    refused(&|r| r.optimizers = vec!["adamax".into()], "adamax");
    refused(&|r| r.weightings = vec!["best".into()], "weighting.combine");
    refused(&|r| r.settings = vec!["train.lrr=1".into()], "train.lr");
    refused(&|r| r.settings_for = [("ease".to_string(), vec![])].into(), "ease");
}

// Searches

#[test]
fn rungs_triple_the_epochs_of_a_third() {
    assert_eq!(rungs(9, 9, 1), [(9, 1), (3, 3), (1, 9)]);
    assert_eq!(rungs(20, 10, 1), [(20, 1), (6, 3), (2, 10)]);
    assert_eq!(rungs(1, 30, 1), [(1, 30)]);
    assert_eq!(rungs(2, 30, 1), [(2, 30)]);
    assert_eq!(rungs(100, 2, 1), [(100, 2)]);
    assert_eq!(rungs(3, 8, 1), [(3, 2), (1, 8)]);
    // None is dropped before it had so many epochs.
    assert_eq!(rungs(9, 9, 2), [(9, 3), (3, 9)]);
    assert_eq!(rungs(9, 9, 3), [(9, 3), (3, 9)]);
    assert_eq!(rungs(9, 9, 9), [(9, 9)]);
}

const RANGES: &str = r#"
    [trained]
    "train.lr" = { log = [1e-4, 1e-1] }
    "model.dim" = { choice = [16, 32] }
    [models.waa-ta]
    "head.pairs" = { integer = [1, 3] }
    "model.message_dropout" = { uniform = [0.0, 0.5] }
    [models.ease]
    "ease.l2" = { log = [10.0, 1e4] }
"#;

fn space(model: &str, text: &str) -> Space {
    Space::of(model, Some((text, "text"))).unwrap()
}

#[test]
fn models_have_ranges_of_their_own() {
    let keys = |model| -> Vec<String> { space(model, RANGES).ranges.into_keys().collect() };
    assert_eq!(keys("waa-ta"), ["head.pairs", "model.dim", "model.message_dropout", "train.lr"]);
    assert_eq!(keys("mmoe"), ["model.dim", "train.lr"]);
    assert_eq!(keys("ease"), ["ease.l2"], "not trained by an optimizer");
    for bad in
        ["[trained]\nx = {log = [0.0, 1.0]}", "[trained]\nx = {choice = []}", "[trained]\nx = 3", "[all]"]
    {
        assert_eq!(Space::of("waa-ta", Some((bad, "text"))).unwrap_err().exit_code(), 2, "{bad}");
    }
    assert_eq!(space("waa-ta", RANGES).without(&["train.lr = 0.5".into()]).ranges.len(), 3);
}

#[test]
fn samples_fill_the_ranges_and_nothing_else() {
    let space = space("waa-ta", RANGES);
    let (mut decades, mut pairs, mut dims) = ([0; 3], [0; 4], 0);
    for trial in 0..300 {
        let point = space.sample(1, trial, 0);
        let lr = point["train.lr"].as_float().unwrap();
        assert!((1e-4..=1e-1).contains(&lr));
        assert_eq!(format!("{lr:.2e}").parse::<f64>().unwrap(), lr, "three digits");
        decades[((lr.log10() + 4.0) as usize).min(2)] += 1;
        pairs[point["head.pairs"].as_integer().unwrap() as usize] += 1;
        dims += (point["model.dim"].as_integer() == Some(16)) as usize;
        assert!((0.0..=0.5).contains(&point["model.message_dropout"].as_float().unwrap()));
    }
    // 100 each, standard deviation 8; of the dimension 150 and 9.
    assert!(decades.iter().chain(&pairs[1..]).all(|n| (60..=140).contains(n)), "{decades:?} {pairs:?}");
    assert!((105..=195).contains(&dims), "{dims}");
    assert_eq!(space.sample(1, 5, 0), space.sample(1, 5, 0));
    for (seed, trial, attempt) in [(2, 5, 0), (1, 6, 0), (1, 5, 1)] {
        assert_ne!(space.sample(1, 5, 0), space.sample(seed, trial, attempt));
    }
    let alone = space.clone().without(&["head.pairs=1".into()]);
    assert_eq!(space.sample(1, 5, 0)["train.lr"], alone.sample(1, 5, 0)["train.lr"]);
}

#[test]
fn settings_are_sampled_together_or_fixed_together() {
    let text = r#"
        [trained]
        "train.lr" = { log = [1e-4, 1e-1] }
        objective = { together = [
            { "loss.ranking" = "bce", "eval.rank_by" = "head" },
            { "loss.ranking" = "softmax", "eval.rank_by" = "inner" },
        ] }
    "#;
    let space = space("mmoe", text);
    assert_eq!(Vec::from_iter(space.keys()), ["eval.rank_by", "loss.ranking", "train.lr"]);
    let mut softmax = 0;
    for trial in 0..100 {
        let point = space.sample(1, trial, 0);
        assert_eq!(point.len(), 3);
        let of = |key: &str| point[key].as_str().unwrap();
        assert_eq!(of("loss.ranking") == "softmax", of("eval.rank_by") == "inner");
        softmax += (of("loss.ranking") == "softmax") as usize;
    }
    assert!((30..=70).contains(&softmax), "{softmax}");
    let fixed = space.without(&["loss.ranking=\"bpr\"".into()]);
    assert_eq!(Vec::from_iter(fixed.keys()), ["train.lr"]);
    let empty = "[trained]\nobjective = { together = [{}] }";
    assert_eq!(Space::of("mmoe", Some((empty, "text"))).unwrap_err().exit_code(), 2);
}

#[test]
fn the_declared_ranges_are_settings_that_models_take() {
    let files = [
        ("tasks", include_str!("../data/search.toml")),
        ("tasks", include_str!("../data/search-tasks.toml")),
        ("history", include_str!("../data/search-history.toml")),
    ];
    for (preset, text) in files {
        let resolve = |model: &str, point: &BTreeMap<String, Value>| {
            let mut settings: Vec<String> =
                point.iter().map(|(key, value)| format!("{key}={value}")).collect();
            settings.push(format!("model.name=\"{model}\""));
            Config::resolve(Base::Preset(preset.into()), &settings)
        };
        for model in model_names() {
            let space = space(&model, text);
            let mut taken = 0;
            for trial in 0..40 {
                match resolve(&model, &space.sample(1, trial, 0)) {
                    Ok(_) => taken += 1,
                    Err(error) => assert!(!error.to_string().contains("no such setting"), "{model}: {error}"),
                }
            }
            assert!(taken > 4, "{preset}, {model}: {taken} of 40 points are valid");
        }
        let keys: Table = text.parse().unwrap();
        for model in keys["models"].as_table().unwrap().keys() {
            assert!(model_names().contains(model), "there is no model {model}");
        }
    }
    assert_eq!(Space::of("waa-ta", None).unwrap(), space("waa-ta", files[0].1), "the default");
}

// Statistics

#[test]
fn statistics_by_hand() {
    assert_eq!((mean(&[]), sd(&[]), sd(&[3.0])), (None, None, None));
    assert_eq!((mean(&[1.0, 2.0, 6.0]), sd(&[1.0, 3.0])), (Some(3.0), Some(2f64.sqrt())));
    // Steps: 4 * .01, 3 * .02 (not below the step before), 2 * .03, 1 * .05.
    assert_eq!(holm(&[0.03, 0.01, 0.05, 0.02]), [0.06, 0.04, 0.06, 0.06]);
    assert_eq!(holm(&[0.4, 0.9]), [0.8, 0.9]);
    assert_eq!(holm(&[0.7, 0.9]), [1.0, 1.0]);
    assert!(holm(&[]).is_empty());
}

#[test]
fn resamples_that_need_no_chance() {
    assert_eq!(paired_bootstrap(&[], 10, 1), []);
    assert_eq!(paired_bootstrap(&[vec![]], 10, 1), [None]);
    // Nobody differs: any resample says so. Everybody differs alike: none can say otherwise.
    let found = paired_bootstrap(&[vec![0.0; 9], vec![0.5; 9], vec![-0.5; 9]], 99, 1);
    assert_eq!(found[0], Some(Difference { mean: 0.0, low: 0.0, high: 0.0, p: 1.0 }));
    assert_eq!(found[1], Some(Difference { mean: 0.5, low: 0.5, high: 0.5, p: 0.02 }));
    assert_eq!(found[2].unwrap().p, 0.02);
}

#[test]
fn columns_do_not_change_each_other_and_threads_change_nothing() {
    let column = |shift: f64| (0..50).map(|u| ((u * 37) % 11) as f64 - shift).collect::<Vec<_>>();
    let both = paired_bootstrap(&[column(5.0), column(4.0)], 101, 9);
    assert_eq!(both[1], paired_bootstrap(&[column(4.0)], 101, 9)[0]);
    assert_ne!(both[1], paired_bootstrap(&[column(4.0)], 101, 8)[0], "another seed draws others");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(both, pool.install(|| paired_bootstrap(&[column(5.0), column(4.0)], 101, 9)));
}

/// Four learners; a run of `model` with these recalls.
fn finished(folder: &Path, model: &str, seed: u64, recalls: [f64; 4]) -> RunRow {
    let run = format!("{model}-adam-sum-{seed}");
    let dir = folder.join("runs").join(&run);
    fs::create_dir_all(&dir).unwrap();
    let metrics = [("recall@10".to_string(), recalls.to_vec())].into();
    let path = dir.join("learners.csv");
    fs::write(&path, learners_csv([&[0, 3, 4, 7], &[1; 4], &[2; 4]], &metrics).unwrap()).unwrap();
    let table = read_learners(&path).unwrap();
    assert_eq!((table.learner, table.metrics), (vec![0, 3, 4, 7], metrics));
    let mean = recalls.iter().sum::<f64>() / 4.0;
    RunRow {
        run,
        model: model.into(),
        optimizer: "adam".into(),
        weighting: "sum".into(),
        seed,
        metrics: [("recall@10".to_string(), mean), ("auc/enrolled".to_string(), 0.5)].into(),
        ..Default::default()
    }
}

#[test]
fn each_model_against_the_best_baseline() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let rows = [
        finished(folder, "ease", 1, [0.5, 0.5, 0.5, 0.5]),
        finished(folder, "popularity", 1, [0.25, 0.25, 0.25, 0.25]),
        finished(folder, "waa-ta", 1, [0.5, 1.0, 0.5, 1.0]),
        finished(folder, "waa-ta", 2, [1.0, 0.5, 1.0, 0.5]),
        finished(folder, "waa-ta3", 1, [1.0, 0.0, 0.5, 0.5]),
    ];
    let resampling = Resampling { resamples: 99, seed: 1 };
    let summary = summarize(folder, &rows, resampling).unwrap();
    let of = |model: &str, metric: &str| {
        summary.iter().find(|r| r.model == model && r.metric == metric).unwrap().clone()
    };
    assert_eq!(summary.len(), 8);
    let ours = of("waa-ta", "recall@10");
    assert_eq!((ours.seeds, ours.mean, ours.sd), (2, 0.75, Some(0.0)));
    // Over both seeds every learner gains a quarter: no resample shows less.
    assert_eq!((ours.difference, ours.low, ours.high), (Some(0.25), Some(0.25), Some(0.25)));
    assert_eq!(ours.baseline.as_deref(), Some("ease-adam-sum"));
    assert_eq!((ours.p, ours.p_holm), (Some(0.02), Some(0.06)), "corrected over three tests");
    assert_eq!(of("popularity", "recall@10").difference, Some(-0.25));
    assert_eq!(of("ease", "recall@10").p, None);
    let three = of("waa-ta3", "recall@10");
    assert_eq!((three.sd, three.difference), (None, Some(0.0)));
    assert!(three.p.unwrap() > 0.5);
    assert_eq!(of("waa-ta", "auc/enrolled").baseline, None);

    let path = folder.join("summary.csv");
    fs::write(&path, summary_csv(&summary).unwrap()).unwrap();
    assert_eq!(read_summary(&path).unwrap(), summary);
    let path = folder.join("results.csv");
    fs::write(&path, results_csv(&rows.iter().collect::<Vec<_>>()).unwrap()).unwrap();
    assert_eq!(read_results(&path).unwrap(), rows);
    // Without a baseline there is nothing to test against.
    let alone = summarize(folder, &rows[2..], resampling).unwrap();
    assert!(alone.iter().all(|r| r.baseline.is_none() && r.p.is_none()));
    assert!(summarize(folder, &[], resampling).unwrap().is_empty());

    // Damaged or foreign learners are refused, with the line.
    let learners = folder.join("runs/ease-adam-sum-1/learners.csv");
    fs::write(&learners, "learner,known,wanted,recall@10\n0,1,2,0.5\n3,1,2,many\n").unwrap();
    let error = summarize(folder, &rows, resampling).unwrap_err().to_string();
    assert!(error.contains("learners.csv:3") && error.contains("recall@10 is `many`"), "{error}");
    fs::write(&learners, "learner,known,wanted,recall@10\n0,1,2,0.5\n").unwrap();
    let error = summarize(folder, &rows, resampling).unwrap_err().to_string();
    assert!(error.contains("other learners"), "{error}");
}

#[test]
fn rows_that_cannot_be_compared_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let mut rows =
        [finished(temporary.path(), "ease", 1, [0.5; 4]), finished(temporary.path(), "ease", 2, [0.5; 4])];
    rows[1].split_fingerprint = "other".into();
    let path = temporary.path().join("results.csv");
    fs::write(&path, results_csv(&rows.iter().collect::<Vec<_>>()).unwrap()).unwrap();
    let error = read_results(&path).unwrap_err();
    assert!(error.exit_code() == 3 && error.to_string().contains("split_fingerprint"), "{error}");
}

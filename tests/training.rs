//! Runs: the same bits for the same seed, after interruptions and for any number of threads; damage is noticed.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use waata::config::{Base, Config};
use waata::data::split::{self, Ratios, SplitPolicy};
use waata::data::synth::generate;
use waata::data::{Dataset, Interactions, Split};
use waata::engine::Device;
use waata::eval::Evaluation;
use waata::train::{EpochLog, Observer, Run, Sampler};
use waata::{Error, Result};

use common::tiny;

/// What differs between these is what a checkpoint has to hold: dropout, constant attention, weighting, two optimizers, a
/// schedule, sampling of positives.
const CONFIGURATIONS: &[&[&str]] = &[
    &[],
    &[
        "attention.mode=differentiated",
        "loss.tasks=[\"enrolled\"]",
        "train.optimizer=\"adamw\"",
        "train.weight_decay=0.01",
    ],
    &["kg.entity_norm=clamp1", "kg.corruption=bern", "kg.shared_state=true", "weighting.combine=metabalance"],
    &[
        "model.propagation=history",
        "model.learner=latest_history",
        "model.history_dropout=0.2",
        "attention.mode=differentiated",
        "attention.edge_bias=recency",
        "loss.ranking=softmax",
        "train.schedule=linear",
        "train.positives_per_learner=2",
        "train.draw=late",
        "train.head_lr=0.003",
        "eval.rank_by=both",
    ],
    &["model.fan_out=[3, 2]", "loss.ranking=bpr"],
    &["model.storage=bf16", "attention.mode=differentiated"],
    &[
        "model.fan_out=[2, 4]",
        "attention.mode=differentiated",
        "loss.tasks=[\"enrolled\"]",
        "model.course_output=separate",
        "train.optimizer=adagrad",
    ],
    &["weighting.combine=uncertainty", "weighting.lr=0.05"],
    &["weighting.combine=dwa"],
    &["weighting.combine=gradnorm", "train.optimizer=rmsprop", "train.head_lr=0.003"],
    &["weighting.combine=pcgrad", "loss.ranking=bpr"],
    &["weighting.combine=cagrad", "loss.ranking=bpr"],
];

fn config(settings: &[&str]) -> Config {
    let small = [
        "model.dim=8",
        "model.layers=[8, 4]",
        "head.widths=[8, 6]",
        "train.batch_size=30",
        "train.epochs=3",
        "train.lr=0.01",
        "kg.batch_size=64",
        "eval.k=[5, 10]",
        "eval.metric=\"ndcg@5\"",
    ];
    let all: Vec<&str> = small.iter().chain(settings).copied().collect();
    tiny::config(&all).unwrap()
}

/// Stops after a number of steps; keeps what it is told.
#[derive(Default)]
struct Watcher {
    stop_after: Option<usize>,
    steps: usize,
    values: Vec<BTreeMap<String, f64>>,
    logs: Vec<EpochLog>,
}

impl Observer for Watcher {
    fn step(&mut self, _: u64, _: u64, _: u64, values: &BTreeMap<String, f64>) -> bool {
        self.steps += 1;
        self.values.push(values.clone());
        self.stop_after == Some(self.steps)
    }

    fn epoch(&mut self, log: &EpochLog) {
        self.logs.push(log.clone());
    }
}

type Bits = Vec<(String, Vec<u32>)>;

fn bits(run: &Run) -> Bits {
    let of = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    run.model().params().iter().map(|p| (p.name.clone(), of(p.value.to_vec().unwrap()))).collect()
}

/// Everything that a run leaves behind, but for its times.
#[derive(Debug, PartialEq)]
struct End {
    parameters: Bits,
    log: Vec<String>,
    best: Option<u64>,
    test: BTreeMap<String, u64>,
}

fn end(run: &Run, dir: &Path, best: Option<f64>) -> End {
    let log = fs::read_to_string(dir.join("log.jsonl")).unwrap();
    let line = |line: &str| {
        let mut log: EpochLog = serde_json::from_str(line).unwrap();
        log.seconds = None;
        format!("{log:?}")
    };
    let found: Evaluation = run.evaluate(Split::Test, None, &mut |_, _| {}).unwrap();
    End {
        parameters: bits(run),
        log: log.lines().map(line).collect(),
        best: best.map(f64::to_bits),
        test: found.metrics.into_iter().map(|(k, v)| (k, v.to_bits())).collect(),
    }
}

/// A run, interrupted after each of the given numbers of steps and taken up again.
fn train(data: &Dataset, config: &Config, dir: &Path, interruptions: &[usize]) -> Result<End> {
    let device = Device::Cpu;
    let mut run = Run::new(data, config, &device, dir)?;
    for &stop in interruptions {
        let mut watcher = Watcher { stop_after: Some(stop), ..Default::default() };
        let error = run.train(&mut watcher).unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        assert_eq!(error.exit_code(), 130);
        let before = bits(&run);
        run = Run::load(data, config, &device, dir, "last")?;
        assert_eq!(before, bits(&run), "what was saved is what was loaded");
    }
    let outcome = run.train(&mut Watcher::default())?;
    assert_eq!(outcome.epochs, config.train.epochs as u64);
    Ok(end(&run, dir, outcome.best.map(|b| b.metric)))
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let data = tiny::synthetic();
    for settings in CONFIGURATIONS {
        let config = config(settings);
        let ends: Vec<End> = [1, 2, 2]
            .into_iter()
            .map(|threads| {
                let folder = tempfile::tempdir().unwrap();
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| train(&data, &config, folder.path(), &[])).unwrap()
            })
            .collect();
        assert_eq!(ends[1], ends[2], "{settings:?}: two runs with two threads");
        assert_eq!(ends[0], ends[1], "{settings:?}: one thread and two");
        assert_eq!(ends[0].log.len(), 3);
    }
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (config(&[]), config(&["seed=2"]));
    let first = train(&data, &one, &folder.path().join("1"), &[]).unwrap();
    assert_ne!(first.parameters, train(&data, &two, &folder.path().join("2"), &[]).unwrap().parameters);
}

/// Rows in 16 bits where edges read them: nearly the same losses, by way of other bits.
#[test]
fn storage_in_16_bits_trains_as_f32_does() {
    let data = tiny::synthetic();
    for settings in [
        &["attention.mode=differentiated"][..],
        &["attention.mode=laplacian", "attention.message=projected", "model.layers=[8, 8]"],
        &["attention.mode=differentiated", "model.propagation=history", "model.learner=free_history"],
        &["attention.mode=differentiated", "model.fan_out=[3, 2]"],
    ] {
        let run = |storage: &str| {
            let storage = format!("model.storage={storage}");
            let folder = tempfile::tempdir().unwrap();
            let config = config(&[settings, &[storage.as_str()]].concat());
            let mut run = Run::new(&data, &config, &Device::Cpu, folder.path()).unwrap();
            let mut watcher = Watcher::default();
            run.train(&mut watcher).unwrap();
            (watcher.values, bits(&run))
        };
        let (single, of_single) = run("f32");
        for (storage, tolerance) in [("bf16", 0.02), ("f16", 0.004)] {
            let (half, of_half) = run(storage);
            assert_ne!(of_single, of_half, "{settings:?} {storage}");
            // Whole runs: rounding sends single steps of an adaptive optimizer to and fro.
            let mean = |steps: &[BTreeMap<String, f64>], name: &str| {
                let values: Vec<f64> = steps.iter().filter_map(|step| step.get(name)).copied().collect();
                values.iter().sum::<f64>() / values.len() as f64
            };
            assert_eq!(single.len(), half.len());
            for name in single[0].keys().filter(|name| name.starts_with("loss/")) {
                let (want, got) = (mean(&single, name), mean(&half, name));
                assert!(
                    (got - want).abs() <= tolerance * want.abs().max(0.5),
                    "{settings:?} {storage} {name}: {got}, in f32 {want}"
                );
            }
        }
    }
}

#[test]
fn an_interrupted_run_ends_with_the_same_bits() {
    let data = tiny::synthetic();
    for settings in CONFIGURATIONS {
        let config = config(settings);
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        let whole = train(&data, &config, &plain, &[]).unwrap();
        let mut watcher = Watcher::default();
        Run::new(&data, &config, &Device::Cpu, &folder.path().join("count")).unwrap().train(&mut watcher).unwrap();
        let epoch = watcher.steps / 3;
        // In the middle of an epoch; after an epoch's last step but before what ends it; twice in one epoch.
        for (i, stops) in [&[epoch + epoch / 2][..], &[epoch], &[1, 1, epoch]].into_iter().enumerate() {
            let dir = folder.path().join(i.to_string());
            let resumed = train(&data, &config, &dir, stops).unwrap();
            assert_eq!(whole.parameters, resumed.parameters, "{settings:?}: stopped at {stops:?}");
            assert_eq!(whole, resumed, "{settings:?}: stopped at {stops:?}");
        }
    }
}

#[test]
fn a_finished_run_has_nothing_left_to_do() {
    let (data, config) = (tiny::synthetic(), config(&[]));
    let folder = tempfile::tempdir().unwrap();
    let whole = train(&data, &config, folder.path(), &[]).unwrap();
    let mut run = Run::load(&data, &config, &Device::Cpu, folder.path(), "last").unwrap();
    let mut watcher = Watcher::default();
    let outcome = run.train(&mut watcher).unwrap();
    assert_eq!((watcher.steps, outcome.epochs), (0, 3));
    assert_eq!(end(&run, folder.path(), outcome.best.map(|b| b.metric)), whole);
}

/// A trained run's folder, and its checkpoint's manifest and tensor file.
fn trained(data: &Dataset, config: &Config, dir: &Path) -> (PathBuf, PathBuf) {
    train(data, config, dir, &[]).unwrap();
    let folder = dir.join("checkpoints");
    let manifest = folder.join("last.json");
    let text: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let tensors = folder.join(text["file"].as_str().unwrap());
    (manifest, tensors)
}

#[test]
fn damage_is_noticed() {
    let (data, config) = (tiny::synthetic(), config(&["train.epochs=1"]));
    let folder = tempfile::tempdir().unwrap();
    let (manifest, tensors) = trained(&data, &config, folder.path());
    let load = || Run::load(&data, &config, &Device::Cpu, folder.path(), "last").map(|run| run.progress().clone());
    let progress = load().unwrap();
    for file in [&tensors, &manifest] {
        let good = fs::read(file).unwrap();
        let corrupt = |bytes: &[u8], what: &str| {
            fs::write(file, bytes).unwrap();
            let error = match load() {
                Err(error) => error,
                // The last of seventeen digits may change without changing the number.
                Ok(same) if same == progress => return,
                Ok(_) => panic!("{what} of {} went unnoticed", file.display()),
            };
            assert!(matches!(error, Error::Corrupt { .. }), "{what}: {error:?}");
            assert_eq!(error.exit_code(), 7);
        };
        let stride = good.len() / 150 + 1;
        for at in (0..good.len()).step_by(stride) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            corrupt(&bad, &format!("bit {} of byte {at}", at % 8));
        }
        for length in [0, 1, 7, 8, good.len() / 2, good.len() - 1] {
            corrupt(&good[..length], &format!("a cut at {length}"));
        }
        corrupt(&[&good[..], b"0"].concat(), "a byte more");
        fs::write(file, &good).unwrap();
    }
    load().unwrap();
    // A checkpoint of other parameters, and one of another data set.
    let other = Config::resolve(waata::config::Base::Defaults, &["model.dim=16".into()]).unwrap();
    assert!(matches!(
        Run::load(&data, &other, &Device::Cpu, folder.path(), "last").err().unwrap(),
        Error::Corrupt { .. }
    ));
    let mut moved = data.clone();
    let split = moved.interactions.split.to_mut();
    split[0] = match split[0] {
        Split::Test => Split::Train,
        _ => Split::Test,
    };
    assert_eq!(Run::load(&moved, &config, &Device::Cpu, folder.path(), "last").err().unwrap().exit_code(), 2);
    fs::remove_file(&tensors).unwrap();
    assert!(load().is_err());
    fs::remove_file(&manifest).unwrap();
    assert_eq!(load().unwrap_err().exit_code(), 3);
}

/// A learner has few enrolments: a vector drawn at random for each must not outweigh them. Ranking by how often a course was
/// taken is the least that matrix factorisation has to learn.
#[test]
fn vectors_of_learners_rank_better_than_popularity() {
    let mut data = generate(500, 60, 5000, 1).unwrap();
    let policy = SplitPolicy::Random { ratios: Ratios::default(), per_learner: false };
    split::assign(&mut data, policy, false, 1).unwrap();
    let ndcg = |settings: &[&str]| {
        let common = ["train.batch_size=128", "train.epochs=15", "train.lr=0.005", "eval.k=[10]"];
        let all: Vec<String> = common.iter().chain(settings).map(|s| s.to_string()).collect();
        let config = Config::resolve(Base::Preset("tasks".into()), &all).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new(&data, &config, &Device::Cpu, folder.path()).unwrap();
        run.train(&mut Watcher::default()).unwrap();
        run.evaluate(Split::Test, None, &mut |_, _| {}).unwrap().metrics["ndcg@10"]
    };
    let (factorised, popular) = (ndcg(&["model.name=bpr-mf"]), ndcg(&["model.name=popularity"]));
    assert!(factorised > 1.3 * popular, "{factorised} against {popular}");
}

/// Learners of one course in train, with what became of it, and one in the test: course 0 again is impossible, 1 follows
/// where it was completed, 2 where it was not. Every second learner has them in the other order.
fn retaken() -> Dataset {
    let (n, mut course, mut done, mut split) = (240, vec![], vec![], vec![]);
    for u in 0..n {
        let completed = u % 2;
        let other = 2 - completed as u32;
        let is_test = u % 6 < 2;
        // Train learners have both courses in train; half of them the second course first.
        let pair = if u % 4 < 2 { [0, other] } else { [other, 0] };
        for c in pair {
            course.push(c);
            done.push(if c == 0 { completed } else { 1 });
            split.push(if is_test && c != 0 { Split::Test } else { Split::Train });
        }
    }
    let interactions = Interactions {
        offsets: (0..=n as u64).map(|u| 2 * u).collect(),
        course: course.into(),
        label_values: vec![done.into()],
        split: split.into(),
        has_time: true,
    };
    let data = Dataset {
        name: "retaken".into(),
        learner_names: (0..n).map(|u| format!("learner {u}")).collect(),
        entity_names: (0..4).map(|e| format!("entity {e}")).collect(),
        courses: 3,
        relation_names: vec!["teacher"].into(),
        triples: vec![[0, 0, 3], [1, 0, 3], [2, 0, 3]].into(),
        labels: vec!["completed".into()],
        interactions,
    };
    data.validate().unwrap();
    data
}

#[test]
fn what_became_of_courses_is_heard() {
    let data = retaken();
    assert!(!data.splits_by_time(), "some test courses come before those in train");
    let hits = |settings: &[&str]| {
        let common = ["model.dim=16", "model.layers=[16]", "loss.ranking=softmax", "eval.rank_by=inner"];
        let steps = ["train.lr=0.02", "train.epochs=20", "train.batch_size=64", "eval.k=[1]", "eval.metric=ndcg@1"];
        let all: Vec<String> = common.iter().chain(&steps).chain(settings).map(|s| s.to_string()).collect();
        let config = Config::resolve(Base::Preset("tasks".into()), &all).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new(&data, &config, &Device::Cpu, folder.path()).unwrap();
        run.train(&mut Watcher::default()).unwrap();
        run.evaluate(Split::Test, None, &mut |_, _| {}).unwrap().metrics["hr@1"]
    };
    let deaf = hits(&[]);
    for hearing in ["model.history_labels=shared", "model.history_labels=course"] {
        let found = hits(&[hearing]);
        assert!(deaf < 0.7 && found > 0.99, "{hearing}: {deaf} against {found}");
    }
}

#[test]
fn what_a_positive_is_known_by_follows_the_split() {
    let known = |data: &Dataset, settings: &[&str]| -> Result<Vec<usize>> {
        let config = config(&[&["model.propagation=history", "attention.mode=differentiated"], settings].concat());
        let sampler = Sampler::new(data, &config, &[Split::Train], &["enrolled".into()])?;
        let batch = sampler.batch(0, &sampler.epoch(0));
        let mut lengths: Vec<usize> =
            (0..batch.learners.rows()).map(|i| batch.learners.histories.row(i).len()).collect();
        lengths.sort_unstable();
        Ok(lengths)
    };
    // Train rows per learner: 3, 2, 2, 0, 4. By time each positive has one more before it than the last.
    let mut data = tiny::dataset();
    assert!(data.splits_by_time());
    let (before, others) = ([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3], [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]);
    assert_eq!(known(&data, &[]).unwrap(), before);
    assert_eq!(known(&data, &["train.history=others"]).unwrap(), others);
    // The last learner's validation course now comes first.
    let mut split = data.interactions.split.to_vec();
    split.swap(9, 13);
    data.interactions.split = split.into();
    assert!(!data.splits_by_time());
    assert_eq!(known(&data, &[]).unwrap(), others);
    assert_eq!(known(&data, &["train.history=before"]).unwrap(), before);
    data.interactions.has_time = false;
    assert_eq!(known(&data, &["train.history=before"]).unwrap_err().exit_code(), 2);
}

#[test]
fn divergence_is_an_error() {
    let data = tiny::synthetic();
    for settings in [
        &["train.lr=1e30"][..],
        &["train.lr=1e30", "weighting.combine=sum"],
        &["train.lr=1e30", "train.optimizer=\"sgd\""],
        &["train.lr=1e30", "train.batch_size=100000", "kg.phase=off"],
        &["train.lr=1e30", "train.batch_size=100000", "train.epochs=1", "eval.rank_by=inner"],
        &[
            "train.lr=1e30",
            "model.propagation=history",
            "model.learner=history",
            "loss.ranking=softmax",
            "weighting.combine=sum",
        ],
    ] {
        let (folder, config) = (tempfile::tempdir().unwrap(), config(settings));
        let error = train(&data, &config, folder.path(), &[]).err();
        let error = error.unwrap_or_else(|| panic!("{settings:?}: trained"));
        assert!(matches!(error, Error::Diverged { .. }), "{settings:?}: {error:?}");
        assert_eq!(error.exit_code(), 6);
    }
}

//! `waata compare` and `waata search` as a person or a script meets them, killed and taken up again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use report::tables::{CommandRecord, read_results, read_slices, read_summary};
use waata::engine::Philox;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample");

/// A model that takes a fraction of a second an epoch.
const SMALL: &[&str] = &[
    "model.dim=4",
    "model.layers=[4]",
    "head.widths=[4]",
    "head.tower=[]",
    "train.epochs=3",
    "train.batch_size=2048",
    "train.negatives=1",
    "train.valid_learners=50",
    "kg.phase=off",
];

fn command(dir: &Path, first: &[&str], rest: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waata"));
    command.args(first).args(["--data", SAMPLE, "--device", "cpu"]).args(rest).current_dir(dir);
    SMALL.iter().for_each(|s| _ = command.args(["--set", s]));
    command
}

fn compare(dir: &Path, arguments: &[&str]) -> Output {
    command(dir, &["compare", "--resamples", "200", "--models", "waa-ta"], arguments).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let stderr = text(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code(), text(&output.stdout), stderr)
}

fn succeed(output: &Output) -> (String, String) {
    let (code, stdout, stderr) = said(output);
    assert_eq!(code, Some(0), "{stderr}");
    (stdout, stderr)
}

fn refused(output: &Output, code: i32, words: &[&str]) {
    let (got, _, stderr) = said(output);
    assert_eq!(got, Some(code), "{stderr}");
    words.iter().for_each(|word| assert!(stderr.contains(word), "`{word}` is not in: {stderr}"));
}

/// All files below a folder with their bytes, except those that hold times.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let passing = name == "timing.json" || name == "command.json" || name.ends_with(".part");
            match path.is_dir() {
                true => left.push(path),
                // A kill may leave a checkpoint that was being replaced.
                false if passing || folder.ends_with("checkpoints") && name.ends_with(".safetensors") => {}
                false => _ = found.insert(path.strip_prefix(dir).unwrap().into(), fs::read(&path).unwrap()),
            }
        }
    }
    found
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (path, bytes) in &a {
        let other = &b[path];
        let text = String::from_utf8_lossy;
        assert!(bytes == other, "{}:\n{}\n{}", path.display(), text(bytes), text(other));
    }
}

/// Weightings of every kind: those that remember something from step to step, and those that draw numbers.
const GRID: &[&str] = &[
    "--optimizers",
    "adam,sgd",
    "--weightings",
    "sum,metabalance,uncertainty,dwa,gradnorm,pcgrad,cagrad",
    "--seeds",
    "2",
];

/// Kills or interrupts the process at random moments, again and again, and lets the last one end.
fn killed_again_and_again(mut start: impl FnMut() -> Command, seed: u64) {
    let random = Philox::new(seed, 1);
    let mut kills = 0;
    for i in 0..14 {
        let mut child = start().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + random.below_at(i, 900) as u64));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        if i % 3 == 2 {
            _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        } else {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        // An interrupt saves first; one that comes before it can be caught kills, one after the last run is too late.
        match status.code() {
            Some(0) => break,
            code => assert!(matches!(code, Some(130) | None), "{status}"),
        }
        kills += 1;
    }
    assert!(kills > 0, "it ended before it could be killed");
    succeed(&start().output().unwrap());
}

#[test]
fn kills_do_not_change_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (stdout, stderr) = succeed(&compare(folder.path(), &[GRID, &["--out", "whole"]].concat()));
    assert!(stdout.contains("metabalance") && stdout.contains("whole: results.csv"), "{stdout}");
    assert!(stderr.contains("[28/28] waa-ta-") && stderr.contains("ndcg@10"), "{stderr}");
    let start = || {
        let first = ["compare", "--resamples", "200", "--models", "waa-ta", "--threads", "1"];
        command(folder.path(), &first, &[GRID, &["--out", "killed"]].concat())
    };
    killed_again_and_again(start, 11);
    assert_same(&folder.path().join("whole"), &folder.path().join("killed"));

    // Finished: nothing is made again, and the tables stay.
    let before = files(&folder.path().join("killed"));
    let (_, stderr) = succeed(&start().output().unwrap());
    assert!(stderr.contains("28 done before") && !stderr.contains("[28/28]"), "{stderr}");
    assert!(before == files(&folder.path().join("killed")));

    let out = folder.path().join("whole");
    let rows = read_results(&out.join("results.csv")).unwrap();
    assert_eq!(rows.len(), 28);
    let names: Vec<&str> = rows.iter().map(|r| r.run.as_str()).collect();
    assert_eq!(names[..3], ["waa-ta-adam-cagrad-1", "waa-ta-adam-cagrad-2", "waa-ta-adam-dwa-1"]);
    for row in &rows {
        for metric in ["recall@10", "mrr@50", "auc/completed", "logloss/enrolled", "coverage@20", "popularity@10"] {
            assert!(row.metrics[metric].is_finite(), "{metric}");
        }
        assert_eq!(
            (row.optimizer.as_str(), row.split_fingerprint.len()),
            (&row.run["waa-ta-".len()..][..row.optimizer.len()], 64)
        );
    }
    assert_ne!(rows[0].metrics, rows[1].metrics, "another seed");
    let summary = read_summary(&out.join("summary.csv")).unwrap();
    assert_eq!(summary.len(), 14 * rows[0].metrics.len());
    assert!(summary.iter().all(|r| r.seeds == 2 && r.sd.is_some() && r.baseline.is_none()));
    let slices = read_slices(&out.join("slices.csv")).unwrap();
    assert!(slices.iter().any(|s| s.slice == "5-9" && s.metric == "ndcg@10" && s.learners > 0));

    let record: CommandRecord = serde_json::from_slice(&fs::read(out.join("command.json")).unwrap()).unwrap();
    assert!(record.command.starts_with("waata compare --resamples 200 "), "{record:?}");
    assert!(record.started.starts_with("20") && record.started.ends_with('Z'), "{record:?}");

    let run = Path::new("whole/runs").join(&rows[0].run);
    let said = Command::new(env!("CARGO_BIN_EXE_waata")).arg("inspect").arg(run).current_dir(folder.path()).output();
    assert!(succeed(&said.unwrap()).0.contains("log-loss"));

    // More seeds go into the same folder; other data, another evaluation and other settings do not.
    let more = ["--seeds", "3", "--optimizers", "adam", "--weightings", "sum", "--out", "whole"];
    let (_, stderr) = succeed(&compare(folder.path(), &more));
    assert!(stderr.contains("[3/3] waa-ta-adam-sum-3"), "{stderr}");
    assert_eq!(read_results(&out.join("results.csv")).unwrap().len(), 29);
    let again = |arguments: &[&str]| compare(folder.path(), &[GRID, &["--out", "whole"], arguments].concat());
    refused(&again(&["--set", "train.lr=0.5"]), 3, &["waa-ta-adam-sum-1", "other settings", "--out"]);
    refused(&again(&["--set", "eval.k=[10]"]), 3, &["evaluated differently", "--out"]);
    let first = ["prepare", SAMPLE, "--split", "last", "--out", "other"];
    succeed(&Command::new(env!("CARGO_BIN_EXE_waata")).args(first).current_dir(folder.path()).output().unwrap());
    let mut other = Command::new(env!("CARGO_BIN_EXE_waata"));
    other.args(["compare", "--data", "other", "--config", &format!("{SAMPLE}/run.toml"), "--models", "waa-ta"]);
    other.args(["--out", "whole", "--device", "cpu"]).current_dir(folder.path());
    refused(&other.output().unwrap(), 3, &["another split", "--out"]);
}

#[test]
fn all_models_against_the_best_baseline() {
    let folder = tempfile::tempdir().unwrap();
    // Widths of layers are the models' own matter here: those of tables have none.
    let settings = ["train.max_steps=2", "train.epochs=1", "train.batch_size=2048", "head.widths=[8]"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_waata"));
    command.args(["compare", "--models", "all", "--data", SAMPLE, "--device", "cpu", "--out", "out"]);
    command.args(["--resamples", "200", "--seeds", "2", "--weightings", "sum,cagrad"]).current_dir(folder.path());
    settings.iter().for_each(|s| _ = command.args(["--set", s]));
    let (stdout, stderr) = succeed(&command.output().unwrap());
    assert!(stderr.contains("popularity, itemknn, ease: nothing is random"), "{stderr}");
    let rows = read_results(&folder.path().join("out/results.csv")).unwrap();
    let of = |model: &str| rows.iter().filter(|r| r.model == model).collect::<Vec<_>>();
    for model in waata::experiment::model_names() {
        // Two tasks are too few for ESM2.
        let made = !of(&model).is_empty();
        assert_eq!(made, stdout.contains(&model), "{model}: {stdout}");
        assert!(made || stderr.contains(&format!("{model}-adam-sum-1: cannot be made: ")), "{stderr}");
        assert!(of(&model).iter().all(|r| r.metrics["ndcg@10"].is_finite()));
    }
    assert_eq!((of("ease").len(), of("bpr-mf").len(), of("waa-ta").len()), (1, 2, 4));
    assert_eq!(of("single-task").len(), 2, "one loss has one weighting");
    assert_eq!((of("ease")[0].run.as_str(), of("waa-ta1").len()), ("ease-none-none-1", 2));
    let summary = read_summary(&folder.path().join("out/summary.csv")).unwrap();
    let ranked: Vec<_> = summary.iter().filter(|r| r.metric == "ndcg@10").collect();
    let baseline = ranked[0].baseline.clone().unwrap();
    assert!(!baseline.starts_with("waa-ta"));
    for row in ranked {
        let own = format!("{}-{}-{}", row.model, row.optimizer, row.weighting) == baseline;
        assert_eq!(row.p_holm.is_none(), own, "{row:?}");
        assert!(own || row.low <= row.difference && row.difference <= row.high && row.p <= row.p_holm, "{row:?}");
    }
}

#[test]
fn a_run_that_diverges_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--seeds", "1", "--weightings", "metabalance,metabalance_x_cosine", "--out", "out"];
    fs::write(folder.path().join("own.toml"), "[train]\nlr = 1e30\n").unwrap();
    let all = [&arguments[..], &["--settings-for", "waa-ta=own.toml"]].concat();
    let words = ["2 of 2 runs failed", "[1/2] ", "[2/2] ", "failed: training diverged", "waa-ta-adam-metabalance-1"];
    refused(&compare(folder.path(), &all), 6, &words);
    assert!(read_results(&folder.path().join("out/results.csv")).unwrap().is_empty());
    // Known before the second time; other settings get another chance.
    refused(&compare(folder.path(), &all), 6, &["2 of 2 runs failed", "2 done before"]);
    succeed(&compare(folder.path(), &[&arguments[..], &["--set", "train.lr=0.001"]].concat()));
    assert_eq!(read_results(&folder.path().join("out/results.csv")).unwrap().len(), 2);
}

#[test]
fn what_cannot_be_compared_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |arguments: &[&str], code, words: &[&str]| {
        refused(&compare(folder.path(), &[arguments, &["--out", "out"]].concat()), code, words);
        assert!(!folder.path().join("out").exists(), "{arguments:?}");
    };
    refuse(&["--models", "kgat"], 2, &["kgat", "waa-ta"]);
    refuse(&["--optimizers", "adamax"], 2, &["adamax"]);
    refuse(&["--weightings", "best"], 2, &["weighting.combine"]);
    refuse(&["--seeds", "0"], 2, &["--seeds"]);
    refuse(&["--resamples", "0"], 2, &["--resamples"]);
    refuse(&["--settings-for", "ease=x.toml"], 3, &["x.toml"]);
    refuse(&["--settings-for", "x.toml"], 2, &["waa-ta=best.toml"]);
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/letter.txt"), "dear").unwrap();
    refused(&compare(folder.path(), &["--out", "mine"]), 3, &["mine", "compare.toml", "--out"]);
    assert_eq!(files(&folder.path().join("mine")).len(), 1);
}

#[test]
fn one_process_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let lock = fs::File::create(out.join("lock")).unwrap();
    lock.lock().unwrap();
    refused(&compare(folder.path(), &["--out", "out"]), 3, &["another process"]);
    drop(lock);
    succeed(&compare(folder.path(), &["--seeds", "1", "--out", "out", "--set", "train.max_steps=2"]));
}

const SPACE: &str = r#"
[trained]
"train.lr" = { log = [1e-4, 1e-1] }
[models.waa-ta]
"loss.orth" = { choice = ["a", "d"] }
"#;

#[test]
fn a_search_finds_settings_and_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("space.toml"), SPACE).unwrap();
    let begun_at = |rung: &str, out: &str, trials: &str| {
        let first = ["search", "--model", "waa-ta", "--trials", trials, "--budget", "3", "--space", "space.toml"];
        command(folder.path(), &first, &["--out", out, "--first-rung", rung])
    };
    let search = |out: &str, trials: &str| begun_at("1", out, trials);
    let (stdout, stderr) = succeed(&search("whole", "4").output().unwrap());
    assert!(stdout.contains("after 3 epochs") && stdout.contains("best.toml"), "{stdout}");
    assert!(stderr.contains("round 1: trial 3 after 1 epochs") && stderr.contains("round 2: "), "{stderr}");
    killed_again_and_again(|| search("killed", "4"), 12);
    assert_same(&folder.path().join("whole"), &folder.path().join("killed"));
    let trials = fs::read_to_string(folder.path().join("whole/trials.csv")).unwrap();
    let lines: Vec<&str> = trials.lines().collect();
    assert_eq!(lines[0], "trial,rung,epochs,loss.orth,train.lr,ndcg@10,failed");
    // Four trials of one epoch, and one that went on to three.
    assert_eq!(lines.len(), 1 + 4 + 1);
    assert!(lines[1].starts_with("0,0,1,a,0.003,"), "the settings as they stand: {trials}");
    assert_eq!(lines.iter().filter(|line| line.split(',').nth(2) == Some("3")).count(), 1);
    refused(&search("whole", "5").output().unwrap(), 3, &["another search", "--out"]);
    refused(&begun_at("2", "whole", "4").output().unwrap(), 3, &["another search", "--out"]);
    refused(&begun_at("4", "late", "3").output().unwrap(), 2, &["--first-rung", "3 epochs of --budget"]);
    // None of three is left behind before it had all epochs, where a third would have gone on from one.
    let (_, stderr) = succeed(&begun_at("3", "late", "3").output().unwrap());
    assert!(stderr.contains("round 1: trial 2 after 3 epochs") && !stderr.contains("round 2"), "{stderr}");

    let best = folder.path().join("whole/best.toml");
    let table: toml::Table = fs::read_to_string(&best).unwrap().parse().unwrap();
    assert!(table["train"]["lr"].is_float() && table["loss"]["orth"].is_str());
    let own = format!("waa-ta={}", best.display());
    let used = ["--seeds", "1", "--settings-for", &own, "--out", "compared"];
    succeed(&compare(folder.path(), &used));
    let run = fs::read_dir(folder.path().join("compared/runs")).unwrap().next().unwrap().unwrap().path();
    let settings: toml::Table = fs::read_to_string(run.join("run.toml")).unwrap().parse().unwrap();
    assert_eq!(settings["train"]["lr"], table["train"]["lr"]);
}

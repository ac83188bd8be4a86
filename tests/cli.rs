//! The program as a person or a script meets it: documents on stdout, exit codes, messages, what lies on the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;
use waata::Recommender;
use waata::engine::Device;
use waata::eval::top_courses;
use waata::serve::LoadOptions;
use waata::train::{BEST, LAST, Run};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample");

/// A folder with a prepared data set (`prep`) and a run on it (`run`), made once; tests do not change it.
static WORKSHOP: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    succeed(&folder, &["prepare", SAMPLE, "--out", "prep"]);
    let train = ["train", "--data", "prep", "--out", "run", "--device", "cpu"];
    let settings = ["train.max_steps=6", "train.epochs=2", "train.batch_size=200"];
    let settings: Vec<&str> = settings.into_iter().flat_map(|s| ["--set", s]).collect();
    succeed(&folder, &[&train[..], &settings].concat());
    folder
});

fn workshop() -> &'static Path {
    &WORKSHOP
}

fn waata(dir: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_waata")).args(arguments).current_dir(dir).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    assert!(output.status.code().is_some(), "{arguments:?}: {}", output.status);
    output
}

/// What the program prints when it succeeds.
fn succeed(dir: &Path, arguments: &[&str]) -> String {
    let output = waata(dir, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn json(dir: &Path, arguments: &[&str]) -> Value {
    let text = succeed(dir, arguments);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"));
    assert_eq!(value["schema_version"], 1, "{arguments:?}");
    value
}

fn list(dir: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(|e| name(e.unwrap())).collect();
    names.sort();
    names
}

/// The program fails with this code and these words on stderr, prints nothing, and leaves the folder as it was.
fn fail(dir: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let before = list(dir);
    let output = waata(dir, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?}: `{word}` is not in: {stderr}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(list(dir), before, "{arguments:?}: a failure left something");
}

const COMMANDS: [&str; 15] = [
    "train",
    "eval",
    "recommend",
    "prepare",
    "synth",
    "inspect",
    "export",
    "compare",
    "search",
    "report",
    "models",
    "presets",
    "settings",
    "doctor",
    "bench",
];

#[test]
fn help_explains_every_flag_and_has_an_example() {
    let main = succeed(workshop(), &["--help"]);
    for command in COMMANDS {
        assert!(main.contains(&format!("\n  {command} ")), "{command} is not in:\n{main}");
        for help in ["--help", "-h"] {
            let text = succeed(workshop(), &[command, help]);
            assert!(text.contains("Example") && text.contains("\n  waata "), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            // A flag without a text has nothing after its name, neither in its own line nor in the next.
            let lines: Vec<&str> = text.lines().collect();
            let flag = |line: &str| line.starts_with("-") && !line.starts_with("- ");
            for (i, line) in lines.iter().enumerate().filter(|(_, line)| flag(line.trim_start())) {
                let here = line.trim().split_once("  ").is_some_and(|(_, text)| !text.trim().is_empty());
                let next = lines.get(i + 1).is_some_and(|line| line.starts_with("          "));
                assert!(here || next, "{command}: no text for {line}");
            }
        }
    }
}

#[test]
fn version_has_the_commit() {
    let text = succeed(workshop(), &["--version"]);
    let version = text.trim().strip_prefix(concat!("waata ", env!("CARGO_PKG_VERSION"))).unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    assert!(!repository || version.starts_with(" (") && version.ends_with(')'), "{text}");
}

#[test]
fn models_presets_and_settings_are_listed() {
    let within = |text: &str| assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let models = succeed(workshop(), &["models"]);
    let presets = succeed(workshop(), &["presets"]);
    waata::models::models().iter().for_each(|it| assert!(models.contains(it.name), "{}", it.name));
    waata::config::presets().iter().for_each(|it| assert!(presets.contains(it.name), "{}", it.name));
    let settings = succeed(workshop(), &["settings"]);
    assert!(settings.contains("train.lr ") && settings.contains("eval.metric "), "{settings}");
    let one = succeed(workshop(), &["settings", "train.lr"]);
    for word in ["train.lr\n", "type", "number", "default", "range", "meaning"] {
        assert!(one.contains(word), "{word}: {one}");
    }
    let section = succeed(workshop(), &["settings", "kg", "seed"]);
    assert!(section.contains("kg.phase") && section.contains("seed"), "{section}");
    [&models, &presets, &settings, &one, &section].into_iter().for_each(|text| within(text));
    within(&succeed(workshop(), &["doctor"]));
    fail(workshop(), &["settings", "train.lrr"], 2, &["train.lrr", "did you mean train.lr?"]);
    fail(workshop(), &["settings", "epochs"], 2, &["did you mean train.epochs"]);
    fail(workshop(), &["settings", "xyzzy"], 2, &["xyzzy", "waata settings"]);
}

#[test]
fn mistyped_names_have_suggestions() {
    let train = ["train", "--data", SAMPLE, "--out", "new"];
    let with = |more: &[&'static str]| [&train[..], more].concat();
    fail(workshop(), &["trian"], 2, &["trian", "train"]);
    fail(workshop(), &with(&["--preset", "histroy"]), 2, &["histroy", "history"]);
    fail(workshop(), &with(&["--epochs", "3"]), 2, &["--set train.epochs=3"]);
    fail(workshop(), &with(&["--batch-size=64"]), 2, &["--set train.batch_size=64"]);
    fail(workshop(), &with(&["--divice", "cpu"]), 2, &["--device"]);
    let search = ["search", "--data", SAMPLE, "--out", "new", "--trials", "2", "--budget", "2"];
    fail(workshop(), &[&search[..], &["--model", "lightgnc"]].concat(), 2, &["lightgnc", "lightgcn"]);
}

#[test]
fn errors_are_in_plain_words() {
    let none = ["train", "--data", SAMPLE, "--config", "none.toml", "--out", "new"];
    for (arguments, words) in [
        (&none[..], &["none.toml", "No such file"][..]),
        (
            &["compare", "--data", "x", "--models", "ease", "--seeds", "three", "--out", "new"],
            &["three", "whole number"],
        ),
    ] {
        let output = waata(workshop(), arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
        assert!(!["os error", "invalid digit"].iter().any(|word| stderr.contains(word)), "{stderr}");
    }
}

/// Whoever reads stdout or stderr may go away.
#[test]
fn closed_outputs_are_no_failure() {
    let program = env!("CARGO_BIN_EXE_waata");
    for (command, code) in [
        ("--help | true", 0),
        ("settings | true", 0),
        ("inspect run | true", 0),
        ("doctor >&-", 0),
        ("doctor 2>&-", 0),
        ("inspect nowhere 2>&1 >/dev/null | true", 3),
        ("fly 2>&1 >/dev/null | true", 2),
    ] {
        let script = format!("'{program}' {command}; exit ${{PIPESTATUS[0]}}");
        let output = Command::new("bash").args(["-c", &script]).current_dir(workshop()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command}: {stderr}");
        assert!(!stderr.contains("panicked"), "{command}: {stderr}");
    }
}

/// Without courses.csv ids run from 0 to the largest one: those between that no file has are not recommended.
#[test]
fn only_courses_that_a_file_has_are_recommended() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    let row = |u: u32, course: u32| format!("{u},{course},2024-01-{:02},{}\n", u % 28 + 1, u % 2);
    let rows: String = (0..40).map(|u| [row(u, 0), row(u, 5), row(u + 40, 9), row(u + 40, 5)].concat()).collect();
    fs::write(folder.path().join("mine/interactions.csv"), format!("learner,course,time,completed\n{rows}")).unwrap();
    // A triple names course 7.
    fs::write(folder.path().join("mine/triples.csv"), "head,relation,tail\n7,0,10\n").unwrap();
    let train = ["train", "--data", "mine", "--out", "run", "--device", "cpu", "--set", "train.epochs=1"];
    let said = succeed(folder.path(), &train);
    let answer = json(folder.path(), &["recommend", "run", "--learner", "1", "--json", "--device", "cpu"]);
    let each = answer["recommendations"].as_array().unwrap().iter();
    let mut courses: Vec<u64> = each.map(|c| c["course"].as_u64().unwrap()).collect();
    courses.sort();
    assert_eq!(courses, [7, 9], "{said}");
    // The two lines of README: nothing is left for the only learner.
    fs::write(
        folder.path().join("mine/interactions.csv"),
        "learner,course,time,completed\n17,0,2024-01-31,1\n17,5,2024-03-02,0\n",
    )
    .unwrap();
    fs::remove_file(folder.path().join("mine/triples.csv")).unwrap();
    let said = succeed(folder.path(), &["train", "--data", "mine", "--out", "two", "--device", "cpu"]);
    assert!(said.contains("every course is taken already"), "{said}");
}

#[test]
fn doctor() {
    let report = json(workshop(), &["doctor", "--json"]);
    assert!(["cpu", "cuda"].contains(&report["choice"].as_str().unwrap()));
    assert!(!report["why"].as_str().unwrap().is_empty());
    assert!(report["kernels"]["count"].as_u64().unwrap() > 50);
    assert!(succeed(workshop(), &["doctor"]).contains("device"));
    let one = json(workshop(), &["doctor", "--json", "--threads", "1"]);
    assert_eq!(one["cpu"]["threads"], 1);
}

#[test]
fn prepare_and_inspect() {
    let folder = tempfile::tempdir().unwrap();
    let report = json(folder.path(), &["prepare", SAMPLE, "--out", "out", "--json"]);
    let counts = json(folder.path(), &["inspect", "out", "--json"]);
    for (key, count) in [
        ("learners", 1000),
        ("courses", 200),
        ("enrolments", 12000),
        ("entities", 493),
        ("relations", 5),
        ("triples", 1335),
    ] {
        assert_eq!(report["counts"][key], count, "{key}");
        assert_eq!(counts[key], count, "{key}");
    }
    succeed(folder.path(), &["inspect", "out", "--verify"]);
    fail(folder.path(), &["inspect", SAMPLE, "--verify"], 2, &["not a prepared data set"]);
    let text = succeed(folder.path(), &["inspect", "out"]);
    assert!(text.contains("12000 enrolments") && text.contains("prerequisite"), "{text}");
    fail(folder.path(), &["prepare", SAMPLE, "--out", "out"], 3, &["out"]);
    succeed(folder.path(), &["prepare", SAMPLE, "--out", "out", "--force", "--split", "last"]);
    assert_eq!(list(folder.path()), ["out"]);
}

#[test]
fn train_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["train", "--data", SAMPLE, "--device", "cpu", "--set", "train.max_steps=2", "--out", "run"];
    let output = waata(folder.path(), &arguments);
    assert!(output.status.success());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("recall") && stdout.contains("next, of the courses not taken yet"), "{stdout}");
    assert!(!stdout.contains("epoch"), "progress is no result: {stdout}");
    assert!(stderr.contains("epoch   1/30") && stderr.contains("bce/enrolled"), "{stderr}");
    let made = list(&folder.path().join("run"));
    assert_eq!(made, ["checkpoints", "log.jsonl", "metrics.json", "run.json", "run.toml"]);
    // Trained, so there is nothing left to do; and a second run may not overwrite it.
    succeed(folder.path(), &["train", "--resume", "run", "--device", "cpu"]);
    fail(folder.path(), &arguments, 3, &["run", "exists already"]);
}

#[test]
fn inspect_a_run() {
    let description = json(workshop(), &["inspect", "run", "--json"]);
    assert_eq!(description["model"], "waa-ta");
    assert_eq!(description["steps"], 6);
    assert!(description["test"]["metrics"]["recall@10"].is_number());
    assert!(succeed(workshop(), &["inspect", "run"]).contains("6 steps"));
}

#[test]
fn eval() {
    for split in ["valid", "test"] {
        let found = json(workshop(), &["eval", "run", "--split", split, "--json", "--device", "cpu"]);
        assert_eq!(found["split"], split);
        assert!(found["learners"].as_u64().unwrap() > 500);
        for key in ["recall@10", "ndcg@10", "auc/completed", "auc/enrolled"] {
            let value = found["metrics"][key].as_f64().unwrap_or_else(|| panic!("no {key}: {found}"));
            assert!((0.0..=1.0).contains(&value), "{key}: {value}");
        }
    }
    // What training wrote is what evaluation finds.
    let written: Value = serde_json::from_slice(&fs::read(workshop().join("run/metrics.json")).unwrap()).unwrap();
    assert_eq!(written, json(workshop(), &["eval", "run", "--json", "--device", "cpu"]));
    let inner = ["eval", "run", "--json", "--set", "eval.k=[7]", "--set", "eval.metric=\"ndcg@7\""];
    assert!(json(workshop(), &inner)["metrics"]["recall@7"].is_number());
    fail(workshop(), &["eval", "run", "--set", "train.lr=1"], 2, &["train.lr", "eval."]);
}

#[test]
fn recommend() {
    for learner in ["3", "999"] {
        let arguments = ["recommend", "run", "--learner", learner, "-k", "3", "--json", "--device", "cpu"];
        let answer = json(workshop(), &arguments);
        assert_eq!(answer["learner"], learner);
        let courses = |key: &str| -> Vec<u64> {
            answer[key].as_array().unwrap().iter().map(|c| c["course"].as_u64().unwrap()).collect()
        };
        let (taken, recommended) = (courses("taken"), courses("recommendations"));
        assert_eq!(recommended.len(), 3);
        assert!(!taken.is_empty() && recommended.iter().all(|c| !taken.contains(c)), "{answer}");
        let each = answer["recommendations"].as_array().unwrap();
        assert!(each.iter().all(|c| c["name"].as_str().unwrap().starts_with("course ")));
        assert!(each.windows(2).all(|w| w[0]["score"].as_f64() >= w[1]["score"].as_f64()));
    }
    let text = succeed(workshop(), &["recommend", "run", "--learner", "3", "-k", "2"]);
    assert!(text.contains("learner 3 took") && text.contains("  2.  course "), "{text}");
    fail(workshop(), &["recommend", "run", "--learner", "nobody"], 2, &["nobody", "ids look like"]);
    fail(workshop(), &["recommend", "run", "--learner", "3", "-k", "0"], 2, &["-k"]);
}

/// The library's way to load a run ranks as the trainer does, with the best checkpoint and with the last.
#[test]
fn a_loaded_run_ranks_as_the_trained_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = waata::serve::open_data(Path::new(SAMPLE)).unwrap();
    let options = LoadOptions { device: Some("cpu".into()), ..Default::default() };
    for (name, checkpoint, settings) in [
        ("best", BEST, &["train.epochs=1", "train.max_steps=4"][..]),
        ("last", LAST, &["train.epochs=1", "train.max_steps=4", "train.include_valid=true"]),
        ("fitted", BEST, &["model.name=ease"]),
    ] {
        let dir = folder.path().join(name);
        let set: Vec<&str> = settings.iter().flat_map(|s| ["--set", s]).collect();
        let train = ["train", "--data", SAMPLE, "--out", dir.to_str().unwrap(), "--device", "cpu"];
        succeed(folder.path(), &[&train[..], &set].concat());
        let config = waata::serve::read_config(&dir).unwrap();
        let run = Run::load(&data, &config, &Device::Cpu, &dir, checkpoint).unwrap();
        let model = Recommender::load_with(&dir, &options).unwrap();
        for learner in [0, 7, 999] {
            let trained = top_courses(&run.ranker(), learner, 10).unwrap();
            let loaded = model.recommend(&data.learner_names[learner as usize], 10).unwrap();
            let loaded: Vec<(u32, f32)> = loaded.iter().map(|r| (r.course, r.score)).collect();
            assert_eq!(loaded, trained, "{name}");
        }
    }
}

#[test]
fn settings_that_cannot_be_used() {
    let train = |settings: &[&str], words: &[&str]| {
        let mut arguments = vec!["train", "--data", SAMPLE, "--out", "new", "--device", "cpu"];
        settings.iter().for_each(|s| arguments.extend(["--set", s]));
        fail(workshop(), &arguments, 2, words);
    };
    train(&["train.lrr=0.1"], &["train.lrr", "did you mean `train.lr`"]);
    train(&["model.dim=many"], &["model.dim"]);
    train(&["model.dim"], &["model.dim"]);
    train(&["model.dim=0"], &["model.dim"]);
    train(&["model.name=\"kgat\""], &["kgat", "waa-ta"]);
    train(&["train.optimizer=\"adamax\""], &["adamax"]);
    train(&["loss.tasks=[\"passed\"]"], &["passed", "completed"]);
    train(&["loss.task_weights=[0]"], &["loss.task_weights", "target"]);
    train(&["loss.ranking=softmax", "loss.ranking_weight=0"], &["loss.ranking_weight", "target"]);
    train(&["loss.label_smoothing=2"], &["loss.label_smoothing"]);
    train(&["weighting.relax=-1"], &["weighting.relax"]);
    train(&["weighting.beta=1"], &["weighting.beta"]);
    train(&["eval.metric=\"recall@3\""], &["recall@3"]);
    fail(workshop(), &["train", "--data", SAMPLE, "--out", "new", "--preset", "fast"], 2, &["fast"]);
    fail(workshop(), &["train", "--data", SAMPLE, "--out", "new", "--device", "tpu"], 2, &["tpu", "cuda"]);
    fail(workshop(), &["doctor", "--threads", "0"], 2, &["--threads"]);
    fail(workshop(), &["train", "--epochs"], 2, &[]);
    fail(workshop(), &["fly"], 2, &[]);
}

#[test]
fn data_that_is_not_there() {
    fail(workshop(), &["train", "--data", "nowhere", "--out", "new"], 3, &["nowhere"]);
    fail(workshop(), &["prepare", "nowhere", "--out", "new"], 3, &["nowhere"]);
    fail(workshop(), &["inspect", "nowhere"], 3, &["nowhere"]);
    fail(workshop(), &["eval", "prep"], 3, &["prep", "run.json"]);
    fail(workshop(), &["recommend", "nowhere", "--learner", "3"], 3, &["nowhere"]);
    fail(workshop(), &["train", "--resume", "nowhere"], 3, &["nowhere"]);
    fail(workshop(), &["train", "--data", SAMPLE, "--config", "none.toml", "--out", "new"], 3, &["none.toml"]);
    fail(workshop(), &["train", "--data", SAMPLE, "--out", "run"], 3, &["run", "exists already"]);
    fail(workshop(), &["eval", "run", "--data", SAMPLE, "--set", "eval.k=[1]"], 2, &["eval.metric"]);
}

#[test]
fn data_with_nothing_to_train_on() {
    let folder = tempfile::tempdir().unwrap();
    copy(Path::new(SAMPLE), &folder.path().join("data"));
    let path = folder.path().join("data/interactions.csv");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().enumerate().map(|(i, l)| format!("{l},{}\n", if i == 0 { "split" } else { "test" }));
    fs::write(&path, lines.collect::<String>()).unwrap();
    let arguments = ["train", "--data", "data", "--out", "new", "--device", "cpu"];
    fail(folder.path(), &arguments, 2, &["no enrolment is in the train part"]);
}

#[test]
fn a_device_that_is_not_there() {
    if json(workshop(), &["doctor", "--json"])["choice"] == "cuda" {
        println!("skipped: this machine has a usable card");
        return;
    }
    for arguments in [
        &["train", "--data", SAMPLE, "--out", "new", "--device", "cuda"][..],
        &["train", "--data", SAMPLE, "--out", "new", "--device", "cuda:3"],
        &["eval", "run", "--device", "cuda"],
        &["recommend", "run", "--learner", "3", "--device", "cuda"],
    ] {
        fail(workshop(), arguments, 4, &["install", "waata doctor"]);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in list(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() { copy(&from, &to) } else { _ = fs::copy(from, to).unwrap() }
    }
}

#[test]
fn damaged_files() {
    let folder = tempfile::tempdir().unwrap();
    copy(&workshop().join("prep"), &folder.path().join("prep"));
    copy(&workshop().join("run"), &folder.path().join("run"));
    let damage = |file: &Path| {
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 4;
        fs::write(path, bytes).unwrap();
    };
    // The run remembers where its data set was; the copy's is given.
    let eval = ["eval", "run", "--data", "prep", "--device", "cpu"];
    succeed(folder.path(), &eval);
    let best = list(&folder.path().join("run/checkpoints")).into_iter().find(|n| n.starts_with("best-"));
    let best = Path::new("run/checkpoints").join(best.unwrap());
    damage(&best);
    fail(folder.path(), &eval, 7, &["best-", "checksum"]);
    damage(&best);
    damage(Path::new("run/checkpoints/best.json"));
    fail(folder.path(), &eval, 7, &["best.json"]);
    for file in ["data.safetensors", "manifest.json"] {
        damage(&Path::new("prep").join(file));
        fail(folder.path(), &["inspect", "prep"], 7, &["prep"]);
        fail(folder.path(), &["train", "--data", "prep", "--out", "new", "--device", "cpu"], 7, &["prep"]);
        damage(&Path::new("prep").join(file));
    }
    succeed(folder.path(), &["inspect", "prep"]);
}

#[test]
fn divergence() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["train", "--data", SAMPLE, "--out", "new", "--device", "cpu", "--set", "train.lr=1e30"];
    let output = waata(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(6));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("not finite at step") && stderr.contains("train.lr"), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn threads_do_not_change_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    let train = |threads: &str| {
        let settings = ["--set", "train.max_steps=5", "--set", "train.epochs=2", "--preset", "history"];
        let arguments = ["train", "--data", SAMPLE, "--out", threads, "--device", "cpu", "--threads", threads];
        let said = succeed(folder.path(), &[&arguments[..], &settings].concat());
        let checkpoints = folder.path().join(threads).join("checkpoints");
        let read = |name: String| (fs::read(checkpoints.join(&name)).unwrap(), name);
        (
            said.replace(&format!("saved in {threads}:"), ""),
            list(&checkpoints).into_iter().map(read).collect::<Vec<_>>(),
        )
    };
    assert!(train("1") == train("2"), "one thread and two wrote different checkpoints");
}

#[test]
fn export() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| workshop().join(name).display().to_string();
    let (prep, run) = (at("prep"), at("run"));
    let exported = |arguments: &[&str]| json(dir.path(), &[&["export", "--json"], arguments].concat());
    let files = |list: &Value| -> Vec<(String, u64)> {
        let files = list["files"].as_array().unwrap();
        files.iter().map(|f| (f["file"].as_str().unwrap().into(), f["rows"].as_u64().unwrap())).collect()
    };
    let found = exported(&[&prep[..], "--out", "tables"]);
    let counts = json(dir.path(), &["inspect", &prep, "--json"]);
    assert_eq!(found["fingerprint"], counts["fingerprint"]);
    let rows = |name: &str| files(&found).iter().find(|(file, _)| file == name).unwrap().1;
    assert_eq!(rows("interactions.npy"), counts["enrolments"]);
    assert_eq!(rows("graph.npy"), counts["triples"]);
    assert_eq!(rows("learners-offsets.npy"), counts["learners"].as_u64().unwrap() + 1);
    let mut lying = list(&dir.path().join("tables"));
    lying.retain(|name| name != "export.json");
    let mut listed: Vec<String> = files(&found).into_iter().map(|(file, _)| file).collect();
    listed.sort();
    assert_eq!(lying, listed);

    let found = exported(&[&run, "--out", "vectors", "--what", "edges,vectors", "--device", "cpu"]);
    let names: Vec<String> = files(&found).into_iter().map(|(file, _)| file).collect();
    assert_eq!(names[..2], ["learner-vectors.npy", "course-vectors.npy"]);
    assert_eq!(names.last().unwrap(), "edges.npy");
    assert_eq!(found["scoring"]["model"], "waa-ta");
    let text = succeed(dir.path(), &["export", &run, "--out", "vectors", "--force"]);
    assert!(text.contains("1000 rows of vector in learner-vectors.npy"), "{text}");
    assert!(text.contains("score of waa-ta: "), "{text}");
    assert!(dir.path().join("vectors/learners-bytes.npy").is_file(), "names are beside vectors");
    assert!(!dir.path().join("vectors/edges.npy").exists(), "the former export is gone");

    fs::create_dir(dir.path().join("mine")).unwrap();
    fs::write(dir.path().join("mine/notes"), "").unwrap();
    for (arguments, code, words) in [
        (&[&prep[..], "--out", "tables"][..], 3, &["tables", "already exists", "--force"][..]),
        (&[&prep[..], "--out", "mine", "--force"], 3, &["mine", "export.json"]),
        (&[&prep[..], "--out", "mine/notes/deeper"], 3, &["mine/notes"]),
        (&[&prep[..], "--out", "new", "--what", "vectors"], 2, &["--what vectors", "is for a run", "waata train"]),
        (&[&prep[..], "--out", "new", "--what", "graph,edges"], 2, &["--what edges"]),
        (&[&prep[..], "--out", "new", "--device", "cpu"], 2, &["--device", "is for a run"]),
        (&[&prep[..], "--out", "new", "--what", "grades"], 2, &["grades", "interactions, graph, names"]),
        (&["nowhere", "--out", "new"], 3, &["nowhere"]),
        (&[&run, "--out", "new", "--data", "nowhere"], 3, &["nowhere"]),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(|a| a as &str).collect();
        fail(dir.path(), &[&["export"], &arguments[..]].concat(), code, words);
    }
}

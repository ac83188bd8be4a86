//! The memory plan of a run against what the run then asks for, tensor by tensor; and what the program says of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use waata::config::{Base, Config};
use waata::data::formats;
use waata::data::split::{self, Ratios, SplitPolicy};
use waata::data::{Dataset, Split};
use waata::engine::Device;
use waata::engine::memory::{self, Event, Place};
use waata::train::{MemoryPlan, Observer, Run};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample");

fn sample() -> Dataset {
    let mut data = formats::read(Path::new(SAMPLE), None, None, &Default::default()).unwrap().dataset;
    let policy = SplitPolicy::Random { ratios: Ratios::default(), per_learner: false };
    split::assign(&mut data, policy, false, 1).unwrap();
    data
}

struct Silent;
impl Observer for Silent {}

/// The most that tensors held in a run from its first epoch to the test of its best checkpoint, in bytes.
fn measured(data: &Dataset, config: &Config, folder: &str) -> u64 {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let _ = fs::remove_dir_all(&dir);
    let ((), events) = memory::traced(|| {
        let mut run = Run::new(data, config, &Device::Cpu, &dir).unwrap();
        run.train(&mut Silent).unwrap();
        run.restore("best").unwrap();
        run.evaluate(Split::Test, None, &mut |_, _| {}).unwrap();
    });
    let (mut held, mut now, mut most) = (vec![], 0, 0);
    for event in events {
        match event {
            Event::Take { place, bytes, .. } => {
                held.push(if place == Place::Pool { bytes as u64 } else { 0 });
                now += held[held.len() - 1];
            }
            Event::Give { id } => now -= held[id],
            Event::Mark(_) | Event::LetGo => {}
        }
        most = now.max(most);
    }
    most
}

/// Within 10 % for models of each kind that gradients train, and for settings that change what a step holds.
#[test]
fn tensors_are_as_planned() {
    let data = sample();
    let mut settings: Vec<(String, Vec<String>)> = vec![];
    let mut add = |preset: &str, of: &[&str]| {
        settings.push((preset.into(), of.iter().map(|s| s.to_string()).collect()));
    };
    for name in ["ple", "esmm", "bpr-mf", "lightgcn"] {
        add("paper", &[&format!("model.name={name}")]);
    }
    add("paper", &[]);
    add("paper", &["model.fan_out=[6,3,2]"]);
    add("paper", &["model.fan_out=[6,3,2]", "attention.mode=differentiated", "kg.shared_state=true"]);
    add("paper", &["attention.mode=differentiated", "model.storage=bf16", "kg.phase=off"]);
    add("paper", &["weighting.combine=pcgrad", "train.optimizer=sgd", "train.batch_size=300"]);
    add("history", &["train.batch_size=500"]);
    add("tasks", &["train.optimizer=adagrad"]);
    let mut wrong = vec![];
    for (i, (preset, settings)) in settings.into_iter().enumerate() {
        let mut all = settings.clone();
        // Two epochs of some steps.
        all.extend(["train.epochs=2", "kg.steps_per_epoch=2"].map(String::from));
        let config = Config::resolve(Base::Preset(preset.clone()), &all).unwrap();
        let planned = MemoryPlan::new(&config, &data, &Device::Cpu).unwrap().tensors as f64;
        let measured = measured(&data, &config, &format!("plan-{i}")) as f64;
        println!(
            "{preset} {settings:?}: planned {planned:.0}, measured {measured:.0}, {:.3}",
            planned / measured
        );
        if !(0.9..=1.1).contains(&(planned / measured)) {
            wrong.push(format!("{preset} {settings:?}: planned {planned}, measured {measured}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn waata(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_waata")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_program_plans_and_refuses() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("never-made");
    let dir = dir.to_string_lossy();
    let train = ["train", "--data", SAMPLE, "--device", "cpu", "--preset", "paper", "--out", &dir];
    let with = |more: &[&str]| waata(&[&train[..], more].concat());
    let (code, stdout, _) = with(&["--plan", "--json"]);
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &plan["schema_version"]), (Some(0), &Value::from(1)));
    let host = plan["host"].as_u64().unwrap();
    assert!(plan["largest"][0]["bytes"].as_u64().unwrap() < host && host < 1 << 30, "{stdout}");
    let (code, stdout, _) = with(&["--plan"]);
    assert!(code == Some(0) && stdout.contains("optimizer states"), "{stdout}");
    // A run that cannot fit says so, and a run that nearly fits what would make it fit.
    let (code, stdout, stderr) = with(&["--memory-limit", "1M"]);
    assert!(
        code == Some(5) && stdout.is_empty() && stderr.contains("no setting tried would fit"),
        "{stderr}"
    );
    let (code, _, stderr) = with(&["--memory-limit", &(host - host / 50).to_string()]);
    assert!(code == Some(5) && stderr.contains("would do with --set"), "{stderr}");
    assert_eq!(with(&["--memory-limit", "much"]).0, Some(2));
    assert_eq!(with(&["--json"]).0, Some(2), "--json goes with --plan");
    assert!(!Path::new(&*dir).exists());
}

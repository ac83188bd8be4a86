//! The memory estimate of a run against what the run then takes, on the CPU and on the executor of the kernels; and what
//! the program says of it.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use waata::config::{Base, Config};
use waata::data::formats;
use waata::data::split::{self, Ratios, SplitPolicy};
use waata::data::{Dataset, Split};
use waata::engine::{Device, Gpu, memory};
use waata::train::{MemoryEstimate, Observer, Run};

use common::{HostDriver, Order};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample");

fn sample() -> Dataset {
    let mut data = formats::read(Path::new(SAMPLE), None, None, &Default::default()).unwrap().dataset;
    let policy = SplitPolicy::Random { ratios: Ratios::default(), per_learner: false };
    split::assign(&mut data, policy, false, 1).unwrap();
    data
}

struct Silent;
impl Observer for Silent {}

/// A run from its first epoch to the test of its best checkpoint.
fn train(data: &Dataset, config: &Config, device: &Device, folder: &str) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let _ = fs::remove_dir_all(&dir);
    let mut run = Run::new(data, config, device, &dir).unwrap();
    run.train(&mut Silent).unwrap();
    run.restore("best").unwrap();
    run.evaluate(Split::Test, None, &mut |_, _| {}).unwrap();
}

fn config(preset: &str, settings: &[&str]) -> Config {
    let settings: Vec<String> = settings.iter().map(|s| s.to_string()).collect();
    Config::resolve(Base::Preset(preset.into()), &settings).unwrap()
}

/// Tensors and lists at most 10 % below and 15 % above what is measured, for models of each kind that gradients train, and
/// for settings that change what a step holds; and with cached blocks no more than estimated.
#[test]
fn tensors_and_lists_are_as_estimated() {
    let data = sample();
    let fan_out = "model.fan_out=[6,3,2]";
    let cases: &[(&str, &[&str])] = &[
        ("paper", &["model.name=ple"]),
        ("paper", &["model.name=esmm"]),
        ("paper", &["model.name=bpr-mf"]),
        ("paper", &["model.name=lightgcn"]),
        ("paper", &[]),
        ("paper", &[fan_out]),
        ("paper", &[fan_out, "attention.mode=differentiated", "kg.shared_state=true"]),
        ("paper", &["attention.mode=differentiated", "model.storage=bf16", "kg.phase=off"]),
        ("paper", &["weighting.combine=pcgrad", "train.optimizer=sgd", "train.batch_size=300"]),
        ("history", &["train.batch_size=500"]),
        ("tasks", &["train.optimizer=adagrad"]),
    ];
    let mut wrong = vec![];
    for (i, (preset, settings)) in cases.iter().enumerate() {
        // Two epochs of some steps.
        let config = config(preset, &[settings, &["train.epochs=2", "kg.steps_per_epoch=2"][..]].concat());
        let estimate = MemoryEstimate::new(&config, &data, &Device::Cpu).unwrap();
        memory::reset_peak_stats();
        train(&data, &config, &Device::Cpu, &format!("plan-{i}"));
        let used = memory::usage();
        let (estimated, measured) = (estimate.tensors_and_lists, used.tensors_peak + used.lists_peak);
        let ratio = estimated as f64 / measured as f64;
        let reserved = estimate.host - estimate.opened - estimate.threads;
        let text = format!(
            "{preset} {settings:?}: estimated {estimated}, measured {measured}, {ratio:.3}; with cached blocks \
             {reserved}, measured {}",
            used.peak_reserved
        );
        println!("{text}");
        if !(0.9..=1.15).contains(&ratio) || reserved + estimate.threads < used.peak_reserved {
            wrong.push(text);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The bytes that a run allocates on a GPU, as the executor counts them.
#[test]
fn memory_of_a_gpu_is_as_estimated() {
    let mut data = waata::data::synth::generate(200, 24, 1500, 5).unwrap();
    split::assign(&mut data, SplitPolicy::Random { ratios: Ratios::default(), per_learner: false }, false, 1).unwrap();
    let small = ["model.dim=16", "model.layers=[16]", "head.widths=[16,8]", "train.batch_size=256", "train.epochs=1"];
    let mut wrong = vec![];
    for (i, (preset, settings)) in [
        ("paper", &["kg.steps_per_epoch=1"][..]),
        ("paper", &["kg.steps_per_epoch=1", "model.fan_out=[4]"]),
        ("history", &["model.layers=[16]"]),
    ]
    .into_iter()
    .enumerate()
    {
        let config = config(preset, &[&small, settings].concat());
        let gpu = Gpu::new(HostDriver::new(Order::Forward));
        let device = Device::Gpu(gpu.clone());
        let estimated = MemoryEstimate::new(&config, &data, &device).unwrap().device;
        train(&data, &config, &device, &format!("plan-gpu-{i}"));
        let measured = gpu.memory_in_use().1;
        let ratio = estimated as f64 / measured as f64;
        let text = format!("{preset} {settings:?}: estimated {estimated}, measured {measured}, {ratio:.3}");
        println!("{text}");
        if !(0.95..=1.1).contains(&ratio) {
            wrong.push(text);
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
fn the_program_estimates_and_refuses() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("never-made");
    let dir = dir.to_string_lossy();
    let train = ["train", "--data", SAMPLE, "--device", "cpu", "--preset", "paper", "--out", &dir];
    let with = |more: &[&str]| waata(&[&train[..], more].concat());
    let (code, stdout, _) = with(&["--plan", "--json"]);
    let estimate: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &estimate["schema_version"]), (Some(0), &Value::from(2)));
    let host = estimate["host"].as_u64().unwrap();
    assert!(estimate["largest"][0]["bytes"].as_u64().unwrap() < host && host < 1 << 30, "{stdout}");
    let (code, stdout, _) = with(&["--plan"]);
    assert!(code == Some(0) && stdout.contains("optimizer states"), "{stdout}");
    // A run that cannot fit says so, and a run that nearly fits what would make it fit.
    let (code, stdout, stderr) = with(&["--memory-limit", "1M"]);
    assert!(code == Some(5) && stdout.is_empty() && stderr.contains("no setting tried would fit"), "{stderr}");
    let (code, _, stderr) = with(&["--memory-limit", &(host - host / 50).to_string()]);
    assert!(code == Some(5) && stderr.contains("would do with --set"), "{stderr}");
    assert_eq!(with(&["--memory-limit", "much"]).0, Some(2));
    assert_eq!(with(&["--json"]).0, Some(2), "--json goes with --plan");
    assert!(!Path::new(&*dir).exists());
}

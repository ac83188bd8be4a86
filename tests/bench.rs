//! `waata bench`: every case runs, the document has what docs/benchmarks.md says, a baseline decides the exit code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use std::time::Duration;

use serde_json::Value;
use waata::bench::{CaseReport, Cost, Inputs, Limits, Sizes, Timing, measure, row, title};
use waata::engine::Device;

/// Small enough for a test; a course may be without learners.
const SIZES: &[&str] = &[
    "--learners=300",
    "--courses=40",
    "--enrolments=2000",
    "--dim=16",
    "--batch=33",
    "--triples=500",
    "--ranked=70",
    "--rows=10,400",
    "--seconds=0.01",
    "--device=cpu",
];

fn bench(arguments: &[&str]) -> Output {
    let waata = env!("CARGO_BIN_EXE_waata");
    let output = Command::new(waata).arg("bench").args(arguments).args(SIZES).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    output
}

fn document(arguments: &[&str]) -> Value {
    let output = bench(&[arguments, &["--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn names(report: &Value) -> Vec<&str> {
    report["cases"].as_array().unwrap().iter().map(|case| case["name"].as_str().unwrap()).collect()
}

#[test]
fn every_case_is_in_the_document() {
    let report = document(&[]);
    assert_eq!(report["schema_version"], 1);
    for (field, kind) in [("kind", "cpu"), ("compute_capability", "")] {
        let value = &report["device"][field];
        assert!(if kind.is_empty() { value.is_null() } else { value == kind }, "{field}: {value}");
    }
    assert!(report["device"]["threads"].as_u64().unwrap() > 0);
    assert_eq!(report["sizes"]["learners"], 300);
    assert_eq!(report["date"].as_str().unwrap().len(), "2026-01-31T23:59:59Z".len());
    for limit in ["copy_gb_per_s", "gflop_per_s"] {
        assert!(report["limits"][limit].as_f64().unwrap() > 0.0, "{limit}");
    }
    let found = names(&report);
    let documented = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md")).unwrap();
    for name in &found {
        // A batch or a number of rows stands at the end of some names.
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['/', '-']);
        assert!(documented.contains(&format!("`{stem}")), "docs/benchmarks.md does not have {stem}");
    }
    for family in ["attention/", "transd/", "head/", "step/", "ranking/", "adam/"] {
        assert!(found.iter().any(|name| name.starts_with(family)), "{family}");
    }
    assert!(found.contains(&"attention/forward+backward") && found.contains(&"head/forward+backward/33"));
    for case in report["cases"].as_array().unwrap() {
        let number = |field: &str| case[field].as_f64().unwrap_or_else(|| panic!("{field} of {case}"));
        assert!(number("ms") >= number("min_ms") && number("min_ms") > 0.0, "{case}");
        assert!(number("spread") >= 0.0 && number("repetitions") >= 3.0, "{case}");
        assert!(number("bytes") > 0.0 && number("gb_per_s") > 0.0 && number("share_of_limit") > 0.0, "{case}");
        assert!(number("flops") >= 0.0 && number("gflop_per_s") >= 0.0, "{case}");
    }
}

#[test]
fn families_and_names_choose() {
    assert_eq!(names(&document(&["adam", "--only", "dense"])), ["adam/dense"]);
    let two = document(&["transd", "adam", "transd"]);
    assert_eq!(names(&two).iter().filter(|name| **name == "transd/sort").count(), 1);
    assert!(!names(&two).iter().any(|name| name.starts_with("head/")));
    let table = bench(&["adam"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("adam/dense") && table.lines().all(|line| line.len() <= 80), "{table}");
}

/// Tables in 16 bits are read in f32, written and read again, and the backward pass reads half the bytes.
#[test]
fn storage_is_a_size() {
    let bytes = |storage: &str| {
        let report = document(&["attention", "--only", "attention/forward+backward", "--storage", storage]);
        assert_eq!(report["sizes"]["storage"], storage);
        report["cases"][0]["bytes"].as_f64().unwrap()
    };
    let row = 340.0 * 16.0 * 4.0;
    assert_eq!(bytes("bf16") - bytes("f32"), 2.0 * row - row);
    assert_eq!(bytes("bf16"), bytes("f16"));
    let output = bench(&["attention", "--storage", "f8"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && stderr.contains("f32, bf16, f16"), "{stderr}");
}

#[test]
fn a_baseline_decides_the_exit_code() {
    let folder = folder("bench-baseline");
    let report = document(&["adam"]);
    let with = |name: &str, scale: f64| {
        let mut changed = report.clone();
        for case in changed["cases"].as_array_mut().unwrap() {
            case["ms"] = (case["ms"].as_f64().unwrap() * scale).into();
        }
        let path = folder.join(name);
        fs::write(&path, changed.to_string()).unwrap();
        path.to_str().unwrap().to_string()
    };
    let (slow, fast) = (with("slow.json", 1e6), with("fast.json", 1e-6));
    let output = bench(&["adam", "--baseline", &slow, "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let compared: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(compared["baseline"][0]["change"].as_f64().unwrap() < -0.99);

    let output = bench(&["adam", "--baseline", &fast, "--json"]);
    assert_eq!(output.status.code(), Some(8));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("threshold not met") && stderr.contains("adam/dense"), "{stderr}");
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok(), "the document comes all the same");

    let output = bench(&["transd", "--only", "sort", "--baseline", &slow]);
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("transd/sort") && stderr.contains("not in the baseline"), "{stderr}");
}

#[test]
fn what_cannot_be_used_is_refused() {
    let folder = folder("bench-refused");
    let mut other = document(&["adam"]);
    other["sizes"]["learners"] = 301.into();
    let path = folder.join("other.json");
    fs::write(&path, other.to_string()).unwrap();
    let none = folder.join("none.json");
    let broken = folder.join("broken.json");
    fs::write(&broken, "{}").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_string();
    for (arguments, code, word) in [
        (vec!["adam".into(), "--baseline".into(), text(&path)], 2, "sizes"),
        (vec!["adam".into(), "--baseline".into(), text(&none)], 3, "none.json"),
        (vec!["adam".into(), "--baseline".into(), text(&broken)], 3, "broken.json"),
        (vec!["adam".into(), "--max-regress".into(), "much".into()], 2, "percentage"),
        (vec!["gravity".into()], 2, "gravity"),
        (vec!["rankin".into()], 2, "similar value exists: 'ranking'"),
        (vec!["adam".into(), "--rows=0".into()], 2, "--rows"),
    ] {
        let output = bench(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(word), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_graph_has_the_sizes_and_the_degrees_of_a_platform() {
    let sizes = Sizes { learners: 3000, courses: 400, enrolments: 20_000, ..Sizes::default() };
    let inputs = Inputs::new(&Device::Cpu, &sizes);
    let pairs = inputs.enrolments();
    assert!(pairs.is_sorted_by(|a, b| a < b), "distinct and ascending");
    assert!((19_000..=20_000).contains(&pairs.len()), "{}", pairs.len());
    let mut by_course = vec![0u32; sizes.courses];
    pairs.iter().for_each(|&(_, c)| by_course[c as usize] += 1);
    by_course.sort_unstable();
    let top: u32 = by_course[sizes.courses * 9 / 10..].iter().sum();
    assert!(top as usize > pairs.len() / 4, "a tenth of the courses has many of the enrolments: {top}");
    assert_eq!(Inputs::new(&Device::Cpu, &sizes).enrolments(), pairs);
    let graph = inputs.graph(1).unwrap();
    assert_eq!((graph.edges(), graph.relations), (2 * pairs.len(), 1));
    assert_eq!(inputs.distinct(10, 5, 0), [0, 1, 2, 3, 4]);
}

#[test]
fn quantiles() {
    let t = Timing::of(vec![5.0, 1.0, 2.0, 4.0, 3.0]);
    assert_eq!((t.ms, t.min_ms, t.repetitions), (3.0, 1.0, 5));
    assert!((t.spread - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(Timing::of(vec![7.0]), Timing { ms: 7.0, min_ms: 7.0, spread: 0.0, repetitions: 1 });
}

#[test]
fn a_measurement_warms_up_and_repeats() {
    let mut calls = 0;
    let mut work = || {
        calls += 1;
        Ok(())
    };
    let t = measure(&Device::Cpu, Duration::ZERO, &mut work).unwrap();
    assert_eq!((t.repetitions, calls), (3, 4));
}

#[test]
fn rows_fit_a_terminal() {
    let (copy_gb_per_s, gflop_per_s) = (30.0, 200.0);
    let limits = Limits { copy_gb_per_s, streaming_copy_gb_per_s: None, gflop_per_s, arithmetic: "".into() };
    let timing = Timing { ms: 100.0, min_ms: 90.0, spread: 0.05, repetitions: 3 };
    let case = CaseReport::new("a".into(), Cost { bytes: 1.5e9, flops: 4e9 }, timing, &limits);
    assert_eq!((case.gb_per_s, case.gflop_per_s, case.share_of_limit), (15.0, 40.0, 0.5));
    assert_eq!(row(&case).len(), title().len());
    assert!(title().len() <= 80);
}

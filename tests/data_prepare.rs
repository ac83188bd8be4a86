//! `waata prepare` as a whole: --limit, progress, the memory limit, and interrupts.

// Under the name that the tests of that package know it by.
extern crate data as waata_data;

#[path = "data/forger/mod.rs"]
mod forger;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use waata::data::Dataset;
use waata::data::formats::{FORMATS, Progress, ReadOptions, maps};
use waata::data::prepare::{PrepareOptions, prepare};
use waata::data::synth::{Preset, Recipe};
use waata::engine::Philox;

/// Allocation by each test: what the process holds is measured in one of them.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Raw files of MOOCCubeX with all their quirks.
fn raw(dir: &Path, learners: usize) -> PathBuf {
    let recipe =
        Recipe { learners, courses: 60, enrolments: 6 * learners as u64, ..Recipe::preset(Preset::MoocCubeX, 3) };
    forger::write(&recipe, &dir.join("raw"), false).unwrap();
    dir.join("raw")
}

fn options(source: &Path, out: PathBuf, read: ReadOptions) -> PrepareOptions {
    let read = ReadOptions { malformed_share: 0.5, ..read };
    PrepareOptions { source: source.into(), out, read, ..Default::default() }
}

#[test]
fn a_limit_keeps_the_first_learners_whole() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let source = raw(dir.path(), 500);
    let read = |limit: Option<usize>, name: &str| {
        let options = options(&source, dir.path().join(name), ReadOptions { limit, ..Default::default() });
        let report = prepare(&options).unwrap();
        (Dataset::open(&options.out).unwrap(), report.warnings().join("\n"))
    };
    let (all, _) = read(None, "all");
    let (some, said) = read(Some(40), "some");
    assert_eq!((some.learners(), some.courses), (40, all.courses));
    let rows = some.enrolments();
    assert_eq!(some.interactions.course[..], all.interactions.course[..rows]);
    assert_eq!(some.interactions.label_values[0][..], all.interactions.label_values[0][..rows]);
    assert!(some.learner_names.iter().eq(all.learner_names.iter().take(40)));
    assert_eq!(some.triples, all.triples);
    assert!(said.contains(&format!("first 40 of {} learners", all.learners())), "{said}");
    let (same, said) = read(Some(10_000), "same");
    assert!(same.learners() == all.learners() && !said.contains("--limit"), "{said}");
    let none = options(&source, dir.path().join("none"), ReadOptions { limit: Some(0), ..Default::default() });
    assert_eq!(prepare(&none).unwrap_err().exit_code(), 2);
}

/// The command knows every format of the table, with its line, and every map that ships.
#[test]
fn formats_and_maps_are_those_of_the_table() {
    let waata = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_waata")).arg("prepare").args(args).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let help = waata(&["--help"]).0.split_whitespace().collect::<Vec<_>>().join(" ");
    for format in FORMATS {
        assert!(help.contains(&format!("- {}: {}", format.name, format.about)), "{}: {help}", format.name);
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().to_str().unwrap(), dir.path().join("out"));
    for map in maps() {
        let said = waata(&[source, "--map", map.name, "-o", out.to_str().unwrap()]).1;
        assert!(said.contains("the file is missing") && said.contains(source), "{said}");
    }
}

#[test]
fn reading_tells_how_far_it_is() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let source = raw(dir.path(), 200);
    let told: Arc<Mutex<BTreeMap<PathBuf, (u64, u64)>>> = Arc::default();
    let heard = told.clone();
    let progress = Progress::default().on_read(move |file, done, of| {
        let before = heard.lock().unwrap().insert(file.into(), (done, of));
        assert!(before.is_none_or(|(before, _)| before < done) && done <= of);
    });
    prepare(&options(&source, dir.path().join("out"), ReadOptions { progress, ..Default::default() })).unwrap();
    for file in ["entities/user.json", "relations/user-video.json", "relations/user-problem.json"] {
        let size = fs::metadata(source.join(file)).unwrap().len();
        assert_eq!(told.lock().unwrap().get(&source.join(file)), Some(&(size, size)), "{file}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_takes_more_memory_than_it_may_writes_nothing() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let source = raw(dir.path(), 200);
    assert_eq!(Progress::default().memory_limit(1 << 10).unwrap_err().exit_code(), 2);
    let resident = waata::engine::system::resident().unwrap().now;
    let progress = Progress::default().memory_limit(resident + (1 << 20)).unwrap();
    let taken = std::hint::black_box(vec![1u8; 1 << 27]);
    let out = dir.path().join("out");
    let error = prepare(&options(&source, out.clone(), ReadOptions { progress, ..Default::default() })).unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    assert!(error.to_string().contains("--memory-limit") && !out.exists());
    drop(taken);
}

/// Killed at any moment: the data set is there as a whole or not at all, and the same command makes it in the end; the same
/// bytes whether it was killed or not, by one thread or two.
#[test]
#[cfg(unix)]
fn kills_leave_nothing_half_done() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let source = raw(dir.path(), 8_000);
    let command = |out: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waata"));
        command.args(["prepare", "--malformed-share", "0.5"]).args(more).arg(&source).arg("--out").arg(out);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let (whole, alone) = (dir.path().join("whole"), dir.path().join("alone"));
    assert!(command(&alone, &["--threads", "1"]).status().unwrap().success());
    let begun = std::time::Instant::now();
    assert!(command(&whole, &["--threads", "2"]).status().unwrap().success());
    let whole_takes = begun.elapsed();
    let (out, random) = (dir.path().join("out"), Philox::new(7, 0));
    let mut cut = 0;
    for round in 0..12 {
        let mut child = command(&out, &["--threads", "2"]).spawn().unwrap();
        sleep(Duration::from_secs_f32(whole_takes.as_secs_f32() * random.uniform_at(round)));
        let interrupt = round % 2 == 0;
        match interrupt {
            true => drop(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap()),
            false => child.kill().unwrap(),
        }
        let status = child.wait().unwrap();
        assert!(!status.success() || out.is_dir(), "{status}");
        if out.is_dir() {
            Dataset::open(&out).unwrap();
            same(&out, &whole);
            fs::remove_dir_all(&out).unwrap();
            continue;
        }
        cut += 1;
        if interrupt {
            // None where it came before the handler was there.
            assert!(matches!(status.code(), Some(130) | None), "{status}");
        }
    }
    assert!(cut > 0, "every round was done before it could be killed");
    // What a process left that is gone is cleared away; what one that runs is writing is its own.
    let folder = |process: u32| dir.path().join(format!(".out.tmp-{process}"));
    // Processes have numbers up to 2^22.
    let (abandoned, own) = (folder(1 << 30), folder(std::process::id()));
    for folder in [&abandoned, &own] {
        fs::create_dir(folder).unwrap();
    }
    assert!(command(&out, &[]).status().unwrap().success());
    assert!(!abandoned.exists() || !cfg!(target_os = "linux"));
    fs::remove_dir(own).unwrap();
    same(&out, &whole);
    same(&out, &alone);
    let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["alone", "out", "raw", "whole"]);
}

#[track_caller]
fn same(out: &Path, expected: &Path) {
    for file in ["data.safetensors", "manifest.json"] {
        let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
        assert!(read(out) == read(expected), "{file}");
    }
}

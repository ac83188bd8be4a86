//! Published data sets, where the sample data lies next to the project; skipped elsewhere.

use std::path::{Path, PathBuf};

use waata_data::prepare::{PrepareOptions, PrepareReport, prepare};
use waata_data::{Counts, Dataset, Split};

use crate::case::format;

/// `../shared/data/NAME`, seen from the project or from a working tree below it.
fn sample(name: &str) -> Option<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = project.ancestors().skip(3).take(2).map(|dir| dir.join("shared/data").join(name)).find(|d| d.is_dir());
    if found.is_none() {
        println!("skipped: ../shared/data/{name} is not there");
    }
    found
}

fn prepared(name: &str, map: Option<&str>, dir: &Path) -> Option<PrepareReport> {
    let options = PrepareOptions {
        source: sample(name)?,
        map: map.map(PathBuf::from),
        out: dir.join("store"),
        ..Default::default()
    };
    Some(prepare(&options).unwrap())
}

#[test]
fn mooccubex_5core() {
    let dir = tempfile::tempdir().unwrap();
    let Some(report) = prepared("mooccubex-5core", None, dir.path()) else { return };
    let counts = &report.counts;
    assert_eq!(report.source.format, "kgat");
    assert_eq!((report.split.as_str(), report.source.duplicates), ("given", 0));
    assert_eq!((counts.learners, counts.courses, counts.enrolments), (97_722, 3_321, 1_182_745));
    assert_eq!((counts.triples, counts.relations, counts.entities), (63_470, 5, 9_658));
    assert_eq!((counts.train, counts.valid, counts.test), (987_301, 97_722, 97_722));
    assert_eq!((counts.learner_degree.min, counts.learner_degree.max), (5, 1_966));
    // 854 courses are no head; 4 of them are a tail.
    assert_eq!(counts.courses_without_triples, 850);
    let data = Dataset::open(&dir.path().join("store")).unwrap();
    assert_eq!(data.courses_of(1), [853, 2080, 1788, 2127, 528, 2422, 2658, 2542]);
    assert_eq!(data.courses_in(1, &[Split::Test]).collect::<Vec<_>>(), [2542]);
    assert_eq!((&data.learner_names[0], &data.entity_names[0]), ("U_24", "C_375775"));
    assert_eq!(&data.entity_names[3349], "Chongqing University");
    assert_eq!(&data.relation_names[2], "course.concept");
}

#[test]
fn oulad_derived() {
    let dir = tempfile::tempdir().unwrap();
    let Some(report) = prepared("oulad-derived", Some("oulad-derived"), dir.path()) else { return };
    let counts = &report.counts;
    assert_eq!((counts.learners, counts.courses, counts.enrolments), (28_785, 22, 32_593));
    assert_eq!((counts.triples, counts.relations, counts.entities), (392, 7, 59));
    assert_eq!(report.split, "random 0.6/0.2/0.2");
    assert_eq!((counts.train, counts.valid, counts.test), (19_556, 6_518, 6_519));
    assert!(counts.has_time);
    let rates: Vec<_> = counts.labels.iter().map(|l| (l.name.as_str(), (l.rate * 1000.0).round())).collect();
    assert_eq!(rates, [("engaged", 793.0), ("completed", 472.0)]);
    let data = Dataset::open(&dir.path().join("store")).unwrap();
    assert_eq!((&data.entity_names[0], &data.entity_names[58]), ("AAA_2013J", "module:GGG"));
    assert_eq!(Counts::of(&Dataset::open(&dir.path().join("store")).unwrap()), *counts);
}

/// The published tables give what was derived from them by hand, but for names and the order in time.
#[test]
fn oulad() {
    let dir = tempfile::tempdir().unwrap();
    let Some(report) = prepared("oulad", None, dir.path()) else { return };
    let counts = &report.counts;
    assert_eq!((report.source.format.as_str(), report.source.malformed), ("oulad", 0));
    assert_eq!((counts.learners, counts.courses, counts.enrolments), (28_785, 22, 32_593));
    assert_eq!((counts.triples, counts.relations, counts.entities), (392, 7, 59));
    let positives: Vec<_> = counts.labels.iter().map(|l| (l.name.as_str(), l.positives)).collect();
    assert_eq!(positives, [("engaged", 25_843), ("completed", 15_385)]);
    assert!(counts.has_time && report.source.counts.iter().all(|c| c.difference() == 0));
}

#[test]
fn lastfm_hetrec_kgcn() {
    let dir = tempfile::tempdir().unwrap();
    let Some(report) = prepared("lastfm-hetrec-kgcn", Some("lastfm-hetrec-kgcn"), dir.path()) else {
        return;
    };
    let counts = &report.counts;
    assert_eq!((counts.learners, counts.courses, counts.enrolments), (1_872, 3_846, 21_173));
    assert_eq!((counts.triples, counts.relations, counts.entities), (15_518, 60, 9_366));
}

#[test]
fn xuetangx_activity() {
    let dir = tempfile::tempdir().unwrap();
    let Some(report) = prepared("xuetangx-activity", Some("xuetangx-activity"), dir.path()) else {
        return;
    };
    let counts = &report.counts;
    assert_eq!((counts.learners, counts.courses, counts.enrolments), (5_720, 247, 27_952));
    assert_eq!((counts.train, counts.valid, counts.test), (17_440, 3_605, 6_907));
    assert_eq!((counts.triples, counts.relations, counts.entities), (741, 3, 247 + 30 + 163 + 21));
    assert_eq!((report.split.as_str(), counts.has_time), ("given", false));
    assert_eq!(counts.labels.len(), 2);
    assert!(report.source.notes.is_empty());
}

#[test]
fn edx_course_report() {
    let dir = tempfile::tempdir().unwrap();
    let Some(source) = sample("edx-course-report") else { return };
    // It has three copies of the report, whose columns are named in two ways.
    for file in ["", "appendix.csv", "appendix_ishant952.csv", "harvardMIT.csv"] {
        let options = PrepareOptions { source: source.join(file), out: dir.path().join("out"), ..Default::default() };
        let error = prepare(&options).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("no learners"), "{file}: {error}");
    }
}

/// The records of ten learners, which one extract wraps in JSON arrays: unwrapped they are the published lines.
#[test]
fn mooccube_records() {
    let dir = tempfile::tempdir().unwrap();
    let Some(source) = sample("mooccube-raw-sample") else { return };
    for (from, to) in [
        ("user_nonames.json", "user.json"),
        ("course.json", "course.json"),
        ("user_video_act.json", "user_video_act.json"),
    ] {
        let text = std::fs::read_to_string(source.join(from)).unwrap();
        // Every brace stands on a line of its own. The values hold NaN, as the published ones do.
        let (mut lines, mut depth) = (String::new(), 0);
        for line in text.lines() {
            depth += (line == "{") as i32;
            if depth > 0 {
                lines.push_str(if depth == 1 && line == "}," { "}" } else { line });
            }
            depth -= line.starts_with('}') as i32;
            if depth == 0 {
                lines.push('\n');
            }
        }
        std::fs::write(dir.path().join(to), lines).unwrap();
    }
    let options = PrepareOptions {
        source: dir.path().into(),
        format: format("mooccube"),
        out: dir.path().join("store"),
        ..Default::default()
    };
    let report = prepare(&options).unwrap();
    let counts = &report.counts;
    assert_eq!((counts.learners, counts.courses, counts.enrolments), (10, 46, 64));
    assert_eq!((report.source.malformed, counts.labels[0].name.as_str()), (0, "completed"));
    assert_eq!((counts.has_time, counts.labels[0].positives), (true, 6));
}

//! Bad input of every kind: the complaint names file and line, the exit code is 3, and nothing is written.

#[path = "common/damage.rs"]
mod damage;

use damage::{TELLING, damaged, every_value, nothing_large_was_asked_for, put};
use std::fs;
use std::path::{Path, PathBuf};
use waata::Error;
use waata::data::formats::raw::RawOptions;
use waata::data::formats::{Format, read};
use waata::data::prepare::{PrepareOptions, PrepareReport, prepare};
use waata::data::split::{Ratios, SplitPolicy};

const MAP: &str =
    "[interactions]\nfiles = \"log.tsv\"\nids = \"text\"\nlearner = \"who\"\ncourse = \"what\"\n";

/// A folder with the given files, and a place for the output next to it.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(files: &[(&str, &[u8])]) -> Case {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("raw")).unwrap();
        for (file, content) in files {
            fs::write(dir.path().join("raw").join(file), content).unwrap();
        }
        Case { dir }
    }

    fn options(&self) -> PrepareOptions {
        let map = self.dir.path().join("raw/map.toml");
        PrepareOptions {
            source: self.dir.path().join("raw"),
            out: self.dir.path().join("out/store"),
            map: map.exists().then_some(map),
            ..Default::default()
        }
    }

    fn prepare(&self) -> PrepareReport {
        prepare(&self.options()).unwrap()
    }

    fn refused(&self) -> (PathBuf, Option<u64>, String) {
        let result = prepare(&self.options());
        assert!(!self.dir.path().join("out").exists(), "something was written");
        match result {
            Err(e @ Error::Data { .. }) => {
                assert_eq!(e.exit_code(), 3);
                let Error::Data { path, line, why, remedy } = e else { unreachable!() };
                assert!(!remedy.is_empty());
                (path, line, why)
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The files are refused, for `file` at `line`, with `words` in the reason.
#[track_caller]
fn refuse(files: &[(&str, &[u8])], file: &str, line: impl Into<Option<u64>>, words: &str) {
    let (path, at, why) = Case::new(files).refused();
    assert_eq!(path.file_name().unwrap(), file, "{why}");
    assert_eq!(at, line.into(), "{why}");
    assert!(why.contains(words), "'{why}' does not say '{words}'");
}

#[test]
fn interactions() {
    let one =
        |text: &[u8], line, words| refuse(&[("interactions.csv", text)], "interactions.csv", line, words);
    one(b"", None, "empty");
    one(b"learner,course\n", None, "no rows");
    one(b"learner\n1\n", Some(1), "'course' is missing");
    one(b"learner,course,course\n1,1,1\n", Some(1), "twice");
    one(b"learner,course\n1,2\nabc,2\n", Some(3), "'abc' is not a number");
    one(b"learner,course\n1,2\n1,2.5\n", Some(3), "'2.5' is not a number");
    one(b"learner,course\n1,-2\n", Some(2), "negative");
    one(b"learner,course\n1,4294967295\n", Some(2), "larger");
    one(b"learner,course\n1,99999999999999999999\n", Some(2), "larger");
    one(b"learner,course\n0,4294967294\n", None, "only 1 rows");
    one(b"learner,course\n1,2\n1,\n", Some(3), "missing");
    one(b"learner,course\n1,2\n1\n", Some(3), "1 fields");
    one(b"learner,course\r\n1,2\r\n\r\n1\r\n", Some(4), "1 fields");
    one(b"learner,course\n1,2\n3,4,5\n", Some(3), "3 fields");
    one(b"learner,course\n1,2\n\xff\xfe,3\n", Some(3), "not a number");
    one(b"learner,\xff\n1,2\n", Some(1), "UTF-8");
    one(b"learner,course,done\n1,2,NaN\n", Some(2), "neither 0 nor 1");
    one(b"learner,course,done\n1,2,2\n", Some(2), "neither 0 nor 1");
    one(b"learner,course,done\n1,2,\n", Some(2), "neither 0 nor 1");
    one(b"learner,course,\n1,2,0\n", Some(1), "no name");
    one(b"learner,course,time\n1,2,NaN\n", Some(2), "neither a finite number");
    one(b"learner,course,time\n1,2,inf\n", Some(2), "neither a finite number");
    one(b"learner,course,time\n1,2,\n", Some(2), "neither a finite number");
    one(b"learner,course,time\n1,2,5\n1,3,2024-01-31\n", Some(3), "mixed");
    one(b"learner,course,time\n1,2,\xff\n", Some(2), "UTF-8");
    one(b"learner,course,split\n1,2,later\n", Some(2), "'later'");
}

#[test]
fn names_and_triples_of_the_interchange_format() {
    let rows: (&str, &[u8]) = ("interactions.csv", b"learner,course\n0,0\n1,1\n");
    let with = |file: &'static str, text: &[u8], line: Option<u64>, words: &str| {
        refuse(&[rows, (file, text)], file, line, words);
    };
    with("courses.csv", b"", None, "empty");
    with("courses.csv", b"course,name\n0,a\n2,b\n", None, "1 is not listed");
    with("courses.csv", b"course,name\n0,a\n0,b\n", Some(3), "twice");
    with("courses.csv", b"course,name\n0,\xff\n", Some(2), "UTF-8");
    with("entities.csv", b"entity,name\n1,a\n", None, "2 is not listed");
    with("triples.csv", b"head,relation\n0,0\n", Some(1), "'tail' is missing");
    with("triples.csv", b"head,relation,tail\n0,0,1\n0,0\n", Some(3), "2 fields");
    with("triples.csv", b"head,relation,tail\n0,x,1\n", Some(2), "not a number");
    with("triples.csv", b"head,relation,tail\n0,0,4000000000\n", None, "largest entity id");
    let entities: (&str, &[u8]) = ("entities.csv", b"entity,name\n2,teacher\n");
    let triples: (&str, &[u8]) = ("triples.csv", b"head,relation,tail\n0,0,2\n0,0,3\n");
    refuse(&[rows, entities, triples], "triples.csv", 3, "entity 3 is unknown");
    let relations: (&str, &[u8]) = ("relations.csv", b"relation,name\n0,by\n");
    let triples: (&str, &[u8]) = ("triples.csv", b"head,relation,tail\n0,0,2\n0,1,2\n");
    refuse(&[rows, entities, relations, triples], "triples.csv", 3, "relation 1 is unknown");
    let courses: (&str, &[u8]) = ("courses.csv", b"course,name\n0,a\n");
    refuse(&[rows, courses], "interactions.csv", 3, "course 1 is unknown");
    let learners: (&str, &[u8]) = ("learners.csv", b"learner,name\n0,a\n7,b\n");
    refuse(&[rows, learners], "interactions.csv", 3, "learner 1 is unknown");
}

#[test]
fn kgat_text() {
    let train: (&str, &[u8]) = ("train.txt", b"0 0 1\n1 2\n");
    let one = |text: &[u8], line, words| refuse(&[("train.txt", text)], "train.txt", line, words);
    one(b"", None, "empty");
    one(b"\n \n", None, "empty");
    one(b"0 1\n1\n", Some(2), "no item");
    one(b"0 1\n\n1 x\n", Some(3), "not a number");
    one(b"0 1\n1 -2\n", Some(2), "negative");
    one(b"0 1\n1 4294967295\n", Some(2), "larger");
    one(b"0 1\n1 \xff\n", Some(2), "not a number");
    let with = |file: &'static str, text: &[u8], line: Option<u64>, words: &str| {
        refuse(&[train, (file, text)], file, line, words);
    };
    with("kg_final.txt", b"", None, "empty");
    with("kg_final.txt", b"0 0 5\n0 1\n", Some(2), "2 fields");
    with("kg_final.txt", b"0 0 5 9\n", Some(1), "4 fields");
    with("kg_final.txt", b"0 0 4000000000\n", None, "largest entity id");
    with("test.txt", b"0\n", Some(1), "no item");
    refuse(&[train, ("item_list.txt", b"org_id remap_id\na 0\nb 1\n")], "train.txt", 2, "item 2 is unknown");
    with("item_list.txt", b"org_id\na\n", Some(1), "'remap_id' is missing");
    with("item_list.txt", b"org_id remap_id\na 0\nb 2\nc 3\n", Some(3), "1 is missing");
    with("item_list.txt", b"org_id remap_id\na 0\nb 0\n", Some(3), "twice");
    with("user_list.txt", b"org_id remap_id\na\n", Some(2), "1 fields");
    with("user_list.txt", b"org_id remap_id\n\xff 0\n", Some(2), "UTF-8");
    with("entity_x_decode.tsv", b"0\tC_1\n", Some(1), "2 fields");
    with("entity_x_decode.tsv", b"9\tC_1\tname\n", Some(1), "entity 9 is unknown");
    let list: (&str, &[u8]) = ("relation_list.txt", b"org_id remap_id\nfield 0\n");
    refuse(&[train, list, ("kg_final.txt", b"0 0 5\n0 1 5\n")], "kg_final.txt", 2, "relation 1 is unknown");
    let list: (&str, &[u8]) = ("entity_list.txt", b"org_id remap_id\na 0\nb 1\nc 2\nd 3\n");
    refuse(&[train, list, ("kg_final.txt", b"0 0 3\n0 0 5\n")], "kg_final.txt", 2, "entity 5 is unknown");
}

#[test]
fn maps() {
    let log: (&str, &[u8]) = ("log.tsv", b"who\twhat\thours\ndoe\tlogic\t2\n");
    let map = |text: &str, line: Option<u64>, words: &str| {
        refuse(&[log, ("map.toml", text.as_bytes())], "map.toml", line, words);
    };
    map("[interactions\n", Some(1), "");
    map(&format!("{MAP}colour = 1\n"), Some(6), "colour");
    map(&format!("{MAP}[graph]\n"), Some(6), "graph");
    map(&format!("{MAP}delimiter = \"ab\"\n"), None, "delimiter");
    map(&format!("{MAP}labels = [{{ name = \"x\", when = \"hours >= lots\" }}]\n"), None, "'lots'");
    map(&format!("{MAP}labels = [\"hours\", \"hours\"]\n"), None, "'hours'");
    map(&format!("{MAP}[attributes]\npattern = \"(\"\n"), None, "pattern");
    map(&format!("{MAP}[attributes]\npattern = \"(a)\"\n"), None, "no group");
    map(&format!("{MAP}[entities]\nfile = \"e\"\nid = 0\nname = 1\n"), None, "[entities]");
    let table = |map: &str, text: &[u8], line: Option<u64>, words: &str| {
        refuse(&[("map.toml", map.as_bytes()), ("log.tsv", text)], "log.tsv", line, words);
    };
    table(MAP, b"who\tcourse\na\tb\n", Some(1), "'what' is missing");
    table(MAP, b"who\twhat\na\tb\na\t\n", Some(3), "course is missing");
    table(MAP, b"who\twhat\na\tb\na\t\xff\n", Some(3), "UTF-8");
    table(MAP, b"who\twhat\na\tb\na\n", Some(3), "1 fields");
    table(MAP, b"who\twhat\n", None, "no rows");
    let rule = format!("{MAP}labels = [{{ name = \"busy\", when = \"hours >= 2\" }}]\n");
    table(&rule, b"who\twhat\thours\na\tb\t3\na\tc\tNaN\n", Some(3), "'NaN'");
    table(&rule, b"who\twhat\thours\na\tb\t\n", Some(2), "not a number");
    let integer = MAP.replace("\"text\"", "\"integer\"");
    table(&integer, b"who\twhat\n1\tb\n", Some(2), "not a number");
    refuse(&[("map.toml", MAP.as_bytes())], "log.tsv", None, "missing");
}

#[test]
fn folders() {
    let case = Case::new(&[]);
    assert!(case.refused().2.contains("has neither"));
    for (source, words) in [("nowhere", "does not exist"), ("raw/file", "is not a folder")] {
        fs::write(case.dir.path().join("raw/file"), "x").unwrap();
        let options = PrepareOptions { source: case.dir.path().join(source), ..case.options() };
        let error = prepare(&options).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains(words), "{error}");
    }
    for format in [Format::Interchange, Format::Kgat] {
        assert_eq!(prepare(&PrepareOptions { format, ..case.options() }).unwrap_err().exit_code(), 3);
    }
    assert_eq!(
        prepare(&PrepareOptions { format: Format::Table, ..case.options() }).unwrap_err().exit_code(),
        2
    );
}

#[test]
fn output_folders_are_not_overwritten() {
    let case = Case::new(&[("interactions.csv", b"learner,course\n0,0\n0,1\n")]);
    case.prepare();
    let again = prepare(&case.options()).unwrap_err();
    assert!(again.exit_code() == 3 && again.to_string().contains("already exists"), "{again}");
    prepare(&PrepareOptions { force: true, ..case.options() }).unwrap();

    // The source itself, and what contains it, stay whatever --force says.
    for out in [case.options().source, case.dir.path().to_path_buf()] {
        fs::write(case.dir.path().join("manifest.json"), "{}").unwrap();
        fs::write(case.dir.path().join("raw/manifest.json"), "{}").unwrap();
        let error = prepare(&PrepareOptions { force: true, out, ..case.options() }).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("contains the source"), "{error}");
    }
    assert!(Path::new(&case.options().source).join("interactions.csv").exists());
}

#[test]
fn splits_that_the_source_cannot_give() {
    let case = Case::new(&[("interactions.csv", b"learner,course\n0,0\n0,1\n")]);
    let ratios = Ratios::default();
    for policy in [SplitPolicy::Given, SplitPolicy::Last, SplitPolicy::Chronological { ratios }] {
        let error = prepare(&PrepareOptions { split: Some(policy), ..case.options() }).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(!case.options().out.exists());
    }
}

#[test]
fn what_is_tolerated_is_reported() {
    let case = Case::new(&[(
        "interactions.csv",
        b"\xEF\xBB\xBFlearner,course,done\r\n5,0,0\r\n\r\n5,0,1\r\n900,1,0",
    )]);
    let report = case.prepare();
    assert_eq!((report.counts.learners, report.counts.enrolments, report.source.duplicates), (2, 2, 1));
    assert_eq!(report.counts.labels[0].positives, 1);
    assert_eq!(report.source.missing.len(), 5);
    assert!(report.warnings().iter().any(|w| w.contains("repeated")));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["schema_version"], &json["counts"]["learners"]), (&1.into(), &2.into()));
}

#[test]
fn damaged_files_never_panic() {
    read_damaged(&TELLING);
}

#[test]
#[ignore = "takes minutes"]
fn damaged_files_never_panic_at_every_value() {
    read_damaged(&every_value());
}

/// Every truncation and every changed byte of a small valid source is read or refused.
fn read_damaged(values: &[u8]) {
    let kg: (&str, &[u8]) = ("kg_final.txt", b"0 0 3\n1 0 4\n");
    let sources: [Vec<(&str, &[u8])>; 6] = [
        vec![
            (
                "interactions.csv",
                b"learner,course,time,split,done\n0,0,2020-01-01,train,1\n1,1,2020-01-02,test,0\n",
            ),
            ("triples.csv", b"head,relation,tail\n0,0,2\n1,0,2\n"),
            ("entities.csv", b"entity,name\n2,\"x \"\"y\"\"\"\n"),
        ],
        vec![("train.txt", b"0 0 1\n1 2\n"), ("test.txt", b"0 2\n"), kg],
        vec![("log.tsv", b"who\twhat\na\tb\nc\td\n"), ("map.toml", MAP.as_bytes())],
        vec![
            ("user.json", br#"{"id":"U_1","name":"","course_order":[5],"enroll_time":["2020-01-01 00:00:00"]}"#),
            (
                "course.json",
                br#"{"id":"C_5","name":"a","field":["f"],"resource":[{"resource_id":"V_1"},{"resource_id":"Ex_1"}]}"#,
            ),
            ("course-field.json", br#"{"course_id":5,"field":["g"]}"#),
            ("course-school.txt", b"C_5\tS_1\n"),
            ("school.json", br#"{"id":"S_1","name":"s"}"#),
            (
                "user-video.json",
                br#"{"user_id":"U_1","seq":[{"video_id":"V_1","segment":[{"start_point":1,"end_point":2.5}]}]}"#,
            ),
            ("concept-course.txt", b"K_a_m\tC_5\nK_b_m\tC_5\n"),
            ("cs.json", br#"{"c1":"a","c2":"b","ground_truth":1}"#),
            ("exercise-problem.txt", b"Ex_1\tPm_1\n"),
            ("user-problem.json", br#"{"log_id":"1_1","problem_id":"Pm_1","user_id":"U_1"}"#),
        ],
        vec![
            ("user-course.json", b"U_1\tC_a\n"),
            ("user.json", br#"{"id":"U_1","course_order":["C_a"],"enroll_time":["2020-01-01 00:00:00"]}"#),
            ("course.json", br#"{"id":"C_a","name":"a","video_order":["V_a"]}"#),
            ("school-course.json", b"S_1\tC_a\n"),
            ("user-video.json", b"U_1\tV_a\n"),
            ("user_video_act.json", br#"{"id":"U_1","activity":[{"video_id":"V_a"}]}"#),
        ],
        vec![(
            "person.csv",
            b"course_id,userid_DI,viewed,explored,certified,start_time_DI\nX/a/1,\"u\",1,0,0,12/19/12\n",
        )],
    ];
    let tolerant = RawOptions { malformed_share: 1.0, ..Default::default() };
    for files in sources {
        let case = Case::new(&files);
        let read = || {
            let map = case.options().map;
            let source = case.options().source;
            _ = read(&source, Format::Auto, map.as_deref(), &RawOptions::default());
            read(&source, Format::Auto, map.as_deref(), &tolerant)
        };
        read().unwrap();
        for (file, good) in &files {
            let path = case.dir.path().join("raw").join(file);
            for bad in damaged(good, values) {
                put(&path, &bad);
                let _ = read();
            }
            fs::write(&path, good).unwrap();
        }
    }
    nothing_large_was_asked_for();
}

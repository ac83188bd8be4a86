//! Bad input of every kind: the complaint names file and line, the exit code is 3, and nothing is written.

use crate::case::{Case, format};
use crate::damage::{TELLING, damaged, every_value, nothing_large_was_asked_for, put};
use crate::fixtures::FIXTURES;
use std::fs;
use waata_data::formats::{ReadOptions, read};
use waata_data::prepare::{PrepareOptions, prepare};
use waata_data::split::{Ratios, SplitPolicy};

const MAP: &str = "[interactions]\nfiles = \"log.tsv\"\nids = \"text\"\nlearner = \"who\"\ncourse = \"what\"\n";

/// The files are refused, for `file` at `line`, with `words` in the reason.
#[track_caller]
fn refuse(files: &[(&str, &[u8])], file: &str, line: impl Into<Option<u64>>, words: &str) {
    let (path, at, why, _) = Case::new(files).refused(ReadOptions::default());
    assert_eq!(path.file_name().unwrap(), file, "{why}");
    assert_eq!(at, line.into(), "{why}");
    assert!(why.contains(words), "'{why}' does not say '{words}'");
}

#[test]
fn interactions() {
    let one = |text: &[u8], line, words| refuse(&[("interactions.csv", text)], "interactions.csv", line, words);
    one(b"", None, "empty");
    one(b"learner,course\n", None, "no rows");
    one(b"learner\n1\n", Some(1), "'course' is missing");
    one(b"learner,course,course\n1,1,1\n", Some(1), "twice");
    one(b"learner,course\n1,2\nabc,2\n", Some(3), "'abc' is not a number");
    one(b"learner,course\n1,2\n1,2.5\n", Some(3), "'2.5' is not a number");
    one(b"learner,course\n1,-2\n", Some(2), "negative");
    one(b"learner,course\n1,-\n", Some(2), "'-' is not a number");
    one(b"learner,course\n1,+1\n", Some(2), "'+1' is not a number");
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
    map(&format!("{MAP}delimiter = \"ab\"\n"), Some(6), "delimiter");
    map(&format!("{MAP}labels = [{{ name = \"x\", when = \"hours >= lots\" }}]\n"), Some(6), "'lots'");
    map(&format!("{MAP}labels = [\"hours\", \"hours\"]\n"), None, "'hours'");
    map(&format!("{MAP}[attributes]\npattern = \"(\"\n"), Some(7), "pattern");
    map(&format!("{MAP}[attributes]\npattern = \"(a)\"\n"), Some(7), "no group");
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
    let case = Case::new::<&str>(&[]);
    let (.., why, remedy) = case.refused(ReadOptions::default());
    assert!(why.contains("no format (interchange, kgat, ") && remedy.contains("--map FILE.toml"), "{why} {remedy}");
    case.write("file", b"x");
    for (source, words) in [("nowhere", "does not exist"), ("raw/file", "is not a folder")] {
        let options = PrepareOptions { source: case.dir().join(source), ..case.options() };
        let error = prepare(&options).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains(words), "{error}");
    }
    for (name, code) in [("interchange", 3), ("kgat", 3), ("table", 2)] {
        let error = prepare(&PrepareOptions { format: format(name), ..case.options() }).unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
    }
}

/// Options that a format has no use for are refused with the formats that have one.
#[test]
fn options_of_other_formats() {
    let case = Case::new(&[("train.txt", "0 1\n")]);
    let read = ReadOptions { completed_share: Some(0.5), ..Default::default() };
    let map = Some("xuetangx-activity".into());
    for (options, words) in [
        (PrepareOptions { read, ..case.options() }, "--format mooccube, mooccubex, and the source is read as kgat"),
        (PrepareOptions { map, format: format("kgat"), ..case.options() }, "belongs to --format table"),
    ] {
        let error = prepare(&options).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(words), "{error}");
    }
}

/// Where the files are those of a shipped map, the refusal has the command that reads them.
#[test]
fn shipped_maps_are_suggested() {
    let row = "user_idx,course_id,interaction_strength\n1,course-v1:A+b+1,2.5\n";
    let case = Case::new(&[("train.csv", row), ("val.csv", row), ("test.csv", row)]);
    let (.., remedy) = case.refused(ReadOptions::default());
    let command = format!("waata prepare {} --map xuetangx-activity", case.raw().display());
    assert!(remedy.contains(&command), "{remedy}");
    let map = Some("xuetangx-activity".into());
    let report = prepare(&PrepareOptions { map, ..case.options() }).unwrap();
    assert_eq!((report.counts.triples, report.counts.labels[0].positives), (3, 1));
    let missing = prepare(&PrepareOptions { map: Some("xuetangx".into()), ..case.options() }).unwrap_err();
    assert!(missing.exit_code() == 2 && missing.to_string().contains("oulad-derived, xuetangx-activity"), "{missing}");
    case.write("val.csv", b"a,b\n1,2\n");
    fs::remove_dir_all(case.out()).unwrap();
    assert!(!case.refused(ReadOptions::default()).3.contains("xuetangx"));
}

#[test]
fn output_folders_are_not_overwritten() {
    let case = Case::new(&[("interactions.csv", b"learner,course\n0,0\n0,1\n")]);
    case.prepare(ReadOptions::default()).unwrap();
    let again = prepare(&PrepareOptions { force: false, ..case.options() }).unwrap_err();
    assert!(again.exit_code() == 3 && again.to_string().contains("already exists"), "{again}");
    prepare(&PrepareOptions { force: true, ..case.options() }).unwrap();

    // The source itself, and what contains it, stay whatever --force says.
    for out in [case.options().source, case.dir().to_path_buf()] {
        fs::write(case.dir().join("manifest.json"), "{}").unwrap();
        fs::write(case.dir().join("raw/manifest.json"), "{}").unwrap();
        let error = prepare(&PrepareOptions { force: true, out, ..case.options() }).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("contains the source"), "{error}");
    }
    assert!(case.raw().join("interactions.csv").exists());
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
    let case = Case::new(&[("interactions.csv", b"\xEF\xBB\xBFlearner,course,done\r\n5,0,0\r\n\r\n5,0,1\r\n900,1,0")]);
    let report = case.prepare(ReadOptions::default()).unwrap();
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
    let tolerant = ReadOptions { malformed_share: 1.0, ..Default::default() };
    for (name, files) in FIXTURES {
        let case = Case::new(files);
        let map = case.options().map;
        let read = || {
            _ = read(&case.raw(), None, map.as_deref(), &ReadOptions::default());
            read(&case.raw(), None, map.as_deref(), &tolerant)
        };
        assert_eq!(read().is_ok(), *name != "edx-report", "{name}");
        for (file, good) in *files {
            let path = case.raw().join(file);
            for bad in damaged(good.as_bytes(), values) {
                put(&path, &bad);
                match read() {
                    Ok(loaded) => loaded.dataset.validate().unwrap(),
                    Err(error) => assert_eq!(error.exit_code(), 3, "{name}: {error}"),
                }
            }
            case.write(file, good.as_bytes());
        }
    }
    nothing_large_was_asked_for();
}

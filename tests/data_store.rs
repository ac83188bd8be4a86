//! The store: what is written comes back, and no damaged byte is accepted.

use std::fs;
use std::path::Path;
use waata::Error;
use waata::data::store::{self, Provenance};
use waata::data::{Dataset, Interactions, Split};

fn small() -> Dataset {
    let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
    Dataset {
        name: "small".into(),
        learner_names: strings(&["u0", "u1", "ü2"]),
        entity_names: strings(&["c0", "c1", "teacher \"x\"", "school"]),
        courses: 2,
        relation_names: strings(&["taught_by"]),
        triples: vec![[0, 0, 2], [1, 0, 3]],
        labels: strings(&["completed"]),
        interactions: Interactions {
            offsets: vec![0, 2, 2, 3],
            course: vec![1, 0, 1],
            label_values: vec![vec![1, 0, 1]],
            split: vec![Split::Train, Split::Test, Split::Valid],
            has_time: true,
        },
    }
}

#[test]
fn round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a/b/store");
    for data in [small(), no_triples(small())] {
        let manifest = store::write(&data, &out, Provenance::default(), true).unwrap();
        let (back, read) = store::open(&out).unwrap();
        assert_eq!(back, data);
        assert_eq!(read, manifest);
        assert_eq!(read.fingerprint, data.fingerprint());
    }
    let left: Vec<_> = fs::read_dir(out.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["store"], "temporary folders stay behind");
}

fn no_triples(mut data: Dataset) -> Dataset {
    data.triples.clear();
    data.relation_names.clear();
    data.labels.clear();
    data.interactions.label_values.clear();
    data
}

#[test]
fn every_changed_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    store::write(&small(), &out, Provenance::default(), false).unwrap();
    for file in [store::ARRAYS, store::NAMES, store::MANIFEST, store::MANIFEST_SUM] {
        let path = out.join(file);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            is_corrupt(&out, &format!("{file} byte {at}"));
        }
        for length in (0..good.len()).step_by(7) {
            fs::write(&path, &good[..length]).unwrap();
            is_corrupt(&out, &format!("{file} cut to {length}"));
        }
        fs::remove_file(&path).unwrap();
        is_corrupt(&out, &format!("{file} missing"));
        fs::write(&path, &good).unwrap();
    }
    Dataset::open(&out).unwrap();
}

fn is_corrupt(dir: &Path, what: &str) {
    match Dataset::open(dir) {
        Err(e @ Error::Corrupt { .. }) => assert_eq!(e.exit_code(), 7),
        other => panic!("{what}: {other:?}"),
    }
}

/// Right checksums over wrong content: the shapes and ranges are checked on their own.
#[test]
fn ranges_are_checked_behind_the_checksums() {
    let spoil: [fn(&mut Dataset); 9] = [
        |d| d.interactions.course[0] = 2,
        |d| d.triples[0][2] = 4,
        |d| d.triples[0][1] = 1,
        |d| d.interactions.offsets[1] = 9,
        |d| d.interactions.offsets[3] = 2,
        |d| d.interactions.label_values[0][1] = 2,
        |d| d.interactions.course = vec![1, 1, 1],
        |d| d.courses = 5,
        |d| d.entity_names.truncate(1),
    ];
    for (k, spoil) in spoil.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("store");
        let mut data = small();
        spoil(&mut data);
        store::write(&data, &out, Provenance::default(), false).unwrap();
        is_corrupt(&out, &format!("case {k}"));
    }
}

#[test]
fn existing_folders_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    store::write(&small(), &out, Provenance::default(), false).unwrap();
    let error = store::write(&no_triples(small()), &out, Provenance::default(), false).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(Dataset::open(&out).unwrap(), small());

    let other = dir.path().join("documents");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter.txt"), "dear").unwrap();
    assert_eq!(store::write(&small(), &other, Provenance::default(), true).unwrap_err().exit_code(), 3);
    assert!(other.join("letter.txt").exists());

    assert_eq!(Dataset::open(&other).unwrap_err().exit_code(), 3);
    assert_eq!(Dataset::open(&dir.path().join("nothing")).unwrap_err().exit_code(), 3);
}

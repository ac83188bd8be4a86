//! The store: what is written comes back in place, no damaged byte is accepted, and nothing that passes can panic.

#[path = "../common/damage.rs"]
mod damage;

use std::fs;
use std::path::Path;

use base::Error;
use damage::{TELLING, damaged, every_value, nothing_large_was_asked_for, put};
use waata_data::negatives::NegativeSampler;
use waata_data::store::{self, Provenance};
use waata_data::{Column, Counts, Dataset, Interactions, Names, Split};

fn small() -> Dataset {
    Dataset {
        name: "small".into(),
        learner_names: vec!["u0", "u1", "ü2"].into(),
        entity_names: vec!["c0", "c1", "teacher \"x\"", "school"].into(),
        courses: 2,
        relation_names: vec!["taught_by"].into(),
        triples: vec![[0, 0, 2], [1, 0, 3]].into(),
        labels: vec!["completed \"so\"".into()],
        interactions: Interactions {
            offsets: vec![0, 2, 2, 3].into(),
            course: vec![1, 0, 1].into(),
            label_values: vec![vec![1, 0, 1].into()],
            split: vec![Split::Train, Split::Test, Split::Valid].into(),
            has_time: true,
        },
    }
}

fn no_triples(mut data: Dataset) -> Dataset {
    data.triples = Column::default();
    data.relation_names = Names::default();
    data.labels.clear();
    data.interactions.label_values.clear();
    data
}

/// Several pieces of each kind of array, with names of several bytes a letter.
fn large() -> Dataset {
    let learners = 60_000;
    let name = |what: &str, n: usize| (0..n).map(|i| format!("{what}-{}", i * 7 % n)).collect::<Names>();
    Dataset {
        name: "large".into(),
        learner_names: name("учащийся", learners),
        entity_names: name("e", 50),
        courses: 30,
        relation_names: name("关系", 2),
        triples: (0..40_000).map(|i| [i % 50, i % 2, i * 3 % 50]).collect(),
        labels: vec!["done".into()],
        interactions: Interactions {
            offsets: (0..=learners as u64).map(|u| 4 * u).collect(),
            course: (0..4 * learners as u32).map(|row| (row + row / 4) % 30).collect(),
            label_values: vec![(0..4 * learners).map(|row| (row % 3 == 0) as u8).collect()],
            split: (0..4 * learners).map(|row| Split::ALL[row % 3]).collect(),
            has_time: false,
        },
    }
}

fn write(data: &Dataset, out: &Path) -> store::Manifest {
    store::write(data, out, Provenance::default(), true).unwrap()
}

#[test]
fn round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a/b/store");
    for data in [small(), no_triples(small()), large()] {
        let manifest = write(&data, &out);
        let (back, read) = store::open(&out).unwrap();
        assert_eq!(back, data);
        assert_eq!(read, manifest);
        assert_eq!(read.fingerprint, data.fingerprint());
        assert_eq!(back.fingerprint(), data.fingerprint());
        back.validate().unwrap();
        for (u, name) in data.learner_names.iter().enumerate().step_by(997) {
            assert_eq!(back.learner_names.find(name), Some(u as u32));
        }
        assert_eq!(back.learner_names.find("nobody"), None);
    }
    let left: Vec<_> = fs::read_dir(out.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["store"], "temporary folders stay behind");
}

/// The columns are the file's own bytes, which stay while they are open, whatever becomes of the folder.
#[test]
fn columns_lie_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    write(&small(), &out);
    let old = Dataset::open(&out).unwrap();
    let copy = old.clone();
    assert_eq!(old.interactions.course.as_ptr(), copy.interactions.course.as_ptr());
    // In the order of the file, without gaps.
    let i = &old.interactions;
    assert_eq!(i.course.as_ptr_range().end.cast(), old.triples.as_ptr());
    assert_eq!(i.split.as_ptr_range().end.cast(), i.label_values[0].as_ptr());
    write(&no_triples(small()), &out);
    assert_eq!(old, small());
    fs::remove_dir_all(&out).unwrap();
    assert_eq!(copy, small());
}

#[test]
fn every_changed_byte_is_found() {
    open_damaged(&TELLING);
}

#[test]
#[ignore = "takes minutes"]
fn every_value_of_each_byte_is_found() {
    open_damaged(&every_value());
}

fn open_damaged(values: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    write(&small(), &out);
    for file in [store::ARRAYS, store::MANIFEST, store::MANIFEST_SUM] {
        let path = out.join(file);
        let good = fs::read(&path).unwrap();
        for bad in damaged(&good, values) {
            put(&path, &bad);
            is_corrupt(&out, &format!("{file} of {} bytes, damaged", bad.len()));
        }
        fs::write(&path, [&good[..], b" "].concat()).unwrap();
        is_corrupt(&out, &format!("{file} longer"));
        fs::remove_file(&path).unwrap();
        is_corrupt(&out, &format!("{file} missing"));
        fs::write(&path, &good).unwrap();
    }
    Dataset::open(&out).unwrap();
    nothing_large_was_asked_for();
}

/// In a file of many pieces too, wherever the byte is.
#[test]
fn a_changed_byte_of_any_piece_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    write(&large(), &out);
    let path = out.join(store::ARRAYS);
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 10 * 196_608);
    for at in (0..bytes.len()).step_by(499_979) {
        bytes[at] ^= 16;
        fs::write(&path, &bytes).unwrap();
        is_corrupt(&out, &format!("byte {at}"));
        bytes[at] ^= 16;
    }
    fs::write(&path, &bytes).unwrap();
    Dataset::open(&out).unwrap();
}

fn is_corrupt(dir: &Path, what: &str) -> String {
    match Dataset::open(dir) {
        Err(e @ Error::Corrupt { .. }) => {
            assert_eq!(e.exit_code(), 7);
            e.to_string()
        }
        other => panic!("{what}: {other:?}"),
    }
}

/// Right checksums over wrong content: shapes and ranges are checked on their own.
#[test]
fn ranges_are_checked_behind_the_checksums() {
    let spoil: [fn(&mut Dataset); 10] = [
        |d| d.interactions.course.to_mut()[0] = 2,
        |d| d.triples.to_mut()[0][2] = 4,
        |d| d.triples.to_mut()[0][1] = 1,
        |d| d.interactions.offsets.to_mut()[1] = 9,
        |d| d.interactions.offsets.to_mut()[3] = 2,
        |d| d.interactions.offsets.to_mut()[0] = 1,
        |d| d.interactions.label_values[0].to_mut()[1] = 2,
        |d| d.interactions.split = bytemuck::cast_slice(&[0u8, 1, 3]).iter().copied().collect(),
        |d| d.courses = 5,
        |d| d.entity_names.truncate(1),
    ];
    for (k, spoil) in spoil.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("store");
        let mut data = small();
        spoil(&mut data);
        assert!(data.validate().is_err(), "case {k}");
        write(&data, &out);
        is_corrupt(&out, &format!("case {k}"));
    }
}

/// Whoever can write the file can also write its checksums: each byte of each array is changed, and the manifest with
/// it. What is accepted then must be usable without a panic.
#[test]
fn a_forged_store_is_refused_or_used_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    write(&small(), &out);
    let path = out.join(store::ARRAYS);
    let good = fs::read(&path).unwrap();
    let start = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    assert_eq!(start % 64, 0);
    let (mut refused, mut accepted) = (0, 0);
    for at in start..good.len() {
        for flip in [1, 2, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            put(&path, &bad);
            forge(&out, &bad, start);
            match Dataset::open(&out) {
                Ok(data) => {
                    accepted += 1;
                    walk(&data);
                }
                Err(e) => {
                    refused += 1;
                    assert!(matches!(e, Error::Corrupt { .. }), "{e}");
                    assert!(!e.to_string().contains("checksum"), "the forgery is not right: {e}");
                }
            }
        }
    }
    assert!(refused > 500 && accepted > 100, "{refused} refused, {accepted} accepted");
}

/// Writes the checksums of the file's arrays into the manifest, and the manifest's own.
fn forge(out: &Path, bytes: &[u8], start: usize) {
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join(store::MANIFEST)).unwrap()).unwrap();
    for (name, array) in manifest["data"]["arrays"].as_object_mut().unwrap() {
        let at = |i: usize| start + header[name]["data_offsets"][i].as_u64().unwrap() as usize;
        let sums: Vec<u8> = (bytes[at(0)..at(1)].chunks(196_608))
            .flat_map(|piece| twox_hash::XxHash3_64::oneshot(piece).to_le_bytes())
            .collect();
        array["xxh3"] = format!("{:016x}", twox_hash::XxHash3_64::oneshot(&sums)).into();
    }
    sign(out, &serde_json::to_vec(&manifest).unwrap());
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a manifest with its checksum.
fn sign(out: &Path, manifest: &[u8]) {
    let sum = sha256(manifest);
    put(&out.join(store::MANIFEST), manifest);
    put(&out.join(store::MANIFEST_SUM), format!("{sum}  {}\n", store::MANIFEST).as_bytes());
}

/// Uses everything that an index or a name leads to.
fn walk(data: &Dataset) {
    for names in [&data.learner_names, &data.entity_names, &data.relation_names] {
        for name in names.iter() {
            assert!(names.find(name).is_none_or(|i| &names[i as usize] == name));
        }
        assert_eq!(names.find("\u{10ffff}"), None);
    }
    data.course_degrees(&Split::ALL);
    Counts::of(data);
    let lists = data.course_lists(&Split::ALL);
    assert!((0..data.learners()).all(|u| lists.of(u).windows(2).all(|w| w[0] < w[1])));
    let (sampler, train) = (NegativeSampler::new(1, 0, data.courses, 2), data.course_lists(&[Split::Train]));
    for (learner, row) in data.rows_in(Split::Train) {
        let mut negatives = [0; 2];
        let drawn = sampler.draw(row as u64, train.of(learner as usize), &mut negatives);
        assert!(negatives[..drawn].iter().all(|&c| (c as usize) < data.courses));
    }
}

/// Sizes that a manifest makes up allocate nothing and are refused.
#[test]
fn sizes_of_the_manifest_are_held_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    write(&small(), &out);
    let good = fs::read_to_string(out.join(store::MANIFEST)).unwrap();
    for (count, right) in [("learners", 3), ("courses", 2), ("enrolments", 3), ("entities", 4), ("triples", 2)] {
        for wrong in [0, right - 1, right + 1, 1 << 40, u64::MAX] {
            let (from, to) = (format!("\"{count}\": {right},"), format!("\"{count}\": {wrong},"));
            assert_eq!(good.matches(&from).count(), 1);
            sign(&out, good.replace(&from, &to).as_bytes());
            if (count, wrong) == ("courses", 3) {
                // An entity more that counts as a course is no less sound: the fingerprint tells.
                walk(&Dataset::open(&out).unwrap());
                continue;
            }
            is_corrupt(&out, &format!("{wrong} {count}"));
        }
    }
    // The size of the header, the first number of the file.
    sign(&out, good.as_bytes());
    let path = out.join(store::ARRAYS);
    let mut bytes = fs::read(&path).unwrap();
    for length in [0, 1, bytes.len() as u64, 99_999_999, 1 << 60, u64::MAX] {
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        is_corrupt(&out, &format!("header of {length}"));
    }
}

/// What opening leaves to the long check.
#[test]
fn verify_finds_what_opening_lets_pass() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    let manifest = write(&small(), &out);
    let (data, read) = store::verify(&out).unwrap();
    assert_eq!((data, &read), (small(), &manifest));
    let refused = |words: &str| {
        walk(&Dataset::open(&out).unwrap());
        let error = store::verify(&out).unwrap_err();
        assert!(error.exit_code() == 7 && error.to_string().contains(words), "{words}: {error}");
    };
    let text = fs::read_to_string(out.join(store::MANIFEST)).unwrap();
    for (sum, words) in [(&manifest.data.sha256, "SHA-256"), (&manifest.fingerprint, "fingerprint")] {
        let other: String = sum.chars().rev().collect();
        sign(&out, text.replace(sum, &other).as_bytes());
        refused(words);
    }
    let mut twice = small();
    twice.interactions.course.to_mut()[1] = 1;
    write(&twice, &out);
    refused("learner 0 has course 1 twice");

    // Orders of names are not in the fingerprint, and a data set has no wrong one that could be written.
    write(&small(), &out);
    let path = out.join(store::ARRAYS);
    let mut bytes = fs::read(&path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    let at = start + header["names/learners/order"]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[at..at + 8].rotate_left(4);
    fs::write(&path, &bytes).unwrap();
    forge(&out, &bytes, start);
    let right = sha256(&bytes);
    let text = fs::read_to_string(out.join(store::MANIFEST)).unwrap();
    sign(&out, text.replace(&manifest.data.sha256, &right).as_bytes());
    refused("names of learners are not in order");
}

#[test]
fn an_older_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    write(&small(), &out);
    let manifest = fs::read_to_string(out.join(store::MANIFEST)).unwrap();
    sign(&out, manifest.replace("\"schema_version\": 2", "\"schema_version\": 1").as_bytes());
    let error = Dataset::open(&out).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(text.contains("schema version 1") && text.contains("prepare the data set again"), "{text}");
}

/// Readable without this program: safetensors is a header in JSON and the arrays behind it.
#[test]
fn the_file_is_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    write(&small(), &out);
    let bytes = fs::read(out.join(store::ARRAYS)).unwrap();
    let arrays = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let get = |name: &str| arrays.tensor(name).unwrap().data();
    assert_eq!(get("course"), bytemuck::cast_slice::<u32, u8>(&[1, 0, 1]));
    assert_eq!(get("split"), [0, 2, 1]);
    assert_eq!(get("label/completed \"so\""), [1, 0, 1]);
    assert_eq!(get("names/learners/bytes"), "u0u1ü2".as_bytes());
    assert_eq!(get("names/learners/offsets"), bytemuck::cast_slice::<u64, u8>(&[0, 2, 4, 7]));
    assert_eq!(get("names/entities/order"), bytemuck::cast_slice::<u32, u8>(&[0, 1, 3, 2]));
    assert_eq!(arrays.tensor("triples").unwrap().shape(), [2, 3]);
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

/// cargo test --release -p waata-data --test store full_size -- --ignored --nocapture
#[test]
#[ignore = "writes half a gigabyte, to time how it is opened"]
fn opening_a_data_set_of_full_size() {
    let (learners, courses, entities, enrolments) = (3_330_294usize, 4_216u32, 650_000u32, 23_615_324usize);
    let rest = enrolments - 7 * learners;
    let first = |u: usize| 7 * u + u.min(rest);
    let random = base::Philox::new(1, 2);
    let entity = |i: u32| random.below_at(i as u64, entities);
    let data = Dataset {
        name: "full".into(),
        learner_names: (0..learners).map(|u| format!("U_{}", 10_000_000 + u * 7 % learners)).collect(),
        entity_names: (0..entities).map(|e| format!("K_概念{e}_计算机科学与技术")).collect(),
        courses: courses as usize,
        relation_names: vec!["field", "school", "teacher", "concept", "prerequisite"].into(),
        triples: (0..1_200_000).map(|i| [entity(2 * i), i % 5, entity(2 * i + 1)]).collect(),
        labels: vec!["watched".into(), "completed".into()],
        interactions: Interactions {
            offsets: (0..=learners).map(|u| first(u) as u64).collect(),
            course: (0..learners)
                .flat_map(|u| (0..first(u + 1) - first(u)).map(move |k| ((u * 31 + k * 577) % courses as usize) as u32))
                .collect(),
            label_values: vec![
                (0..enrolments).map(|row| (row % 3 == 0) as u8).collect(),
                (0..enrolments).map(|row| (row % 7 == 0) as u8).collect(),
            ],
            split: (0..enrolments).map(|row| Split::ALL[row % 5 / 2]).collect(),
            has_time: true,
        },
    };
    let time = |what: &str, work: &mut dyn FnMut()| {
        let begin = std::time::Instant::now();
        work();
        println!("{what}: {:.1} ms", 1e3 * begin.elapsed().as_secs_f64());
    };
    // The folder of the build, which is on a disk.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let out = dir.path().join("store");
    time("written", &mut || drop(write(&data, &out)));
    println!("{} bytes", fs::metadata(out.join(store::ARRAYS)).unwrap().len());
    drop(data);
    for _ in 0..7 {
        time("opened", &mut || drop(Dataset::open(&out).unwrap()));
    }
    let data = Dataset::open(&out).unwrap();
    time("a learner found", &mut || assert!(data.learner_names.find("U_12345678").is_some()));
    time("verified", &mut || drop(store::verify(&out).unwrap()));
    assert_eq!((data.learners(), data.enrolments()), (learners, enrolments));
}

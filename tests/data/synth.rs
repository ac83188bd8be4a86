//! Synthetic data: exact sizes, the same for every thread count, and something in it to find.

mod forger;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use forger::{Expected, Lines};
use sha2::{Digest, Sha256};
use waata_data::split::{SplitPolicy, assign};
use waata_data::synth::{Preset, Recipe, generate};
use waata_data::{Dataset, Split, formats};

#[test]
fn exact_sizes_down_to_the_smallest_and_the_fullest() {
    for (learners, courses, enrolments) in
        [(1, 1, 1), (3, 1, 3), (7, 5, 35), (7, 5, 34), (100, 13, 100), (50, 40, 1900), (2000, 300, 30_000)]
    {
        let data = generate(learners, courses, enrolments, 9).unwrap();
        data.validate().unwrap();
        assert_eq!((data.learners(), data.courses, data.enrolments() as u64), (learners, courses, enrolments));
        assert!((0..learners).all(|u| !data.rows(u).is_empty()));
        assert!(data.triples.len() >= 4 * courses);
    }
}

#[test]
fn impossible_sizes_are_refused() {
    for (learners, courses, enrolments) in [(0, 1, 0), (1, 0, 1), (10, 5, 9), (10, 5, 51), (usize::MAX, 5, 51)] {
        assert_eq!(generate(learners, courses, enrolments, 1).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn presets_are_scaled_and_keep_their_sizes() {
    let small = Recipe { learners: 2_000, courses: 300, enrolments: 9_000, ..Recipe::preset(Preset::MoocCubeX, 2) };
    for recipe in [small.clone(), Recipe { preset: Some(Preset::Edx), courses: 7, ..small.clone() }] {
        let data = recipe.generate().unwrap();
        data.validate().unwrap();
        assert_eq!((data.learners(), data.courses, data.enrolments()), (2_000, recipe.courses, 9_000));
        let completed = data.interactions.label_values[0].iter().filter(|&&v| v == 1).count();
        assert!((100..900).contains(&completed), "{completed}");
    }
    // Without logs nobody is known to have completed anything; the enrolments do not depend on it.
    let unlogged = Recipe { log_share: 0.0, ..small.clone() }.generate().unwrap();
    assert!(unlogged.interactions.label_values[0].iter().all(|&v| v == 0));
    assert_eq!(unlogged.interactions.course, small.generate().unwrap().interactions.course);
    for bad in [Recipe { log_share: 1.5, ..small.clone() }, Recipe { courses: 2_000_000, ..small }] {
        assert_eq!(bad.generate().unwrap_err().exit_code(), 2);
    }
}

#[test]
fn the_seed_alone_decides() {
    let on = |threads: usize, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generate(3000, 100, 20_000, seed).unwrap())
    };
    let data = on(1, 4);
    assert_eq!(data, on(5, 4));
    assert_ne!(data.fingerprint(), on(1, 5).fingerprint());
}

#[test]
fn prerequisites_mostly_come_first() {
    let data = generate(2000, 200, 24_000, 7).unwrap();
    let relation = data.relation_names.find("prerequisite").unwrap();
    let before: HashMap<u32, u32> = data.triples.iter().filter(|t| t[1] == relation).map(|t| (t[0], t[2])).collect();
    let (mut first, mut all) = (0, 0);
    for u in 0..data.learners() {
        let courses = data.courses_of(u);
        for (k, course) in courses.iter().enumerate() {
            if let Some(required) = before.get(course)
                && let Some(at) = courses.iter().position(|c| c == required)
            {
                all += 1;
                first += (at < k) as u32;
            }
        }
    }
    assert!(all > 1000 && first as f64 > 0.85 * all as f64, "{first} of {all}");
}

/// Hits among the 10 best of all courses not in train, for each learner's last course.
fn hit_rate(data: &Dataset, score: impl Fn(&[u32], usize) -> f64) -> f64 {
    let (mut hits, mut all) = (0, 0);
    for u in 0..data.learners() {
        let Some(target) = data.courses_in(u, &[Split::Test]).next() else { continue };
        let train: Vec<u32> = data.courses_in(u, &[Split::Train]).collect();
        let best = score(&train, target as usize);
        let better = (0..data.courses)
            .filter(|c| !train.contains(&(*c as u32)) && *c != target as usize)
            .filter(|&c| score(&train, c) >= best)
            .count();
        hits += (better < 10) as u32;
        all += 1;
    }
    hits as f64 / all as f64
}

#[test]
fn a_similarity_ranker_beats_popularity_clearly() {
    let mut data = generate(1000, 200, 12_000, 42).unwrap();
    assign(&mut data, SplitPolicy::Last, false, 0).unwrap();
    let degree = data.course_degrees(&[Split::Train]);
    let n = data.courses;
    let mut together = vec![0f64; n * n];
    for u in 0..data.learners() {
        let train: Vec<u32> = data.courses_in(u, &[Split::Train]).collect();
        for &a in &train {
            for &b in &train {
                together[a as usize * n + b as usize] += 1.0;
            }
        }
    }
    let cosine = |a: usize, b: usize| together[a * n + b] / ((degree[a] as f64 * degree[b] as f64).sqrt() + 1e-9);
    let popularity = hit_rate(&data, |_, c| degree[c] as f64);
    let similarity = hit_rate(&data, |train, c| train.iter().map(|&t| cosine(t as usize, c)).sum());
    println!("HR@10: popularity {popularity:.3}, item-item cosine {similarity:.3}");
    assert!(popularity > 0.08 && popularity < 0.35, "{popularity}");
    assert!(similarity > 1.5 * popularity && similarity > 0.30, "{similarity} against {popularity}");
}

/// Area under the ROC curve: the share of (positive, negative) pairs in the right order.
fn auc(mut scored: Vec<(f64, u8)>) -> f64 {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = scored.iter().filter(|s| s.1 == 1).count() as f64;
    let (mut negatives, mut right) = (0.0, 0.0);
    for (_, label) in &scored {
        if *label == 1 { right += negatives } else { negatives += 1.0 }
    }
    right / (positives * negatives)
}

#[test]
fn completion_can_be_predicted_from_other_rows() {
    let data = generate(2000, 200, 24_000, 42).unwrap();
    let completed = &data.interactions.label_values[0];
    let rate = completed.iter().map(|&v| v as f64).sum::<f64>() / completed.len() as f64;
    assert!((0.3..0.7).contains(&rate), "{rate}");
    // Rates of the learner's and of the course's other rows, shrunk to the mean.
    let mut course = vec![(0.0, 0.0); data.courses];
    for (&c, &y) in data.interactions.course.iter().zip(completed) {
        course[c as usize].0 += y as f64;
        course[c as usize].1 += 1.0;
    }
    let mut scored = Vec::new();
    for u in 0..data.learners() {
        let own: f64 = data.rows(u).map(|r| completed[r] as f64).sum();
        for row in data.rows(u) {
            let (y, c) = (completed[row] as f64, course[data.interactions.course[row] as usize]);
            let learner_rate = (own - y + 4.0 * rate) / (data.rows(u).len() as f64 - 1.0 + 4.0);
            let course_rate = (c.0 - y + 4.0 * rate) / (c.1 - 1.0 + 4.0);
            scored.push((learner_rate + course_rate, completed[row]));
        }
    }
    let auc = auc(scored);
    println!("completion: rate {rate:.3}, AUC {auc:.3}");
    assert!((0.66..0.9).contains(&auc), "{auc}");
}

#[test]
fn interchange_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = generate(50, 20, 200, 3).unwrap();
    let back = |data: &Dataset, folder: &str| {
        let path = dir.path().join(folder);
        formats::write(data, &path, false).unwrap();
        let loaded = formats::read(&path, None, None, &Default::default()).unwrap();
        assert_eq!(Dataset { name: data.name.clone(), ..loaded.dataset }, *data);
        loaded.report
    };
    let report = back(&data, "plain");
    assert_eq!((report.format.as_str(), report.has_split), ("interchange", false));
    assert_eq!(report.missing, ["learners.csv"]);
    assign(&mut data, SplitPolicy::Last, false, 0).unwrap();
    let quoted = "learner, the \"seventh\"\nof all";
    data.learner_names = data.learner_names.iter().enumerate().map(|(u, n)| if u == 7 { quoted } else { n }).collect();
    data.labels[0] = "completed, \"really\"".into();
    let report = back(&data, "quoted");
    assert!(report.has_split && report.missing.is_empty());

    assert_eq!(formats::write(&data, &dir.path().join("plain"), false).unwrap_err().exit_code(), 3);
    formats::write(&data, &dir.path().join("plain"), true).unwrap();
}

#[test]
fn the_committed_sample_is_what_the_generator_makes() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = dir.path().join("sample");
    Recipe::new(1_000, 200, 12_000, 1).write_interchange(&fresh, false).unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/sample");
    let mut bytes = 0;
    for entry in fs::read_dir(&fresh).unwrap() {
        let name = entry.unwrap().file_name();
        let made = fs::read(fresh.join(&name)).unwrap();
        assert!(made == fs::read(committed.join(&name)).unwrap(), "{name:?} differs: see data/README.md");
        bytes += made.len();
    }
    assert!(bytes < 400_000);
    // Beside the generated files lies the run.toml that `waata train` starts from.
    assert_eq!(fs::read_dir(&fresh).unwrap().count() + 1, fs::read_dir(&committed).unwrap().count());
    assert_eq!(Recipe::new(9, 9, 9, 1).write_interchange(&fresh, false).unwrap_err().exit_code(), 3);
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name().into_string().unwrap())).unwrap();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else {
            found.push((name, fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Raw files of a small preset with some logs, read back: what was found, and what was to be found.
fn raw(recipe: &Recipe) -> (Expected, formats::Loaded) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("raw");
    let expected = forger::write(recipe, &out, false).unwrap();
    let bytes: u64 = files(&out).iter().filter(|(f, _)| f != "expected.json").map(|(_, b)| b.len() as u64).sum();
    assert_eq!(bytes, expected.bytes());
    let loaded = formats::read(&out, None, None, &Default::default()).unwrap();
    assert_eq!(forger::write(recipe, &out, false).unwrap_err().exit_code(), 3);
    (expected, loaded)
}

fn rows_sha256(data: &Dataset) -> String {
    let (mut hash, completed) = (Sha256::new(), &data.interactions.label_values[0]);
    for learner in 0..data.learners() {
        for row in data.rows(learner) {
            let course = data.entity_names[data.interactions.course[row] as usize].split(' ').next().unwrap();
            hash.update(format!("{},{course},{}\n", &data.learner_names[learner], completed[row]));
        }
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn check_raw(recipe: &Recipe, quirks: &[&str]) {
    let (expected, formats::Loaded { dataset: data, report }) = raw(recipe);
    assert_eq!(report.format, "mooccubex");
    let counts = &expected.counts;
    assert_eq!((data.learners() as u64, recipe.learners as u64), (counts.learners, counts.learners));
    assert_eq!((data.enrolments() as u64, recipe.enrolments), (counts.enrolments, counts.enrolments));
    assert_eq!((data.courses as u64, data.entities() as u64), (counts.courses, counts.entities));
    assert_eq!((data.relations() as u64, data.triples.len() as u64), (counts.relations, counts.triples));
    for (number, name) in data.relation_names.iter().enumerate() {
        let found = data.triples.iter().filter(|t| t[1] as usize == number).count() as u64;
        assert_eq!(found, counts.triples_by_relation[name], "{name}");
    }
    let completed: u64 = data.interactions.label_values[0].iter().map(|&v| v as u64).sum();
    assert_eq!(completed, counts.completed);
    assert!(completed > 0 && completed < counts.enrolments / 2);
    assert_eq!(rows_sha256(&data), expected.rows_sha256);
    assert_eq!((report.duplicates, report.malformed), (expected.duplicates, expected.malformed));
    for count in &report.counts {
        assert_eq!(count.found, expected.found[count.what.as_str()], "{}", count.what);
    }
    assert_eq!(report.counts.len(), expected.found.len());
    let quirk = |name: &str| expected.quirks.get(name).copied().unwrap_or(0);
    for name in quirks {
        assert!(quirk(name) > 0, "{name}: {expected:#?}");
    }
    let log = |file: &str, kind: &str| {
        let [not, none, strangers] =
            ["not_enrolled", "of_no_course", "of_strangers"].map(|what| quirk(&format!("{kind}_{what}")));
        let all = quirk(if kind == "videos" { "videos_watched" } else { "answers" });
        let what = if kind == "videos" { "videos watched" } else { "answers" };
        format!(
            "{file}: of {all} {what}, {not} belong to courses that the learner is not enrolled in, {none} to no \
             course, and {strangers} to learners without an enrolment"
        )
    };
    let unknown = |file: &str, kind: &str| {
        format!("relations/{file}: {} lines name a course", quirk(&format!("{kind}_of_unknown_courses")))
    };
    for words in [
        format!("{} learners have no enrolment", quirk("learners_without_enrolment")),
        format!("{} courses have enrolments but no line", quirk("courses_only_in_enrolments")),
        format!("{} of {} segments end before", quirk("segments_unsound"), quirk("segments")),
        log("relations/user-video.json", "videos"),
        log("relations/user-problem.json", "answers"),
        unknown("course-field.json", "fields"),
        unknown("course-school.txt", "schools"),
        "concept-course.txt: the first line is a header".into(),
    ] {
        assert!(report.notes.iter().any(|note| note.contains(&words)), "{words}: {:#?}", report.notes);
    }
    let left_out = report.notes.iter().filter(|note| note.starts_with("prerequisites/")).map(|note| {
        let before = note.split(" of them").next().unwrap();
        before.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    });
    assert_eq!(left_out.sum::<u64>(), quirk("prerequisites_of_unknown_concepts"), "{:#?}", report.notes);
}

#[test]
fn raw_files_read_back_as_they_were_meant() {
    let small = Recipe {
        learners: 300,
        courses: 120,
        enrolments: 2_100,
        log_share: 0.4,
        ..Recipe::preset(Preset::MoocCubeX, 1)
    };
    let always = [
        "nan_predictions",
        "prerequisites_of_unknown_concepts",
        "courses_without_resources",
        "resources_repeated",
        "nan_scores",
        "nan_start_points",
    ];
    check_raw(&small, &always);
    // Long enough for malformed lines in user.json, and for learners with two lines.
    let larger = Recipe { learners: 3_100, courses: 40, enrolments: 9_000, log_share: 0.05, ..small };
    check_raw(&larger, &["learners_repeated", "learners_out_of_order", "nan_years_of_birth"]);
    check_raw(&Recipe { preset: None, learners: 200, enrolments: 900, log_share: 0.5, ..larger.clone() }, &[]);
    check_raw(&Recipe { preset: Some(Preset::Edx), enrolments: 5_000, log_share: 0.1, ..larger }, &[]);
}

#[test]
fn raw_files_do_not_depend_on_the_threads() {
    let recipe = Recipe {
        learners: 1_000,
        courses: 60,
        enrolments: 4_000,
        log_share: 0.05,
        ..Recipe::preset(Preset::MoocCubeX, 3)
    };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        pool.install(|| forger::write(&recipe, &dir.path().join("raw"), false).unwrap());
        files(dir.path())
    };
    let one = on(1);
    assert_eq!(one.len(), 16);
    assert!(one == on(2));
    // What lies there is replaced only where this command wrote it.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("entities")).unwrap();
    fs::write(dir.path().join("entities/user.json"), "{}").unwrap();
    assert_eq!(forger::write(&recipe, dir.path(), true).unwrap_err().exit_code(), 3);
}

/// WAATA_RAW=DIR cargo test --release -p waata-data --test synth full_size -- --ignored
#[test]
#[ignore = "writes 10 GB, to time how they are read"]
fn raw_files_of_full_size() {
    let out = std::env::var_os("WAATA_RAW").map(PathBuf::from).expect("WAATA_RAW names the folder to write");
    let recipe = Recipe { log_share: 0.04, ..Recipe::preset(Preset::MoocCubeX, 1) };
    let expected = forger::write(&recipe, &out, false).unwrap();
    println!("{}: {:.2} GB, {} malformed lines", out.display(), expected.bytes() as f64 / 1e9, expected.malformed);
}

#[test]
fn dates_and_numbers_as_raw_files_have_them() {
    let mut lines = Lines::default();
    for seconds in [0, 951_782_400, 951_868_799, 1_583_020_799, 1_609_459_199, 4_107_542_400] {
        lines.date(seconds).text(" ");
    }
    let dates = "1970-01-01 00:00:00 2000-02-29 00:00:00 2000-02-29 23:59:59 2020-02-29 23:59:59 2020-12-31 23:59:59 \
        2100-03-01 00:00:00 ";
    assert_eq!(String::from_utf8(lines.bytes).unwrap(), dates);
    let mut lines = Lines::default();
    lines.number(0).text(" ").number(u64::MAX).text(" ").tenths(1_205);
    assert_eq!(lines.bytes, format!("0 {} 120.5", u64::MAX).as_bytes());
}

#[test]
fn malformed_lines_stay_below_a_thousandth() {
    let mut lines = Lines::default();
    (0..4_000).for_each(|_| lines.text("x").end("broken"));
    assert_eq!((lines.lines, lines.malformed), (4_002, 2));
    assert_eq!(lines.bytes.iter().filter(|&&b| b == b'\n').count(), 4_002);
}

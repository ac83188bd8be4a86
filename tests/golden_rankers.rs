//! Rankers with a solution in closed form against numpy (tests/golden/rankers.py).

mod common;

use waata::data::{Dataset, Interactions, Split, synth};
use waata::engine::Device;
use waata::models::{self, Recommender, learners_for};

use common::golden::{ids, numbers, read};
use common::tiny;
use common::whole::{executor, ranked};

/// Enrolments where `taken`, (learners x courses), is 1.
fn dataset(taken: &[u32], courses: usize) -> Dataset {
    let mut interactions = Interactions { offsets: vec![0].into(), ..Default::default() };
    for row in taken.chunks_exact(courses) {
        interactions.course.to_mut().extend((0..courses as u32).filter(|&c| row[c as usize] == 1));
        interactions.offsets.to_mut().push(interactions.course.len() as u64);
    }
    interactions.split = vec![Split::Train; interactions.course.len()].into();
    let learners = taken.len() / courses;
    let data = Dataset {
        name: "golden".into(),
        learner_names: (0..learners).map(|u| u.to_string()).collect(),
        entity_names: (0..courses).map(|e| e.to_string()).collect(),
        courses,
        interactions,
        ..Default::default()
    };
    data.validate().unwrap();
    data
}

#[test]
fn popularity_itemknn_and_ease_of_numpy() {
    let golden = read("rankers.json");
    let taken = ids(&golden["taken"]);
    let courses = golden["taken"][0].as_array().unwrap().len();
    let data = dataset(&taken, courses);
    for case in golden["cases"].as_array().unwrap() {
        let name = case["model"].as_str().unwrap();
        let mut settings = vec![format!("model.name={name}")];
        for (key, value) in case["settings"].as_object().unwrap() {
            settings.push(format!("rankers.{key}={value}"));
        }
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let config = tiny::config(&settings).unwrap();
        let want = numbers(&case["scores"]);
        // Solved in f64, kept in f32: 1e-6 of the largest score.
        let scale = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for device in [Device::Cpu, executor()] {
            let mut model = models::closed_form(&config, &data, &device).unwrap().unwrap();
            model.fit(&data, &[Split::Train]).unwrap();
            let learners: Vec<u32> = (0..data.learners() as u32).collect();
            let known = learners_for(&data, &config, &learners, &[Split::Train]);
            let pairs: Vec<(u32, u32)> =
                learners.iter().flat_map(|&u| (0..courses as u32).map(move |i| (u, i))).collect();
            let logits = model.logits(&model.encode().unwrap(), &known, &pairs).unwrap();
            for (what, got) in [("judged", logits), ("ranked", ranked(&model, &known))] {
                for (i, (got, want)) in got.to_f64().unwrap().iter().zip(&want).enumerate() {
                    let error = (got - want).abs();
                    assert!(error <= 1e-6 * scale, "{settings:?}, {what}[{i}]: {got}, not {want}");
                }
            }
        }
    }
}

/// EASE's solution is the minimum: (X^T X + lambda I) B is X^T X off the diagonal, for sizes below, at and beyond the
/// blocks of its inversion.
#[test]
fn ease_solves_its_equations() {
    for courses in [7, 64, 65, 200] {
        let mut data = synth::generate(3 * courses, courses, 12 * courses as u64, 5).unwrap();
        data.interactions.split = vec![Split::Train; data.interactions.course.len()].into();
        let lambda = 3.0;
        let config = tiny::config(&["model.name=ease", &format!("rankers.ease_lambda={lambda}")]).unwrap();
        let mut model = models::closed_form(&config, &data, &Device::Cpu).unwrap().unwrap();
        model.fit(&data, &[Split::Train]).unwrap();
        let n = data.courses;
        let mut gram = vec![0.0; n * n];
        for u in 0..data.learners() {
            let mut own: Vec<usize> = data.rows(u).map(|row| data.interactions.course[row] as usize).collect();
            own.sort_unstable();
            own.dedup();
            own.iter().for_each(|&i| own.iter().for_each(|&j| gram[i * n + j] += 1.0));
        }
        // Row j of the table is column j of B.
        let id = model.params().find("courses").unwrap();
        let table = model.params().get(id).value.to_f64().unwrap();
        for (i, j) in (0..n * n).map(|at| (at / n, at % n)).filter(|(i, j)| i != j) {
            let column = &table[j * n..][..n];
            let product: f64 = gram[i * n..][..n].iter().zip(column).map(|(g, b)| g * b).sum();
            let (got, want) = (product + lambda * column[i], gram[i * n + j]);
            assert!((got - want).abs() < 1e-4 * gram[i * n + i].max(1.0), "{n} courses: {got}, not {want}");
        }
        assert!((0..n).all(|j| table[j * n + j] == 0.0), "the diagonal is 0");
    }
}

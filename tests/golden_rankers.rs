//! Rankers with a solution in closed form against numpy (tests/golden/rankers.py).

mod common;

use waata::data::{Dataset, Interactions, Split};
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

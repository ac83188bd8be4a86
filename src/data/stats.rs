//! What a data set consists of, in numbers: the answer of `inspect` and `prepare`.

use super::dataset::{Dataset, Split};
use serde::Serialize;

/// Minimum, median, mean and maximum of a list of degrees.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Degrees {
    pub min: u32,
    pub median: f64,
    pub mean: f64,
    pub max: u32,
}

impl Degrees {
    pub fn of(mut degrees: Vec<u32>) -> Degrees {
        if degrees.is_empty() {
            return Degrees::default();
        }
        degrees.sort_unstable();
        let n = degrees.len();
        let sum: u64 = degrees.iter().map(|&d| d as u64).sum();
        Degrees {
            min: degrees[0],
            median: (degrees[(n - 1) / 2] as f64 + degrees[n / 2] as f64) / 2.0,
            mean: sum as f64 / n as f64,
            max: degrees[n - 1],
        }
    }
}

/// The share of enrolments that have a label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelRate {
    pub name: String,
    pub positives: u64,
    pub rate: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RelationCount {
    pub name: String,
    pub triples: u64,
}

/// Serializes to the document of `inspect --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counts {
    pub schema_version: u32,
    pub name: String,
    pub learners: u64,
    pub courses: u64,
    pub enrolments: u64,
    pub entities: u64,
    pub relations: u64,
    pub triples: u64,
    /// Enrolments over learners x courses.
    pub density: f64,
    pub has_time: bool,
    pub train: u64,
    pub valid: u64,
    pub test: u64,
    pub labels: Vec<LabelRate>,
    /// Enrolments per learner.
    pub learner_degree: Degrees,
    /// Enrolments per course.
    pub course_degree: Degrees,
    /// Triples per entity, as head or as tail.
    pub entity_degree: Degrees,
    pub triples_by_relation: Vec<RelationCount>,
    /// Learners that nothing can be learned about: ranking skips them.
    pub learners_without_train: u64,
    pub courses_without_train: u64,
    pub courses_without_triples: u64,
    pub entities_without_triples: u64,
    pub fingerprint: String,
}

impl Counts {
    pub fn of(data: &Dataset) -> Counts {
        let [train, valid, test] = data.split_counts();
        let (learners, courses, rows) = (data.learners(), data.courses, data.enrolments());
        let mut entity_degree = vec![0u32; data.entities()];
        let mut by_relation = vec![0u64; data.relations()];
        for &[h, r, t] in &data.triples {
            entity_degree[h as usize] += 1;
            entity_degree[t as usize] += 1;
            by_relation[r as usize] += 1;
        }
        let zeros = |degrees: &[u32]| degrees.iter().filter(|&&d| d == 0).count() as u64;
        let without_train = (0..learners).filter(|&u| data.courses_in(u, &[Split::Train]).next().is_none()).count();
        Counts {
            schema_version: 1,
            name: data.name.clone(),
            learners: learners as u64,
            courses: courses as u64,
            enrolments: rows as u64,
            entities: data.entities() as u64,
            relations: data.relations() as u64,
            triples: data.triples.len() as u64,
            density: ratio(rows as u64, (learners as u64) * (courses as u64)),
            has_time: data.interactions.has_time,
            train,
            valid,
            test,
            labels: (data.labels.iter().zip(&data.interactions.label_values))
                .map(|(name, values)| {
                    let positives = values.iter().map(|&v| v as u64).sum();
                    LabelRate { name: name.clone(), positives, rate: ratio(positives, rows as u64) }
                })
                .collect(),
            learner_degree: Degrees::of((0..learners).map(|u| data.rows(u).len() as u32).collect()),
            course_degree: Degrees::of(data.course_degrees(&Split::ALL)),
            triples_by_relation: (data.relation_names.iter().zip(&by_relation))
                .map(|(name, &triples)| RelationCount { name: name.into(), triples })
                .collect(),
            learners_without_train: without_train as u64,
            courses_without_train: zeros(&data.course_degrees(&[Split::Train])),
            courses_without_triples: zeros(&entity_degree[..courses]),
            entities_without_triples: zeros(&entity_degree),
            entity_degree: Degrees::of(entity_degree),
            fingerprint: data.fingerprint(),
        }
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

//! A knowledge graph around courses, as it is read.

use super::ids::intern;
use crate::Dataset;
use std::collections::HashMap;

pub struct Graph {
    /// Courses first.
    pub entity_names: Vec<String>,
    pub relation_names: Vec<String>,
    pub triples: Vec<[u32; 3]>,
    pub courses: usize,
}

impl Graph {
    pub fn new(course_names: Vec<String>) -> Graph {
        let courses = course_names.len();
        Graph { entity_names: course_names, relation_names: Vec::new(), triples: Vec::new(), courses }
    }

    /// The entity of an id among those of its kind, `known`.
    pub fn entity(&mut self, known: &mut HashMap<String, u32>, id: &str, name: impl FnOnce() -> String) -> u32 {
        intern(known, &mut self.entity_names, id, name)
    }

    /// Adds a relation of (head, tail) pairs, sorted and without repetitions; nothing where there is no pair.
    pub fn relate(&mut self, relation: &str, mut pairs: Vec<(u32, u32)>) {
        pairs.sort_unstable();
        pairs.dedup();
        if !pairs.is_empty() {
            let number = self.relation_names.len() as u32;
            self.relation_names.push(relation.into());
            self.triples.extend(pairs.into_iter().map(|(head, tail)| [head, number, tail]));
        }
    }

    /// Adds for each of `groups` a relation between the courses and what `values` finds of it in their names: entities
    /// "group:value". Returns how many courses have no values.
    pub fn relate_names(&mut self, groups: &[&str], values: impl Fn(&str) -> Option<Vec<String>>) -> u64 {
        let first = self.relation_names.len() as u32;
        self.relation_names.extend(groups.iter().map(|group| group.to_string()));
        let (mut known, mut unmatched) = (HashMap::new(), 0);
        for course in 0..self.courses {
            let Some(values) = values(&self.entity_names[course]) else {
                unmatched += 1;
                continue;
            };
            for ((relation, group), value) in (first..).zip(groups).zip(values) {
                if !value.is_empty() {
                    let name = format!("{group}:{value}");
                    let entity = self.entity(&mut known, &name, || name.clone());
                    self.triples.push([course as u32, relation, entity]);
                }
            }
        }
        unmatched
    }

    /// A data set without interactions.
    pub fn dataset(self, name: String, learner_names: Vec<String>) -> Dataset {
        Dataset {
            name,
            learner_names: learner_names.into(),
            courses: self.courses,
            entity_names: self.entity_names.into(),
            relation_names: self.relation_names.into(),
            triples: self.triples.into(),
            ..Default::default()
        }
    }
}

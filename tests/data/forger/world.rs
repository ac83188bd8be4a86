//! What a generated data set has, by course: its graph is read back from triples and names.

use waata_data::Dataset;
use waata_data::synth::Recipe;

/// A data set and the recipe that it was generated from. Vectors are indexed by course.
pub struct World<'a> {
    pub recipe: &'a Recipe,
    pub data: &'a Dataset,
    pub field: Vec<Option<u32>>,
    pub school: Vec<Option<u32>>,
    pub teachers: Vec<Vec<u32>>,
    pub concepts: Vec<Vec<u32>>,
    /// The course that should be taken before.
    pub prerequisite: Vec<Option<u32>>,
    pub field_count: usize,
    pub school_count: usize,
    pub teacher_count: usize,
    pub concept_count: usize,
}

impl<'a> World<'a> {
    pub fn new(recipe: &'a Recipe, data: &'a Dataset) -> World<'a> {
        let related = |relation: &str| {
            let relation = data.relation_names.find(relation).unwrap();
            let mut by_course = vec![vec![]; data.courses];
            for [course, _, other] in data.triples.iter().filter(|t| t[1] == relation) {
                by_course[*course as usize].push(number(&data.entity_names[*other as usize]));
            }
            by_course
        };
        // Entities are called `teacher 7`; those that no course names are left out, and have a number all the same.
        let count = |kind: &str| {
            let own = data.entity_names.iter().filter(|name| name.split(' ').next() == Some(kind));
            own.map(|name| number(name) as usize + 1).max().unwrap_or(0)
        };
        let first = |by_course: Vec<Vec<u32>>| by_course.iter().map(|list| list.first().copied()).collect();
        World {
            recipe,
            data,
            field: first(related("field")),
            school: first(related("school")),
            teachers: related("teacher"),
            concepts: related("concept"),
            prerequisite: first(related("prerequisite")),
            field_count: count("field"),
            school_count: count("school"),
            teacher_count: count("teacher"),
            concept_count: count("concept"),
        }
    }

    /// The field that a concept's id names.
    pub fn field_of_concept(&self, concept: u32) -> usize {
        concept as usize % self.field_count
    }

    /// Courses of a learner in time order, and whether each was completed.
    pub fn enrolments(&self, learner: usize) -> impl Iterator<Item = (usize, bool)> {
        let i = &self.data.interactions;
        self.data.rows(learner).map(|row| (i.course[row] as usize, i.label_values[0][row] == 1))
    }
}

/// 7 of `teacher 7`.
fn number(name: &str) -> u32 {
    name.split(' ').nth(1).unwrap().parse().unwrap()
}

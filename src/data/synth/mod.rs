//! Synthetic data sets of any size, with planted preferences that a model can find.
//!
//! Courses (`world.rs`) have fields, teachers, schools, concepts and prerequisites, all of them in the knowledge graph, or
//! as many as a published data set has (`shape.rs`). A learner (`walk.rs`) prefers a field, later a second one, and a
//! school; takes courses that share concepts with the last one; and mostly takes prerequisites first. Popularity is
//! skewed. Completion depends on other things than enrolment: the learner's fit to the course and ability, and the course's
//! difficulty. The numbers use no transcendental functions, so a seed gives the same bits on every machine.

mod degrees;
mod shape;
mod walk;
mod world;

use std::path::Path;

use rayon::prelude::*;

use crate::dataset::{Dataset, Interactions, Split};
use crate::{Counts, formats};
use base::random::Philox;
use base::{Error, Result, files};
use shape::Shape;
use walk::Walk;
use world::World;

pub use shape::Preset;

const STREAM: u64 = 0x7379_6E74_6800_0000;
const DEGREE: u64 = 3;
const LOGGED: u64 = 5;

/// Learners that one task generates; it bounds the memory of the tasks and does not change a number.
const BLOCK: usize = 1024;

/// Courses of a preset at most: its concepts are numbered with 32 bits.
const PRESET_COURSES: usize = 1_000_000;

/// Random numbers one after another, for generators: those of (seed, purpose, who).
pub struct Draws {
    random: Philox,
    next: u64,
}

impl Draws {
    pub fn new(seed: u64, purpose: u64, who: u64) -> Draws {
        Draws { random: Philox::new(seed, STREAM + purpose), next: who << 32 }
    }

    /// Four numbers of 32 bits.
    pub fn bits(&mut self) -> [u32; 4] {
        self.next += 1;
        self.random.block(self.next - 1)
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        let [a, b, ..] = self.bits();
        (((a as u64) << 32 | b as u64) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n - 1)
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        (1..items.len()).rev().for_each(|i| items.swap(i, self.below(i + 1)));
    }

    /// Index into a list of weights, each as likely as its weight.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        let reached = |w: &f64| {
            left -= w;
            left < 0.0
        };
        weights.iter().position(reached).unwrap_or(weights.len() - 1)
    }
}

/// What to generate. The same recipe gives the same data, for any number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Each has at least one enrolment.
    pub learners: usize,
    pub courses: usize,
    pub enrolments: u64,
    pub seed: u64,
    /// What the world is like.
    pub preset: Option<Preset>,
    /// The share of learners whose behaviour in the courses was logged, from 0 to 1; the others complete nothing.
    pub log_share: f64,
}

impl Recipe {
    /// A world of its own, with logs of everybody.
    pub fn new(learners: usize, courses: usize, enrolments: u64, seed: u64) -> Recipe {
        Recipe { learners, courses, enrolments, seed, preset: None, log_share: 1.0 }
    }

    /// A data set like a published one, in its size.
    pub fn preset(preset: Preset, seed: u64) -> Recipe {
        let (learners, courses, enrolments) = preset.sizes();
        let log_share = preset.log_share();
        Recipe { learners, courses, enrolments, seed, preset: Some(preset), log_share }
    }

    /// A data set with exactly these numbers; one label, "completed"; rows in time order, all in train. Errors:
    /// `Error::Config` for numbers that cannot be met.
    pub fn generate(&self) -> Result<Dataset> {
        let plan = self.plan()?;
        let blocks: Vec<(Vec<u32>, Vec<u8>)> = (0..self.learners.div_ceil(BLOCK))
            .into_par_iter()
            .map(|block| {
                let mut walk = Walk::new(&plan);
                (block * BLOCK..self.learners.min((block + 1) * BLOCK)).for_each(|u| walk.learner(u));
                (walk.courses, walk.completed)
            })
            .collect();
        let mut offsets = vec![0];
        offsets.extend(plan.degrees.iter().scan(0, |sum, &d| {
            *sum += d as u64;
            Some(*sum)
        }));
        let (courses, labels): (Vec<_>, Vec<_>) = blocks.into_iter().unzip();
        let (course, completed) = (courses.concat(), labels.concat());
        let graph = plan.world.graph();
        Ok(Dataset {
            name: self.name(),
            learner_names: (0..self.learners).map(|u| u.to_string()).collect(),
            entity_names: graph.entity_names.into(),
            courses: self.courses,
            relation_names: graph.relation_names.into(),
            triples: graph.triples.into(),
            labels: vec!["completed".into()],
            interactions: Interactions {
                offsets: offsets.into(),
                split: vec![Split::Train; course.len()].into(),
                course: course.into(),
                label_values: vec![completed.into()],
                has_time: true,
            },
        })
    }

    /// [`Recipe::generate`], written to a new folder in the interchange format. Nothing is generated when the
    /// folder exists. Errors: also those of [`formats::write`].
    pub fn write_interchange(&self, out: &Path, force: bool) -> Result<Counts> {
        files::check_output(out, force, formats::interchange::INTERACTIONS)?;
        let data = self.generate()?;
        formats::write(&data, out, force)?;
        Ok(Counts::of(&data))
    }

    /// Whether the learner's behaviour in the courses was logged.
    pub fn is_logged(&self, learner: usize) -> bool {
        let uniform = || Philox::new(self.seed, STREAM + LOGGED).uniform_at(learner as u64) as f64;
        self.log_share >= 1.0 || uniform() < self.log_share
    }

    fn name(&self) -> String {
        let preset = self.preset.map_or(String::new(), |preset| format!("{}-", preset.name()));
        let Recipe { learners, courses, enrolments, seed, .. } = self;
        format!("synth-{preset}{learners}-{courses}-{enrolments}-seed{seed}")
    }

    fn plan(&self) -> Result<Plan<'_>> {
        self.check()?;
        let Recipe { learners, courses, enrolments, seed, .. } = *self;
        let shape = Shape::new(self.preset, courses);
        let degrees = degrees::of_learners(learners, courses, enrolments, &shape.tail, seed);
        Ok(Plan { recipe: self, world: World::new(courses, &shape, seed), degrees })
    }

    fn check(&self) -> Result<()> {
        let Recipe { learners, courses, enrolments, .. } = *self;
        let bad = |key: &str, why: String, remedy: String| Err(Error::config(key, why, remedy));
        let limit = u32::MAX as usize / 4 - 1;
        let most_courses = if self.preset.is_some() { PRESET_COURSES } else { limit };
        for (key, value, most) in [("--learners", learners, limit), ("--courses", courses, most_courses)] {
            if value == 0 || value > most {
                return bad(key, format!("{value} is out of range"), format!("choose 1 to {most}"));
            }
        }
        let most = learners as u64 * courses as u64;
        if enrolments < learners as u64 {
            let why = format!("{enrolments} enrolments are too few for {learners} learners with at least one each");
            return bad("--enrolments", why, format!("choose {learners} or more"));
        }
        if enrolments > most {
            let why = format!("{learners} learners can take {courses} courses {most} times at most");
            return bad("--enrolments", why, format!("choose {most} or fewer"));
        }
        if !(0.0..=1.0).contains(&self.log_share) {
            return bad("--log-share", "must be from 0 to 1".into(), "0.1 is a learner in ten".into());
        }
        Ok(())
    }
}

/// [`Recipe::new`], generated.
pub fn generate(learners: usize, courses: usize, enrolments: u64, seed: u64) -> Result<Dataset> {
    Recipe::new(learners, courses, enrolments, seed).generate()
}

/// A recipe that was found possible, and everything that decides what its learners do.
struct Plan<'a> {
    recipe: &'a Recipe,
    world: World,
    /// Enrolments of each learner.
    degrees: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the presets promise, without their enrolments.
    #[test]
    fn presets_have_their_sizes_and_a_heavy_tail() {
        for (preset, ones) in [(Preset::MoocCubeX, 0.3..0.45), (Preset::Edx, 0.6..0.75)] {
            let recipe = Recipe::preset(preset, 1);
            let mut degrees = recipe.plan().unwrap().degrees;
            assert_eq!(degrees.len(), recipe.learners);
            assert_eq!(degrees.iter().map(|&d| d as u64).sum::<u64>(), recipe.enrolments);
            let alone = degrees.iter().filter(|&&d| d == 1).count() as f64 / recipe.learners as f64;
            assert!(ones.contains(&alone), "{alone}");
            degrees.sort_unstable();
            let at = |share: f64| degrees[(share * degrees.len() as f64) as usize] as f64;
            println!("{}: {alone:.3} have one, median {}, 99 % {}", preset.name(), at(0.5), at(0.99));
            println!("  99.9 % {}, all {}", at(0.999), degrees[degrees.len() - 1]);
            assert!(at(0.999) > 2.5 * at(0.99) && degrees[degrees.len() - 1] as usize <= recipe.courses / 2);
        }
    }

    #[test]
    fn the_graph_of_mooccubex_has_the_published_numbers() {
        let shape = Shape::new(Some(Preset::MoocCubeX), 4_216);
        let graph = World::new(4_216, &shape, 1).graph();
        let count = |relation: &str| {
            let number = graph.relation_names.iter().position(|r| r == relation).unwrap() as u32;
            graph.triples.iter().filter(|t| t[1] == number).count()
        };
        assert_eq!(["field", "teacher", "school", "concept"].map(count), [612, 13_312, 3_748, 406_777]);
        assert!((1_200..1_450).contains(&count("prerequisite")), "{}", count("prerequisite"));
        // No entity is there for nothing, and no triple twice.
        let mut seen = vec![false; graph.entity_names.len()];
        graph.triples.iter().for_each(|&[h, _, t]| (seen[h as usize], seen[t as usize]) = (true, true));
        assert!(seen[4_216..].iter().all(|&s| s));
        let mut triples = graph.triples.clone();
        triples.sort_unstable();
        triples.dedup();
        assert_eq!(triples.len(), graph.triples.len());
    }
}

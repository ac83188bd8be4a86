//! Synthetic data sets of any size, with planted preferences that a model can find.
//!
//! A world of courses (`world.rs`) has fields, teachers, schools, concepts and prerequisites, all of them visible
//! in the knowledge graph. A learner prefers a field, later a second one, and a school; takes courses that share
//! concepts with the last one; and mostly takes prerequisites first. Popularity is skewed. Completion follows
//! from the learner's fit to the course, ability and the course's difficulty, which is not what enrolment
//! follows from. The numbers use no transcendental functions, so a seed gives the same bits on every machine.

mod world;

use super::dataset::{Dataset, Interactions, Split};
use super::{Counts, formats, store};
use crate::engine::random::Philox;
use crate::{Error, Result};
use rayon::prelude::*;
use std::path::Path;
use world::World;

pub(super) const STREAM: u64 = 0x7379_6E74_6800_0000;
const LEARNER: u64 = 2;
const DEGREE: u64 = 3;

/// Learners that one task generates; it bounds the memory of the tasks and does not change a number.
const BLOCK: usize = 1024;

/// Draws of a course before the first one not taken is searched for.
const ATTEMPTS: usize = 24;

/// Uniform numbers in a row, from one stream and one position.
pub(super) struct Draws {
    random: Philox,
    next: u64,
}

impl Draws {
    pub fn new(seed: u64, purpose: u64, who: u64) -> Draws {
        Draws { random: Philox::new(seed, STREAM + purpose), next: who << 32 }
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        let [a, b, ..] = self.random.block(self.next);
        self.next += 1;
        (((a as u64) << 32 | b as u64) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n - 1)
    }

    /// Position in a list of weights, each as likely as its weight.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        weights
            .iter()
            .position(|w| {
                left -= w;
                left < 0.0
            })
            .unwrap_or(weights.len() - 1)
    }
}

/// Generates a data set with exactly the given numbers of learners, courses and enrolments, every learner with at
/// least one; one label, "completed"; rows in time order, all in train. The same arguments give the same data
/// set, for any number of threads. Errors: `Error::Config` for numbers that cannot be met.
pub fn generate(learners: usize, courses: usize, enrolments: u64, seed: u64) -> Result<Dataset> {
    check(learners, courses, enrolments)?;
    let world = World::new(courses, seed);
    let degrees = degrees(learners, courses, enrolments, seed);
    let blocks: Vec<(Vec<u32>, Vec<u8>)> = (0..learners.div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| {
            let range = block * BLOCK..learners.min((block + 1) * BLOCK);
            let mut walk = Walk::new(&world);
            range.for_each(|learner| walk.learner(learner, degrees[learner], seed));
            (walk.courses, walk.completed)
        })
        .collect();
    let mut offsets = Vec::with_capacity(learners + 1);
    offsets.push(0);
    offsets.extend(degrees.iter().scan(0u64, |sum, &d| {
        *sum += d as u64;
        Some(*sum)
    }));
    let (mut course, mut completed) = (Vec::new(), Vec::new());
    for (courses, labels) in blocks {
        course.extend(courses);
        completed.extend(labels);
    }
    let graph = world.graph();
    Ok(Dataset {
        name: format!("synth-{learners}-{courses}-{enrolments}-seed{seed}"),
        learner_names: (0..learners).map(|u| u.to_string()).collect(),
        entity_names: graph.entity_names,
        courses,
        relation_names: graph.relation_names,
        triples: graph.triples,
        labels: vec!["completed".into()],
        interactions: Interactions {
            offsets,
            split: vec![Split::Train; course.len()],
            course,
            label_values: vec![completed],
            has_time: true,
        },
    })
}

/// [`generate`], written to a new folder in the interchange format. Nothing is generated when the folder exists.
/// Errors: also those of [`formats::write`].
pub fn generate_folder(
    learners: usize,
    courses: usize,
    enrolments: u64,
    seed: u64,
    out: &Path,
    force: bool,
) -> Result<Counts> {
    store::check_output(out, force, formats::interchange::INTERACTIONS)?;
    let data = generate(learners, courses, enrolments, seed)?;
    formats::write(&data, out, force)?;
    Ok(Counts::of(&data))
}

fn check(learners: usize, courses: usize, enrolments: u64) -> Result<()> {
    let bad = |key: &str, why: String, remedy: String| Err(Error::config(key, why, remedy));
    for (key, value) in [("--learners", learners), ("--courses", courses)] {
        if value == 0 || value >= u32::MAX as usize / 4 {
            return bad(key, format!("{value} is out of range"), format!("choose 1 to {}", u32::MAX / 4 - 1));
        }
    }
    let most = learners as u64 * courses as u64;
    if enrolments < learners as u64 {
        let why =
            format!("{enrolments} enrolments are too few for {learners} learners with at least one each");
        return bad("--enrolments", why, format!("choose {learners} or more"));
    }
    if enrolments > most {
        let why = format!("{learners} learners can take {courses} courses {most} times at most");
        return bad("--enrolments", why, format!("choose {most} or fewer"));
    }
    Ok(())
}

/// Enrolments per learner: 1 plus a share of the rest by heavy-tailed weights, no more than there are courses.
fn degrees(learners: usize, courses: usize, enrolments: u64, seed: u64) -> Vec<u32> {
    let random = Philox::new(seed, STREAM + DEGREE);
    let weights: Vec<f64> = (0..learners)
        .map(|u| {
            // Pareto with shape 2: finite mean, a few learners with dozens of times the usual number.
            let uniform = random.uniform_at(u as u64) as f64;
            1.0 / (1.0 - uniform).sqrt() - 0.6
        })
        .collect();
    let extra = enrolments - learners as u64;
    let scale = extra as f64 / weights.iter().sum::<f64>();
    let most = (courses - 1) as u64;
    let mut degrees: Vec<u64> = weights.iter().map(|w| ((w * scale) as u64).min(most)).collect();
    // What rounding and the cap left over goes round in equal parts; the sum of floors cannot exceed `extra` by
    // more than rounding errors, which the same loop takes back.
    let mut given: u64 = degrees.iter().sum();
    while given > extra {
        degrees.iter_mut().filter(|d| **d > 0).take((given - extra) as usize).for_each(|d| *d -= 1);
        given = degrees.iter().sum();
    }
    while given < extra {
        let open = degrees.iter().filter(|d| **d < most).count() as u64;
        let part = ((extra - given) / open).max(1);
        for d in degrees.iter_mut() {
            let more = part.min(most - *d).min(extra - given);
            *d += more;
            given += more;
        }
    }
    degrees.into_iter().map(|d| d as u32 + 1).collect()
}

/// The learners of one block, one after another.
struct Walk<'a> {
    world: &'a World,
    courses: Vec<u32>,
    completed: Vec<u8>,
    /// Who took a course last: a learner's number + 1.
    taken: Vec<u32>,
}

/// What moves one learner.
struct Person {
    main: usize,
    second: usize,
    school: u32,
    /// In -1..1, bell-shaped.
    ability: f64,
    mark: u32,
}

impl<'a> Walk<'a> {
    fn new(world: &'a World) -> Self {
        Walk { world, courses: Vec::new(), completed: Vec::new(), taken: vec![0; world.courses()] }
    }

    fn learner(&mut self, learner: usize, degree: u32, seed: u64) {
        let mut draws = Draws::new(seed, LEARNER, learner as u64);
        let main = self.world.fields.draw(draws.uniform());
        let person = Person {
            main,
            second: draws.below(self.world.field_courses.len()),
            school: self.world.school[self.world.draw_in_field(main, draws.uniform())],
            ability: (0..4).map(|_| draws.uniform()).sum::<f64>() / 2.0 - 1.0,
            mark: learner as u32 + 1,
        };
        let mut last = None;
        for step in 0..degree {
            let progress = step as f64 / degree as f64;
            let course = self.choose(&person, last, progress, &mut draws);
            let completed = self.completes(&person, course, draws.uniform());
            self.taken[course] = person.mark;
            self.courses.push(course as u32);
            self.completed.push(completed as u8);
            last = Some(course);
        }
    }

    /// A course that the person has not taken.
    fn choose(&self, person: &Person, last: Option<usize>, progress: f64, draws: &mut Draws) -> usize {
        let free = |course: usize| self.taken[course] != person.mark;
        for _ in 0..ATTEMPTS {
            let wanted = self.wish(person, last, progress, draws);
            if !free(wanted) {
                continue;
            }
            let mut course = wanted;
            while let Some(before) = self.world.prerequisite[course].map(|c| c as usize).filter(|&c| free(c))
            {
                if draws.uniform() < 0.25 {
                    break;
                }
                course = before;
            }
            return course;
        }
        // The learner has taken nearly all that he or she wishes for: any other course, from a random one on.
        let (start, n) = (draws.below(self.world.courses()), self.world.courses());
        (start..start + n)
            .map(|c| c % n)
            .find(|&c| free(c))
            .expect("a learner takes at most as many courses as there are")
    }

    fn wish(&self, person: &Person, last: Option<usize>, progress: f64, draws: &mut Draws) -> usize {
        let world = self.world;
        let what = draws.uniform();
        if what < 0.12 {
            return world.popular.draw(draws.uniform());
        }
        // Interest drifts from the main field to the second, and sometimes just stays where the last course was.
        let field = match last {
            Some(last) if what < 0.30 => world.field[last] as usize,
            _ if draws.uniform() < 0.85 - 0.5 * progress => person.main,
            _ => person.second,
        };
        let candidates: [usize; 6] = std::array::from_fn(|_| world.draw_in_field(field, draws.uniform()));
        let weights = candidates.map(|c| {
            let school = if world.school[c] == person.school { 2.0 } else { 0.0 };
            0.3 + school + last.map_or(0.0, |last| 1.5 * world.shared_concepts(c, last) as f64)
        });
        candidates[draws.weighted(&weights)]
    }

    fn completes(&self, person: &Person, course: usize, uniform: f64) -> bool {
        let field = self.world.field[course] as usize;
        let fit = match field {
            f if f == person.main => 0.6,
            f if f == person.second => 0.2,
            _ => -0.5,
        };
        let prepared = match self.world.prerequisite[course] {
            Some(before) if self.taken[before as usize] != person.mark => -0.6,
            _ => 0.0,
        };
        let x = 5.0 * (fit + prepared + 1.2 * person.ability + 1.4 * (0.4 - self.world.difficulty[course]));
        uniform < 0.5 + 0.48 * x / (1.0 + x.abs())
    }
}

//! Learners: what they enrol in, one course after another, and what they complete.

use super::world::World;
use super::{Draws, Plan};

const LEARNER: u64 = 2;

/// Draws of a course before the first one not taken is searched for.
const ATTEMPTS: usize = 24;

/// The learners of one block, one after another.
pub(super) struct Walk<'a> {
    plan: &'a Plan<'a>,
    world: &'a World,
    /// Of all learners so far.
    pub courses: Vec<u32>,
    pub completed: Vec<u8>,
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
    pub fn new(plan: &'a Plan<'a>) -> Self {
        let (world, taken) = (&plan.world, vec![0; plan.world.courses()]);
        Walk { plan, world, courses: Vec::new(), completed: Vec::new(), taken }
    }

    /// Appends a learner's enrolments.
    pub fn learner(&mut self, learner: usize) {
        let (degree, logged) = (self.plan.degrees[learner], self.plan.recipe.is_logged(learner));
        let mut draws = Draws::new(self.plan.recipe.seed, LEARNER, learner as u64);
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
            let completed = self.completes(&person, course, draws.uniform()) && logged;
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
            while let Some(before) = self.world.prerequisite[course].map(|c| c as usize).filter(|&c| free(c)) {
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

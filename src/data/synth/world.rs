//! The courses of a synthetic data set and what connects them.

use super::Draws;
use super::degrees::{apportion, pareto};
use super::shape::{Links, Shape};

const WORLD: u64 = 1;
const LINKS: u64 = 4;

/// Indices 0..n drawn with fixed weights, by binary search over running sums.
pub(super) struct Weighted {
    sums: Vec<f64>,
}

impl Weighted {
    fn new(weights: impl Iterator<Item = f64>) -> Self {
        let sums = weights.scan(0.0, |sum, w| {
            *sum += w;
            Some(*sum)
        });
        Weighted { sums: sums.collect() }
    }

    /// `uniform` in [0, 1).
    pub fn draw(&self, uniform: f64) -> usize {
        let last = self.sums.len() - 1;
        let at = uniform * self.sums[last];
        self.sums.partition_point(|&sum| sum <= at).min(last)
    }
}

/// Courses; vectors are indexed by course unless they say otherwise.
pub(super) struct World {
    pub field: Vec<u32>,
    pub school: Vec<u32>,
    teachers: Vec<Vec<u32>>,
    /// Those that draw learners from course to course; ascending.
    concepts: Vec<Vec<u32>>,
    /// Further ones, which only the graph has.
    more_concepts: Vec<Vec<u32>>,
    /// Whether the graph has the course's field, and its school.
    shows_field: Vec<bool>,
    shows_school: Vec<bool>,
    /// The course that should be taken before.
    pub prerequisite: Vec<Option<u32>>,
    /// In 0..1.
    pub difficulty: Vec<f64>,
    pub popular: Weighted,
    /// Fields by how many learners prefer them.
    pub fields: Weighted,
    /// The courses of each field, elementary ones first.
    pub field_courses: Vec<Vec<u32>>,
    field_popular: Vec<Weighted>,
    teacher_count: usize,
    school_count: usize,
    concept_count: usize,
    /// Further concepts of each field, which follow all others.
    pool: usize,
}

pub(super) struct Graph {
    pub entity_names: Vec<String>,
    pub relation_names: Vec<String>,
    pub triples: Vec<[u32; 3]>,
}

impl World {
    /// `courses` > 0.
    pub fn new(courses: usize, shape: &Shape, seed: u64) -> World {
        let mut draws = Draws::new(seed, WORLD, 0);
        let Shape { fields, schools, teachers, .. } = *shape;

        // Zipf over a random order of the courses.
        let mut popularity: Vec<f64> = (0..courses).map(|rank| 1.0 / (rank as f64 + shape.head)).collect();
        draws.shuffle(&mut popularity);
        let mut field_courses: Vec<Vec<u32>> = vec![Vec::new(); fields];
        let field: Vec<u32> = (0..courses)
            .map(|course| {
                let field = if course < fields { course } else { draws.below(fields) };
                field_courses[field].push(course as u32);
                field as u32
            })
            .collect();
        let mut world = World {
            field,
            school: vec![0; courses],
            teachers: vec![Vec::new(); courses],
            concepts: vec![Vec::new(); courses],
            more_concepts: vec![Vec::new(); courses],
            shows_field: vec![true; courses],
            shows_school: vec![true; courses],
            prerequisite: vec![None; courses],
            difficulty: vec![0.0; courses],
            popular: Weighted::new(popularity.iter().copied()),
            fields: Weighted::new((0..fields).map(|f| field_courses[f].len() as f64 / (f as f64 + 8.0))),
            field_popular: (field_courses.iter())
                .map(|list| Weighted::new(list.iter().map(|&c| popularity[c as usize])))
                .collect(),
            field_courses,
            teacher_count: teachers,
            school_count: schools,
            concept_count: 0,
            pool: 0,
        };
        let school_of_teacher: Vec<u32> = (0..teachers).map(|_| draws.below(schools) as u32).collect();
        for field in 0..fields {
            world.fill_field(field, &school_of_teacher, shape.prerequisites, &mut draws);
        }
        if let Some(links) = &shape.links {
            world.link(links, Draws::new(seed, LINKS, 0));
        }
        world
    }

    /// Teachers, schools, concepts, prerequisites and difficulties of one field's courses.
    fn fill_field(&mut self, field: usize, school_of_teacher: &[u32], prerequisites: f64, draws: &mut Draws) {
        let list = self.field_courses[field].clone();
        let fields = self.field_courses.len();
        // Teacher t teaches field t mod fields.
        let own_teachers = self.teachers_of(field);
        let concepts = list.len() / 2 + 4;
        let first_concept = self.concept_count as u32;
        self.concept_count += concepts;
        for (level, &course) in list.iter().enumerate() {
            let c = course as usize;
            let share = level as f64 / list.len() as f64;
            for _ in 0..1 + draws.below(2) {
                let teacher = (draws.below(own_teachers) * fields + field) as u32;
                if !self.teachers[c].contains(&teacher) {
                    self.teachers[c].push(teacher);
                }
            }
            self.school[c] = school_of_teacher[self.teachers[c][0] as usize];
            // Two concepts of its level, which its neighbours share, and one from anywhere in the field.
            let here = (share * (concepts - 1) as f64) as u32;
            let mut own = vec![here, here + 1, draws.below(concepts) as u32];
            own.iter_mut().for_each(|concept| *concept += first_concept);
            own.sort_unstable();
            own.dedup();
            self.concepts[c] = own;
            if level > 0 && draws.uniform() < prerequisites {
                self.prerequisite[c] = Some(list[level - 1 - draws.below(level.min(2))]);
            }
            self.difficulty[c] = 0.4 * share + 0.6 * draws.uniform();
        }
    }

    /// Hides fields and schools, and adds teachers and concepts, until the graph has as much of each as `links` says.
    fn link(&mut self, links: &Links, mut draws: Draws) {
        let (courses, fields) = (self.courses(), self.field_courses.len());
        for (shown, count) in [(&mut self.shows_field, links.fields), (&mut self.shows_school, links.schools)] {
            *shown = (0..courses).map(|k| k < count).collect();
            draws.shuffle(shown);
        }
        let mut shares = |wanted: u64, have: &[Vec<u32>], most: usize| {
            let weights: Vec<f64> = (0..courses).map(|_| pareto(draws.uniform(), 0.6)).collect();
            let missing = wanted.saturating_sub(have.iter().map(|list| list.len() as u64).sum());
            let missing = missing.min(courses as u64 * most as u64);
            apportion(&weights, missing, most as u64, |_| 0.0)
        };
        // No course has more than two teachers yet, so what is added fits the smallest field.
        let most = self.teachers_of(fields - 1).saturating_sub(2);
        let teachers = shares(links.teachers, &self.teachers, most);
        let core = self.concept_count;
        self.pool = links.concepts.saturating_sub(core) / fields;
        // Steps of 1 to 3 through the pool meet no concept twice.
        let concepts = shares(links.concept_links, &self.concepts, self.pool / 3);
        self.concept_count += self.pool * fields;
        for field in 0..fields {
            let own_teachers = self.teachers_of(field);
            let list = self.field_courses[field].clone();
            for (level, &course) in list.iter().enumerate() {
                let c = course as usize;
                let first = draws.below(own_teachers);
                let more = (0..own_teachers)
                    .map(|k| ((first + k) % own_teachers * fields + field) as u32)
                    .filter(|teacher| !self.teachers[c].contains(teacher));
                let more: Vec<u32> = more.take(teachers[c] as usize).collect();
                self.teachers[c].extend(more);
                // Courses of neighbouring levels share most of theirs.
                let mut at = level * self.pool / list.len();
                for _ in 0..concepts[c] {
                    at += 1 + draws.below(3);
                    let concept = core + field * self.pool + at % self.pool;
                    self.more_concepts[c].push(concept as u32);
                }
            }
        }
    }

    /// Teachers of a field.
    fn teachers_of(&self, field: usize) -> usize {
        (self.teacher_count - field).div_ceil(self.field_courses.len())
    }

    /// All concepts of a course.
    fn concepts_of(&self, course: usize) -> impl Iterator<Item = u32> {
        self.concepts[course].iter().chain(&self.more_concepts[course]).copied()
    }

    pub fn courses(&self) -> usize {
        self.field.len()
    }

    /// A course of a field by popularity; `uniform` in [0, 1).
    pub fn draw_in_field(&self, field: usize, uniform: f64) -> usize {
        self.field_courses[field][self.field_popular[field].draw(uniform)] as usize
    }

    pub fn shared_concepts(&self, a: usize, b: usize) -> usize {
        if self.field[a] != self.field[b] {
            return 0;
        }
        self.concepts[a].iter().filter(|c| self.concepts[b].contains(c)).count()
    }

    /// Everything as entities and triples: courses first, then fields, teachers, schools and concepts. Where the
    /// links are those of a publisher, only entities with a link are there.
    pub fn graph(&self) -> Graph {
        let kinds = [
            ("course", self.courses()),
            ("field", self.field_courses.len()),
            ("teacher", self.teacher_count),
            ("school", self.school_count),
            ("concept", self.concept_count),
        ];
        // The first entity of each kind.
        let [_, fields, teachers, schools, concepts] =
            std::array::from_fn(|k| kinds[..k].iter().map(|kind| kind.1 as u32).sum::<u32>());
        let mut triples = Vec::new();
        for c in 0..self.courses() {
            let head = c as u32;
            triples.extend(self.shows_field[c].then_some([head, 0, fields + self.field[c]]));
            triples.extend(self.teachers[c].iter().map(|t| [head, 1, teachers + t]));
            triples.extend(self.shows_school[c].then_some([head, 2, schools + self.school[c]]));
            triples.extend(self.concepts_of(c).map(|k| [head, 3, concepts + k]));
            triples.extend(self.prerequisite[c].iter().map(|&before| [head, 4, before]));
        }
        let name = |(kind, count): (&'static str, usize)| (0..count).map(move |k| format!("{kind} {k}"));
        let mut entity_names: Vec<String> = kinds.into_iter().flat_map(name).collect();
        if self.pool > 0 {
            keep_linked(self.courses(), &mut entity_names, &mut triples);
        }
        Graph {
            entity_names,
            relation_names: ["field", "teacher", "school", "concept", "prerequisite"].map(String::from).into(),
            triples,
        }
    }
}

/// Leaves out entities behind the first `courses` that no triple names, and numbers the others anew.
fn keep_linked(courses: usize, names: &mut Vec<String>, triples: &mut [[u32; 3]]) {
    let mut linked: Vec<bool> = (0..names.len()).map(|entity| entity < courses).collect();
    triples.iter().for_each(|&[_, _, tail]| linked[tail as usize] = true);
    let numbers: Vec<u32> = linked
        .iter()
        .scan(0, |next, &linked| {
            *next += linked as u32;
            Some(next.saturating_sub(1))
        })
        .collect();
    triples.iter_mut().for_each(|triple| triple[2] = numbers[triple[2] as usize]);
    let mut keep = linked.into_iter();
    names.retain(|_| keep.next().unwrap_or(true));
}

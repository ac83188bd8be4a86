//! The courses of a synthetic data set and what connects them.

use super::Draws;

const WORLD: u64 = 1;

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
    /// Ascending.
    concepts: Vec<Vec<u32>>,
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
    counts: Counts,
}

/// Numbers of what is no course.
struct Counts {
    teachers: usize,
    schools: usize,
    concepts: usize,
}

pub(super) struct Graph {
    pub entity_names: Vec<String>,
    pub relation_names: Vec<String>,
    pub triples: Vec<[u32; 3]>,
}

impl World {
    /// `courses` > 0.
    pub fn new(courses: usize, seed: u64) -> World {
        let mut draws = Draws::new(seed, WORLD, 0);
        let fields = (courses / 12).clamp(1, 200);
        let schools = (courses / 12).clamp(1, 500);
        let teachers = (courses / 2).clamp(1, 20_000).max(fields);

        // Zipf over a random order of the courses; the offset keeps the first few from taking everything.
        let mut popularity: Vec<f64> = (0..courses).map(|rank| 1.0 / (rank as f64 + 4.0)).collect();
        for i in (1..courses).rev() {
            popularity.swap(i, draws.below(i + 1));
        }
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
            prerequisite: vec![None; courses],
            difficulty: vec![0.0; courses],
            popular: Weighted::new(popularity.iter().copied()),
            fields: Weighted::new((0..fields).map(|f| field_courses[f].len() as f64 / (f as f64 + 8.0))),
            field_popular: (field_courses.iter())
                .map(|list| Weighted::new(list.iter().map(|&c| popularity[c as usize])))
                .collect(),
            field_courses,
            counts: Counts { teachers, schools, concepts: 0 },
        };
        let school_of_teacher: Vec<u32> = (0..teachers).map(|_| draws.below(schools) as u32).collect();
        for field in 0..fields {
            world.fill_field(field, &school_of_teacher, &mut draws);
        }
        world
    }

    /// Teachers, schools, concepts, prerequisites and difficulties of one field's courses.
    fn fill_field(&mut self, field: usize, school_of_teacher: &[u32], draws: &mut Draws) {
        let list = self.field_courses[field].clone();
        let fields = self.field_courses.len();
        // Teacher t teaches field t mod fields.
        let own_teachers = (self.counts.teachers - field).div_ceil(fields);
        let concepts = list.len() / 2 + 4;
        let first_concept = self.counts.concepts as u32;
        self.counts.concepts += concepts;
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
            let mut own = vec![first_concept + here, first_concept + here + 1];
            own.push(first_concept + draws.below(concepts) as u32);
            own.sort_unstable();
            own.dedup();
            self.concepts[c] = own;
            if level > 0 && draws.uniform() < 0.5 {
                self.prerequisite[c] = Some(list[level - 1 - draws.below(level.min(2))]);
            }
            self.difficulty[c] = 0.4 * share + 0.6 * draws.uniform();
        }
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

    /// Everything as entities and triples: courses first, then fields, teachers, schools and concepts.
    pub fn graph(&self) -> Graph {
        let kinds = [
            ("course", self.courses()),
            ("field", self.field_courses.len()),
            ("teacher", self.counts.teachers),
            ("school", self.counts.schools),
            ("concept", self.counts.concepts),
        ];
        let mut first = [0u32; 5];
        for k in 1..5 {
            first[k] = first[k - 1] + kinds[k - 1].1 as u32;
        }
        let [_, fields, teachers, schools, concepts] = first;
        let mut triples = Vec::new();
        for c in 0..self.courses() {
            let head = c as u32;
            triples.push([head, 0, fields + self.field[c]]);
            triples.extend(self.teachers[c].iter().map(|t| [head, 1, teachers + t]));
            triples.push([head, 2, schools + self.school[c]]);
            triples.extend(self.concepts[c].iter().map(|k| [head, 3, concepts + k]));
            triples.extend(self.prerequisite[c].iter().map(|&before| [head, 4, before]));
        }
        Graph {
            entity_names: (kinds.iter())
                .flat_map(|(kind, count)| (0..*count).map(move |k| format!("{kind} {k}")))
                .collect(),
            relation_names: ["field", "teacher", "school", "concept", "prerequisite"]
                .map(String::from)
                .into(),
            triples,
        }
    }
}

//! What a world has besides its courses, and how enrolments spread: of its own, or like a published data set.

/// Published data sets that a synthetic one can be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// MOOCCubeX, of XuetangX.
    MoocCubeX,
    /// edX in the size that is usually evaluated.
    Edx,
}

impl Preset {
    pub fn name(self) -> &'static str {
        match self {
            Preset::MoocCubeX => "mooccubex",
            Preset::Edx => "edx",
        }
    }

    /// Learners, courses and enrolments.
    pub fn sizes(self) -> (usize, usize, u64) {
        match self {
            Preset::MoocCubeX => (3_330_294, 4_216, 23_615_324),
            Preset::Edx => (4_500_000, 756, 7_588_365),
        }
    }

    /// The share of learners whose behaviour in the courses was logged. 310,360 have a log of videos in MOOCCubeX.
    pub fn log_share(self) -> f64 {
        match self {
            Preset::MoocCubeX => 310_360.0 / 3_330_294.0,
            Preset::Edx => 0.12,
        }
    }
}

/// The numbers behind a world.
pub(super) struct Shape {
    pub fields: usize,
    pub schools: usize,
    pub teachers: usize,
    /// The share of courses that have a prerequisite.
    pub prerequisites: f64,
    /// Popularity of the course at rank r, from 0, goes with 1 / (r + head).
    pub head: f64,
    pub tail: Tail,
    /// None: a course shows its field and its school, one or two teachers, and two or three concepts.
    pub links: Option<Links>,
}

/// Enrolments of learners.
pub(super) struct Tail {
    /// What is taken off Pareto weights of shape 2; those of 1 and less become 0: learners with one enrolment.
    pub offset: f64,
    /// Rounds fractions at random, and not down, so that small numbers stay as frequent as they should be.
    pub dithered: bool,
    /// The largest number of enrolments, if they fit.
    pub most: usize,
}

/// How much of a world its graph shows, where a publisher counted it.
pub(super) struct Links {
    /// Courses whose field is known.
    pub fields: usize,
    /// Courses whose school is known.
    pub schools: usize,
    /// Pairs of courses and teachers.
    pub teachers: u64,
    pub concepts: usize,
    /// Pairs of courses and concepts.
    pub concept_links: u64,
}

impl Shape {
    /// The shape for `courses` > 0: a preset's numbers go with those of its courses.
    pub fn new(preset: Option<Preset>, courses: usize) -> Shape {
        let of = |count: usize| {
            let all = preset.map_or(courses, |p| p.sizes().1) as u128;
            ((count as u128 * courses as u128 + all / 2) / all).max(1) as usize
        };
        let fields = |count| of(count).min(courses);
        let like = |fields, schools, teachers: usize, prerequisites, head| Shape {
            fields,
            schools,
            teachers: teachers.max(fields),
            prerequisites,
            head,
            tail: Tail { offset: 1.2, dithered: true, most: (courses / 2).max(1) },
            links: None,
        };
        match preset {
            None => Shape {
                // The offset of popularity keeps the first few courses from taking everything.
                tail: Tail { offset: 0.6, dithered: false, most: courses },
                ..like(
                    (courses / 12).clamp(1, 200),
                    (courses / 12).clamp(1, 500),
                    (courses / 2).clamp(1, 20_000),
                    0.5,
                    4.0,
                )
            },
            Some(Preset::MoocCubeX) => Shape {
                links: Some(Links {
                    fields: of(612).min(courses),
                    schools: of(3_748).min(courses),
                    teachers: of(13_312) as u64,
                    concepts: of(637_572),
                    concept_links: of(406_777) as u64,
                }),
                // 1,201 of 3,781 courses say what should be known before.
                ..like(fields(82), of(428), of(17_018), 1_201.0 / 3_781.0, 20.0)
            },
            Some(Preset::Edx) => like(fields(31), of(64), of(1_600), 0.2, 8.0),
        }
    }
}

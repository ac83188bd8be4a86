//! What learners are known by: relations of the graph, histories, and how recent an enrolment is.

/// Relation ids on the graph: those of the knowledge graph, their inverses, then the enrolments'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relations {
    pub kg: usize,
    pub self_loop: bool,
}

impl Relations {
    pub fn inverse(&self, relation: u32) -> u32 {
        relation + self.kg as u32
    }

    /// learner -> course
    pub fn enrol(&self) -> u32 {
        2 * self.kg as u32
    }

    /// course -> learner
    pub fn enrolled_by(&self) -> u32 {
        2 * self.kg as u32 + 1
    }

    pub fn itself(&self) -> u32 {
        2 * self.kg as u32 + 2
    }

    pub fn count(&self) -> usize {
        2 * self.kg + 2 + usize::from(self.self_loop)
    }
}

/// Labels of a history at most: 2^labels vectors for each course.
pub const MAX_HISTORY_LABELS: usize = 4;

/// Courses of learners, one row each, the latest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histories {
    /// rows + 1
    pub offsets: Vec<u64>,
    pub course: Vec<u32>,
    /// What became of each course: its labels as bits, or 0 where the model does not read them.
    pub outcome: Vec<u8>,
}

impl Histories {
    pub fn new() -> Self {
        Histories { offsets: vec![0], course: vec![], outcome: vec![] }
    }

    /// Adds the row of a learner: courses with their outcomes.
    pub fn push(&mut self, history: impl IntoIterator<Item = (u32, u8)>) {
        for (course, outcome) in history {
            self.course.push(course);
            self.outcome.push(outcome);
        }
        self.offsets.push(self.course.len() as u64);
    }

    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn row(&self, i: usize) -> &[u32] {
        &self.course[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }
}

/// The bucket of the course that is `back` places before the end of the history, from 1; bucket 0 is for edges
/// that are no enrolments. Two thirds of the buckets hold one place each, the others twice as many as the last.
pub fn recency_bucket(back: usize, buckets: usize) -> u32 {
    let single = (buckets * 2 / 3).max(1);
    let bucket = match back.checked_sub(single) {
        None => back,
        Some(beyond) => single + (beyond / single + 1).ilog2() as usize,
    };
    1 + bucket.min(buckets - 1) as u32
}

//! The data set in memory: enrolments of learners in courses, and the knowledge graph around the courses.

use std::fmt;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::column::Column;
use super::names::Names;
use base::{Error, Result};

/// The part of the experiment that an enrolment belongs to; the number is that of the store. Bytes of a file are checked to
/// be one of the three before they are used as splits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
#[repr(transparent)]
pub struct Split(u8);

/// Named like the variants of an enum; an enum would not be `Pod`, as columns of a mapped file must be.
#[allow(non_upper_case_globals)]
impl Split {
    pub const Train: Split = Split(0);
    pub const Valid: Split = Split(1);
    pub const Test: Split = Split(2);
}

impl Split {
    pub const ALL: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

    /// Its index in `ALL`.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub fn name(self) -> &'static str {
        ["train", "valid", "test"][self.index()]
    }
}

impl From<Split> for &'static str {
    fn from(split: Split) -> Self {
        split.name()
    }
}

impl TryFrom<String> for Split {
    type Error = String;

    fn try_from(name: String) -> Result<Split, String> {
        let found = Split::ALL.into_iter().find(|s| s.name() == name);
        found.ok_or_else(|| format!("unknown split `{name}`, expected train, valid or test"))
    }
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Enrolments: one row per (learner, course). The rows of a learner are consecutive and in time order, or in
/// the order of the source where it has no time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interactions {
    /// learners + 1 numbers: the rows of learner u are `offsets[u]..offsets[u + 1]`.
    pub offsets: Column<u64>,
    /// The course of each row.
    pub course: Column<u32>,
    /// One column per label, of 0 and 1, each as long as `course`.
    pub label_values: Vec<Column<u8>>,
    pub split: Column<Split>,
    /// Whether the order of a learner's rows is known to be their order in time.
    pub has_time: bool,
}

/// A data set. Entities are numbered together: courses are `0..courses`, what else the knowledge graph names
/// (teachers, schools, concepts, ...) follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    pub name: String,
    /// The source's ids of the learners, never their personal names.
    pub learner_names: Names,
    pub entity_names: Names,
    pub courses: usize,
    /// Relations of the knowledge graph, without inverses and without the enrolment relation.
    pub relation_names: Names,
    /// (head, relation, tail)
    pub triples: Column<[u32; 3]>,
    /// Names of the behaviours beyond enrolment itself, such as "completed".
    pub labels: Vec<String>,
    pub interactions: Interactions,
}

/// Courses of each learner, ascending: for sampling and masking.
#[derive(Clone, Debug, PartialEq)]
pub struct CourseLists {
    offsets: Vec<u64>,
    courses: Vec<u32>,
}

impl CourseLists {
    pub fn learners(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The courses of one learner, ascending.
    #[inline]
    pub fn of(&self, learner: usize) -> &[u32] {
        &self.courses[self.offsets[learner] as usize..self.offsets[learner + 1] as usize]
    }

    pub fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    pub fn courses(&self) -> &[u32] {
        &self.courses
    }
}

impl Dataset {
    pub fn learners(&self) -> usize {
        self.learner_names.len()
    }

    pub fn entities(&self) -> usize {
        self.entity_names.len()
    }

    pub fn relations(&self) -> usize {
        self.relation_names.len()
    }

    pub fn enrolments(&self) -> usize {
        self.interactions.course.len()
    }

    /// The position of a label in `labels`.
    pub fn label(&self, name: &str) -> Option<usize> {
        self.labels.iter().position(|l| l == name)
    }

    /// The position of a label that the user named. Errors: `Error::Config` that lists the labels there are.
    pub fn require_label(&self, name: &str) -> Result<usize> {
        self.label(name).ok_or_else(|| {
            let known = if self.labels.is_empty() { "none".into() } else { self.labels.join(", ") };
            Error::config("label", format!("the data set has no label '{name}'"), format!("its labels: {known}"))
        })
    }

    /// The rows of one learner, in time order.
    #[inline]
    pub fn rows(&self, learner: usize) -> Range<usize> {
        self.interactions.offsets[learner] as usize..self.interactions.offsets[learner + 1] as usize
    }

    /// The courses of one learner, in time order.
    #[inline]
    pub fn courses_of(&self, learner: usize) -> &[u32] {
        &self.interactions.course[self.rows(learner)]
    }

    /// The courses of one learner in the given splits, in time order.
    pub fn courses_in<'a>(&'a self, learner: usize, splits: &'a [Split]) -> impl Iterator<Item = u32> + 'a {
        let i = &self.interactions;
        self.rows(learner).filter(|&row| splits.contains(&i.split[row])).map(|row| i.course[row])
    }

    /// (learner, row) of every enrolment of a split, by learner and then in time order.
    pub fn rows_in(&self, split: Split) -> impl Iterator<Item = (u32, usize)> + '_ {
        (0..self.learners()).flat_map(move |u| {
            self.rows(u).filter(move |&r| self.interactions.split[r] == split).map(move |r| (u as u32, r))
        })
    }

    /// Whether the enrolments have times and every learner's validation and test enrolments come after the training
    /// ones, so that no later enrolment is known when one is predicted.
    pub fn splits_by_time(&self) -> bool {
        let split = &self.interactions.split;
        let ahead = |u: usize| split[self.rows(u)].is_sorted_by_key(|&s| s != Split::Train);
        self.interactions.has_time && (0..self.learners()).all(ahead)
    }

    /// Keeps the first `n` learners and their enrolments. Courses, knowledge graph and labels stay. Returns how many
    /// learners were left out, `None` where there are no more than `n`.
    pub fn keep_learners(&mut self, n: usize) -> Option<u64> {
        let left_out = self.learners().checked_sub(n).filter(|&more| more > 0)?;
        let rows = self.rows(n).start;
        let i = &mut self.interactions;
        i.offsets.to_mut().truncate(n + 1);
        i.course.to_mut().truncate(rows);
        i.split.to_mut().truncate(rows);
        i.label_values.iter_mut().for_each(|column| column.to_mut().truncate(rows));
        self.learner_names.truncate(n);
        Some(left_out as u64)
    }

    /// Enrolments in train, valid and test.
    pub fn split_counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        self.interactions.split.iter().for_each(|&s| counts[s.index()] += 1);
        counts
    }

    /// The courses of every learner in the given splits, ascending per learner, each once, even where a tampered file has
    /// one twice: samplers rely on it.
    pub fn course_lists(&self, splits: &[Split]) -> CourseLists {
        let (mut offsets, mut courses, mut own) = (vec![0], Vec::new(), Vec::new());
        for u in 0..self.learners() {
            own.clear();
            own.extend(self.courses_in(u, splits));
            own.sort_unstable();
            own.dedup();
            courses.extend_from_slice(&own);
            offsets.push(courses.len() as u64);
        }
        CourseLists { offsets, courses }
    }

    /// Enrolments per course in the given splits.
    pub fn course_degrees(&self, splits: &[Split]) -> Vec<u32> {
        let mut degrees = vec![0; self.courses];
        for (&c, s) in self.interactions.course.iter().zip(&self.interactions.split) {
            if splits.contains(s) {
                degrees[c as usize] += 1;
            }
        }
        degrees
    }
}

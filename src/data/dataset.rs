//! The data set in memory: enrolments of learners in courses, and the knowledge graph around the courses.

use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ops::Range;

/// The part of the experiment that an enrolment belongs to. The numbers are those of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Split {
    Train = 0,
    Valid = 1,
    Test = 2,
}

impl Split {
    pub const ALL: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        }
    }

    pub fn from_u8(value: u8) -> Option<Split> {
        Split::ALL.get(value as usize).copied()
    }
}

/// Enrolments: one row per (learner, course). The rows of a learner are consecutive and in time order, or in
/// the order of the source where it has no time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interactions {
    /// learners + 1 numbers: the rows of learner u are `offsets[u]..offsets[u + 1]`.
    pub offsets: Vec<u64>,
    /// The course of each row.
    pub course: Vec<u32>,
    /// One column per label, of 0 and 1, each as long as `course`.
    pub label_values: Vec<Vec<u8>>,
    pub split: Vec<Split>,
    /// Whether the order of a learner's rows is known to be their order in time.
    pub has_time: bool,
}

/// A data set. Entities are numbered together: courses are `0..courses`, what else the knowledge graph names
/// (teachers, schools, concepts, ...) follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    pub name: String,
    /// The source's ids of the learners, never their personal names.
    pub learner_names: Vec<String>,
    pub entity_names: Vec<String>,
    pub courses: usize,
    /// Relations of the knowledge graph, without inverses and without the enrolment relation.
    pub relation_names: Vec<String>,
    /// (head, relation, tail)
    pub triples: Vec<[u32; 3]>,
    /// Names of the behaviours beyond enrolment itself, such as "completed".
    pub labels: Vec<String>,
    pub interactions: Interactions,
}

/// Courses of each learner, ascending: what sampling and masking look up.
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
            Error::config(
                "label",
                format!("the data set has no label '{name}'"),
                format!("its labels: {known}"),
            )
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

    /// The courses of one learner in one split, in time order.
    pub fn courses_in(&self, learner: usize, split: Split) -> impl Iterator<Item = u32> + '_ {
        self.rows(learner)
            .filter(move |&r| self.interactions.split[r] == split)
            .map(|r| self.interactions.course[r])
    }

    /// (learner, row) of every enrolment of a split, by learner and then in time order.
    pub fn rows_in(&self, split: Split) -> impl Iterator<Item = (u32, usize)> + '_ {
        (0..self.learners()).flat_map(move |u| {
            self.rows(u).filter(move |&r| self.interactions.split[r] == split).map(move |r| (u as u32, r))
        })
    }

    /// Enrolments in train, valid and test.
    pub fn split_counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        self.interactions.split.iter().for_each(|&s| counts[s as usize] += 1);
        counts
    }

    /// The courses of every learner in the given splits, ascending per learner.
    pub fn course_lists(&self, splits: &[Split]) -> CourseLists {
        let mut offsets = Vec::with_capacity(self.learners() + 1);
        let mut courses = Vec::new();
        offsets.push(0);
        for u in 0..self.learners() {
            let start = courses.len();
            courses.extend(
                self.rows(u)
                    .filter(|&r| splits.contains(&self.interactions.split[r]))
                    .map(|r| self.interactions.course[r]),
            );
            courses[start..].sort_unstable();
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

    /// Checks every shape and range that the rest of the program relies on; `Err` says what does not hold.
    pub fn validate(&self) -> Result<(), String> {
        let i = &self.interactions;
        let (n, learners, entities) = (i.course.len(), self.learners(), self.entities());
        let ensure = |holds: bool, why: &dyn Fn() -> String| if holds { Ok(()) } else { Err(why()) };
        ensure(self.courses <= entities, &|| format!("{} courses but {entities} entities", self.courses))?;
        ensure(entities < u32::MAX as usize, &|| format!("{entities} entities are too many for 32-bit ids"))?;
        ensure(learners < u32::MAX as usize, &|| format!("{learners} learners are too many for 32-bit ids"))?;
        ensure(i.offsets.len() == learners + 1, &|| {
            format!("{} offsets for {learners} learners", i.offsets.len())
        })?;
        ensure(i.offsets[0] == 0 && i.offsets[learners] == n as u64, &|| {
            format!("offsets run from {} to {}, rows from 0 to {n}", i.offsets[0], i.offsets[learners])
        })?;
        ensure(i.offsets.is_sorted(), &|| "offsets are not ascending".into())?;
        ensure(i.split.len() == n, &|| format!("{} splits for {n} rows", i.split.len()))?;
        ensure(i.label_values.len() == self.labels.len(), &|| {
            format!("{} label columns for {} labels", i.label_values.len(), self.labels.len())
        })?;
        for (name, column) in self.labels.iter().zip(&i.label_values) {
            ensure(column.len() == n, &|| format!("label {name}: {} values for {n} rows", column.len()))?;
            ensure(column.iter().all(|&v| v <= 1), &|| format!("label {name}: a value is neither 0 nor 1"))?;
        }
        if let Some(c) = i.course.iter().find(|&&c| c as usize >= self.courses) {
            return Err(format!("course {c} of only {}", self.courses));
        }
        for &[h, r, t] in &self.triples {
            ensure((h as usize) < entities && (t as usize) < entities, &|| {
                format!("triple ({h}, {r}, {t}) with only {entities} entities")
            })?;
            ensure((r as usize) < self.relations(), &|| {
                format!("triple ({h}, {r}, {t}) with only {} relations", self.relations())
            })?;
        }
        let twice = (0..learners).into_par_iter().find_map_first(|u| {
            let mut courses = self.courses_of(u).to_vec();
            courses.sort_unstable();
            courses.windows(2).find(|w| w[0] == w[1]).map(|w| (u, w[0]))
        });
        match twice {
            Some((u, c)) => Err(format!("learner {u} has course {c} twice")),
            None => Ok(()),
        }
    }

    /// SHA-256 over sizes, rows, labels, split and triples (not over names): two runs can be compared when
    /// their fingerprints are equal.
    pub fn fingerprint(&self) -> String {
        let i = &self.interactions;
        let mut hash = Sha256::new();
        hash.update(b"waata dataset 1\n");
        for size in [self.learners(), self.courses, self.entities(), self.relations(), self.labels.len()] {
            hash.update((size as u64).to_le_bytes());
        }
        hash.update([i.has_time as u8]);
        hash_section(&mut hash, i.offsets.iter().map(|v| v.to_le_bytes()));
        hash_section(&mut hash, i.course.iter().map(|v| v.to_le_bytes()));
        hash_section(&mut hash, i.split.iter().map(|&v| [v as u8]));
        for (name, column) in self.labels.iter().zip(&i.label_values) {
            hash_section(&mut hash, name.bytes().map(|b| [b]));
            hash_section(&mut hash, column.iter().map(|&v| [v]));
        }
        hash_section(&mut hash, self.triples.iter().flatten().map(|v| v.to_le_bytes()));
        hex(&hash.finalize())
    }

    /// SHA-256 over the split alone: which rows, in their order, are train, valid and test.
    pub fn split_fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"waata split 1\n");
        hash_section(&mut hash, self.interactions.split.iter().map(|&v| [v as u8]));
        hex(&hash.finalize())
    }
}

/// The bytes, then how many values they were: no two different sequences of sections hash alike.
fn hash_section<const N: usize>(hash: &mut Sha256, values: impl Iterator<Item = [u8; N]>) {
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut length = 0u64;
    for value in values {
        length += 1;
        buffer.extend_from_slice(&value);
        if buffer.len() + N > 1 << 16 {
            hash.update(&buffer);
            buffer.clear();
        }
    }
    hash.update(&buffer);
    hash.update(length.to_le_bytes());
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

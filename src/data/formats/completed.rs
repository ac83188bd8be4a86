//! The label `completed`: which enrolments reach a share of their course's videos or problems.

use super::coverage::{Coverage, Reached};
use super::raw::{COMPLETED_SHARE, RawFolder, RawOptions, percent};
use crate::data::Interactions;

/// The label while logs are read; each of them may set it.
pub(super) struct Completed {
    threshold: f64,
    values: Vec<u8>,
    /// Whether any log could be held against the courses.
    known: bool,
}

impl Completed {
    pub fn new(options: &RawOptions, interactions: &Interactions) -> Completed {
        let threshold = options.completed_share.unwrap_or(COMPLETED_SHARE);
        Completed { threshold, values: vec![0; interactions.course.len()], known: false }
    }

    /// Sets the label where the coverage reaches the share. `what` names the items in the report.
    pub fn mark(&mut self, raw: &mut RawFolder, coverage: &Coverage, what: &str) {
        self.known = true;
        let mut marked = 0u64;
        for (row, value) in self.values.iter_mut().enumerate() {
            let reached = coverage.share(row) >= self.threshold;
            *value |= reached as u8;
            marked += reached as u64;
        }
        raw.note(format!(
            "completed: {marked} of {} enrolments reach {} of the course's {what} ({} courses have any)",
            self.values.len(),
            percent(self.threshold),
            coverage.courses_with_items(),
        ));
    }

    /// A value per enrolment; None where nothing says what learners did.
    pub fn finish(self, raw: &mut RawFolder) -> Option<Vec<u8>> {
        if !self.known {
            raw.note(
                "no label: what learners watched or answered is missing, or what the courses have is".into(),
            );
        }
        self.known.then_some(self.values)
    }
}

/// How much of a log did not lead to an enrolment.
#[derive(Default)]
pub(super) struct Tally {
    all: u64,
    /// By learners without an enrolment, or whom no file lists.
    strangers: u64,
    /// Of no course.
    unknown: u64,
    /// Of courses that the learner is not enrolled in.
    not_enrolled: u64,
}

impl Tally {
    /// Takes an item of the log by its place; None for a learner without an enrolment and for an item of no course.
    pub fn reach(&mut self, coverage: &mut Coverage, learner: Option<u32>, place: Option<usize>) {
        self.all += 1;
        let Some(learner) = learner else {
            self.strangers += 1;
            return;
        };
        match coverage.reach(learner, place) {
            Reached::Counted => {}
            Reached::NotEnrolled => self.not_enrolled += 1,
            Reached::Unknown => self.unknown += 1,
        }
    }

    pub fn note(&self, raw: &mut RawFolder, file: &str, what: &str) {
        let Tally { all, strangers, unknown, not_enrolled } = self;
        if strangers + unknown + not_enrolled > 0 {
            raw.note(format!(
                "{file}: of {all} {what}, {not_enrolled} belong to courses that the learner is not enrolled in, \
                 {unknown} to no course, and {strangers} to learners without an enrolment"
            ));
        }
    }
}

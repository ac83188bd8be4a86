//! The label `completed`: which enrolments reach a share of their course's videos or problems.

use super::coverage::{Coverage, Items, Reached};
use super::raw::{COMPLETED_SHARE, RawFolder, RawOptions, percent};
use super::resume::{Resumable, Saved};
use crate::Interactions;

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

/// A log of learners, as far as it has been read: what it says, and how much of it led to no enrolment.
pub(super) struct Log<'a> {
    pub coverage: Coverage<'a>,
    tally: Tally,
    /// What else its reader counts.
    pub counted: [u64; 2],
}

/// Items of a log.
#[derive(Default)]
struct Tally {
    all: u64,
    /// By learners without an enrolment, or whom no file lists.
    strangers: u64,
    /// Of no course.
    unknown: u64,
    /// Of courses that the learner is not enrolled in.
    not_enrolled: u64,
}

impl<'a> Log<'a> {
    pub fn new(items: &'a Items, interactions: &'a Interactions) -> Log<'a> {
        Log { coverage: Coverage::new(items, interactions), tally: Tally::default(), counted: [0; 2] }
    }

    /// Takes an item by its place; None for a learner without an enrolment and for an item of no course.
    pub fn reach(&mut self, learner: Option<u32>, place: Option<usize>) {
        let tally = &mut self.tally;
        tally.all += 1;
        let Some(learner) = learner else {
            tally.strangers += 1;
            return;
        };
        match self.coverage.reach(learner, place) {
            Reached::Counted => {}
            Reached::NotEnrolled => tally.not_enrolled += 1,
            Reached::Unknown => tally.unknown += 1,
        }
    }

    /// Reports at the end of `file`, which has `what`; another file may go on with what is covered.
    pub fn end(&mut self, raw: &mut RawFolder, file: &str, what: &str) {
        let Tally { all, strangers, unknown, not_enrolled } = std::mem::take(&mut self.tally);
        if strangers + unknown + not_enrolled > 0 {
            raw.note(format!(
                "{file}: of {all} {what}, {not_enrolled} belong to courses that the learner is not enrolled in, \
                 {unknown} to no course, and {strangers} to learners without an enrolment"
            ));
        }
    }
}

impl Resumable for Log<'_> {
    fn save(&self) -> Option<Saved> {
        let Tally { all, strangers, unknown, not_enrolled } = self.tally;
        let [one, other] = self.counted;
        let (rows, bits) = self.coverage.save();
        Some(Saved { counts: vec![all, strangers, unknown, not_enrolled, one, other], rows, bits })
    }

    fn restore(&mut self, saved: Saved) -> Option<()> {
        let [all, strangers, unknown, not_enrolled, one, other] = saved.counts.try_into().ok()?;
        self.coverage.restore(&saved.rows, saved.bits)?;
        self.tally = Tally { all, strangers, unknown, not_enrolled };
        self.counted = [one, other];
        Some(())
    }
}

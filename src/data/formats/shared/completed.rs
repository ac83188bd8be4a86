//! The label `completed`: which enrolments reach a share of their course's items, such as its videos.
//!
//! The logs of learners are far larger than memory and come in any order, possibly with repetitions. A bit per item
//! for each enrolment that has any is exact all the same, and costs a few dozen bytes per enrolment.

use super::source::Source;
use super::values::percent;
use crate::formats::COMPLETED_SHARE;
use crate::{Dataset, Interactions};
use std::borrow::Borrow;

/// The items of every course, by their ids `K`. An item of several courses counts in each.
pub struct Items<K> {
    /// (item, course, position among the course's items), sorted.
    places: Vec<(K, u32, u32)>,
    /// Items of each course.
    totals: Vec<u32>,
}

impl<K: Ord> Items<K> {
    /// From (item, course) pairs in any order; pairs may repeat. The courses are `0..courses`.
    pub fn new(mut pairs: Vec<(K, u32)>, courses: usize) -> Items<K> {
        pairs.sort_unstable();
        pairs.dedup();
        let mut totals = vec![0u32; courses];
        let place = |(item, course)| {
            let total: &mut u32 = &mut totals[course as usize];
            *total += 1;
            (item, course, *total - 1)
        };
        Items { places: pairs.into_iter().map(place).collect(), totals }
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Where an item stands, for [`Log::reach`]. None for one that no course has.
    pub fn place<Q: Ord + ?Sized>(&self, item: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let start = self.places.partition_point(|(i, ..)| i.borrow() < item);
        self.places.get(start).filter(|(i, ..)| i.borrow() == item).map(|_| start)
    }

    /// Words of an enrolment's bits.
    fn words(&self, course: u32) -> usize {
        self.totals[course as usize].div_ceil(64) as usize
    }
}

/// Logs of learners, as far as they have been read: the items that each enrolment has reached, and how many items led to
/// no enrolment.
pub struct Log<'a, K> {
    items: &'a Items<K>,
    interactions: &'a Interactions,
    /// Where the bits of each row begin in `bits`, in words; [`NONE`] for rows that have reached nothing.
    start: Vec<usize>,
    bits: Vec<u64>,
    tally: Tally,
}

const NONE: usize = usize::MAX;

/// Items of a log.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    all: u64,
    /// By learners without an enrolment, or whom no file lists.
    strangers: u64,
    /// Of no course.
    unknown: u64,
    /// Of courses that the learner is not enrolled in.
    not_enrolled: u64,
}

impl<'a, K: Ord> Log<'a, K> {
    pub fn new(items: &'a Items<K>, interactions: &'a Interactions) -> Self {
        let start = vec![NONE; interactions.course.len()];
        Log { items, interactions, start, bits: Vec::new(), tally: Tally::default() }
    }

    /// The learner has watched, answered or otherwise reached the item that stands at `place` ([`Items::place`]). None for
    /// a learner without an enrolment, and for an item of no course.
    pub fn reach(&mut self, learner: Option<u32>, place: Option<usize>) {
        let tally = &mut self.tally;
        tally.all += 1;
        let Some(learner) = learner else {
            tally.strangers += 1;
            return;
        };
        let Some(place) = place else {
            tally.unknown += 1;
            return;
        };
        let offsets = &self.interactions.offsets;
        let rows = offsets[learner as usize] as usize..offsets[learner as usize + 1] as usize;
        let (items, mut reached) = (self.items, false);
        let item = &items.places[place].0;
        for &(_, course, position) in items.places[place..].iter().take_while(|(other, ..)| other == item) {
            let found = self.interactions.course[rows.clone()].iter().position(|&c| c == course);
            let Some(row) = found.map(|at| rows.start + at) else { continue };
            if self.start[row] == NONE {
                self.start[row] = self.bits.len();
                self.bits.resize(self.bits.len() + items.words(course), 0);
            }
            self.bits[self.start[row] + position as usize / 64] |= 1 << (position % 64);
            reached = true;
        }
        tally.not_enrolled += !reached as u64;
    }

    /// Reports at the end of `file`, which has `what`; another file may go on with what is reached.
    pub fn end(&mut self, source: &mut Source, file: &str, what: &str) {
        let Tally { all, strangers, unknown, not_enrolled } = std::mem::take(&mut self.tally);
        source.note_if(
            strangers + unknown + not_enrolled,
            format!(
                "{file}: of {all} {what}, {not_enrolled} belong to courses that the learner is not enrolled in, \
                 {unknown} to no course, and {strangers} to learners without an enrolment"
            ),
        );
    }

    /// The share of the course's items that the enrolment of a row has reached, from 0 to 1; 0 for a course without
    /// items.
    fn share(&self, row: usize) -> f64 {
        if self.start[row] == NONE {
            return 0.0;
        }
        let course = self.interactions.course[row];
        let words = &self.bits[self.start[row]..][..self.items.words(course)];
        let reached: u32 = words.iter().map(|w| w.count_ones()).sum();
        reached as f64 / self.items.totals[course as usize] as f64
    }
}

/// The label while logs are read; each of them may set it.
pub struct Completed {
    threshold: f64,
    /// A value per enrolment; None while no log could be held against the courses.
    values: Option<Vec<u8>>,
}

impl Completed {
    pub fn new(source: &Source) -> Completed {
        Completed { threshold: source.completed_share().unwrap_or(COMPLETED_SHARE), values: None }
    }

    /// Sets the label where a log reaches the share. `what` names the items in the report.
    pub fn mark<K: Ord>(&mut self, source: &mut Source, log: &Log<K>, what: &str) {
        let values = self.values.get_or_insert_with(|| vec![0; log.start.len()]);
        let mut marked = 0u64;
        for (row, value) in values.iter_mut().enumerate() {
            let reached = log.share(row) >= self.threshold;
            *value |= reached as u8;
            marked += reached as u64;
        }
        let (enrolments, share) = (values.len(), percent(self.threshold));
        let courses = log.items.totals.iter().filter(|&&n| n > 0).count();
        source.report.notes.push(format!(
            "completed: {marked} of {enrolments} enrolments reach {share} of the course's {what} ({courses} courses have any)"
        ));
    }

    /// Adds the label, where anything says what learners did.
    pub fn finish(self, source: &mut Source, dataset: &mut Dataset) {
        let why = "no label: what learners watched or answered is missing, or what the courses have is";
        source.note_if(self.values.is_none() as u64, why.into());
        if let Some(values) = self.values {
            dataset.labels.push("completed".into());
            dataset.interactions.label_values.push(values.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Split;

    #[test]
    fn shares_of_shared_and_repeated_items() {
        // Course 0 has items 0..100, course 1 only 99, course 2 nothing.
        let pairs = (0..100).map(|item| (item, 0)).chain([(99, 1), (99, 1), (5, 0)]);
        let items = Items::new(pairs.collect(), 3);
        assert_eq!((&items.totals[..], items.is_empty()), (&[100, 1, 0][..], false));
        let interactions = Interactions {
            offsets: vec![0, 3, 4].into(),
            course: vec![2, 1, 0, 0].into(),
            label_values: Vec::new(),
            split: vec![Split::Train; 4].into(),
            has_time: true,
        };
        let mut log = Log::new(&items, &interactions);
        for (learner, item) in [(0, 99), (0, 100), (1, 0), (1, 64), (1, 64), (1, 99)] {
            log.reach(Some(learner), items.place(&item));
        }
        log.reach(None, items.place(&1));
        assert_eq!(log.tally, Tally { all: 7, strangers: 1, unknown: 1, not_enrolled: 0 });
        let shares: Vec<f64> = (0..4).map(|row| log.share(row)).collect();
        assert_eq!(shares, [0.0, 1.0, 0.01, 0.03]);
        let nobody = Interactions { offsets: vec![0, 0, 4].into(), ..interactions };
        let mut log = Log::new(&items, &nobody);
        log.reach(Some(0), items.place(&5));
        assert_eq!(log.tally.not_enrolled, 1);
    }
}

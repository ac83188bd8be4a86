//! Which share of a course's items, such as its videos, each enrolment has reached.
//!
//! The logs of learners are far larger than memory and come in any order, possibly with repetitions. A bit per item
//! for each enrolment that has any is exact all the same, and costs a few dozen bytes per enrolment.

use crate::Interactions;

/// The items of every course. An item of several courses counts in each.
pub(super) struct Items {
    /// (item, course, position among the course's items), sorted.
    places: Vec<(u64, u32, u32)>,
    /// Items of each course.
    totals: Vec<u32>,
}

impl Items {
    /// From (item, course) pairs in any order; pairs may repeat. The courses are `0..courses`.
    pub fn new(mut pairs: Vec<(u64, u32)>, courses: usize) -> Items {
        pairs.sort_unstable();
        pairs.dedup();
        let mut totals = vec![0u32; courses];
        let places = (pairs.into_iter())
            .map(|(item, course)| {
                let total = &mut totals[course as usize];
                *total += 1;
                (item, course, *total - 1)
            })
            .collect();
        Items { places, totals }
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Courses that have at least one item.
    pub fn courses(&self) -> usize {
        self.totals.iter().filter(|&&n| n > 0).count()
    }

    /// Where an item stands, for [`Coverage::reach`]. None for one that no course has.
    pub fn place(&self, item: u64) -> Option<usize> {
        let start = self.places.partition_point(|&(i, ..)| i < item);
        self.places.get(start).filter(|place| place.0 == item).map(|_| start)
    }

    /// The places of the item whose first one is `start`.
    fn from(&self, start: usize) -> &[(u64, u32, u32)] {
        let rest = &self.places[start..];
        &rest[..rest.iter().take_while(|&&(i, ..)| i == rest[0].0).count()]
    }
}

/// What became of an item in a learner's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// It belongs to a course that the learner is enrolled in.
    Counted,
    /// It belongs to other courses only.
    NotEnrolled,
    /// No course has it.
    Unknown,
}

/// The items that each enrolment has reached.
pub(super) struct Coverage<'a> {
    items: &'a Items,
    interactions: &'a Interactions,
    /// Where the bits of each row begin in `bits`, in words; [`NONE`] for rows that have reached nothing.
    start: Vec<usize>,
    bits: Vec<u64>,
}

const NONE: usize = usize::MAX;

impl<'a> Coverage<'a> {
    pub fn new(items: &'a Items, interactions: &'a Interactions) -> Self {
        Coverage { items, interactions, start: vec![NONE; interactions.course.len()], bits: Vec::new() }
    }

    /// The learner has watched, answered or otherwise reached the item that stands at `place` ([`Items::place`]).
    pub fn reach(&mut self, learner: u32, place: Option<usize>) -> Reached {
        let Some(place) = place else { return Reached::Unknown };
        let offsets = &self.interactions.offsets;
        let rows = offsets[learner as usize] as usize..offsets[learner as usize + 1] as usize;
        let mut reached = Reached::NotEnrolled;
        for &(_, course, position) in self.items.from(place) {
            let found = self.interactions.course[rows.clone()].iter().position(|&c| c == course);
            let Some(row) = found.map(|at| rows.start + at) else { continue };
            if self.start[row] == NONE {
                self.start[row] = self.bits.len();
                self.bits.resize(self.bits.len() + self.words(course), 0);
            }
            self.bits[self.start[row] + position as usize / 64] |= 1 << (position % 64);
            reached = Reached::Counted;
        }
        reached
    }

    /// The rows that have reached anything, in the order of their bits, and the bits.
    pub fn save(&self) -> (Vec<u32>, Vec<u64>) {
        let mut rows: Vec<u32> =
            (0..self.start.len() as u32).filter(|&row| self.start[row as usize] != NONE).collect();
        rows.sort_unstable_by_key(|&row| self.start[row as usize]);
        (rows, self.bits.clone())
    }

    /// Goes back to what `save` gave. None, and nothing has changed, for what is of other courses or enrolments.
    pub fn restore(&mut self, rows: &[u32], bits: Vec<u64>) -> Option<()> {
        let (mut start, mut next) = (vec![NONE; self.start.len()], 0);
        for &row in rows {
            let own = start.get_mut(row as usize).filter(|own| **own == NONE)?;
            *own = next;
            next += self.words(self.interactions.course[row as usize]);
        }
        if next != bits.len() {
            return None;
        }
        (self.start, self.bits) = (start, bits);
        Some(())
    }

    /// Words of an enrolment's bits.
    fn words(&self, course: u32) -> usize {
        self.items.totals[course as usize].div_ceil(64) as usize
    }

    pub fn courses_with_items(&self) -> usize {
        self.items.courses()
    }

    /// The share of the course's items that the enrolment of a row has reached, from 0 to 1; 0 for a course without
    /// items.
    pub fn share(&self, row: usize) -> f64 {
        if self.start[row] == NONE {
            return 0.0;
        }
        let course = self.interactions.course[row];
        let total = self.items.totals[course as usize];
        let words = &self.bits[self.start[row]..][..self.words(course)];
        words.iter().map(|w| w.count_ones()).sum::<u32>() as f64 / total as f64
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
        assert_eq!((items.courses(), items.is_empty()), (2, false));
        let interactions = Interactions {
            offsets: vec![0, 3, 4].into(),
            course: vec![2, 1, 0, 0].into(),
            label_values: Vec::new(),
            split: vec![Split::Train; 4].into(),
            has_time: true,
        };
        let mut coverage = Coverage::new(&items, &interactions);
        assert_eq!(coverage.reach(0, items.place(99)), Reached::Counted);
        assert_eq!(coverage.reach(0, items.place(100)), Reached::Unknown);
        for item in [0, 64, 64, 99] {
            assert_eq!(coverage.reach(1, items.place(item)), Reached::Counted);
        }
        let shares: Vec<f64> = (0..4).map(|row| coverage.share(row)).collect();
        assert_eq!(shares, [0.0, 1.0, 0.01, 0.03]);
        let (rows, bits) = coverage.save();
        assert_eq!((&rows[..], bits.len()), (&[2, 1, 3][..], 5), "{bits:?}");
        let mut again = Coverage::new(&items, &interactions);
        assert_eq!(again.restore(&rows[..2], bits.clone()), None);
        assert_eq!(again.restore(&[1, 3, 3], bits.clone()), None);
        assert_eq!(again.restore(&[1, 2, 4], bits.clone()), None);
        assert_eq!((0..4).map(|row| again.share(row)).sum::<f64>(), 0.0, "nothing has changed");
        again.restore(&rows, bits).unwrap();
        assert_eq!((0..4).map(|row| again.share(row)).collect::<Vec<f64>>(), shares);
        let nobody = Interactions { offsets: vec![0, 0, 4].into(), ..interactions };
        assert_eq!(Coverage::new(&items, &nobody).reach(0, items.place(5)), Reached::NotEnrolled);
    }
}

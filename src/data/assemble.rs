//! From rows in any order to [`Interactions`]: grouped by learner, in time order, one row per course.

use super::dataset::{Interactions, Split};

/// What the readers fill in, one entry per row of the source.
#[derive(Default)]
pub(crate) struct Rows {
    pub learner: Vec<u32>,
    pub course: Vec<u32>,
    /// Empty where the source has no time; never NaN.
    pub time: Vec<f64>,
    /// Empty where the source gives no split.
    pub split: Vec<Split>,
    pub labels: Vec<Vec<u8>>,
    /// The source states that its rows are in time order although it has no times.
    pub in_time_order: bool,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.course.len()
    }
}

/// Groups the rows by learner, sorts each learner's by time (equal times keep the order of the source) and
/// merges rows of the same course into the first, whose labels become the OR of all. Returns how many rows were
/// merged away.
pub(crate) fn assemble(rows: Rows, learners: usize, courses: usize) -> (Interactions, u64) {
    let order = order_by_learner(&rows, learners);
    let (timed, given) = (!rows.time.is_empty(), !rows.split.is_empty());
    let mut offsets: Vec<u64> = Vec::with_capacity(learners + 1);
    let mut course_of_row: Vec<u32> = Vec::with_capacity(rows.len());
    let mut label_values: Vec<Vec<u8>> = vec![Vec::with_capacity(rows.len()); rows.labels.len()];
    let mut split: Vec<Split> = Vec::with_capacity(rows.len());
    // Where each course stands among the current learner's rows; entries of earlier learners lie below `start`.
    let mut place = vec![usize::MAX; courses];
    let mut next = 0;
    offsets.push(0);
    for learner in 0..learners as u32 {
        let start = course_of_row.len();
        while next < order.len() && rows.learner[order[next]] == learner {
            let row = order[next];
            next += 1;
            let course = rows.course[row];
            let known = place[course as usize];
            if known != usize::MAX && known >= start {
                for (to, from) in label_values.iter_mut().zip(&rows.labels) {
                    to[known] |= from[row];
                }
                continue;
            }
            place[course as usize] = course_of_row.len();
            course_of_row.push(course);
            split.push(if given { rows.split[row] } else { Split::Train });
            for (to, from) in label_values.iter_mut().zip(&rows.labels) {
                to.push(from[row]);
            }
        }
        offsets.push(course_of_row.len() as u64);
    }
    let merged = (rows.len() - course_of_row.len()) as u64;
    let interactions = Interactions {
        offsets: offsets.into(),
        course: course_of_row.into(),
        label_values: label_values.into_iter().map(Into::into).collect(),
        split: split.into(),
        has_time: timed || rows.in_time_order,
    };
    (interactions, merged)
}

/// A stable counting sort by learner, then a stable sort by time within each.
fn order_by_learner(rows: &Rows, learners: usize) -> Vec<usize> {
    let mut ends = vec![0usize; learners + 1];
    rows.learner.iter().for_each(|&u| ends[u as usize + 1] += 1);
    for u in 0..learners {
        ends[u + 1] += ends[u];
    }
    let starts = ends.clone();
    let mut order = vec![0; rows.len()];
    for (row, &u) in rows.learner.iter().enumerate() {
        order[ends[u as usize]] = row;
        ends[u as usize] += 1;
    }
    if !rows.time.is_empty() {
        for u in 0..learners {
            order[starts[u]..starts[u + 1]].sort_by(|&a, &b| rows.time[a].total_cmp(&rows.time[b]));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_by_time_and_merges_duplicates_into_the_first() {
        let rows = Rows {
            learner: vec![1, 0, 1, 1, 1],
            course: vec![2, 0, 1, 2, 0],
            time: vec![5.0, 1.0, 3.0, 2.0, 3.0],
            split: vec![Split::Train, Split::Test, Split::Train, Split::Valid, Split::Test],
            labels: vec![vec![1, 0, 0, 0, 1]],
            in_time_order: false,
        };
        let (i, merged) = assemble(rows, 3, 3);
        assert_eq!(merged, 1);
        assert_eq!(i.offsets, [0, 1, 4, 4]);
        assert_eq!(i.course, [0, 2, 1, 0]);
        assert_eq!(i.split, [Split::Test, Split::Valid, Split::Train, Split::Test]);
        assert_eq!(i.label_values, [[0, 1, 0, 1]]);
        assert!(i.has_time);
    }
}

//! Parts of the learners, by activity, and of what they are to find, by popularity: an average hides who is served.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AtCutoff, Idcg, TopK, ranking_metrics};
use crate::Result;
use crate::data::{Dataset, Split};
use crate::engine::Device;
use crate::graph::IdSets;

/// Metrics of one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// `activity` or `popularity`.
    pub kind: String,
    /// `1`, `2-4`, `5-9`, `10-19`, `20+`; or `head`, `middle`, `tail`.
    pub slice: String,
    /// Learners that the means are over.
    pub learners: usize,
    /// `recall@10`, `ndcg@10`, `hr@10`, `mrr@10`, ...; none where there are no learners.
    pub metrics: BTreeMap<String, f64>,
}

/// Slices of activity, by the least number of known enrolments, and their names.
const ACTIVITY: [(usize, &str); 5] = [(1, "1"), (2, "2-4"), (5, "5-9"), (10, "10-19"), (20, "20+")];

const POPULARITY: [&str; 3] = ["head", "middle", "tail"];

/// What ranking metrics are called, in the order of `values`.
pub const RANKING: [&str; 4] = ["recall", "ndcg", "hr", "mrr"];

/// Per learner, in the order of `RANKING`.
pub(super) fn values(at: &AtCutoff) -> [&[f64]; 4] {
    [&at.recalls, &at.ndcgs, &at.hits, &at.reciprocal_ranks]
}

/// Sums of the ranking metrics over learners: f64, in the order in which learners come.
#[derive(Clone, Default)]
pub(super) struct Sums {
    pub learners: usize,
    sums: Vec<[f64; 4]>,
}

impl Sums {
    pub fn new(cutoffs: usize) -> Sums {
        Sums { learners: 0, sums: vec![[0.0; 4]; cutoffs] }
    }

    /// Adds place `i` of some metrics.
    fn add(&mut self, at: &[AtCutoff], i: usize) {
        self.learners += 1;
        for (sums, at) in self.sums.iter_mut().zip(at) {
            for (sum, values) in sums.iter_mut().zip(values(at)) {
                *sum += values[i];
            }
        }
    }

    pub fn add_all(&mut self, at: &[AtCutoff]) {
        (0..at.first().map_or(0, |at| at.recalls.len())).for_each(|i| self.add(at, i));
    }

    /// Means by name; 0 over nobody.
    pub fn means(&self, k: &[usize]) -> BTreeMap<String, f64> {
        let mut means = BTreeMap::new();
        for (k, sums) in k.iter().zip(&self.sums) {
            for (name, sum) in RANKING.iter().zip(sums) {
                means.insert(format!("{name}@{k}"), sum / self.learners.max(1) as f64);
            }
        }
        means
    }
}

/// Gathers the slices of an evaluation, block by block.
pub(super) struct Slicer {
    /// Place in `POPULARITY` of each course.
    part: Vec<u8>,
    activity: Vec<Sums>,
    popularity: Vec<Sums>,
}

impl Slicer {
    pub fn new(data: &Dataset, cutoffs: usize) -> Slicer {
        Slicer {
            part: popularity_parts(&data.course_degrees(&[Split::Train])),
            activity: vec![Sums::new(cutoffs); ACTIVITY.len()],
            popularity: vec![Sums::new(cutoffs); POPULARITY.len()],
        }
    }

    /// A block of learners: their lists, their metrics, what they are to find, and how much is known of each.
    pub fn add(
        &mut self,
        top: &TopK,
        (rows, at): (&[usize], &[AtCutoff]),
        truth: &IdSets,
        known: &[usize],
        idcg: Idcg,
    ) -> Result<()> {
        for (i, &row) in rows.iter().enumerate() {
            let slice = ACTIVITY.iter().rposition(|&(least, _)| known[row] >= least);
            if let Some(slice) = slice {
                self.activity[slice].add(at, i);
            }
        }
        let cutoffs: Vec<usize> = at.iter().map(|at| at.k).collect();
        for (p, sums) in self.popularity.iter_mut().enumerate() {
            let wanted = (0..truth.rows()).map(|b| -> Vec<u32> {
                truth.row(b).iter().copied().filter(|&c| self.part[c as usize] as usize == p).collect()
            });
            let wanted = IdSets::new(&Device::Cpu, wanted, truth.below)?;
            sums.add_all(&ranking_metrics(top, &wanted, &cutoffs, idcg)?.at);
        }
        Ok(())
    }

    pub fn finish(self, k: &[usize]) -> Vec<Slice> {
        let slice = |kind: &str, name: &str, sums: Sums| Slice {
            kind: kind.into(),
            slice: name.into(),
            learners: sums.learners,
            metrics: if sums.learners == 0 { BTreeMap::new() } else { sums.means(k) },
        };
        let activity = ACTIVITY.iter().zip(self.activity).map(|((_, name), s)| slice("activity", name, s));
        let popularity = POPULARITY.iter().zip(self.popularity).map(|(name, s)| slice("popularity", name, s));
        activity.chain(popularity).collect()
    }
}

/// The part of each course by its enrolments in train: going from the most popular course down, the head begins
/// with the first enrolment, the middle after a third of all, the tail after two thirds. Courses with equally many
/// enrolments are in the same part; those with none are in the tail.
fn popularity_parts(degrees: &[u32]) -> Vec<u8> {
    let total: u64 = degrees.iter().map(|&d| d as u64).sum();
    let mut order: Vec<usize> = (0..degrees.len()).collect();
    order.sort_by_key(|&c| std::cmp::Reverse(degrees[c]));
    let (mut parts, mut before) = (vec![2; degrees.len()], 0u64);
    for tie in order.chunk_by(|&a, &b| degrees[a] == degrees[b]) {
        let degree = degrees[tie[0]] as u64;
        if degree > 0 {
            let part = (3 * before / total) as u8;
            tie.iter().for_each(|&c| parts[c] = part);
            before += degree * tie.len() as u64;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_thirds_of_the_enrolments() {
        // 12 of 30 enrolments before the second course, 21 before the third: head, middle, tail.
        assert_eq!(popularity_parts(&[9, 12, 0, 3, 3, 3]), [1, 0, 2, 2, 2, 2]);
        // Ties stay together, wherever a third falls among them.
        assert_eq!(popularity_parts(&[5, 5, 5, 5]), [0; 4]);
        assert_eq!(popularity_parts(&[0, 0]), [2, 2]);
        assert!(popularity_parts(&[]).is_empty());
    }

    #[test]
    fn slices_by_hand() {
        let data = Dataset {
            learner_names: vec!["u"; 3].into(),
            entity_names: vec!["e"; 4].into(),
            courses: 4,
            interactions: crate::data::Interactions {
                offsets: vec![0, 3, 4, 4].into(),
                course: vec![0, 1, 2, 0].into(),
                split: vec![Split::Train; 4].into(),
                ..Default::default()
            },
            ..Default::default()
        };
        let mut slicer = Slicer::new(&data, 1);
        // Degrees 2, 1, 1, 0: course 0 is the head, 1 and 2 begin after one half (middle), 3 is the tail.
        assert_eq!(slicer.part, [0, 1, 1, 2]);
        let top = TopK { k: 2, ids: vec![0, 1, 3, 2, 1, 0], scores: vec![0.0; 6] };
        let truth = IdSets::new(&Device::Cpu, [vec![0, 3], vec![3], vec![]], 4).unwrap();
        let all = ranking_metrics(&top, &truth, &[2], Idcg::Truth).unwrap();
        slicer.add(&top, (&all.rows, &all.at), &truth, &[1, 25, 3], Idcg::Truth).unwrap();
        let slices = slicer.finish(&[2]);
        let of = |name: &str| {
            let slice = slices.iter().find(|s| s.slice == name).unwrap();
            (slice.learners, slice.metrics.get("recall@2").copied())
        };
        assert_eq!(slices.len(), 8);
        assert_eq!(of("1"), (1, Some(0.5)));
        assert_eq!(of("20+"), (1, Some(1.0)));
        assert_eq!(of("2-4"), (0, None), "a learner without anything to find is in no slice");
        assert_eq!(of("head"), (1, Some(1.0)));
        assert_eq!(of("middle"), (0, None));
        assert_eq!(of("tail"), (2, Some(0.5)));
    }
}

//! Ranking metrics by the learners' activity and by the popularity of the courses to find: an average hides who is served.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AtCutoff, RANKING, TopK, ranking_metrics};
use crate::Result;
use crate::config::Idcg;
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

    /// Adds learner `i` of some metrics.
    fn add(&mut self, at: &[AtCutoff], i: usize) {
        self.learners += 1;
        for (sums, at) in self.sums.iter_mut().zip(at) {
            sums.iter_mut().zip(&at.values).for_each(|(sum, values)| *sum += values[i]);
        }
    }

    pub fn add_all(&mut self, at: &[AtCutoff]) {
        (0..at.first().map_or(0, |at| at.values[0].len())).for_each(|i| self.add(at, i));
    }

    /// Means by name; 0 over nobody.
    pub fn means(&self, k: &[usize]) -> BTreeMap<String, f64> {
        let of = |(k, sums): (&usize, &[f64; 4])| {
            let mean = |(name, sum)| (format!("{name}@{k}"), sum / self.learners.max(1) as f64);
            RANKING.into_iter().zip(*sums).map(mean).collect::<Vec<_>>()
        };
        k.iter().zip(&self.sums).flat_map(of).collect()
    }
}

/// The slices of an evaluation, accumulated block by block.
pub struct Slicer {
    /// Index into `POPULARITY` of each course.
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
            if let Some(slice) = ACTIVITY.iter().rposition(|&(least, _)| known[row] >= least) {
                self.activity[slice].add(at, i);
            }
        }
        let cutoffs: Vec<usize> = at.iter().map(|at| at.k).collect();
        for (p, sums) in self.popularity.iter_mut().enumerate() {
            let relevant = (0..truth.rows()).map(|b| -> Vec<u32> {
                truth.row(b).iter().copied().filter(|&c| self.part[c as usize] as usize == p).collect()
            });
            let relevant = IdSets::new(&Device::Cpu, relevant, truth.below)?;
            sums.add_all(&ranking_metrics(top, &relevant, &cutoffs, idcg)?.at);
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
pub fn popularity_parts(degrees: &[u32]) -> Vec<u8> {
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

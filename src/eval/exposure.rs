//! Coverage and popularity bias: how much of the catalogue the lists of all learners show together, and how popular a
//! part of it.

use std::collections::BTreeMap;

use super::TopK;

/// Coverage and popularity bias of lists, accumulated block by block.
pub struct Exposure {
    cutoffs: Vec<usize>,
    /// Enrolments in train of each course, and the share of the courses that have fewer.
    popularity: Vec<(f64, f64)>,
    /// The best place of each course in any list.
    best: Vec<usize>,
    /// Per cut-off: lists with at least one course, and the sums of their means of `popularity`.
    sums: Vec<(usize, f64, f64)>,
}

impl Exposure {
    /// `degrees`: enrolments in train by course.
    pub fn new(degrees: &[u32], cutoffs: &[usize]) -> Exposure {
        let percentiles = percentiles(degrees);
        Exposure {
            cutoffs: cutoffs.to_vec(),
            popularity: degrees.iter().map(|&d| d as f64).zip(percentiles).collect(),
            best: vec![usize::MAX; degrees.len()],
            sums: vec![(0, 0.0, 0.0); cutoffs.len()],
        }
    }

    /// The lists of `rows`.
    pub fn add(&mut self, top: &TopK, rows: &[usize]) {
        for &row in rows {
            let list = top.row(row);
            for (place, &course) in list.iter().enumerate() {
                let best = &mut self.best[course as usize];
                *best = place.min(*best);
            }
            for (&k, (lists, degrees, percentiles)) in self.cutoffs.iter().zip(&mut self.sums) {
                let shown = list[..k.min(list.len())].iter().map(|&c| self.popularity[c as usize]);
                let n = shown.len() as f64;
                if n > 0.0 {
                    *lists += 1;
                    *degrees += shown.clone().map(|(degree, _)| degree).sum::<f64>() / n;
                    *percentiles += shown.map(|(_, percentile)| percentile).sum::<f64>() / n;
                }
            }
        }
    }

    /// `coverage@K`, the share of all courses that stand in some list of K; `arp@K` and `popularity@K`, means over
    /// lists of the mean enrolments in train of their courses, and of the percentile of that. The last two are absent
    /// where every list is empty. `k` are the cut-offs' names.
    pub fn finish(self, k: &[usize], metrics: &mut BTreeMap<String, f64>) {
        for ((name, &cutoff), (lists, degrees, percentiles)) in k.iter().zip(&self.cutoffs).zip(self.sums) {
            let shown = self.best.iter().filter(|&&place| place < cutoff).count();
            metrics.insert(format!("coverage@{name}"), shown as f64 / self.best.len().max(1) as f64);
            if lists > 0 {
                metrics.insert(format!("arp@{name}"), degrees / lists as f64);
                metrics.insert(format!("popularity@{name}"), percentiles / lists as f64);
            }
        }
    }
}

/// For each value the share of values below it, plus half of those equal to it (itself included): 1/2 on average over all
/// values.
pub fn percentiles(values: &[u32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&i| values[i]);
    let (mut shares, mut below) = (vec![0.0; values.len()], 0);
    for tie in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let share = (below as f64 + tie.len() as f64 / 2.0) / values.len() as f64;
        tie.iter().for_each(|&i| shares[i] = share);
        below += tie.len();
    }
    shares
}

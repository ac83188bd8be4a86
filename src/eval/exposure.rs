//! What the lists of all learners show together: how much of the catalogue, and how popular a part of it.

use std::collections::BTreeMap;

use super::TopK;

/// Coverage and popularity bias of lists, gathered block by block.
pub(super) struct Exposure {
    cutoffs: Vec<usize>,
    /// Enrolments in train of each course, and the share of the courses that have fewer.
    popularity: Vec<(f64, f64)>,
    /// For each course the best place that it has in any list.
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
            for (&k, sums) in self.cutoffs.iter().zip(&mut self.sums) {
                let shown = &list[..k.min(list.len())];
                if shown.is_empty() {
                    continue;
                }
                let n = shown.len() as f64;
                let mean = |of: &dyn Fn((f64, f64)) -> f64| {
                    shown.iter().map(|&c| of(self.popularity[c as usize])).sum::<f64>() / n
                };
                sums.0 += 1;
                sums.1 += mean(&|(degree, _)| degree);
                sums.2 += mean(&|(_, percentile)| percentile);
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

/// For each value the share of values below it, half of the equal ones counting, itself among them: 1/2 on average
/// over all values.
fn percentiles(values: &[u32]) -> Vec<f64> {
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

#[cfg(test)]
mod tests {
    use super::super::NO_COURSE;
    use super::*;

    #[test]
    fn percentiles_are_one_half_on_average() {
        assert_eq!(percentiles(&[7, 1, 1, 3]), [0.875, 0.25, 0.25, 0.625]);
        assert_eq!(percentiles(&[4, 4]), [0.5, 0.5]);
        assert!(percentiles(&[]).is_empty());
    }

    #[test]
    fn by_hand() {
        let mut exposure = Exposure::new(&[7, 1, 1, 3], &[1, 2]);
        // Two lists, an empty one, and one that is left out.
        let ids = vec![0, 3, 0, NO_COURSE, NO_COURSE, NO_COURSE, 1, 2];
        exposure.add(&TopK { k: 2, scores: vec![0.0; 8], ids }, &[0, 1, 2]);
        let mut metrics = BTreeMap::new();
        exposure.finish(&[1, 2], &mut metrics);
        let want = [
            ("arp@1", 7.0),
            ("arp@2", 6.0),
            ("coverage@1", 0.25),
            ("coverage@2", 0.5),
            ("popularity@1", 0.875),
            ("popularity@2", 0.8125),
        ];
        assert_eq!(metrics, want.map(|(name, value)| (name.to_string(), value)).into());
    }

    #[test]
    fn nobody_sees_anything() {
        let mut metrics = BTreeMap::new();
        Exposure::new(&[], &[10]).finish(&[10], &mut metrics);
        assert_eq!(metrics, [("coverage@10".to_string(), 0.0)].into());
    }
}

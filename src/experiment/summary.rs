//! summary.csv: what the runs of a folder say together.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::{Folder, LEARNERS};
use super::stats::{self, Difference};
use super::table::{self, Row, SummaryRow};
use crate::eval::{PerLearner, RANKING};
use crate::{Error, Result};

/// How differences between models are tested.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resampling {
    pub resamples: usize,
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Resampling { resamples: 10_000, seed: 1 }
    }
}

/// Runs that differ in nothing but the seed.
struct Group<'a> {
    /// MODEL-OPTIMIZER-WEIGHTING
    name: String,
    rows: Vec<&'a Row>,
    /// Per learner, averaged over the seeds.
    each: PerLearner,
}

impl Group<'_> {
    fn values(&self, metric: &str) -> Vec<f64> {
        self.rows.iter().filter_map(|r| r.metrics.get(metric).copied()).collect()
    }

    /// Models that others have to beat.
    fn is_baseline(&self) -> bool {
        !self.rows[0].model.starts_with("waa-ta")
    }
}

/// Every metric of every (model, optimizer, weighting), and each against the best baseline. `rows` are those of the
/// folder's results.csv, whose learners.csv files are read.
pub fn summarize(folder: &Path, rows: &[Row], resampling: Resampling) -> Result<Vec<SummaryRow>> {
    let folder = Folder { dir: folder.into() };
    let mut groups: Vec<Group> = vec![];
    for row in rows {
        let same = |g: &&mut Group| {
            let r = g.rows[0];
            (&r.model, &r.optimizer, &r.weighting) == (&row.model, &row.optimizer, &row.weighting)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group {
                name: format!("{}-{}-{}", row.model, row.optimizer, row.weighting),
                rows: vec![row],
                each: PerLearner::default(),
            }),
        }
    }
    for group in &mut groups {
        group.each = averaged(&folder, &group.rows)?;
    }
    if let Some(odd) = groups.iter().find(|g| g.each.learner != groups[0].each.learner) {
        let why = format!("{} was tested on other learners than {}", odd.name, groups[0].name);
        return Err(Error::data(folder.dir, None, why, "make the runs again in a new folder"));
    }
    let tests = tests(&groups, resampling);
    let mut summary = vec![];
    for (g, group) in groups.iter().enumerate() {
        let names: std::collections::BTreeSet<&String> =
            group.rows.iter().flat_map(|r| r.metrics.keys()).collect();
        for metric in names {
            let values = group.values(metric);
            let first = group.rows[0];
            let mut row = SummaryRow {
                model: first.model.clone(),
                optimizer: first.optimizer.clone(),
                weighting: first.weighting.clone(),
                seeds: values.len(),
                metric: metric.clone(),
                mean: stats::mean(&values).unwrap_or_default(),
                sd: stats::sd(&values),
                ..Default::default()
            };
            if let Some(test) = tests.get(metric) {
                row.baseline = Some(groups[test.baseline].name.clone());
                if let Some((d, corrected)) = test.found.get(&g) {
                    (row.difference, row.low, row.high) = (Some(d.mean), Some(d.low), Some(d.high));
                    (row.p, row.p_holm) = (Some(d.p), Some(*corrected));
                }
            }
            summary.push(row);
        }
    }
    Ok(summary)
}

/// Each learner's metrics, averaged over runs.
fn averaged(folder: &Folder, rows: &[&Row]) -> Result<PerLearner> {
    let mut sum = PerLearner::default();
    for (i, row) in rows.iter().enumerate() {
        let path = folder.run(&row.run).join(LEARNERS);
        let each = table::read_learners(&path)?;
        if i == 0 {
            sum = each;
            continue;
        }
        if each.learner != sum.learner || !each.metrics.keys().eq(sum.metrics.keys()) {
            let why = format!("was tested on other learners or metrics than {}", rows[0].run);
            return Err(Error::data(path, None, why, "make the runs again in a new folder"));
        }
        for (sum, values) in sum.metrics.values_mut().zip(each.metrics.values()) {
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    let n = rows.len() as f64;
    sum.metrics.values_mut().flatten().for_each(|sum| *sum /= n);
    Ok(sum)
}

/// The tests of one metric.
struct Tests {
    /// Place of the best baseline.
    baseline: usize,
    /// By place of the other groups, with Holm's correction over all of them.
    found: BTreeMap<usize, (Difference, f64)>,
}

/// Every group against the best baseline, by every metric that learners have.
fn tests(groups: &[Group], resampling: Resampling) -> BTreeMap<String, Tests> {
    let mut against: Vec<(String, usize, usize)> = vec![];
    let mut columns = vec![];
    let mut tests = BTreeMap::new();
    let names = groups.first().map_or(vec![], |g| g.each.metrics.keys().cloned().collect());
    for metric in names {
        debug_assert!(RANKING.iter().any(|name| metric.starts_with(name)));
        let of = |g: usize| groups[g].each.metrics.get(&metric);
        let mut best: Option<(usize, f64)> = None;
        for g in (0..groups.len()).filter(|&g| groups[g].is_baseline() && of(g).is_some()) {
            let mean = stats::mean(&groups[g].values(&metric)).unwrap_or(f64::NEG_INFINITY);
            if best.is_none_or(|(_, top)| mean > top) {
                best = Some((g, mean));
            }
        }
        let Some((baseline, _)) = best else { continue };
        let Some(theirs) = of(baseline) else { continue };
        for g in (0..groups.len()).filter(|&g| g != baseline) {
            let Some(own) = of(g) else { continue };
            columns.push(own.iter().zip(theirs).map(|(a, b)| a - b).collect());
            against.push((metric.clone(), baseline, g));
        }
        tests.insert(metric, Tests { baseline, found: BTreeMap::new() });
    }
    let found = stats::paired_bootstrap(&columns, resampling.resamples, resampling.seed);
    for ((metric, _, g), found) in against.into_iter().zip(found) {
        if let (Some(test), Some(found)) = (tests.get_mut(&metric), found) {
            test.found.insert(g, (found, found.p));
        }
    }
    for test in tests.values_mut() {
        let p: Vec<f64> = test.found.values().map(|(d, _)| d.p).collect();
        test.found.values_mut().zip(stats::holm(&p)).for_each(|((_, corrected), holm)| *corrected = holm);
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four learners; a run of `model` whose recalls are given.
    fn finished(folder: &Folder, model: &str, seed: u64, recalls: [f64; 4]) -> Row {
        let run = format!("{model}-adam-sum-{seed}");
        std::fs::create_dir_all(folder.run(&run)).unwrap();
        let each = PerLearner {
            learner: vec![0, 3, 4, 7],
            known: vec![1; 4],
            wanted: vec![2; 4],
            metrics: [("recall@10".to_string(), recalls.to_vec())].into(),
        };
        let path = folder.run(&run).join(LEARNERS);
        table::write_learners(&path, &each).unwrap();
        assert_eq!(table::read_learners(&path).unwrap(), each);
        let mean = recalls.iter().sum::<f64>() / 4.0;
        Row {
            run,
            model: model.into(),
            optimizer: "adam".into(),
            weighting: "sum".into(),
            seed,
            metrics: [("recall@10".to_string(), mean), ("auc/enrolled".to_string(), 0.5)].into(),
            ..Default::default()
        }
    }

    #[test]
    fn each_model_against_the_best_baseline() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder { dir: temporary.path().into() };
        let rows = [
            finished(&folder, "ease", 1, [0.5, 0.5, 0.5, 0.5]),
            finished(&folder, "popularity", 1, [0.25, 0.25, 0.25, 0.25]),
            finished(&folder, "waa-ta", 1, [0.5, 1.0, 0.5, 1.0]),
            finished(&folder, "waa-ta", 2, [1.0, 0.5, 1.0, 0.5]),
            finished(&folder, "waa-ta3", 1, [1.0, 0.0, 0.5, 0.5]),
        ];
        let resampling = Resampling { resamples: 99, seed: 1 };
        let summary = summarize(temporary.path(), &rows, resampling).unwrap();
        let of = |model: &str, metric: &str| {
            summary.iter().find(|r| r.model == model && r.metric == metric).unwrap().clone()
        };
        assert_eq!(summary.len(), 8);
        let ours = of("waa-ta", "recall@10");
        assert_eq!((ours.seeds, ours.mean, ours.sd), (2, 0.75, Some(0.0)));
        // Over both seeds every learner gains a quarter: no resample shows less.
        assert_eq!((ours.difference, ours.low, ours.high), (Some(0.25), Some(0.25), Some(0.25)));
        assert_eq!(ours.baseline.as_deref(), Some("ease-adam-sum"));
        assert_eq!((ours.p, ours.p_holm), (Some(0.02), Some(0.06)), "corrected over three tests");
        assert_eq!(of("popularity", "recall@10").difference, Some(-0.25));
        assert_eq!(of("ease", "recall@10").p, None);
        let three = of("waa-ta3", "recall@10");
        assert_eq!((three.sd, three.difference), (None, Some(0.0)));
        assert!(three.p.unwrap() > 0.5);
        assert_eq!(of("waa-ta", "auc/enrolled").baseline, None);

        let path = temporary.path().join("summary.csv");
        table::write_summary(&path, &summary).unwrap();
        assert_eq!(table::read_summary(&path).unwrap(), summary);
        let path = temporary.path().join("results.csv");
        table::write_results(&path, &rows.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(table::read_results(&path).unwrap(), rows);
        // Without a baseline there is nothing to test against.
        let alone = summarize(temporary.path(), &rows[2..], resampling).unwrap();
        assert!(alone.iter().all(|r| r.baseline.is_none() && r.p.is_none()));
        assert!(summarize(temporary.path(), &[], resampling).unwrap().is_empty());
    }

    #[test]
    fn rows_that_cannot_be_compared_are_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder { dir: temporary.path().into() };
        let mut rows = [finished(&folder, "ease", 1, [0.5; 4]), finished(&folder, "ease", 2, [0.5; 4])];
        rows[1].split_fingerprint = "other".into();
        let path = temporary.path().join("results.csv");
        table::write_results(&path, &rows.iter().collect::<Vec<_>>()).unwrap();
        let error = table::read_results(&path).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("another split"), "{error}");
    }
}

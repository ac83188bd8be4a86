//! summary.csv: every model over its seeds, and against the best baseline.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use report::tables::{self, LearnerTable, RunRow, SummaryRow};

use super::files::{LEARNERS, RUNS};
use super::stats::{self, Difference};
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

/// Runs that differ only in their seed.
struct Group<'a> {
    /// MODEL-OPTIMIZER-WEIGHTING
    name: String,
    rows: Vec<&'a RunRow>,
    /// Averaged over the seeds.
    learners: LearnerTable,
}

impl Group<'_> {
    fn values(&self, metric: &str) -> Vec<f64> {
        self.rows.iter().filter_map(|r| r.metrics.get(metric).copied()).collect()
    }

    fn is_baseline(&self) -> bool {
        !self.rows[0].model.starts_with("waa-ta")
    }
}

/// Every metric of every (model, optimizer, weighting), and each against the best baseline. `rows` are those of the
/// folder's results.csv; the learners.csv of each is read.
pub fn summarize(folder: &Path, rows: &[RunRow], resampling: Resampling) -> Result<Vec<SummaryRow>> {
    let mut groups: Vec<Group> = vec![];
    for row in rows {
        let name = row.variant();
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { name, rows: vec![row], learners: LearnerTable::default() }),
        }
    }
    for group in &mut groups {
        group.learners = averaged(folder, &group.rows)?;
    }
    if let Some(odd) = groups.iter().find(|g| g.learners.learner != groups[0].learners.learner) {
        let why = format!("{} was tested on other learners than {}", odd.name, groups[0].name);
        return Err(Error::data(folder, None, why, "repeat the runs in a new folder"));
    }
    let tests = tests(&groups, resampling);
    let mut summary = vec![];
    for (g, group) in groups.iter().enumerate() {
        let names: BTreeSet<&String> = group.rows.iter().flat_map(|r| r.metrics.keys()).collect();
        for metric in names {
            let values = group.values(metric);
            let first = group.rows[0];
            let test = tests.get(metric);
            let found = test.and_then(|test| test.found.get(&g));
            summary.push(SummaryRow {
                model: first.model.clone(),
                optimizer: first.optimizer.clone(),
                weighting: first.weighting.clone(),
                seeds: values.len(),
                metric: metric.clone(),
                mean: stats::mean(&values).unwrap_or_default(),
                sd: stats::sd(&values),
                baseline: test.map(|test| groups[test.baseline].name.clone()),
                difference: found.map(|(d, _)| d.mean),
                low: found.map(|(d, _)| d.low),
                high: found.map(|(d, _)| d.high),
                p: found.map(|(d, _)| d.p),
                p_holm: found.map(|(_, corrected)| *corrected),
            });
        }
    }
    Ok(summary)
}

/// Each learner's metrics, averaged over runs.
fn averaged(folder: &Path, rows: &[&RunRow]) -> Result<LearnerTable> {
    let mut sum = LearnerTable::default();
    for (i, row) in rows.iter().enumerate() {
        let path = folder.join(RUNS).join(&row.run).join(LEARNERS);
        let learners = tables::read_learners(&path)?;
        if i == 0 {
            sum = learners;
            continue;
        }
        if learners.learner != sum.learner || !learners.metrics.keys().eq(sum.metrics.keys()) {
            let why = format!("was tested on other learners or metrics than {}", rows[0].run);
            return Err(Error::data(path, None, why, "repeat the runs in a new folder"));
        }
        for (sum, values) in sum.metrics.values_mut().zip(learners.metrics.values()) {
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    let n = rows.len() as f64;
    sum.metrics.values_mut().flatten().for_each(|sum| *sum /= n);
    Ok(sum)
}

/// The tests of one metric.
struct MetricTests {
    /// Index of the best baseline.
    baseline: usize,
    /// By index of the other groups, with Holm's correction over all of them.
    found: BTreeMap<usize, (Difference, f64)>,
}

/// Every group against the best baseline, by every metric that learners have. All tests share their resamples.
fn tests(groups: &[Group], resampling: Resampling) -> BTreeMap<String, MetricTests> {
    let (mut against, mut columns) = (vec![], vec![]);
    let mut tests = BTreeMap::new();
    for metric in groups.iter().take(1).flat_map(|g| g.learners.metrics.keys()) {
        let of = |g: usize| groups[g].learners.metrics.get(metric);
        let mut best: Option<(usize, f64)> = None;
        for g in (0..groups.len()).filter(|&g| groups[g].is_baseline() && of(g).is_some()) {
            let mean = stats::mean(&groups[g].values(metric)).unwrap_or(f64::NEG_INFINITY);
            if best.is_none_or(|(_, top)| mean > top) {
                best = Some((g, mean));
            }
        }
        let Some((baseline, theirs)) = best.and_then(|(g, _)| Some((g, of(g)?))) else { continue };
        for g in (0..groups.len()).filter(|&g| g != baseline) {
            let Some(own) = of(g) else { continue };
            columns.push(own.iter().zip(theirs).map(|(a, b)| a - b).collect());
            against.push((metric, g));
        }
        tests.insert(metric.clone(), MetricTests { baseline, found: BTreeMap::new() });
    }
    let found = stats::paired_bootstrap(&columns, resampling.resamples, resampling.seed);
    for ((metric, g), found) in against.into_iter().zip(found) {
        if let (Some(test), Some(found)) = (tests.get_mut(metric), found) {
            test.found.insert(g, (found, found.p));
        }
    }
    for test in tests.values_mut() {
        let p: Vec<f64> = test.found.values().map(|(d, _)| d.p).collect();
        test.found.values_mut().zip(stats::holm(&p)).for_each(|((_, corrected), holm)| *corrected = holm);
    }
    tests
}

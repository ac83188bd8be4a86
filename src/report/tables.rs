//! The tables of a comparison, results.csv, summary.csv and slices.csv, and a run's learners.csv: written by
//! `waata compare`, read by it and by the report. docs/compare.md lists their columns.
//!
//! Numbers are printed with the fewest digits that read back as the same value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim, WriterBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use base::{Error, Result};

/// A finished run: one row of results.csv. Only `run`, `model` and `seed` are required when reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRow {
    /// MODEL-OPTIMIZER-WEIGHTING-SEED, the name of its folder.
    pub run: String,
    /// Name of the data set.
    pub data: String,
    pub data_fingerprint: String,
    pub split_fingerprint: String,
    pub model: String,
    /// `none` if it makes no difference to the model; so is `weighting`.
    pub optimizer: String,
    pub weighting: String,
    pub seed: u64,
    pub settings_fingerprint: String,
    /// The epoch whose parameters were tested.
    pub best_epoch: Option<u64>,
    pub steps: Option<u64>,
    /// Number of trainable parameters.
    pub parameters: Option<u64>,
    /// Test metrics by name (`recall@10`, `auc/completed`), finite; a metric the model does not have is absent.
    pub metrics: BTreeMap<String, f64>,
}

impl RunRow {
    /// MODEL-OPTIMIZER-WEIGHTING, shared by the runs that differ only in their seed.
    pub fn variant(&self) -> String {
        format!("{}-{}-{}", self.model, self.optimizer, self.weighting)
    }
}

/// One metric of one (model, optimizer, weighting) over its seeds: a row of summary.csv.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SummaryRow {
    pub model: String,
    pub optimizer: String,
    pub weighting: String,
    /// Number of runs that have the metric.
    pub seeds: usize,
    pub metric: String,
    pub mean: f64,
    /// Standard deviation over seeds; none for a single seed.
    pub sd: Option<f64>,
    /// MODEL-OPTIMIZER-WEIGHTING of the best baseline by this metric; none if the metric is not tested.
    pub baseline: Option<String>,
    /// Mean over learners of the difference to the baseline, with its 95 % interval. None in the baseline's own row.
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub p: Option<f64>,
    /// `p` with Holm's correction over all rows of this metric.
    pub p_holm: Option<f64>,
}

impl SummaryRow {
    /// The corrected p-value if there is one, else the plain one.
    pub fn corrected_p(&self) -> Option<f64> {
        self.p_holm.or(self.p)
    }
}

/// One metric of one slice of one run: a row of slices.csv.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SliceRow {
    pub run: String,
    /// `activity` or `popularity`.
    pub kind: String,
    pub slice: String,
    pub learners: usize,
    pub metric: String,
    pub value: f64,
}

/// command.json: what made the folder. Apart from the tables, which have the same bytes each time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandRecord {
    pub schema_version: u32,
    /// The last command, as typed.
    pub command: String,
    /// When it was started, UTC, as in 2026-01-31T23:59:59Z.
    pub started: String,
}

/// A learners.csv: test metrics per learner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearnerTable {
    /// Index of each learner in the data set, ascending.
    pub learner: Vec<u32>,
    /// One value per learner.
    pub metrics: BTreeMap<String, Vec<f64>>,
}

/// Columns of results.csv before those of the metrics.
const RESULTS: &str = "run,data,data_fingerprint,split_fingerprint,model,optimizer,weighting,seed,settings_fingerprint,\
                       best_epoch,steps,parameters";
const SUMMARY: &str = "model,optimizer,weighting,seeds,metric,mean,sd,baseline,difference,low,high,p,p_holm";
const SLICES: &str = "run,kind,slice,learners,metric,value";
const LEARNERS: &str = "learner,known,wanted";

pub(crate) const COMPARE_AGAIN: &str =
    "run waata compare on this folder again: it rewrites the table from the finished runs";
const RUN_AGAIN: &str = "delete the folder of this run below runs/ and run waata compare again";
const TEST_AGAIN: &str = "delete the run's test.json and run waata compare again: it repeats the test";

/// The text of a results.csv. Metrics are in alphabetical order; a cell is empty if the run lacks the metric.
pub fn results_csv(rows: &[&RunRow]) -> Result<Vec<u8>> {
    let names: BTreeSet<&str> = rows.iter().flat_map(|r| r.metrics.keys().map(String::as_str)).collect();
    let row = |r: &&RunRow| {
        let identity =
            (r.run.clone(), r.data.clone(), r.data_fingerprint.clone(), r.split_fingerprint.clone());
        let choice = (r.model.clone(), r.optimizer.clone(), r.weighting.clone(), r.seed);
        let facts = (r.settings_fingerprint.clone(), r.best_epoch, r.steps, r.parameters);
        let metrics: Vec<String> = names.iter().map(|name| digits(r.metrics.get(*name).copied())).collect();
        (identity, choice, facts, metrics)
    };
    encode(RESULTS.split(',').chain(names.iter().copied()), rows.iter().map(row))
}

pub fn summary_csv(rows: &[SummaryRow]) -> Result<Vec<u8>> {
    let row = |r: &SummaryRow| {
        let choice = (r.model.clone(), r.optimizer.clone(), r.weighting.clone(), r.seeds, r.metric.clone());
        let test = [r.difference, r.low, r.high, r.p, r.p_holm].map(digits);
        (choice, digits(Some(r.mean)), digits(r.sd), r.baseline.clone(), test)
    };
    encode(SUMMARY.split(','), rows.iter().map(row))
}

pub fn slices_csv<'a>(
    rows: impl Iterator<Item = (&'a str, &'a str, &'a str, usize, &'a str, f64)>,
) -> Result<Vec<u8>> {
    let row = |(run, kind, slice, learners, metric, value)| {
        (run, kind, slice, learners, metric, digits(Some(value)))
    };
    encode(SLICES.split(','), rows.map(row))
}

/// `ids`: the learner's index, how many of its enrolments were known, and how many courses were to be found.
pub fn learners_csv(ids: [&[u32]; 3], metrics: &BTreeMap<String, Vec<f64>>) -> Result<Vec<u8>> {
    let rows = (0..ids[0].len()).map(|i| {
        let values: Vec<String> = metrics.values().map(|values| digits(Some(values[i]))).collect();
        (ids.map(|column| column[i]), values)
    });
    encode(LEARNERS.split(',').chain(metrics.keys().map(String::as_str)), rows)
}

/// Reads a results.csv. `Error::Data` if it is damaged, and if its runs are of several data sets or splits.
pub fn read_results(path: &Path) -> Result<Vec<RunRow>> {
    let mut rows: Vec<RunRow> = vec![];
    read(path, COMPARE_AGAIN, "run,model,seed", |line| {
        let mut row: RunRow = line.parse()?;
        for (i, name) in line.metrics() {
            if let Some(value) = line.number(i)? {
                row.metrics.insert(name.into(), value);
            }
        }
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
        if row.run.is_empty() || row.run.starts_with('.') || !row.run.chars().all(is_plain) {
            return Err(line.error(format!("`{}` is not the name of a run's folder", row.run), COMPARE_AGAIN));
        }
        if rows.iter().any(|known| known.run == row.run) {
            return Err(line.error(format!("run `{}` is listed twice", row.run), COMPARE_AGAIN));
        }
        if let Some(first) = rows.first() {
            for (name, value, first) in [
                ("data", &row.data, &first.data),
                ("data_fingerprint", &row.data_fingerprint, &first.data_fingerprint),
                ("split_fingerprint", &row.split_fingerprint, &first.split_fingerprint),
            ] {
                if value != first {
                    let why = format!("{name} is `{value}`, but `{first}` in the first row: not comparable");
                    return Err(
                        line.error(why, "compare each data set and split in a folder of its own (--out)")
                    );
                }
            }
        }
        rows.push(row);
        Ok(())
    })?;
    Ok(rows)
}

pub fn read_summary(path: &Path) -> Result<Vec<SummaryRow>> {
    let mut rows = vec![];
    read(path, COMPARE_AGAIN, "model,optimizer,weighting,metric,mean", |line| {
        line.finite(&["mean", "sd", "difference", "low", "high", "p", "p_holm"])?;
        rows.push(line.parse()?);
        Ok(())
    })?;
    Ok(rows)
}

pub fn read_slices(path: &Path) -> Result<Vec<SliceRow>> {
    let mut rows = vec![];
    read(path, COMPARE_AGAIN, SLICES, |line| {
        line.finite(&["value"])?;
        rows.push(line.parse()?);
        Ok(())
    })?;
    Ok(rows)
}

pub fn read_learners(path: &Path) -> Result<LearnerTable> {
    let mut table = LearnerTable::default();
    read(path, TEST_AGAIN, LEARNERS, |line| {
        #[derive(Deserialize)]
        struct Learner {
            learner: u32,
        }
        table.learner.push(line.parse::<Learner>()?.learner);
        for (i, name) in line.metrics() {
            let empty = || line.error(format!("{name} is empty"), TEST_AGAIN);
            let value = line.number(i)?.ok_or_else(empty)?;
            match table.metrics.get_mut(name) {
                Some(values) => values.push(value),
                None => _ = table.metrics.insert(name.into(), vec![value]),
            }
        }
        Ok(())
    })?;
    Ok(table)
}

fn digits(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// A table as CSV text.
pub fn encode<T: Serialize>(
    head: impl IntoIterator<Item = impl AsRef<[u8]>>,
    mut rows: impl Iterator<Item = T>,
) -> Result<Vec<u8>> {
    let mut out = WriterBuilder::new().has_headers(false).from_writer(vec![]);
    let write = || {
        out.write_record(head)?;
        rows.try_for_each(|row| out.serialize(row))
    };
    let broken =
        |e: csv::Error| Error::corrupt("table", format!("cannot be encoded as CSV: {e}"), "report this bug");
    write().map_err(broken)?;
    out.into_inner().map_err(|e| broken(e.into_error().into()))
}

/// One line of a table that is being read.
struct Line<'a> {
    path: &'a Path,
    head: &'a StringRecord,
    record: &'a StringRecord,
    remedy: &'static str,
}

impl Line<'_> {
    fn error(&self, why: String, remedy: &str) -> Error {
        Error::data(self.path, self.record.position().map(|p| p.line()), why, remedy)
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        self.record.deserialize(Some(self.head)).map_err(|error| {
            let why = match error.kind() {
                ErrorKind::Deserialize { err, .. } => match err.field().map(|i| i as usize) {
                    Some(i) => format!("{} is `{}`: {}", &self.head[i], &self.record[i], err.kind()),
                    None => err.to_string(),
                },
                _ => error.to_string(),
            };
            self.error(why, self.remedy)
        })
    }

    /// Columns of metrics, with their names.
    fn metrics(&self) -> impl Iterator<Item = (usize, &str)> {
        self.head.iter().enumerate().filter(|(_, name)| name.contains(['@', '/']))
    }

    /// The finite number in a column; none if the cell is empty.
    fn number(&self, column: usize) -> Result<Option<f64>> {
        match &self.record[column] {
            "" => Ok(None),
            text => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Some(value)),
                _ => {
                    let why = format!("{} is `{text}`, not a finite number", &self.head[column]);
                    Err(self.error(why, RUN_AGAIN))
                }
            },
        }
    }

    /// Fails if one of these columns holds something else than finite numbers.
    fn finite(&self, names: &[&str]) -> Result<()> {
        let columns = self.head.iter().enumerate().filter(|(_, name)| names.contains(name));
        columns.map(|(i, _)| i).try_for_each(|i| self.number(i).map(|_| ()))
    }
}

/// Calls `each` for every line below the header.
fn read(
    path: &Path,
    remedy: &'static str,
    required: &str,
    mut each: impl FnMut(&Line) -> Result<()>,
) -> Result<()> {
    let refuse = |error: csv::Error| {
        let line = error.position().map(|p| p.line());
        let why = match error.kind() {
            ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("has {len} fields, the header has {expected_len}")
            }
            ErrorKind::Utf8 { .. } => "is not UTF-8 text".into(),
            _ => error.to_string(),
        };
        Error::data(path, line, why, remedy)
    };
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_path(path).map_err(refuse)?;
    let head = reader.headers().map_err(refuse)?.clone();
    if let Some(missing) = required.split(',').find(|name| !head.iter().any(|column| column == *name)) {
        let why = if head.is_empty() { "is empty".into() } else { format!("has no column `{missing}`") };
        return Err(Error::data(path, Some(1), why, remedy));
    }
    for record in reader.records() {
        each(&Line { path, head: &head, record: &record.map_err(refuse)?, remedy })?;
    }
    Ok(())
}

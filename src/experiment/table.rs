//! results.csv, slices.csv and summary.csv, and what a finished run leaves behind: written here, read here.
//!
//! Numbers are printed with the digits that give the same number back, and nothing here depends on the order or the time
//! in which runs ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::Split;
use crate::eval::{Evaluation, PerLearner, Slice};
use crate::{Error, Result};

/// A finished run: one row of results.csv.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// MODEL-OPTIMIZER-WEIGHTING-SEED, its folder's name.
    pub run: String,
    /// The data set's name.
    pub data: String,
    pub data_fingerprint: String,
    pub split_fingerprint: String,
    pub model: String,
    /// `none` where the model has no use for one, as `weighting`.
    pub optimizer: String,
    pub weighting: String,
    pub seed: u64,
    pub settings_fingerprint: String,
    /// The epoch whose parameters were tested.
    pub best_epoch: u64,
    pub steps: u64,
    /// Numbers that training adjusts.
    pub parameters: u64,
    pub metrics: BTreeMap<String, f64>,
}

/// test.json: a row, and the rest of its `Evaluation` beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    pub schema_version: u32,
    #[serde(flatten)]
    pub row: Row,
    pub split: Split,
    pub learners: usize,
    pub learners_without_history: usize,
    pub slices: Vec<Slice>,
}

impl Tested {
    /// `row` gets the evaluation's metrics.
    pub fn new(row: Row, found: Evaluation) -> Tested {
        Tested {
            schema_version: 1,
            row: Row { metrics: found.metrics, ..row },
            split: found.split,
            learners: found.learners,
            learners_without_history: found.learners_without_history,
            slices: found.slices,
        }
    }
}

/// Columns of results.csv before the metrics.
const FACTS: [&str; 12] = [
    "run",
    "data",
    "data_fingerprint",
    "split_fingerprint",
    "model",
    "optimizer",
    "weighting",
    "seed",
    "settings_fingerprint",
    "best_epoch",
    "steps",
    "parameters",
];

/// Sorts rows as results.csv has them: by model, optimizer, weighting and then seed.
pub fn sort(runs: &mut [Tested]) {
    let key = |t: &Tested| {
        let r = &t.row;
        (r.model.clone(), r.optimizer.clone(), r.weighting.clone(), r.seed)
    };
    runs.sort_by_key(key);
}

/// Fails where rows are not of one data set and one split of it.
pub fn comparable<'a>(rows: impl IntoIterator<Item = &'a Row>, source: &Path) -> Result<()> {
    let mut rows = rows.into_iter();
    let Some(first) = rows.next() else { return Ok(()) };
    for row in rows {
        let part = match () {
            _ if row.data_fingerprint != first.data_fingerprint => "data set",
            _ if row.split_fingerprint != first.split_fingerprint => "split",
            _ => continue,
        };
        let why =
            format!("`{}` and `{}` are of another {part} each: they cannot be compared", first.run, row.run);
        return Err(Error::data(source, None, why, "compare each data set and split in a folder of its own"));
    }
    Ok(())
}

/// Writes results.csv; metrics are in alphabetical order, empty where a run has none of that name.
pub fn write_results(path: &Path, rows: &[&Row]) -> Result<()> {
    let names: BTreeSet<&str> = rows.iter().flat_map(|r| r.metrics.keys().map(String::as_str)).collect();
    let header = FACTS.iter().copied().chain(names.iter().copied()).map(str::to_string).collect();
    let cells = |r: &&Row| {
        let facts = [
            &r.run,
            &r.data,
            &r.data_fingerprint,
            &r.split_fingerprint,
            &r.model,
            &r.optimizer,
            &r.weighting,
        ];
        let mut cells: Vec<String> = facts.into_iter().cloned().collect();
        cells.push(r.seed.to_string());
        cells.push(r.settings_fingerprint.clone());
        cells.extend([r.best_epoch, r.steps, r.parameters].map(|n| n.to_string()));
        cells.extend(names.iter().map(|name| number(r.metrics.get(*name).copied())));
        cells
    };
    write(path, header, rows.iter().map(cells))
}

/// Reads a results.csv. `Error::Data` where it is none, and where its rows cannot be compared.
pub fn read_results(path: &Path) -> Result<Vec<Row>> {
    let mut rows = vec![];
    for line in read(path)? {
        let metrics =
            line.cells.iter().filter(|(name, value)| !FACTS.contains(&name.as_str()) && !value.is_empty());
        rows.push(Row {
            run: line.text("run")?,
            data: line.text("data")?,
            data_fingerprint: line.text("data_fingerprint")?,
            split_fingerprint: line.text("split_fingerprint")?,
            model: line.text("model")?,
            optimizer: line.text("optimizer")?,
            weighting: line.text("weighting")?,
            seed: line.parse("seed")?,
            settings_fingerprint: line.text("settings_fingerprint")?,
            best_epoch: line.parse("best_epoch")?,
            steps: line.parse("steps")?,
            parameters: line.parse("parameters")?,
            metrics: metrics.map(|(name, _)| Ok((name.clone(), line.parse(name)?))).collect::<Result<_>>()?,
        });
    }
    comparable(&rows, path)?;
    Ok(rows)
}

/// One metric of one slice of one run: a row of slices.csv.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceRow {
    pub run: String,
    /// `activity` or `popularity`.
    pub kind: String,
    pub slice: String,
    pub learners: usize,
    pub metric: String,
    pub value: f64,
}

pub fn write_slices(path: &Path, runs: &[Tested]) -> Result<()> {
    let header = ["run", "kind", "slice", "learners", "metric", "value"].map(str::to_string).to_vec();
    let mut lines = vec![];
    for run in runs {
        for s in &run.slices {
            for (metric, value) in &s.metrics {
                let facts = [&run.row.run, &s.kind, &s.slice].map(String::clone);
                lines.push(
                    [&facts[..], &[s.learners.to_string(), metric.clone(), value.to_string()]].concat(),
                );
            }
        }
    }
    write(path, header, lines.into_iter())
}

pub fn read_slices(path: &Path) -> Result<Vec<SliceRow>> {
    let row = |line: Line| {
        Ok(SliceRow {
            run: line.text("run")?,
            kind: line.text("kind")?,
            slice: line.text("slice")?,
            learners: line.parse("learners")?,
            metric: line.text("metric")?,
            value: line.parse("value")?,
        })
    };
    read(path)?.into_iter().map(row).collect()
}

/// One metric of one (model, optimizer, weighting) over its seeds: a row of summary.csv.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SummaryRow {
    pub model: String,
    pub optimizer: String,
    pub weighting: String,
    /// Runs that have the metric.
    pub seeds: usize,
    pub metric: String,
    pub mean: f64,
    /// Over seeds; none for one seed.
    pub sd: Option<f64>,
    /// MODEL-OPTIMIZER-WEIGHTING of the best baseline by this metric; none where it is not tested.
    pub baseline: Option<String>,
    /// Mean over learners of the difference to the baseline, and its 95 % interval. None in the baseline's own row.
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub p: Option<f64>,
    /// Corrected by Holm over all rows of this metric.
    pub p_holm: Option<f64>,
}

const SUMMARY: [&str; 13] = [
    "model",
    "optimizer",
    "weighting",
    "seeds",
    "metric",
    "mean",
    "sd",
    "baseline",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
];

pub fn write_summary(path: &Path, rows: &[SummaryRow]) -> Result<()> {
    let cells = |r: &SummaryRow| {
        let mut cells = vec![r.model.clone(), r.optimizer.clone(), r.weighting.clone(), r.seeds.to_string()];
        cells.extend([r.metric.clone(), r.mean.to_string(), number(r.sd)]);
        cells.push(r.baseline.clone().unwrap_or_default());
        cells.extend([r.difference, r.low, r.high, r.p, r.p_holm].map(number));
        cells
    };
    write(path, SUMMARY.map(str::to_string).to_vec(), rows.iter().map(cells))
}

pub fn read_summary(path: &Path) -> Result<Vec<SummaryRow>> {
    let row = |line: Line| {
        Ok(SummaryRow {
            model: line.text("model")?,
            optimizer: line.text("optimizer")?,
            weighting: line.text("weighting")?,
            seeds: line.parse("seeds")?,
            metric: line.text("metric")?,
            mean: line.parse("mean")?,
            sd: line.maybe("sd")?,
            baseline: Some(line.text("baseline")?).filter(|name| !name.is_empty()),
            difference: line.maybe("difference")?,
            low: line.maybe("low")?,
            high: line.maybe("high")?,
            p: line.maybe("p")?,
            p_holm: line.maybe("p_holm")?,
        })
    };
    read(path)?.into_iter().map(row).collect()
}

/// Writes learners.csv: learner (its place in the data set), known, wanted, and the ranking metrics.
pub fn write_learners(path: &Path, each: &PerLearner) -> Result<()> {
    let header = ["learner", "known", "wanted"].into_iter().map(str::to_string);
    let lines = (0..each.learner.len()).map(|i| {
        let ids = [each.learner[i], each.known[i], each.wanted[i]].map(|n| n.to_string());
        ids.into_iter().chain(each.metrics.values().map(|values| values[i].to_string())).collect()
    });
    write(path, header.chain(each.metrics.keys().cloned()).collect(), lines)
}

pub fn read_learners(path: &Path) -> Result<PerLearner> {
    let bytes = fs::read(path).map_err(Error::io(path, "reading"))?;
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let broken = |i: usize, why: String| {
        let remedy = "delete the run's test.json: waata compare tests it once more";
        Error::data(path, Some(i as u64 + 1), why, remedy)
    };
    let names = reader.headers().map_err(|e| broken(0, e.to_string()))?.clone();
    if names.iter().take(3).ne(["learner", "known", "wanted"]) {
        return Err(broken(0, "these are not the columns of learners.csv".into()));
    }
    let (mut ids, mut columns) = ([vec![], vec![], vec![]], vec![vec![]; names.len() - 3]);
    for (i, record) in reader.records().enumerate() {
        let record = record.map_err(|e| broken(i + 1, e.to_string()))?;
        for (place, cell) in record.iter().enumerate() {
            let parsed = match place {
                0..3 => cell.parse().map(|n| ids[place].push(n)).is_ok(),
                _ => cell.parse().map(|value| columns[place - 3].push(value)).is_ok(),
            };
            if !parsed {
                return Err(broken(i + 1, format!("`{cell}` is no number")));
            }
        }
    }
    let [learner, known, wanted] = ids;
    let metrics = names.iter().skip(3).map(str::to_string).zip(columns).collect();
    Ok(PerLearner { learner, known, wanted, metrics })
}

/// Reads a test.json.
pub fn read_tested(path: &Path) -> Result<Tested> {
    let text = fs::read(path).map_err(Error::io(path, "reading"))?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::corrupt(path, e.to_string(), "delete this file: the run is tested again"))
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// Writes a table whole.
pub(super) fn write(
    path: &Path,
    header: Vec<String>,
    lines: impl Iterator<Item = Vec<String>>,
) -> Result<()> {
    let broken =
        |e: csv::Error| Error::corrupt(path, format!("the table cannot be written: {e}"), "report this");
    let mut out = csv::Writer::from_writer(vec![]);
    for line in std::iter::once(header).chain(lines) {
        out.write_record(line).map_err(broken)?;
    }
    let bytes = out.into_inner().map_err(|e| broken(e.into_error().into()))?;
    base::files::write(path, &bytes)
}

/// A line of a table with its place.
struct Line<'a> {
    path: &'a Path,
    number: u64,
    cells: Vec<(String, String)>,
}

fn read(path: &Path) -> Result<Vec<Line<'_>>> {
    let bytes = fs::read(path).map_err(Error::io(path, "reading"))?;
    let remedy = "run waata compare once more on this folder: it writes its tables anew";
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let header = reader.headers().map_err(|e| Error::data(path, Some(1), e.to_string(), remedy))?.clone();
    let mut lines = vec![];
    for (i, record) in reader.records().enumerate() {
        let number = i as u64 + 2;
        let record = record.map_err(|e| Error::data(path, Some(number), e.to_string(), remedy))?;
        let cells = header.iter().zip(&record).map(|(n, v)| (n.to_string(), v.to_string())).collect();
        lines.push(Line { path, number, cells });
    }
    Ok(lines)
}

impl Line<'_> {
    fn error(&self, why: String) -> Error {
        let remedy = "run waata compare once more on this folder: it writes its tables anew";
        Error::data(self.path, Some(self.number), why, remedy)
    }

    fn text(&self, name: &str) -> Result<String> {
        let found = self.cells.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| self.error(format!("there is no column `{name}`")))
    }

    fn parse<T: std::str::FromStr>(&self, name: &str) -> Result<T> {
        let text = self.text(name)?;
        text.parse().map_err(|_| self.error(format!("`{text}` in column `{name}` is no number")))
    }

    fn maybe(&self, name: &str) -> Result<Option<f64>> {
        if self.text(name)?.is_empty() { Ok(None) } else { self.parse(name).map(Some) }
    }
}

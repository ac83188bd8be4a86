//! The folder of a comparison or of a single run. A comparison needs its results.csv, a run its run.toml; whatever else
//! is missing is named in the report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::tables::{self, COMPARE_AGAIN, CommandRecord, RunRow, SliceRow, SummaryRow};
use base::{Error, Result};

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    pub row: RunRow,
    /// Epochs of log.jsonl; empty if there is none.
    pub log: Vec<Epoch>,
    pub settings: Option<toml::Table>,
    /// The version of waata that trained it.
    pub version: Option<String>,
}

/// One line of log.jsonl. What was not finite when it was written is `null` there and has no value here.
#[derive(Clone, Debug, Deserialize)]
pub struct Epoch {
    pub epoch: u64,
    #[serde(default)]
    step: Option<u64>,
    /// Means over the steps of the epoch: `loss/..`, `weight/..`, `cosine/..`, `norm/..`, `gate/..`.
    #[serde(default)]
    pub values: BTreeMap<String, Option<f64>>,
    /// Validation metrics, if the epoch had a validation.
    pub valid: Option<BTreeMap<String, Option<f64>>>,
    /// Whether validation has found no better epoch before.
    #[serde(default)]
    best: bool,
}

impl Epoch {
    /// A value of training, or `valid:METRIC`.
    pub fn value(&self, key: &str) -> Option<f64> {
        match key.strip_prefix("valid:") {
            Some(metric) => self.valid.as_ref()?.get(metric).copied().flatten(),
            None => self.values.get(key).copied().flatten(),
        }
    }
}

/// What was compared and found, or a single run.
#[derive(Default)]
pub struct Results {
    /// Whether this is a run without a comparison.
    pub single: bool,
    /// compare.toml.
    plan: Option<toml::Table>,
    pub plan_text: String,
    pub command: Option<CommandRecord>,
    /// By name, at least one.
    pub runs: Vec<Run>,
    pub tests: Vec<SummaryRow>,
    pub slices: Vec<SliceRow>,
    /// Folders below runs/ that results.csv does not have, with the recorded reason.
    pub unfinished: Vec<(String, Option<String>)>,
    /// Files that are missing, with what the report lacks because of it.
    pub missing: Vec<String>,
}

impl Results {
    /// Reads the folder that `waata compare` or `waata train` left. Fails if it is neither, has no finished run, or has
    /// a damaged file; names file and line.
    pub fn open(dir: &Path) -> Result<Results> {
        if dir.join("results.csv").is_file() {
            return Results::comparison(dir);
        }
        if dir.join("run.toml").is_file() {
            return Results::single(dir);
        }
        let why = "is neither a comparison (it has no results.csv) nor a run (it has no run.toml)";
        Err(Error::data(dir, None, why, "name the --out of a waata compare or of a waata train"))
    }

    fn comparison(dir: &Path) -> Result<Results> {
        let path = dir.join("results.csv");
        let mut rows = tables::read_results(&path)?;
        if rows.is_empty() {
            let remedy = "run waata compare on this folder until a run has finished";
            return Err(Error::data(path, None, "has no finished run", remedy));
        }
        rows.sort_by(|a, b| a.run.cmp(&b.run));
        let mut missing = vec![];
        let mut lacks = |what: &str| missing.push(what.to_string());
        let runs = rows.into_iter().map(|row| Run::read(&dir.join("runs").join(&row.run), row));
        let runs = runs.collect::<Result<Vec<_>>>()?;
        let plan = read_toml(&dir.join("compare.toml"), COMPARE_AGAIN)?;
        if plan.is_none() {
            lacks("compare.toml: what was requested is unknown");
        }
        let (plan_text, plan) = plan.map_or_else(Default::default, |(text, table)| (text, Some(table)));
        // Some models are computed from counts and have no log.
        let silent = runs.iter().filter(|run| run.log.is_empty() && run.row.optimizer != "none");
        let silent: BTreeSet<&str> = silent.map(|run| run.row.model.as_str()).collect();
        if runs.iter().all(|run| run.log.is_empty()) {
            lacks("runs/*/log.jsonl: there are no training curves");
        } else if !silent.is_empty() {
            let models = Vec::from_iter(silent).join(", ");
            lacks(&format!("log.jsonl of {models}: there are no training curves of these models"));
        }
        let [summary, slices] = ["summary.csv", "slices.csv"].map(|name| dir.join(name));
        let (mut tests, mut by_slice) = (vec![], vec![]);
        match summary.is_file() {
            true => tests = tables::read_summary(&summary)?,
            false => lacks("summary.csv: no difference was tested for significance"),
        }
        match slices.is_file() {
            true => by_slice = tables::read_slices(&slices)?,
            false => lacks("slices.csv: there are no results by learner activity and course popularity"),
        }
        let unfinished = match dir.join("runs").is_dir() {
            true => unfinished(&dir.join("runs"), &runs)?,
            false => {
                lacks("runs/: there are no logs and settings");
                vec![]
            }
        };
        tests.retain(|test| test.difference.is_some());
        let command = read_json(&dir.join("command.json"), COMPARE_AGAIN)?;
        Ok(Results { single: false, plan, plan_text, command, runs, tests, slices: by_slice, unfinished, missing })
    }

    fn single(dir: &Path) -> Result<Results> {
        #[derive(Deserialize)]
        struct Slice {
            kind: String,
            slice: String,
            learners: usize,
            metrics: BTreeMap<String, f64>,
        }
        #[derive(Deserialize)]
        struct Tested {
            metrics: BTreeMap<String, f64>,
            #[serde(default)]
            slices: Vec<Slice>,
        }
        let name = dir.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let mut run = Run::read(dir, RunRow { run: name.unwrap_or_default(), ..RunRow::default() })?;
        let setting = |section: &str, key: &str| -> String {
            let value = run.settings.as_ref().and_then(|table| table.get(section)?.get(key)?.as_str());
            value.unwrap_or_default().into()
        };
        let remedy = "delete it and measure the run again with waata eval";
        let mut results = Results { single: true, ..Results::default() };
        let meta: Option<BTreeMap<String, Value>> = read_json(&dir.join("run.json"), remedy)?;
        let meta = |key: &str| meta.as_ref().and_then(|m| m.get(key)?.as_str()).unwrap_or_default().to_string();
        // A run of a comparison has its result in test.json.
        let tested: Option<Tested> = match read_json(&dir.join("metrics.json"), remedy)? {
            None => read_json(&dir.join("test.json"), remedy)?,
            found => found,
        };
        let row = RunRow {
            run: run.row.run.clone(),
            data: meta("data_name"),
            data_fingerprint: meta("fingerprint"),
            model: setting("model", "name"),
            optimizer: setting("train", "optimizer"),
            weighting: setting("weighting", "combine"),
            seed: run.settings.as_ref().and_then(|s| s.get("seed")?.as_integer()).unwrap_or_default() as u64,
            best_epoch: run.log.iter().rfind(|epoch| epoch.best).map(|epoch| epoch.epoch),
            steps: run.log.last().and_then(|epoch| epoch.step),
            ..RunRow::default()
        };
        match tested {
            Some(Tested { metrics, slices }) => {
                for Slice { kind, slice, learners, metrics } in slices {
                    results.slices.extend(metrics.into_iter().map(|(metric, value)| {
                        let (run, kind, slice) = (row.run.clone(), kind.clone(), slice.clone());
                        SliceRow { run, kind, slice, learners, metric, value }
                    }));
                }
                run.row = RunRow { metrics, ..row };
            }
            None => {
                results.missing.push("metrics.json: the run has no test result; finish it with --resume".into());
                run.row = row;
            }
        }
        if run.log.is_empty() {
            results.missing.push("log.jsonl: there are no training curves".into());
        }
        results.runs.push(run);
        Ok(results)
    }

    /// The first run; what it says of the data is true of all.
    pub fn first(&self) -> &RunRow {
        &self.runs[0].row
    }

    /// A list of the plan (`models`, `optimizers`, ...): what was requested, in that order.
    pub fn requested(&self, key: &str) -> Vec<&str> {
        let list = self.plan.as_ref().and_then(|plan| plan.get(key)?.as_array());
        list.into_iter().flatten().filter_map(|value| value.as_str()).collect()
    }

    /// Number of seeds requested.
    pub fn requested_seeds(&self) -> usize {
        self.plan.as_ref().and_then(|plan| plan.get("seeds")?.as_array()).map_or(0, Vec::len)
    }

    /// The metric that validation selects epochs by, if compare.toml or a run.toml says so.
    pub fn selected_by(&self) -> Option<&str> {
        let settings = self.runs.iter().filter_map(|run| run.settings.as_ref());
        self.plan.iter().chain(settings).find_map(|table| table.get("eval")?.get("metric")?.as_str())
    }
}

impl Run {
    fn read(dir: &Path, row: RunRow) -> Result<Run> {
        #[derive(Deserialize)]
        struct Meta {
            version: Option<String>,
        }
        let remedy = format!("delete {} and run the same command again", dir.display());
        let settings = read_toml(&dir.join("run.toml"), &remedy)?.map(|(_, table)| table);
        let meta: Option<Meta> = read_json(&dir.join("run.json"), &remedy)?;
        let log = read_log(&dir.join("log.jsonl"), &remedy)?;
        Ok(Run { row, log, settings, version: meta.and_then(|meta| meta.version) })
    }
}

fn unfinished(dir: &Path, runs: &[Run]) -> Result<Vec<(String, Option<String>)>> {
    #[derive(Deserialize)]
    struct Failure {
        reason: Option<String>,
    }
    let mut found = vec![];
    for entry in fs::read_dir(dir).map_err(Error::io(dir, "reading"))? {
        let path = entry.map_err(Error::io(dir, "reading"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && runs.iter().all(|run| run.row.run != name) {
            let failure: Option<Failure> =
                read_json(&path.join("failed.json"), "delete it and run waata compare again")?;
            found.push((name, failure.and_then(|failure| failure.reason)));
        }
    }
    found.sort();
    Ok(found)
}

/// Empty if there is no such file.
fn read_log(path: &Path, remedy: &str) -> Result<Vec<Epoch>> {
    let text = read_text(path)?.unwrap_or_default();
    let mut epochs: Vec<Epoch> = vec![];
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let refuse = |why: String| Error::data(path, Some(i as u64 + 1), why, remedy);
        let epoch: Epoch =
            serde_json::from_str(line).map_err(|e| refuse(format!("is not a line of a training log: {e}")))?;
        if let Some(before) = epochs.last().filter(|before| before.epoch >= epoch.epoch) {
            return Err(refuse(format!("epoch {} follows epoch {}", epoch.epoch, before.epoch)));
        }
        epochs.push(epoch);
    }
    Ok(epochs)
}

fn read_text(path: &Path) -> Result<Option<String>> {
    let text = || fs::read_to_string(path).map_err(Error::io(path, "reading"));
    path.is_file().then(text).transpose()
}

fn read_toml(path: &Path, remedy: &str) -> Result<Option<(String, toml::Table)>> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    match text.parse::<toml::Table>() {
        Ok(table) => Ok(Some((text, table))),
        Err(e) => {
            let line = e.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count() as u64);
            Err(Error::data(path, line, format!("is not TOML: {}", e.message()), remedy))
        }
    }
}

fn read_json<T: DeserializeOwned>(path: &Path, remedy: &str) -> Result<Option<T>> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    let refuse = |e: serde_json::Error| {
        Error::data(path, Some(e.line() as u64), format!("is not the expected JSON: {e}"), remedy)
    };
    serde_json::from_str(&text).map(Some).map_err(refuse)
}

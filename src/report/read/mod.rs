//! The folder of a comparison, read as it lies: results.csv is needed, all else may be missing and is then named in
//! the report.

mod log;
mod sheet;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub use log::Epoch;
use sheet::Sheet;
pub use summary::Test;

use base::{Error, Result};

/// One finished run: a row of results.csv.
#[derive(Clone, Debug)]
pub struct Run {
    pub name: String,
    pub model: String,
    pub optimizer: String,
    pub weighting: String,
    pub seed: u64,
    pub settings_fingerprint: String,
    pub best_epoch: Option<f64>,
    pub steps: Option<f64>,
    pub parameters: Option<f64>,
    /// Finite values by name (`recall@10`, `auc/completed`); what a model does not have is absent.
    pub metrics: BTreeMap<String, f64>,
    /// Epochs of log.jsonl; empty where there is none.
    pub log: Vec<Epoch>,
    /// run.toml, where there is one.
    pub settings: Option<toml::Table>,
    /// The program's version in run.json, where there is one.
    pub version: Option<String>,
}

/// A row of slices.csv.
#[derive(Clone, Debug)]
pub struct Slice {
    pub run: String,
    pub kind: String,
    pub slice: String,
    pub learners: u64,
    pub metric: String,
    pub value: f64,
}

/// What was compared and found.
pub struct Comparison {
    pub dir: PathBuf,
    /// compare.toml, where there is one.
    pub plan: Option<toml::Table>,
    pub plan_text: String,
    pub data: String,
    pub data_fingerprint: String,
    pub split_fingerprint: String,
    /// In order of their names.
    pub runs: Vec<Run>,
    pub tests: Vec<Test>,
    pub slices: Vec<Slice>,
    /// Folders below runs/ that results.csv does not have, with what stopped them where that is known.
    pub unfinished: Vec<(String, Option<String>)>,
    /// Files that are not there, with what the report lacks for it.
    pub missing: Vec<String>,
}

const AGAIN: &str = "run waata compare on this folder again: it writes the file anew from its finished runs";

impl Comparison {
    /// Reads the folder that `waata compare` left. Fails where it is none, has no finished run, or has a file that
    /// cannot be read as what it should be; names file and line.
    pub fn open(dir: &Path) -> Result<Comparison> {
        let path = dir.join("results.csv");
        if !path.is_file() {
            return Err(Error::data(
                dir,
                None,
                "is not the folder of a comparison (it has no results.csv)",
                "name the --out of a waata compare",
            ));
        }
        let sheet = Sheet::open(&path)?;
        let mut comparison = Comparison::of_results(dir, &sheet)?;
        comparison.read_plan()?;
        comparison.read_runs()?;
        comparison.read_tests()?;
        comparison.read_slices()?;
        comparison.find_unfinished()?;
        Ok(comparison)
    }

    fn of_results(dir: &Path, sheet: &Sheet) -> Result<Comparison> {
        let [run, model, seed] = [sheet.need("run")?, sheet.need("model")?, sheet.need("seed")?];
        let column = |name: &str| sheet.column(name);
        let metrics: Vec<(usize, &str)> =
            sheet.columns().filter(|(_, name)| name.contains(['@', '/'])).collect();
        // What rows must share to be compared, with the value of the first row.
        let mut shared =
            ["data", "data_fingerprint", "split_fingerprint"].map(|name| (name, column(name), None));
        let mut runs: Vec<Run> = vec![];
        for row in sheet.rows() {
            let optional = |name: &str| column(name).map_or(Ok(None), |i| row.number(i));
            let text = |name: &str| column(name).map_or(String::new(), |i| row.text(i).to_string());
            for (name, column, first) in &mut shared {
                let Some(column) = *column else { continue };
                let value = row.text(column).to_string();
                let first = first.get_or_insert_with(|| value.clone());
                if *first != value {
                    return Err(row.error(
                        format!("{name} is `{value}`, but `{first}` in the first row: such runs are not comparable"),
                        "keep runs on one data set and one split in a folder; compare others into another --out",
                    ));
                }
            }
            let name = row.text(run).to_string();
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                return Err(row.error(format!("run `{name}` is no name of a folder"), AGAIN));
            }
            if runs.iter().any(|known| known.name == name) {
                return Err(row.error(format!("run `{name}` is there twice"), AGAIN));
            }
            let seed = row.text(seed).parse();
            let seed = seed.map_err(|_| row.error("seed is no whole number".into(), AGAIN))?;
            let mut values = BTreeMap::new();
            for (i, metric) in &metrics {
                if let Some(value) = row.number(*i)? {
                    values.insert(metric.to_string(), value);
                }
            }
            runs.push(Run {
                name,
                model: row.text(model).to_string(),
                optimizer: text("optimizer"),
                weighting: text("weighting"),
                seed,
                settings_fingerprint: text("settings_fingerprint"),
                best_epoch: optional("best_epoch")?,
                steps: optional("steps")?,
                parameters: optional("parameters")?,
                metrics: values,
                log: vec![],
                settings: None,
                version: None,
            });
        }
        if runs.is_empty() {
            return Err(Error::data(
                sheet.path(),
                None,
                "has no finished run",
                "run waata compare on this folder until a run has finished",
            ));
        }
        runs.sort_by(|a, b| a.name.cmp(&b.name));
        let [data, data_fingerprint, split_fingerprint] =
            shared.map(|(_, _, first)| first.unwrap_or_default());
        Ok(Comparison {
            dir: dir.to_path_buf(),
            plan: None,
            plan_text: String::new(),
            data,
            data_fingerprint,
            split_fingerprint,
            runs,
            tests: vec![],
            slices: vec![],
            unfinished: vec![],
            missing: vec![],
        })
    }

    fn read_plan(&mut self) -> Result<()> {
        match read_toml(&self.dir.join("compare.toml"), AGAIN)? {
            Some((text, table)) => (self.plan_text, self.plan) = (text, Some(table)),
            None => self.missing.push("compare.toml: what was asked for is not known".into()),
        }
        Ok(())
    }

    fn read_runs(&mut self) -> Result<()> {
        let runs = self.dir.join("runs");
        let mut without = BTreeSet::new();
        for run in &mut self.runs {
            let folder = runs.join(&run.name);
            let remedy = format!("delete {} and run waata compare again", folder.display());
            run.settings = read_toml(&folder.join("run.toml"), &remedy)?.map(|(_, table)| table);
            run.version = string_of_json(&folder.join("run.json"), "version", &remedy)?;
            match log::read(&folder.join("log.jsonl"), &remedy)? {
                Some(log) => run.log = log,
                // Some models are counted, not trained.
                None if run.optimizer == "none" => {}
                None => _ = without.insert(run.model.clone()),
            }
        }
        if self.runs.iter().all(|run| run.log.is_empty()) {
            self.missing.push("runs/*/log.jsonl: nothing is known of training".into());
        } else if !without.is_empty() {
            let models: Vec<String> = without.into_iter().collect();
            self.missing.push(format!(
                "log.jsonl of runs of {}: nothing is known of their training",
                models.join(", ")
            ));
        }
        Ok(())
    }

    fn read_tests(&mut self) -> Result<()> {
        let path = self.dir.join("summary.csv");
        match path.is_file() {
            true => self.tests = summary::read(&Sheet::open(&path)?)?,
            false => self.missing.push("summary.csv: no difference was tested for significance".into()),
        }
        Ok(())
    }

    fn read_slices(&mut self) -> Result<()> {
        let path = self.dir.join("slices.csv");
        if !path.is_file() {
            self.missing
                .push("slices.csv: there are no results by learner activity and course popularity".into());
            return Ok(());
        }
        let sheet = Sheet::open(&path)?;
        let kind = match sheet.column("kind") {
            Some(column) => column,
            None => sheet.need("slice_kind")?,
        };
        let [run, slice, learners, metric, value] =
            ["run", "slice", "learners", "metric", "value"].map(|name| sheet.need(name));
        let (run, slice, learners, metric, value) = (run?, slice?, learners?, metric?, value?);
        for row in sheet.rows() {
            // A slice without learners has no value.
            let Some(number) = row.number(value)? else { continue };
            self.slices.push(Slice {
                run: row.text(run).into(),
                kind: row.text(kind).into(),
                slice: row.text(slice).into(),
                learners: row.number(learners)?.unwrap_or(0.0) as u64,
                metric: row.text(metric).into(),
                value: number,
            });
        }
        Ok(())
    }

    fn find_unfinished(&mut self) -> Result<()> {
        let dir = self.dir.join("runs");
        if !dir.is_dir() {
            self.missing.push("runs/: logs and settings of the runs are not there".into());
            return Ok(());
        }
        let mut names = vec![];
        for entry in fs::read_dir(&dir).map_err(Error::io(&dir, "reading"))? {
            let entry = entry.map_err(Error::io(&dir, "reading"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.');
            if !hidden && entry.path().is_dir() && self.runs.iter().all(|run| run.name != name) {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let path = dir.join(&name).join("failed.json");
            let why = string_of_json(
                &path,
                "reason",
                &format!("delete {} and run waata compare again", path.display()),
            )?;
            self.unfinished.push((name, why));
        }
        Ok(())
    }

    /// A list of the plan (`models`, `optimizers`, ...): what was asked for, in that order.
    pub fn asked(&self, key: &str) -> Vec<String> {
        let list = self.plan.as_ref().and_then(|plan| plan.get(key)).and_then(toml::Value::as_array);
        list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_string)).collect()
    }

    /// The seeds that were asked for: a list, or their number.
    pub fn asked_seeds(&self) -> Option<usize> {
        match self.plan.as_ref()?.get("seeds")? {
            toml::Value::Array(list) => Some(list.len()),
            value => value.as_integer().and_then(|n| usize::try_from(n).ok()),
        }
    }

    /// The metric that validation selects epochs by, where compare.toml or a run.toml says so.
    pub fn selected_by(&self) -> Option<&str> {
        let settings = self.runs.iter().filter_map(|run| run.settings.as_ref());
        self.plan.iter().chain(settings).find_map(|table| table.get("eval")?.get("metric")?.as_str())
    }
}

fn read_toml(path: &Path, remedy: &str) -> Result<Option<(String, toml::Table)>> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).map_err(Error::io(path, "reading"))?;
    match text.parse::<toml::Table>() {
        Ok(table) => Ok(Some((text, table))),
        Err(e) => {
            let line =
                e.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count() as u64);
            Err(Error::data(path, line, format!("is no TOML: {}", e.message()), remedy))
        }
    }
}

/// A member of a JSON object in a file; none where there is no such file or member.
fn string_of_json(path: &Path, key: &str, remedy: &str) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read(path).map_err(Error::io(path, "reading"))?;
    let value: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|e| Error::data(path, Some(e.line() as u64), format!("is no JSON: {e}"), remedy))?;
    Ok(value.get(key).and_then(|v| v.as_str()).map(str::to_string))
}

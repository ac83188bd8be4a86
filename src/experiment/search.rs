//! Hyperparameter search by validation: random trials with successive halving.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use report::tables;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::files::{self, settings_fingerprint};
use super::job::{self, Context};
use super::space::Space;
use crate::config::{Base, Config};
use crate::data::Dataset;
use crate::engine::Device;
use crate::train::{Observer, TrainStep};
use crate::{Error, Result};

/// One in `ETA` trials of a rung continues, for `ETA` times the epochs.
const ETA: usize = 3;

/// Samples refused by the settings before the space counts as invalid.
const ATTEMPTS: u64 = 100;

/// A search to start or to resume.
pub struct Search<'a> {
    pub data: &'a Dataset,
    /// Path of the data set.
    pub data_path: &'a Path,
    pub device: &'a Device,
    pub model: &'a str,
    /// Trials of the first rung: the unchanged settings and random samples.
    pub trials: usize,
    /// Epochs of the last rung.
    pub budget: u64,
    /// Minimum number of epochs of the first rung.
    pub first_rung: u64,
    /// Seed of the samples; the runs use that of their settings.
    pub seed: u64,
    pub space: &'a Space,
    pub base: &'a Base,
    /// `--set key=value`.
    pub settings: &'a [String],
    pub out: &'a Path,
}

/// Follows a search and decides whether it continues.
pub trait SearchObserver {
    /// `epochs` of `of` are done, over all trials and rungs.
    fn progress(&mut self, _epochs: f64, _of: f64, _trial: usize) {}
    fn finished(&mut self, _rung: usize, _trial: &Trial) {}
    fn stop(&self) -> bool {
        false
    }
}

/// A trial at the end of a rung.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub trial: usize,
    pub rung: usize,
    /// Total number of epochs trained.
    pub epochs: u64,
    pub settings: BTreeMap<String, Value>,
    /// Best validation metric so far; none if it failed.
    pub metric: Option<f64>,
    pub failed: Option<String>,
}

/// search.toml: a different search needs a different folder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SearchManifest {
    schema_version: u32,
    model: String,
    trials: usize,
    budget: u64,
    #[serde(default = "one")]
    first_rung: u64,
    seed: u64,
    data: String,
    data_fingerprint: String,
    metric: String,
    settings: Vec<String>,
    ranges: Vec<String>,
    /// Of the unchanged settings.
    settings_fingerprint: String,
}

fn one() -> u64 {
    1
}

/// rung-R.json of a trial.
#[derive(Serialize, Deserialize)]
struct RungResult {
    schema_version: u32,
    epochs: u64,
    metric: Option<f64>,
    failed: Option<String>,
}

/// (trials, epochs) of each rung: a third of the trials continues to three times the epochs, up to `budget` in the last
/// rung, from at least `first` in the first.
///
/// All arguments are at least 1. The total of epochs depends on them alone, not on the model.
pub fn rungs(trials: usize, budget: u64, first: u64) -> Vec<(usize, u64)> {
    let mut last = 0;
    while ETA.pow(last + 1) <= trials && budget / (ETA as u64).pow(last + 1) >= first {
        last += 1;
    }
    (0..=last).map(|i| (trials / ETA.pow(i), budget / (ETA as u64).pow(last - i))).collect()
}

impl Search<'_> {
    /// Does the trials that are not finished and writes trials.csv and best.toml. Returns the trials of the last
    /// rung, best first.
    pub fn run(&self, observer: &mut dyn SearchObserver) -> Result<Vec<Trial>> {
        for (flag, value) in [("--trials", self.trials as u64), ("--budget", self.budget)] {
            if value == 0 {
                return Err(Error::config(flag, "must be at least 1", "try --trials 9 --budget 9"));
            }
        }
        if !(1..=self.budget).contains(&self.first_rung) {
            let why = format!("must be from 1 to the {} epochs of --budget", self.budget);
            return Err(Error::config("--first-rung", why, "1 drops trials as early as possible"));
        }
        let base = self.config(&BTreeMap::new())?;
        let trials = if self.space.ranges.is_empty() { 1 } else { self.trials };
        let points = (0..trials).map(|t| self.point(t, &base)).collect::<Result<Vec<_>>>()?;
        let _lock = files::lock(self.out, "search.toml")?;
        self.claim(&base)?;
        let rungs = rungs(trials, self.budget, self.first_rung);
        let all: f64 = spent(&rungs);
        let mut alive: Vec<usize> = (0..trials).collect();
        let mut lines: Vec<Trial> = vec![];
        let mut done = 0.0;
        for (rung, &(count, epochs)) in rungs.iter().enumerate() {
            alive.truncate(count);
            let before = if rung == 0 { 0 } else { rungs[rung - 1].1 };
            let mut ended = vec![];
            for &trial in &alive {
                let (settings, config) = &points[trial];
                let share = (epochs - before) as f64;
                let mut progress = Progress { observer, done, share, of: all, trial, before, after: epochs };
                let found = self.rung(trial, rung, epochs, config, &mut progress)?;
                done += share;
                let (metric, failed) = (found.metric, found.failed);
                let line = Trial { trial, rung, epochs, settings: settings.clone(), metric, failed };
                observer.finished(rung, &line);
                ended.push(line.clone());
                lines.push(line);
                self.write_trials(&mut lines, &base.eval.metric)?;
            }
            // Best first; of equal ones the first sampled.
            ended.retain(|t| t.metric.is_some());
            ended.sort_by(|a, b| b.metric.partial_cmp(&a.metric).unwrap_or(std::cmp::Ordering::Equal));
            alive = ended.iter().map(|t| t.trial).collect();
            if rung + 1 == rungs.len() || alive.is_empty() {
                return self.finish(ended, &lines, &base);
            }
        }
        Ok(vec![])
    }

    fn finish(&self, ended: Vec<Trial>, lines: &[Trial], base: &Config) -> Result<Vec<Trial>> {
        let Some(best) = ended.first() else {
            let reason = lines.iter().find_map(|t| t.failed.clone()).unwrap_or_default();
            return Err(Error::Runs {
                why: format!("every trial failed; the first: {reason}"),
                remedy: "choose narrower ranges, by --space".into(),
                code: 6,
            });
        };
        let mut table = Table::new();
        for (key, value) in &best.settings {
            insert(&mut table, key, value.clone());
        }
        let said = format!(
            "# {}: trial {} of {}, {} epochs, validation {} {}\n{table}",
            self.model,
            best.trial,
            self.trials,
            best.epochs,
            base.eval.metric,
            best.metric.unwrap_or_default(),
        );
        base::files::write(&self.out.join("best.toml"), said.as_bytes())?;
        Ok(ended)
    }

    /// The settings of a run at a point of the space.
    fn config(&self, point: &BTreeMap<String, Value>) -> Result<Config> {
        let mut settings = self.settings.to_vec();
        settings.extend(point.iter().map(|(key, value)| format!("{key}={value}")));
        settings.extend([format!("model.name=\"{}\"", self.model), format!("train.epochs={}", self.budget)]);
        let config = Config::resolve(self.base.clone(), &settings)?;
        TrainStep::new(&config)?;
        Ok(config)
    }

    /// Trial 0 has the unchanged settings, the others are sampled; an invalid sample is replaced by the next.
    fn point(&self, trial: usize, base: &Config) -> Result<(BTreeMap<String, Value>, Config)> {
        if trial == 0 {
            let table: Table = base.to_toml().parse().unwrap_or_default();
            let keys = self.space.keys().into_iter();
            let unchanged = keys.filter_map(|key| lookup(&table, &key).map(|value| (key, value)));
            return Ok((unchanged.collect(), base.clone()));
        }
        let mut refused = None;
        for attempt in 0..ATTEMPTS {
            let point = self.space.sample(self.seed, trial as u64, attempt);
            match self.config(&point) {
                Ok(config) => return Ok((point, config)),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::config("--space", "is empty", "declare ranges")))
    }

    fn claim(&self, base: &Config) -> Result<()> {
        let manifest = SearchManifest {
            schema_version: 1,
            model: self.model.into(),
            trials: self.trials,
            budget: self.budget,
            first_rung: self.first_rung,
            seed: self.seed,
            data: self.data.name.clone(),
            data_fingerprint: self.data.fingerprint(),
            metric: base.eval.metric.clone(),
            settings: self.settings.to_vec(),
            ranges: self.space.ranges.iter().map(|(key, range)| format!("{key}: {range:?}")).collect(),
            settings_fingerprint: settings_fingerprint(base),
        };
        let path = self.out.join("search.toml");
        if path.is_file() && files::read_toml::<SearchManifest>(&path)? != manifest {
            return Err(Error::data(
                self.out,
                None,
                "holds another search (see its search.toml)",
                "choose another --out",
            ));
        }
        files::write_toml(&path, &manifest)
    }

    fn dir(&self, trial: usize) -> PathBuf {
        self.out.join("trials").join(trial.to_string())
    }

    /// The result of a trial at the end of a rung: read if it is known, else trained from the rung before.
    fn rung(
        &self,
        trial: usize,
        rung: usize,
        epochs: u64,
        config: &Config,
        progress: &mut Progress,
    ) -> Result<RungResult> {
        let path = self.dir(trial).join(format!("rung-{rung}.json"));
        if path.is_file() {
            let result: RungResult = files::read_json(&path, "delete this file: the trial is trained again")?;
            if result.epochs == epochs {
                return Ok(result);
            }
        }
        let context = Context { data: self.data, data_path: self.data_path, device: self.device };
        let run = self.dir(trial).join("run");
        let result = |metric, failed| RungResult { schema_version: 1, epochs, metric, failed };
        let result = match job::train(&context, config, &run, epochs, progress) {
            Ok((_, outcome)) => match outcome.best {
                Some(best) => result(Some(best.metric), None),
                None => {
                    return Err(Error::config(
                        "--data",
                        "the search needs a validation part",
                        "prepare the data with one, and leave train.include_valid off",
                    ));
                }
            },
            Err(Error::Interrupted { .. }) => {
                return Err(Error::Interrupted {
                    why: "the current trial is saved".into(),
                    remedy: "the same command resumes".into(),
                });
            }
            Err(error) if job::is_local(&error) => {
                result(None, Some(error.to_string().lines().next().unwrap_or_default().to_string()))
            }
            Err(error) => return Err(error),
        };
        fs::create_dir_all(self.dir(trial)).map_err(Error::io(self.dir(trial), "creating the folder"))?;
        files::write_json(&path, &result)?;
        Ok(result)
    }

    fn write_trials(&self, lines: &mut [Trial], metric: &str) -> Result<()> {
        lines.sort_by_key(|t| (t.trial, t.rung));
        let keys = self.space.ranges.keys();
        let head = ["trial", "rung", "epochs"].into_iter().chain(keys.clone().map(String::as_str));
        let head = head.chain([metric, "failed"]);
        let cells = |t: &Trial| {
            let mut cells = vec![t.trial.to_string(), t.rung.to_string(), t.epochs.to_string()];
            cells.extend(keys.clone().map(|key| t.settings.get(key).map_or(String::new(), plain)));
            cells.push(t.metric.map_or(String::new(), |value| value.to_string()));
            cells.push(t.failed.clone().unwrap_or_default());
            cells
        };
        base::files::write(&self.out.join("trials.csv"), &tables::encode(head, lines.iter().map(cells))?)
    }
}

/// Total epochs of the rungs, each continuing the one before.
fn spent(rungs: &[(usize, u64)]) -> f64 {
    let before = std::iter::once(0).chain(rungs.iter().map(|(_, epochs)| *epochs));
    rungs.iter().zip(before).map(|((trials, epochs), before)| *trials as f64 * (epochs - before) as f64).sum()
}

/// A value without the quotes of a string.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn lookup(table: &Table, key: &str) -> Option<Value> {
    match key.split_once('.') {
        None => table.get(key).cloned(),
        Some((section, rest)) => lookup(table.get(section)?.as_table()?, rest),
    }
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => _ = table.insert(key.into(), value),
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Turns the progress of a trial into that of the search.
struct Progress<'a> {
    observer: &'a mut dyn SearchObserver,
    /// Epochs done before, those of this trial in this rung, and of the whole search.
    done: f64,
    share: f64,
    of: f64,
    trial: usize,
    before: u64,
    after: u64,
}

impl Observer for Progress<'_> {
    fn step(&mut self, epoch: u64, step: u64, of: u64, _: &BTreeMap<String, f64>) -> bool {
        let here = epoch.saturating_sub(self.before) as f64 + step as f64 / of.max(1) as f64;
        let share = here / (self.after - self.before).max(1) as f64;
        self.observer.progress(self.done + share.min(1.0) * self.share, self.of, self.trial);
        self.observer.stop()
    }
}

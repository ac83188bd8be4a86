//! A search for settings by validation: random trials, of which successive halving trains ever fewer for ever longer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::files::{self, settings_fingerprint};
use super::job::{self, Context};
use super::space::Space;
use super::table;
use crate::config::{Base, Config};
use crate::data::Dataset;
use crate::engine::Device;
use crate::train::{Observer, TrainStep};
use crate::{Error, Result};

/// Of the trials of a rung, one in so many goes on, for so many times the epochs.
const ETA: usize = 3;

/// Draws for a trial before its space counts as impossible.
const ATTEMPTS: u64 = 100;

/// A search to be made, or to go on with.
pub struct Search<'a> {
    pub data: &'a Dataset,
    /// Where the data set lies.
    pub data_path: &'a Path,
    pub device: &'a Device,
    pub model: &'a str,
    /// Trials of the first rung: the settings as they stand, and draws.
    pub trials: usize,
    /// Epochs of the last rung.
    pub budget: u64,
    /// Epochs of the first rung, at least.
    pub first_rung: u64,
    /// Of the draws; the runs have the seed of their settings.
    pub seed: u64,
    pub space: &'a Space,
    pub base: &'a Base,
    /// `--set key=value`.
    pub settings: &'a [String],
    pub out: &'a Path,
}

/// Follows a search; decides whether it goes on.
pub trait SearchWatcher {
    /// `epochs` of `of` are done, over all trials and rungs.
    fn progress(&mut self, _epochs: f64, _of: f64, _trial: usize) {}
    fn ended(&mut self, _rung: usize, _trial: &Trial) {}
    fn stop(&self) -> bool {
        false
    }
}

/// One trial at the end of one rung.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub trial: usize,
    pub rung: usize,
    /// Epochs that it was trained for, in all.
    pub epochs: u64,
    pub settings: BTreeMap<String, Value>,
    /// Best validation metric so far; none where it failed.
    pub metric: Option<f64>,
    pub failed: Option<String>,
}

/// search.toml: another search needs another folder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Asked {
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
    /// Of the settings that the trials start from.
    settings_fingerprint: String,
}

fn one() -> u64 {
    1
}

/// rung-R.json of a trial.
#[derive(Serialize, Deserialize)]
struct Ended {
    schema_version: u32,
    epochs: u64,
    metric: Option<f64>,
    failed: Option<String>,
}

/// (trials, epochs) of each rung: a third of the trials goes on to three times the epochs, the last rung has all, and the
/// first at least `first`.
///
/// All three are at least 1. The sum of epochs depends on them alone, not on the model.
pub fn rungs(trials: usize, budget: u64, first: u64) -> Vec<(usize, u64)> {
    let mut last = 0;
    while ETA.pow(last + 1) <= trials && budget / (ETA as u64).pow(last + 1) >= first {
        last += 1;
    }
    (0..=last).map(|i| (trials / ETA.pow(i), budget / (ETA as u64).pow(last - i))).collect()
}

impl Search<'_> {
    /// Trains what is not yet trained and writes trials.csv and best.toml; the last rung's trials, the best first.
    pub fn run(&self, watcher: &mut dyn SearchWatcher) -> Result<Vec<Trial>> {
        for (flag, value) in [("--trials", self.trials as u64), ("--budget", self.budget)] {
            if value == 0 {
                return Err(Error::config(flag, "must be at least 1", "try --trials 9 --budget 9"));
            }
        }
        if !(1..=self.budget).contains(&self.first_rung) {
            let why = format!("must be from 1 to the {} epochs of --budget", self.budget);
            return Err(Error::config("--first-rung", why, "1 leaves trials behind as early as can be"));
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
                let mut progress = Progress { watcher, done, share, of: all, trial, before, after: epochs };
                let found = self.rung(trial, rung, epochs, config, &mut progress)?;
                done += share;
                let (metric, failed) = (found.metric, found.failed);
                let line = Trial { trial, rung, epochs, settings: settings.clone(), metric, failed };
                watcher.ended(rung, &line);
                ended.push(line.clone());
                lines.push(line);
                self.write_trials(&mut lines, &base.eval.metric)?;
            }
            // The best first; of equal ones the first drawn.
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

    /// The settings of a run with some of them searched.
    fn config(&self, point: &BTreeMap<String, Value>) -> Result<Config> {
        let mut settings = self.settings.to_vec();
        settings.extend(point.iter().map(|(key, value)| format!("{key}={value}")));
        settings.extend([format!("model.name=\"{}\"", self.model), format!("train.epochs={}", self.budget)]);
        let config = Config::resolve(self.base.clone(), &settings)?;
        TrainStep::new(&config)?;
        Ok(config)
    }

    /// The settings as they stand, then draws; one that the settings refuse is drawn again.
    fn point(&self, trial: usize, base: &Config) -> Result<(BTreeMap<String, Value>, Config)> {
        if trial == 0 {
            let table: Table = base.to_toml().parse().unwrap_or_default();
            let keys = self.space.keys().into_iter();
            let stands = keys.filter_map(|key| lookup(&table, &key).map(|value| (key, value)));
            return Ok((stands.collect(), base.clone()));
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
        let asked = Asked {
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
        if path.is_file() && files::read_toml::<Asked>(&path)? != asked {
            return Err(Error::data(
                self.out,
                None,
                "holds another search (search.toml says which)",
                "choose another --out",
            ));
        }
        files::write_toml(&path, &asked)
    }

    fn dir(&self, trial: usize) -> PathBuf {
        self.out.join("trials").join(trial.to_string())
    }

    /// What a trial reaches at the end of a rung: read where it is known, else trained, on from the rung before.
    fn rung(
        &self,
        trial: usize,
        rung: usize,
        epochs: u64,
        config: &Config,
        progress: &mut Progress,
    ) -> Result<Ended> {
        let path = self.dir(trial).join(format!("rung-{rung}.json"));
        if let Ok(text) = fs::read(&path) {
            let ended: Ended = serde_json::from_slice(&text).map_err(|e| {
                Error::corrupt(&path, e.to_string(), "delete this file: the trial is trained again")
            })?;
            if ended.epochs == epochs {
                return Ok(ended);
            }
        }
        let context = Context { data: self.data, data_path: self.data_path, device: self.device };
        let run = self.dir(trial).join("run");
        let ended = |metric, failed| Ended { schema_version: 1, epochs, metric, failed };
        let ended = match job::train(&context, config, &run, epochs, progress) {
            Ok((_, outcome)) => match outcome.best {
                Some(best) => ended(Some(best.metric), None),
                None => {
                    return Err(Error::config(
                        "--data",
                        "there was no validation to search by",
                        "prepare the data with a validation part, and leave train.include_valid off",
                    ));
                }
            },
            Err(Error::Interrupted { .. }) => {
                return Err(Error::Interrupted {
                    why: "the trial at work is saved".into(),
                    remedy: "the same command goes on".into(),
                });
            }
            Err(error) if job::is_of_the_run(&error) => {
                ended(None, Some(error.to_string().lines().next().unwrap_or_default().to_string()))
            }
            Err(error) => return Err(error),
        };
        fs::create_dir_all(self.dir(trial)).map_err(Error::io(self.dir(trial), "creating the folder"))?;
        files::write_json(&path, &ended)?;
        Ok(ended)
    }

    fn write_trials(&self, lines: &mut [Trial], metric: &str) -> Result<()> {
        lines.sort_by_key(|t| (t.trial, t.rung));
        let keys = self.space.ranges.keys();
        let header = ["trial", "rung", "epochs"].map(str::to_string).into_iter().chain(keys.clone().cloned());
        let header = header.chain([metric.to_string(), "failed".to_string()]).collect();
        let cells = |t: &Trial| {
            let mut cells = vec![t.trial.to_string(), t.rung.to_string(), t.epochs.to_string()];
            cells.extend(keys.clone().map(|key| t.settings.get(key).map_or(String::new(), plain)));
            cells.push(t.metric.map_or(String::new(), |value| value.to_string()));
            cells.push(t.failed.clone().unwrap_or_default());
            cells
        };
        table::write(&self.out.join("trials.csv"), header, lines.iter().map(cells))
    }
}

/// Epochs that rungs cost, each going on where the one before ended.
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

/// What a trial tells, as progress of the whole.
struct Progress<'a> {
    watcher: &'a mut dyn SearchWatcher,
    /// Epochs done by others, those of this trial in this rung, and of all.
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
        self.watcher.progress(self.done + share.min(1.0) * self.share, self.of, self.trial);
        self.watcher.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_triple_the_epochs_of_a_third() {
        assert_eq!(rungs(9, 9, 1), [(9, 1), (3, 3), (1, 9)]);
        assert_eq!(rungs(20, 10, 1), [(20, 1), (6, 3), (2, 10)]);
        assert_eq!(rungs(1, 30, 1), [(1, 30)]);
        assert_eq!(rungs(2, 30, 1), [(2, 30)]);
        assert_eq!(rungs(100, 2, 1), [(100, 2)]);
        assert_eq!(rungs(3, 8, 1), [(3, 2), (1, 8)]);
        // None is left behind before it had so many epochs.
        assert_eq!(rungs(9, 9, 2), [(9, 3), (3, 9)]);
        assert_eq!(rungs(9, 9, 3), [(9, 3), (3, 9)]);
        assert_eq!(rungs(9, 9, 9), [(9, 9)]);
        // Nine trials of one epoch, three that go on for two more, one for six more.
        assert_eq!(spent(&rungs(9, 9, 1)), 21.0);
    }

    #[test]
    fn keys_lead_into_tables() {
        let mut table = Table::new();
        insert(&mut table, "train.lr", Value::Float(0.5));
        insert(&mut table, "train.epochs", Value::Integer(3));
        insert(&mut table, "seed", Value::Integer(1));
        assert_eq!(lookup(&table, "train.lr"), Some(Value::Float(0.5)));
        assert_eq!(lookup(&table, "train.x"), None);
        assert_eq!(table["train"].as_table().unwrap().len(), 2);
        assert_eq!(plain(&Value::String("a".into())), "a");
    }
}

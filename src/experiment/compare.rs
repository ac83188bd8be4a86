//! Every run of a plan, one folder each, and their tables.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{self, FAILED, Folder, Identity, TESTED, settings_fingerprint};
use super::job::{self, Context, Failure};
use super::plan::{Plan, Request, Spec};
use super::summary::{Resampling, summarize};
use super::table::{self, Row, SummaryRow, Tested};
use crate::data::Dataset;
use crate::engine::Device;
use crate::models::Recommender;
use crate::train::Observer;
use crate::{Error, Result};

/// Follows a comparison; decides whether it goes on.
pub trait Watcher {
    /// `left` of the `of` runs are to be made now.
    fn planned(&mut self, _left: usize, _of: usize) {}
    /// `done` of the runs to be made now, the one at work in part.
    fn progress(&mut self, _done: f64, _run: &str) {}
    fn ended(&mut self, _run: &Row, _seconds: f64) {}
    fn failed(&mut self, _failure: &Failure) {}
    /// All runs are made; their differences are tested now.
    fn testing(&mut self, _runs: usize) {}
    /// After each step. `true` asks the run at work to save its state and the comparison to stop.
    fn stop(&self) -> bool {
        false
    }
}

/// A comparison to be made, or to go on with.
pub struct Compare<'a> {
    pub data: &'a Dataset,
    /// Where the data set lies.
    pub data_path: &'a Path,
    pub device: &'a Device,
    pub request: &'a Request,
    pub plan: &'a Plan,
    pub out: &'a Path,
    pub resampling: Resampling,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// All runs of the folder, as in results.csv.
    pub rows: Vec<Row>,
    pub summary: Vec<SummaryRow>,
    /// Runs of the plan that failed, now or before.
    pub failures: Vec<Failure>,
    /// The metric that validation selects by.
    pub metric: String,
}

/// compare.toml: what was asked last, and what all runs of the folder have in common.
#[derive(Serialize, Deserialize)]
struct Asked {
    schema_version: u32,
    data_path: String,
    models: Vec<String>,
    optimizers: Vec<String>,
    weightings: Vec<String>,
    seeds: Vec<u64>,
    resamples: usize,
    settings: Vec<String>,
    #[serde(flatten)]
    identity: Identity,
    settings_for: BTreeMap<String, Vec<String>>,
}

impl Compare<'_> {
    /// Makes the runs that are not finished and writes the tables.
    ///
    /// A run's own failure is recorded and does not stop the others. Errors: `Error::Data` where the folder belongs to
    /// another process, or holds runs of other data, another split, another evaluation or other settings;
    /// `Error::Interrupted` after saving.
    pub fn run(&self, watcher: &mut dyn Watcher) -> Result<Report> {
        let folder = Folder { dir: self.out.into() };
        let configs = self.plan.runs.iter().map(|spec| (spec.name(), &spec.config));
        let identity = Identity::new(self.data, configs)?;
        let _lock = files::lock(self.out, "compare.toml")?;
        if folder.asked().is_file() {
            let before: Asked = files::read_toml(&folder.asked())?;
            identity.check(&before.identity, self.out)?;
        }
        let mut finished = self.finished(&folder, &identity)?;
        let (mut failures, mut left) = (vec![], vec![]);
        for spec in &self.plan.runs {
            let dir = folder.run(&spec.name());
            match failure(&dir).filter(|f| f.settings_fingerprint == settings_fingerprint(&spec.config)) {
                Some(failure) if failure.lasts() => failures.push(failure),
                // Other failures, and those of other settings: again from the start.
                _ if dir.join(FAILED).is_file() => {
                    fs::remove_dir_all(&dir).map_err(Error::io(&dir, "emptying"))?;
                    left.push(spec);
                }
                _ => {
                    job::check_settings(&dir, &spec.config)?;
                    if !finished.iter().any(|t| t.row.run == spec.name()) {
                        left.push(spec);
                    }
                }
            }
        }
        files::write_toml(&folder.asked(), &self.asked(identity.clone()))?;
        self.write_tables(&folder, &mut finished)?;
        watcher.planned(left.len(), self.plan.runs.len());
        let context = Context { data: self.data, data_path: self.data_path, device: self.device };
        for (i, spec) in left.iter().enumerate() {
            let (name, dir) = (spec.name(), folder.run(&spec.name()));
            let mut progress = Progress { watcher, before: i, run: &name, epochs: 1 };
            match job::run(&context, spec, &identity, &dir, &mut progress) {
                Ok((tested, seconds)) => {
                    watcher.ended(&tested.row, seconds);
                    finished.push(tested);
                    self.write_tables(&folder, &mut finished)?;
                }
                Err(Error::Interrupted { .. }) => return Err(self.interrupted(finished.len())),
                Err(error) if job::is_of_the_run(&error) => {
                    let failure = Failure::new(&name, &spec.config, &error);
                    fs::create_dir_all(&dir).map_err(Error::io(&dir, "creating the folder"))?;
                    files::write_json(&dir.join(FAILED), &failure)?;
                    watcher.failed(&failure);
                    failures.push(failure);
                }
                Err(error) => return Err(error),
            }
            if watcher.stop() && i + 1 < left.len() {
                return Err(self.interrupted(finished.len()));
            }
        }
        let rows: Vec<Row> = finished.into_iter().map(|t| t.row).collect();
        watcher.testing(rows.len());
        let summary = summarize(self.out, &rows, self.resampling)?;
        table::write_summary(&folder.summary(), &summary)?;
        Ok(Report { rows, summary, failures, metric: identity.eval.metric })
    }

    fn interrupted(&self, finished: usize) -> Error {
        Error::Interrupted {
            why: format!("{finished} runs are finished, and the one at work is saved"),
            remedy: format!("the same command goes on; the tables so far are in {}", self.out.display()),
        }
    }

    fn asked(&self, identity: Identity) -> Asked {
        let distinct = |of: fn(&Spec) -> &String| {
            let mut names: Vec<String> = vec![];
            for name in self.plan.runs.iter().map(of) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            names
        };
        let mut seeds: Vec<u64> = self.plan.runs.iter().map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        Asked {
            schema_version: 1,
            data_path: self.data_path.display().to_string(),
            models: distinct(|run| &run.model),
            optimizers: distinct(|run| &run.optimizer),
            weightings: distinct(|run| &run.weighting),
            seeds,
            resamples: self.resampling.resamples,
            settings: self.request.settings.clone(),
            identity,
            settings_for: self.request.settings_for.clone(),
        }
    }

    /// All finished runs of the folder, those of earlier comparisons too.
    fn finished(&self, folder: &Folder, identity: &Identity) -> Result<Vec<Tested>> {
        let runs = folder.runs();
        let mut finished = vec![];
        if !runs.is_dir() {
            return Ok(finished);
        }
        for entry in fs::read_dir(&runs).map_err(Error::io(&runs, "listing"))? {
            let path = entry.map_err(Error::io(&runs, "listing"))?.path().join(TESTED);
            if path.is_file() {
                let tested = table::read_tested(&path)?;
                let own = Identity {
                    data: tested.row.data.clone(),
                    data_fingerprint: tested.row.data_fingerprint.clone(),
                    split_fingerprint: tested.row.split_fingerprint.clone(),
                    eval: identity.eval.clone(),
                };
                identity.check(&own, &path)?;
                finished.push(tested);
            }
        }
        Ok(finished)
    }

    fn write_tables(&self, folder: &Folder, finished: &mut [Tested]) -> Result<()> {
        table::sort(finished);
        let rows: Vec<&Row> = finished.iter().map(|t| &t.row).collect();
        table::write_results(&folder.results(), &rows)?;
        table::write_slices(&folder.slices(), finished)
    }
}

fn failure(dir: &Path) -> Option<Failure> {
    serde_json::from_slice(&fs::read(dir.join(FAILED)).ok()?).ok()
}

/// What a run tells, as progress of the whole.
struct Progress<'a> {
    watcher: &'a mut dyn Watcher,
    before: usize,
    run: &'a str,
    epochs: u64,
}

impl Observer for Progress<'_> {
    fn begin(&mut self, _: &dyn Recommender, _: u64, epochs: u64) {
        self.epochs = epochs;
    }

    fn step(&mut self, epoch: u64, step: u64, of: u64, _: &BTreeMap<String, f64>) -> bool {
        let share = (epoch * of + step) as f64 / (of * self.epochs).max(1) as f64;
        self.watcher.progress(self.before as f64 + share, self.run);
        self.watcher.stop()
    }
}

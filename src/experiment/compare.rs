//! Every run of a plan, one folder each, and their tables.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use report::tables::{self, CommandRecord, RunRow, SummaryRow};
use serde::{Deserialize, Serialize};

use super::files::{
    self, COMMAND, FAILED, Identity, MANIFEST, RESULTS, RUNS, SLICES, SUMMARY, TEST_RESULT, settings_fingerprint,
};
use super::job::{self, Context, Failure, TestResult};
use super::plan::{ComparePlan, Request, RunSpec};
use super::summary::{Resampling, summarize};
use crate::data::Dataset;
use crate::engine::Device;
use crate::models::Recommender;
use crate::train::Observer;
use crate::{Error, Result};

/// Follows a comparison and decides whether it continues.
pub trait CompareObserver {
    /// `left` of the `of` runs remain to be done.
    fn planned(&mut self, _left: usize, _of: usize) {}
    /// `done` of the remaining runs, counting the current one by its share.
    fn progress(&mut self, _done: f64, _run: &str) {}
    fn finished(&mut self, _run: &RunRow, _seconds: f64) {}
    fn failed(&mut self, _failure: &Failure) {}
    /// All runs are done; their differences are tested next.
    fn testing(&mut self, _runs: usize) {}
    /// Asked after each step. `true` makes the current run save its state and the comparison stop.
    fn stop(&self) -> bool {
        false
    }
}

/// A comparison to start or to resume.
pub struct Compare<'a> {
    pub data: &'a Dataset,
    /// Path of the data set.
    pub data_path: &'a Path,
    pub device: &'a Device,
    pub request: &'a Request,
    pub plan: &'a ComparePlan,
    pub out: &'a Path,
    pub resampling: Resampling,
    /// The command line, for the report.
    pub command: String,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// All runs of the folder, as in results.csv.
    pub rows: Vec<RunRow>,
    pub summary: Vec<SummaryRow>,
    /// Runs of the plan that failed, now or before.
    pub failures: Vec<Failure>,
    /// The metric that validation selects by.
    pub metric: String,
}

/// compare.toml: the last request, and what all runs of the folder have in common.
#[derive(Serialize, Deserialize)]
struct CompareManifest {
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
    /// Does the runs that are not finished and writes the tables.
    ///
    /// A run's own failure is recorded and does not stop the others. Errors: `Error::Data` if the folder is in use by
    /// another process, or holds runs of other data, another split, another evaluation or other settings;
    /// `Error::Interrupted` after saving.
    pub fn run(&self, observer: &mut dyn CompareObserver) -> Result<Comparison> {
        let configs = self.plan.runs.iter().map(|spec| (spec.name(), &spec.config));
        let identity = Identity::new(self.data, configs)?;
        let _lock = files::lock(self.out, MANIFEST)?;
        let manifest = self.out.join(MANIFEST);
        if manifest.is_file() {
            let before: CompareManifest = files::read_toml(&manifest)?;
            identity.check(&before.identity, self.out)?;
        }
        let mut finished = self.finished(&identity)?;
        let (mut failures, mut left) = (vec![], vec![]);
        for spec in &self.plan.runs {
            let dir = self.out.join(RUNS).join(spec.name());
            match failure(&dir).filter(|f| f.settings_fingerprint == settings_fingerprint(&spec.config)) {
                Some(failure) if failure.is_permanent() => failures.push(failure),
                // Other failures, and those of other settings, start over.
                _ if dir.join(FAILED).is_file() => {
                    fs::remove_dir_all(&dir).map_err(Error::io(&dir, "emptying"))?;
                    left.push(spec);
                }
                _ => {
                    job::check_settings(&dir, &spec.config)?;
                    if !finished.iter().any(|result| result.row.run == spec.name()) {
                        left.push(spec);
                    }
                }
            }
        }
        files::write_toml(&manifest, &self.manifest(identity.clone()))?;
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let record = CommandRecord { schema_version: 1, command: self.command.clone(), started };
        files::write_json(&self.out.join(COMMAND), &record)?;
        self.write_tables(&mut finished)?;
        observer.planned(left.len(), self.plan.runs.len());
        let context = Context { data: self.data, data_path: self.data_path, device: self.device };
        for (i, spec) in left.iter().enumerate() {
            let (name, dir) = (spec.name(), self.out.join(RUNS).join(spec.name()));
            let mut progress = Progress { observer, before: i, run: &name, epochs: 1 };
            match job::run(&context, spec, &identity, &dir, &mut progress) {
                Ok((result, seconds)) => {
                    observer.finished(&result.row, seconds);
                    finished.push(result);
                    self.write_tables(&mut finished)?;
                }
                Err(Error::Interrupted { .. }) => return Err(self.interrupted(finished.len())),
                Err(error) if job::is_local(&error) => {
                    let failure = Failure::new(&name, &spec.config, &error);
                    fs::create_dir_all(&dir).map_err(Error::io(&dir, "creating the folder"))?;
                    files::write_json(&dir.join(FAILED), &failure)?;
                    observer.failed(&failure);
                    failures.push(failure);
                }
                Err(error) => return Err(error),
            }
            if observer.stop() && i + 1 < left.len() {
                return Err(self.interrupted(finished.len()));
            }
        }
        let rows: Vec<RunRow> = finished.into_iter().map(|result| result.row).collect();
        observer.testing(rows.len());
        let summary = summarize(self.out, &rows, self.resampling)?;
        base::files::write(&self.out.join(SUMMARY), &tables::summary_csv(&summary)?)?;
        Ok(Comparison { rows, summary, failures, metric: identity.eval.metric })
    }

    fn interrupted(&self, finished: usize) -> Error {
        Error::Interrupted {
            why: format!("{finished} runs are finished, and the current one is saved"),
            remedy: format!("the same command resumes; the tables so far are in {}", self.out.display()),
        }
    }

    fn manifest(&self, identity: Identity) -> CompareManifest {
        let distinct = |of: fn(&RunSpec) -> &String| {
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
        CompareManifest {
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

    /// All finished runs of the folder, including those of earlier comparisons.
    fn finished(&self, identity: &Identity) -> Result<Vec<TestResult>> {
        let runs = self.out.join(RUNS);
        let mut finished = vec![];
        if !runs.is_dir() {
            return Ok(finished);
        }
        for entry in fs::read_dir(&runs).map_err(Error::io(&runs, "listing"))? {
            let path = entry.map_err(Error::io(&runs, "listing"))?.path().join(TEST_RESULT);
            if path.is_file() {
                let result: TestResult = files::read_json(&path, "delete this file: the run is tested again")?;
                let own = Identity {
                    data: result.row.data.clone(),
                    data_fingerprint: result.row.data_fingerprint.clone(),
                    split_fingerprint: result.row.split_fingerprint.clone(),
                    eval: identity.eval.clone(),
                };
                identity.check(&own, &path)?;
                finished.push(result);
            }
        }
        Ok(finished)
    }

    /// Writes results.csv and slices.csv, sorted by model, optimizer, weighting and seed.
    fn write_tables(&self, finished: &mut [TestResult]) -> Result<()> {
        let key = |r: &RunRow| (r.model.clone(), r.optimizer.clone(), r.weighting.clone(), r.seed);
        finished.sort_by_key(|result| key(&result.row));
        let rows: Vec<&RunRow> = finished.iter().map(|result| &result.row).collect();
        base::files::write(&self.out.join(RESULTS), &tables::results_csv(&rows)?)?;
        let slices = finished.iter().flat_map(|result| {
            let run = result.row.run.as_str();
            result.slices.iter().flat_map(move |s| {
                s.metrics.iter().map(move |(metric, value)| (run, &*s.kind, &*s.slice, s.learners, &**metric, *value))
            })
        });
        base::files::write(&self.out.join(SLICES), &tables::slices_csv(slices)?)
    }
}

fn failure(dir: &Path) -> Option<Failure> {
    serde_json::from_slice(&fs::read(dir.join(FAILED)).ok()?).ok()
}

/// Turns the progress of a run into that of the comparison.
struct Progress<'a> {
    observer: &'a mut dyn CompareObserver,
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
        self.observer.progress(self.before as f64 + share, self.run);
        self.observer.stop()
    }
}

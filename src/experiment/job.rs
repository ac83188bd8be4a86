//! One run of an experiment: trained or resumed, then tested.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use report::tables::{self, RunRow};
use serde::{Deserialize, Serialize};

use super::files::{self, Identity, settings_fingerprint};
use super::plan::RunSpec;
use crate::config::Config;
use crate::data::{Dataset, Split};
use crate::engine::Device;
use crate::eval::Slice;
use crate::models::Recommender;
use crate::train::{EpochLog, LAST, Meta, Observer, Outcome, Run, RunFiles};
use crate::{Error, Result};

/// What all runs of an experiment share.
pub struct Context<'a> {
    pub data: &'a Dataset,
    /// Path of the data set.
    pub data_path: &'a Path,
    pub device: &'a Device,
}

/// test.json: a row of results.csv and the rest of its `Evaluation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    pub schema_version: u32,
    #[serde(flatten)]
    pub row: RunRow,
    pub split: Split,
    pub learners: usize,
    pub learners_without_history: usize,
    pub slices: Vec<Slice>,
}

/// failed.json: why a run has no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    schema_version: u32,
    pub run: String,
    pub settings_fingerprint: String,
    pub reason: String,
    /// Exit code of the error.
    pub code: u8,
}

impl Failure {
    pub fn new(run: &str, config: &Config, error: &Error) -> Failure {
        Failure {
            schema_version: 1,
            run: run.into(),
            settings_fingerprint: settings_fingerprint(config),
            reason: error.to_string().lines().next().unwrap_or_default().to_string(),
            code: error.exit_code(),
        }
    }

    /// Whether the model cannot use the data set or the settings; nothing went wrong.
    pub fn does_not_apply(&self) -> bool {
        self.code == 2
    }

    /// Whether the run diverged and would do so again.
    pub fn is_permanent(&self) -> bool {
        self.code == 6
    }
}

/// Whether an error concerns this run alone, so that other runs may continue.
pub fn is_local(error: &Error) -> bool {
    !matches!(error, Error::Interrupted { .. } | Error::Io { .. } | Error::Device { .. })
}

/// timing.json: apart from the results, which are reproducible.
#[derive(Serialize, Deserialize)]
struct Timing {
    schema_version: u32,
    /// Of training and testing, over all processes that worked on the run.
    seconds: f64,
}

/// Measures the time of a run, including that of earlier processes.
struct Clock {
    path: PathBuf,
    before: f64,
    started: Instant,
}

impl Clock {
    fn new(dir: &Path) -> Clock {
        let path = dir.join(files::TIMING);
        let before = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Clock { path, before: before.map_or(0.0, |t: Timing| t.seconds), started: Instant::now() }
    }

    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    fn save(&self) -> Result<()> {
        files::write_json(&self.path, &Timing { schema_version: 1, seconds: self.seconds() })
    }
}

/// Saves the time after each epoch.
struct Timed<'a> {
    inner: &'a mut dyn Observer,
    clock: &'a Clock,
}

impl Observer for Timed<'_> {
    fn begin(&mut self, model: &dyn Recommender, steps_per_epoch: u64, epochs: u64) {
        self.inner.begin(model, steps_per_epoch, epochs);
    }

    fn step(&mut self, epoch: u64, step: u64, of: u64, values: &BTreeMap<String, f64>) -> bool {
        self.inner.step(epoch, step, of, values)
    }

    fn validating(&mut self, done: usize, of: usize) {
        self.inner.validating(done, of);
    }

    fn epoch(&mut self, log: &EpochLog) {
        // Failing to write a time is no reason to stop; if the disk is full, writing the results will tell.
        let _ = self.clock.save();
        self.inner.epoch(log);
    }
}

/// Fails if the folder holds a run with other settings.
pub fn check_settings(dir: &Path, config: &Config) -> Result<()> {
    let path = RunFiles { dir: dir.into() }.config();
    if !path.is_file() {
        return Ok(());
    }
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "reading"))?;
    if text == config.to_toml() {
        return Ok(());
    }
    Err(Error::data(
        dir,
        None,
        "was started with other settings",
        "choose another --out, or delete this folder to repeat the run",
    ))
}

/// Trains `config` in `dir` until `epochs` are done, from the last checkpoint if there is one; a folder without a
/// usable checkpoint is emptied first.
pub fn train<'a>(
    context: &Context<'a>,
    config: &'a Config,
    dir: &Path,
    epochs: u64,
    observer: &mut dyn Observer,
) -> Result<(Run<'a>, Outcome)> {
    let files = RunFiles { dir: dir.into() };
    let resumed = match files.checkpoints().join("last.json").is_file() {
        true => match Run::load(context.data, config, context.device, dir, LAST) {
            Ok(run) => Some(run),
            // A damaged checkpoint costs time only: from the start the run gives the same results.
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        },
        false => None,
    };
    let clock = Clock::new(dir);
    let mut run = match resumed {
        Some(run) => run,
        None => {
            if dir.exists() {
                fs::remove_dir_all(dir).map_err(Error::io(dir, "emptying"))?;
            }
            Meta::write(dir, context.data_path, context.data)?;
            Run::new(context.data, config, context.device, dir)?
        }
    };
    run.timed = false;
    let outcome = run.train_until(epochs, &mut Timed { inner: observer, clock: &clock })?;
    clock.save()?;
    Ok((run, outcome))
}

/// Trains and tests one run and writes its learners.csv and, last, its test.json.
pub fn run(
    context: &Context,
    spec: &RunSpec,
    identity: &Identity,
    dir: &Path,
    observer: &mut dyn Observer,
) -> Result<(TestResult, f64)> {
    let (run, outcome) = train(context, &spec.config, dir, u64::MAX, observer)?;
    let clock = Clock::new(dir);
    let parameters = run.model().params().elements() as u64;
    let run = match (RunFiles { dir: dir.into() }).best_or_last() {
        LAST => run,
        best => Run::load(context.data, &spec.config, context.device, dir, best)?,
    };
    let (found, each) = run.ranker().evaluate_learners(Split::Test, &mut |done, of| observer.validating(done, of))?;
    let row = RunRow {
        run: spec.name(),
        data: identity.data.clone(),
        data_fingerprint: identity.data_fingerprint.clone(),
        split_fingerprint: identity.split_fingerprint.clone(),
        model: spec.model.clone(),
        optimizer: spec.optimizer.clone(),
        weighting: spec.weighting.clone(),
        seed: spec.seed,
        settings_fingerprint: settings_fingerprint(&spec.config),
        best_epoch: Some(outcome.best.map_or(outcome.epochs, |best| best.epoch)),
        steps: Some(outcome.steps),
        parameters: Some(parameters),
        metrics: found.metrics,
    };
    let result = TestResult {
        schema_version: 1,
        row,
        split: found.split,
        learners: found.learners,
        learners_without_history: found.learners_without_history,
        slices: found.slices,
    };
    let learners = tables::learners_csv([&each.learner, &each.known, &each.wanted], &each.metrics)?;
    base::files::write(&dir.join(files::LEARNERS), &learners)?;
    clock.save()?;
    files::write_json(&dir.join(files::TEST_RESULT), &result)?;
    Ok((result, clock.seconds()))
}

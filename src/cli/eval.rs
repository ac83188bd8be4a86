//! `waata eval`, and what `waata inspect` says of a run.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::print_json;
use super::show::{self, Meter};
use waata::data::Split;
use waata::eval::{Evaluation, Ranker};
use waata::serve::{LoadOptions, read_config};
use waata::train::{LAST, Meta, RunFiles, checkpoint};
use waata::{Error, Recommender, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run
    run: PathBuf,
    /// Data set, if it has moved since the run was trained
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Part of the data set to predict
    #[arg(long, value_enum, default_value = "test")]
    split: SplitName,
    /// Change an evaluation setting, such as --set eval.rank_by=inner; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitName {
    Valid,
    Test,
}

pub fn run(args: Args) -> Result<()> {
    let split = match args.split {
        SplitName::Valid => Split::Valid,
        SplitName::Test => Split::Test,
    };
    if let Some(odd) = args.settings.iter().find(|s| !s.trim_start().starts_with("eval.")) {
        return Err(Error::config(
            "--set",
            format!("`{odd}` is not an evaluation setting"),
            "only eval.* can be set: the others belong to the trained model",
        ));
    }
    let model = open(&args.run, &args.data, &args.settings, &args.device)?;
    let found = evaluate(&model.ranker(), split)?;
    if args.json {
        return print_json(&found);
    }
    let courses = model.data().courses;
    show::line(&format!("{}, {} learners, all {courses} courses ranked", split.name(), found.learners))?;
    show::line(&show::metrics(&found.metrics))
}

/// Whether a folder is a run's, and not a data set.
pub fn is_run(dir: &Path) -> bool {
    RunFiles { dir: dir.into() }.meta().is_file()
}

/// Opens a run: its best checkpoint, else its last.
pub fn open(dir: &Path, data: &Option<PathBuf>, settings: &[String], device: &str) -> Result<Recommender> {
    let options = LoadOptions { data: data.clone(), settings: settings.to_vec(), device: Some(device.to_string()) };
    Recommender::load_with(dir, &options)
}

/// Evaluates with a progress bar.
pub fn evaluate(ranker: &Ranker, split: Split) -> Result<Evaluation> {
    let mut meter = Meter::new("ranking", 1);
    let found = ranker.evaluate(split, None, &mut |done, of| meter.at(done as u64, of as u64, String::new));
    meter.end();
    found
}

/// What `waata inspect` says of a run.
#[derive(Serialize)]
pub struct Description {
    schema_version: u32,
    model: String,
    data: Meta,
    epochs: u64,
    steps: u64,
    metric: String,
    best: Option<f64>,
    best_epoch: u64,
    test: Option<Evaluation>,
}

impl Description {
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} on {} ({})\n{} epochs, {} steps",
            self.model,
            self.data.data_name,
            self.data.data.display(),
            self.epochs,
            self.steps
        );
        if let Some(best) = self.best {
            text += &format!("; best {} {best:.4} at epoch {}", self.metric, self.best_epoch);
        }
        if let Some(test) = &self.test {
            text += &format!("\ntest, {} learners\n{}", test.learners, show::metrics(&test.metrics));
        }
        text
    }
}

pub fn describe(dir: &Path) -> Result<Description> {
    let config = read_config(dir)?;
    let progress = checkpoint::progress(&RunFiles { dir: dir.into() }.checkpoints(), LAST)?;
    // A run of a comparison has its metrics in test.json.
    let test = fs::read(dir.join("metrics.json")).or_else(|_| fs::read(dir.join("test.json")));
    let test = test.ok().and_then(|t| serde_json::from_slice(&t).ok());
    Ok(Description {
        schema_version: 1,
        model: config.model.name,
        data: Meta::read(dir)?,
        epochs: progress.epoch,
        steps: progress.step,
        metric: config.eval.metric,
        best: progress.best_metric,
        best_epoch: progress.best_epoch,
        test,
    })
}

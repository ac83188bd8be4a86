//! `waata eval`, and how a trained run is opened.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::show::{self, Meter};
use super::{open_data, print_json};
use waata::config::Config;
use waata::data::{Dataset, Split};
use waata::engine::Device;
use waata::eval::Evaluation;
use waata::train::{LAST, Meta, Run, RunFiles, checkpoint};
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run
    run: PathBuf,
    /// The data set, where it is no longer at the place that the run remembers
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "test")]
    split: SplitName,
    /// Evaluation settings to change, such as --set eval.rank_by=inner
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[arg(long, default_value = "auto")]
    device: String,
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
            format!("`{odd}` is no setting of the evaluation"),
            "only eval.* can be set",
        ));
    }
    with_run(&args.run, args.data.as_deref(), &args.settings, &args.device, |opened| {
        let found = opened.evaluate(split)?;
        if args.json {
            return print_json(&found);
        }
        show::line(&format!(
            "{}, {} learners, all {} courses ranked",
            split.name(),
            found.learners,
            opened.data.courses
        ))?;
        show::line(&show::metrics(&found.metrics))
    })
}

/// Whether a folder is a run's, and not a data set.
pub fn is_run(dir: &Path) -> bool {
    RunFiles { dir: dir.into() }.meta().is_file()
}

/// A trained run with the data set that it belongs to.
pub struct Opened<'a> {
    pub run: Run<'a>,
    pub data: &'a Dataset,
}

impl Opened<'_> {
    pub fn evaluate(&self, split: Split) -> Result<Evaluation> {
        let mut meter = Meter::new("ranking", 1);
        let found =
            self.run.evaluate(split, None, &mut |done, of| meter.at(done as u64, of as u64, String::new));
        meter.end();
        found
    }
}

/// Opens a run (its best checkpoint, else its last) and its data set for `work`.
pub fn with_run<R>(
    dir: &Path,
    data: Option<&Path>,
    settings: &[String],
    device: &str,
    work: impl FnOnce(&Opened) -> Result<R>,
) -> Result<R> {
    let device = Device::parse(device)?;
    let meta = Meta::read(dir)?;
    let config = read_config(dir)?.with(settings)?;
    let path = data.map_or(meta.data, Path::to_path_buf);
    let data = open_data(&path)?;
    let chosen = RunFiles { dir: dir.into() }.best_or_last();
    let run = Run::load(&data, &config, &device, dir, chosen)?;
    work(&Opened { run, data: &data })
}

pub fn read_config(dir: &Path) -> Result<Config> {
    let path = RunFiles { dir: dir.into() }.config();
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "reading"))?;
    Config::parse(&text, &path.display().to_string())
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

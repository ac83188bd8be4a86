//! The command line: one file per command. Results go to stdout, everything else to stderr.

mod bench;
mod compare;
mod doctor;
mod eval;
mod export;
mod inspect;
mod prepare;
mod recommend;
mod report;
mod search;
mod show;
mod synth;
mod train;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use waata::config::Base;
use waata::data::split::{self, Ratios, SplitPolicy};
use waata::data::{Dataset, formats, store};
use waata::{Error, Result};

/// Trains and serves WAA-TA, a course recommender that joins a knowledge graph with multi-task learning.
///
/// Exit codes: 0 ok, 1 other, 2 usage or settings, 3 bad input data, 4 device or driver, 5 memory, 6 diverged,
/// 7 corrupt checkpoint or store, 8 threshold not met, 130 interrupted after saving.
#[derive(Parser)]
#[command(name = "waata", version, max_term_width = 100)]
struct Cli {
    /// Threads of the CPU code; all cores when absent. The results do not depend on it.
    #[arg(long, global = true)]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What this machine and this build have, and why CPU or GPU is chosen
    Doctor(doctor::Args),
    /// Turn source files into a prepared data set
    Prepare(prepare::Args),
    /// Generate a data set of any size with planted preferences
    Synth(synth::Args),
    /// Count what a prepared data set or a run consists of
    Inspect(inspect::Args),
    /// Train a model
    Train(train::Args),
    /// Rank every course for every learner of a trained run and measure it
    Eval(eval::Args),
    /// Compare models on one data set: models x optimizers x weightings x seeds
    Compare(compare::Args),
    /// Search a model's settings by validation
    Search(search::Args),
    /// Recommend courses to one learner
    Recommend(recommend::Args),
    /// Write tables of a data set, or vectors of a run, as npy or Parquet
    Export(export::Args),
    /// Time the kernels and a training step against the limits of the device
    Bench(bench::Args),
    /// Turn a comparison into one HTML page, Markdown and figures
    Report(report::Args),
}

pub fn run() -> Result<()> {
    let cli = Cli::parse();
    if let Some(threads) = cli.threads {
        if threads == 0 {
            return Err(Error::config("--threads", "must be at least 1", "leave it out to use all cores"));
        }
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|e| Error::config("--threads", e.to_string(), "leave it out to use all cores"))?;
    }
    match cli.command {
        Command::Doctor(args) => doctor::run(args),
        Command::Prepare(args) => prepare::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Train(args) => train::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Search(args) => search::run(args),
        Command::Recommend(args) => recommend::run(args),
        Command::Export(args) => export::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Report(args) => report::run(args),
    }
}

/// A prepared data set, or a folder of source files that is split as its source says, else 60/20/20 at random.
fn open_data(path: &Path) -> Result<Dataset> {
    if path.join(store::MANIFEST).is_file() {
        return Dataset::open(path);
    }
    let loaded = formats::read(path, None, None, &Default::default())?;
    let mut data = loaded.dataset;
    let policy = match loaded.report.has_split {
        true => SplitPolicy::Given,
        false => SplitPolicy::Random { ratios: Ratios::default(), per_learner: false },
    };
    split::assign(&mut data, policy, loaded.report.has_split, 1)?;
    Ok(data)
}

/// What the settings start from: what was asked for, else what the data set brings along.
fn base(config: &Option<PathBuf>, preset: &Option<String>, data: &Path) -> Base {
    let own = data.join("run.toml");
    match (config, preset) {
        (Some(file), _) => Base::File(file.clone()),
        (None, Some(preset)) => Base::Preset(preset.clone()),
        (None, None) if own.is_file() => {
            eprintln!("settings: {} (--preset paper for the paper's)", own.display());
            Base::File(own)
        }
        (None, None) => Base::Defaults,
    }
}

/// Prints a `--json` document.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Error::shape("json", "a document", e.to_string()))?;
    show::line(&text)
}

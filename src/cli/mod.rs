//! The command line: one file per command. Results go to stdout, everything else to stderr.

/// As std's, without its panic where nobody reads stderr any more.
macro_rules! eprintln {
    ($($argument:tt)*) => { $crate::cli::show::stderr(format_args!($($argument)*)) };
}

mod bench;
mod compare;
mod doctor;
mod errors;
mod eval;
mod export;
mod inspect;
mod models;
mod prepare;
mod presets;
mod recommend;
mod report;
mod search;
mod settings;
mod show;
mod synth;
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser, Subcommand};

use waata::config::Base;
use waata::serve::open_data;
use waata::{Error, Result};

/// The version with the commit, where one is known: `WAATA_REVISION` at build time, else what git says.
static VERSION: LazyLock<String> = LazyLock::new(|| match revision() {
    Some(revision) => format!("{} ({revision})", env!("CARGO_PKG_VERSION")),
    None => env!("CARGO_PKG_VERSION").to_string(),
});

fn revision() -> Option<&'static str> {
    option_env!("WAATA_REVISION").filter(|given| !given.is_empty()).or(revision::revision!())
}

/// Trains and serves WAA-TA, a course recommender that combines attention over a knowledge graph with multi-task
/// learning.
#[derive(Parser)]
#[command(name = "waata", version = VERSION.as_str(), max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    /// CPU threads; all cores by default. The results do not depend on it
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  waata train                                  train on the sample in data/sample
  waata prepare raw -o prepared                split, check and fingerprint a data set
  waata train --data prepared -o runs/first
  waata eval runs/first
  waata recommend runs/first --learner 4711

Exit codes: 0 success, 1 internal error, 2 usage or settings, 3 input data, 4 device or driver,
5 not enough memory, 6 training diverged, 7 corrupt checkpoint or data set, 8 threshold not met,
130 interrupted after saving.";

#[derive(Subcommand)]
enum Command {
    /// Train a model
    #[command(after_help = "\
Examples:
  waata train --data prepared -o runs/first
  waata train --data prepared --preset history --set train.lr=0.01 --set model.layers=[64]
  waata train --data prepared --plan           memory that the run would take
  waata train --resume runs/first              continue an interrupted run

`waata settings` lists the keys of --set.")]
    Train(train::Args),
    /// Evaluate a trained run: rank every course for every learner
    #[command(after_help = "\
Examples:
  waata eval runs/first
  waata eval runs/first --split valid --json
  waata eval runs/first --set eval.k=[5,10] --set eval.metric=ndcg@10")]
    Eval(eval::Args),
    /// Recommend courses to one learner
    #[command(after_help = "\
Examples:
  waata recommend runs/first --learner 4711
  waata recommend runs/first --learner 4711 -k 20 --json")]
    Recommend(recommend::Args),
    /// Turn source files into a prepared data set
    #[command(after_help = "\
Examples:
  waata prepare raw -o prepared
  waata prepare raw -o prepared --split chronological --ratios 80/10/10
  waata prepare tables --format table --map data/maps/oulad-derived.toml -o prepared")]
    Prepare(prepare::Args),
    /// Generate a synthetic data set of any size with planted preferences
    #[command(after_help = "\
Examples:
  waata synth -o raw
  waata synth --learners 100000 --courses 2000 --enrolments 1000000 -o raw
  waata synth --preset mooccubex --format mooccubex -o raw")]
    Synth(synth::Args),
    /// Describe a data set or a run
    #[command(after_help = "\
Examples:
  waata inspect prepared
  waata inspect prepared --verify              check every checksum
  waata inspect runs/first --json")]
    Inspect(inspect::Args),
    /// Export a data set's tables, or a run's embeddings, as npy or Parquet
    #[command(after_help = "\
Examples:
  waata export runs/first -o vectors
  waata export prepared -o tables --what interactions,graph
  waata export prepared -o tables --format parquet")]
    Export(export::Args),
    /// Compare models on one data set: models x optimizers x weightings x seeds
    #[command(after_help = "\
Examples:
  waata compare --data prepared --models all --seeds 3 -o comparison
  waata compare --data prepared --models waa-ta,mmoe,ease --set train.epochs=10 -o comparison")]
    Compare(compare::Args),
    /// Search the settings of one model by validation
    #[command(after_help = "\
Example:
  waata search --data prepared --model waa-ta --trials 27 --budget 9 -o search")]
    Search(search::Args),
    /// Turn a comparison into an HTML page, Markdown and figures
    #[command(after_help = "\
Example:
  waata report --from comparison")]
    Report(report::Args),
    /// List the models
    #[command(after_help = "\
Example:
  waata train --set model.name=lightgcn")]
    Models,
    /// List the presets: settings that belong together
    #[command(after_help = "\
Example:
  waata train --preset history")]
    Presets,
    /// List the settings, or explain some of them
    #[command(after_help = "\
Examples:
  waata settings                               every key with its default
  waata settings train.lr                      type, default, range and meaning of a key
  waata settings kg                            the same of every key of a section")]
    Settings(settings::Args),
    /// Show what this machine and this build offer, and why the CPU or a GPU is used
    #[command(after_help = "\
Example:
  waata doctor --json")]
    Doctor(doctor::Args),
    /// Time the kernels and a training step against the limits of the device
    #[command(after_help = "\
Examples:
  waata bench
  waata bench attention --learners 30000 --courses 1000 --enrolments 200000
  waata bench head adam --json > before.json
  waata bench head adam --baseline before.json --max-regress 5%")]
    Bench(bench::Args),
}

/// Parses the arguments, runs the command and prints what went wrong.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return errors::usage(error, &Cli::command()),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => errors::report(&error),
    }
}

fn run(cli: Cli) -> Result<()> {
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
        Command::Models => models::run(),
        Command::Presets => presets::run(),
        Command::Settings(args) => settings::run(args),
    }
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
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::shape("json", "a document", e.to_string()))?;
    show::line(&text)
}

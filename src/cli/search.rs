//! `waata search`

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::show::{self, Meter};
use super::train::{INTERRUPTED, catch_interrupts};
use super::{base, open_data};
use waata::engine::Device;
use waata::experiment::{Search, SearchObserver, Space, Trial, model_names};
use waata::{Error, Result};

/// Searches the settings of one model by validation: random trials, of which the worse two thirds are dropped in each
/// round. The test part is not used.
///
/// The same command resumes an interrupted search. The epochs spent depend on --trials, --budget and --first-rung alone, so
/// models searched alike get the same budget.
#[derive(clap::Args)]
pub struct Args {
    /// Prepared data set, or a folder of source files
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Model whose settings are searched
    #[arg(long, value_name = "NAME", value_parser = super::models::parser())]
    model: String,
    /// Number of trials; the first is the unchanged settings
    #[arg(long, value_name = "N")]
    trials: usize,
    /// Epochs of the trials that survive to the end
    #[arg(long, value_name = "EPOCHS")]
    budget: u64,
    /// Epochs of each trial before any is dropped. More than 1 keeps trials that start slowly; as many as --budget is plain
    /// random search
    #[arg(long, value_name = "EPOCHS", default_value_t = 1)]
    first_rung: u64,
    /// Ranges of settings; data/search.toml by default
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// Start from the settings of a file; by default from the data set's own run.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start from a preset
    #[arg(long, value_name = "NAME", conflicts_with = "config", value_parser = super::presets::parser())]
    preset: Option<String>,
    /// Fix a setting, which is then not searched; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Seed of the trials' settings
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Folder of the search: trials.csv, and best.toml for waata compare
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

pub fn run(args: Args) -> Result<()> {
    let device = Device::parse(&args.device)?;
    if !model_names().contains(&args.model) {
        let why = format!("there is no model `{}`", args.model);
        return Err(Error::config("--model", why, format!("models: {}", model_names().join(", "))));
    }
    let space = match &args.space {
        None => Space::of(&args.model, None)?,
        Some(path) => {
            let text = fs::read_to_string(path).map_err(Error::io(path, "reading"))?;
            Space::of(&args.model, Some((&text, &path.display().to_string())))?
        }
    };
    let space = space.without(&args.settings);
    if space.ranges.is_empty() {
        eprintln!("note: no range is declared for {}: only its unchanged settings are tried", args.model);
    }
    let base = base(&args.config, &args.preset, &args.data);
    let data = open_data(&args.data)?;
    catch_interrupts();
    let search = Search {
        data: &data,
        data_path: &args.data,
        device: &device,
        model: &args.model,
        trials: args.trials,
        budget: args.budget,
        first_rung: args.first_rung,
        seed: args.seed,
        space: &space,
        base: &base,
        settings: &args.settings,
        out: &args.out,
    };
    let mut screen = Screen { meter: Meter::new("searching", 1) };
    let found = search.run(&mut screen);
    screen.meter.end();
    for trial in found? {
        show::line(&said(&trial))?;
    }
    show::line(&format!("\nthe best settings are in {0}/best.toml, all trials in {0}/trials.csv", args.out.display()))
}

fn said(trial: &Trial) -> String {
    let settings: Vec<String> = trial.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let value = match (&trial.metric, &trial.failed) {
        (Some(value), _) => format!("{value:.4}"),
        (None, Some(reason)) => format!("failed ({reason})"),
        (None, None) => "-".into(),
    };
    format!("trial {} after {} epochs: {value}  {}", trial.trial, trial.epochs, settings.join(" "))
}

struct Screen {
    meter: Meter,
}

impl SearchObserver for Screen {
    fn progress(&mut self, epochs: f64, of: f64, trial: usize) {
        const PARTS: f64 = 100.0;
        self.meter.at((epochs * PARTS) as u64, (of * PARTS) as u64, || format!("trial {trial}"));
    }

    fn finished(&mut self, rung: usize, trial: &Trial) {
        self.meter.note(&format!("round {}: {}", rung + 1, said(trial)));
    }

    fn stop(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}

//! `waata compare`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use report::tables::{RunRow, SummaryRow};

use super::show::{self, Meter};
use super::train::{INTERRUPTED, catch_interrupts};
use super::{base, open_data};
use waata::engine::Device;
use waata::experiment::{Compare, CompareObserver, ComparePlan, Comparison, Failure, Request, Resampling, settings_of};
use waata::{Error, Result};

/// Compares models on one data set: every combination of models, optimizers, weightings and seeds is trained and tested,
/// and each model is compared with the best baseline.
///
/// The same command resumes an interrupted comparison; finished runs are kept. docs/compare.md describes the folder.
#[derive(clap::Args)]
pub struct Args {
    /// Prepared data set, or a folder of source files
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Models, separated by commas
    #[arg(long, value_delimiter = ',', required = true, value_name = "NAMES", value_parser = super::models::parser_or_all())]
    models: Vec<String>,
    /// Number of seeds, counted up from the settings' seed
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: usize,
    /// Optimizers, separated by commas: sgd, adagrad, rmsprop, adam, adamw; by default that of the settings
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    optimizers: Vec<String>,
    /// Values of weighting.combine, separated by commas; by default that of the settings
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    weightings: Vec<String>,
    /// Start from the settings of a file; by default from the data set's own run.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start from a preset
    #[arg(long, value_name = "NAME", conflicts_with = "config", value_parser = super::presets::parser())]
    preset: Option<String>,
    /// Settings of one model, such as the best.toml of a search; repeatable
    #[arg(long, value_name = "MODEL=FILE")]
    settings_for: Vec<String>,
    /// Change a setting for all models, such as --set train.epochs=10; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Folder of the comparison
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Resamples of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    resamples: usize,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

pub fn run(args: Args) -> Result<()> {
    let device = Device::parse(&args.device)?;
    let request = Request {
        base: base(&args.config, &args.preset, &args.data),
        models: args.models,
        optimizers: args.optimizers,
        weightings: args.weightings,
        seeds: args.seeds,
        settings_for: settings_for(&args.settings_for)?,
        settings: args.settings,
    };
    let plan = ComparePlan::new(&request)?;
    if args.resamples == 0 {
        return Err(Error::config("--resamples", "must be at least 1", "leave it out for 10000"));
    }
    let data = open_data(&args.data)?;
    plan.notes.iter().for_each(|note| eprintln!("note: {note}"));
    catch_interrupts();
    let mut screen = Screen::new(plan.runs.first().map_or(String::new(), |r| r.config.eval.metric.clone()));
    let compare = Compare {
        data: &data,
        data_path: &args.data,
        device: &device,
        request: &request,
        plan: &plan,
        out: &args.out,
        resampling: Resampling { resamples: args.resamples, ..Default::default() },
        command: command_line(),
    };
    let comparison = compare.run(&mut screen);
    screen.meter.end();
    let comparison = comparison?;
    show::line(&text(&comparison))?;
    let out = args.out.display();
    show::line(&format!("\nall metrics are in {out}: results.csv, summary.csv, slices.csv"))?;
    show::line(&format!("figures and tables: waata report {}", quoted(&out.to_string())))?;
    // Some of all models cannot use this data set.
    let all = request.models.iter().any(|name| name == "all");
    let failed: Vec<&Failure> = comparison.failures.iter().filter(|f| !(all && f.does_not_apply())).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let names: Vec<&str> = failed.iter().map(|f| f.run.as_str()).collect();
    Err(Error::Runs {
        why: format!("{} of {} runs failed: {}", names.len(), plan.runs.len(), names.join(", ")),
        remedy: format!("{}: {}", first.run, first.reason),
        code: first.code,
    })
}

/// The command line, as it can be pasted into a shell.
fn command_line() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(&argument.to_string_lossy()));
    ["waata".to_string()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:+@%".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.into(),
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    }
}

fn settings_for(given: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut settings = BTreeMap::new();
    for given in given {
        let Some((model, file)) = given.split_once('=') else {
            let why = format!("`{given}` has no `=`");
            return Err(Error::config("--settings-for", why, "write --settings-for waa-ta=best.toml"));
        };
        settings.insert(model.trim().to_string(), settings_of(file.trim().as_ref())?);
    }
    Ok(settings)
}

/// The table at the end: the metric of model selection, best mean first.
fn text(comparison: &Comparison) -> String {
    let mut rows: Vec<&SummaryRow> = comparison.summary.iter().filter(|r| r.metric == comparison.metric).collect();
    rows.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    let width =
        |of: fn(&SummaryRow) -> &String, least: usize| rows.iter().map(|r| of(r).len()).max().unwrap_or(0).max(least);
    let (m, o, w) = (width(|r| &r.model, 5), width(|r| &r.optimizer, 9), width(|r| &r.weighting, 9));
    let mut text = format!(
        "test, {}; difference to the best baseline, * if p < 0.05 after Holm's correction\n\n{:m$} {:o$} {:w$}  n    mean     sd   diff.     p",
        comparison.metric, "model", "optimizer", "weighting"
    );
    for r in rows {
        let number = |value: Option<f64>, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}"));
        let sign = if r.p_holm.is_some_and(|p| p < 0.05) { "*" } else { " " };
        text += &format!(
            "\n{:m$} {:o$} {:w$} {:>2} {:>7.4} {:>6} {:>7} {:>5}{sign}",
            r.model,
            r.optimizer,
            r.weighting,
            r.seeds,
            r.mean,
            number(r.sd, 4),
            r.difference.map_or("-".into(), |d| format!("{d:+.4}")),
            if r.p_holm.is_some_and(|p| p < 0.001) { "<.001".into() } else { number(r.p_holm, 3) },
        );
    }
    text
}

/// The progress of a comparison on the terminal.
struct Screen {
    meter: Meter,
    metric: String,
    left: usize,
    of: usize,
    done: usize,
}

/// Units of progress per run.
const PARTS: f64 = 1000.0;

impl Screen {
    fn new(metric: String) -> Screen {
        Screen { meter: Meter::new("comparing", 1), metric, left: 0, of: 0, done: 0 }
    }

    fn place(&mut self) -> String {
        self.done += 1;
        format!("[{}/{}]", self.of - self.left + self.done, self.of)
    }
}

impl CompareObserver for Screen {
    fn planned(&mut self, left: usize, of: usize) {
        (self.left, self.of) = (left, of);
        let done = if left < of { format!(", {} done before", of - left) } else { String::new() };
        self.meter.note(&format!("{of} runs{done}"));
    }

    fn progress(&mut self, done: f64, run: &str) {
        self.meter.at((done * PARTS) as u64, (self.left as f64 * PARTS) as u64, || run.to_string());
    }

    fn finished(&mut self, run: &RunRow, seconds: f64) {
        let value = run.metrics.get(&self.metric).map_or("-".to_string(), |value| format!("{value:.4}"));
        let place = self.place();
        let epoch = run.best_epoch.unwrap_or_default();
        self.meter.note(&format!("{place} {}: {} {value}, epoch {epoch}, {seconds:.1} s", run.run, self.metric));
    }

    fn failed(&mut self, failure: &Failure) {
        let place = self.place();
        let what = if failure.does_not_apply() { "cannot be made" } else { "failed" };
        self.meter.note(&format!("{place} {}: {what}: {}", failure.run, failure.reason));
    }

    fn testing(&mut self, runs: usize) {
        self.meter.note(&format!("testing the differences between {runs} runs"));
    }

    fn stop(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}

//! `waata bench`

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::{print_json, show};
use waata::bench::{self, Change, FAMILIES, Options, Report, Sizes};
use waata::engine::Device;
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Groups of cases
    #[arg(default_value = "all", value_name = "FAMILY", value_parser = families())]
    families: Vec<String>,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    #[command(flatten)]
    sizes: Sizes,
    /// Time for the repetitions of one case
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Write the graph and the ids of the cases to this folder as .npy instead of measuring
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "baseline"])]
    save_inputs: Option<PathBuf>,
    /// Compare with an earlier document of `waata bench --json`
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Exit with 8 if a case is slower than the baseline by more than this
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    max_regress: f64,
}

fn families() -> PossibleValuesParser {
    FAMILIES.iter().map(|(name, _)| *name).chain(["all"]).collect::<Vec<_>>().into()
}

/// "5%" or "5" as 0.05.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value / 100.0),
        _ => Err("a percentage, such as 5%".into()),
    }
}

/// The document, with the comparison where one was asked for.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<&'a [Change]>,
}

pub fn run(args: Args) -> Result<()> {
    // Read first: a missing file should not cost a run.
    let baseline = args.baseline.as_deref().map(read).transpose()?;
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        let why = format!("{} is out of range", args.seconds);
        return Err(Error::config("--seconds", why, "choose up to 3600"));
    }
    if let Some(dir) = &args.save_inputs {
        return bench::save(&args.sizes, dir);
    }
    let device = Device::parse(&args.device)?;
    let options = Options {
        families: args.families,
        only: args.only,
        sizes: args.sizes,
        revision: super::revision().map(String::from),
        budget: Duration::from_secs_f64(args.seconds),
    };
    let mut titled = false;
    let report = bench::run(&device, &options, &mut |limits, case| {
        if args.json {
            eprintln!("{}", bench::row(case));
            return Ok(());
        }
        if !titled {
            titled = true;
            show::line(&bench::heading(&device, limits))?;
            show::line(&bench::title())?;
        }
        show::line(&bench::row(case))
    })?;
    let changes = baseline.map(|baseline| bench::compare(&report, &baseline)).transpose()?;
    if args.json {
        print_json(&Document { report: &report, baseline: changes.as_deref() })?;
    }
    match changes {
        Some(changes) => judge(&changes, args.max_regress),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "reading"))?;
    serde_json::from_str(&text).map_err(|e| {
        Error::data(path, None, format!("is not a document of waata bench: {e}"), "make one with waata bench --json")
    })
}

/// Prints how every case changed. `Error::Threshold` where one is slower by more than `most`.
fn judge(changes: &[Change], most: f64) -> Result<()> {
    let mut slower = vec![];
    for change in changes {
        match (change.baseline_ms, change.change) {
            (Some(before), Some(by)) => {
                let text = format!("{} {:.3} ms, was {before:.3} ({:+.1}%)", change.name, change.ms, 100.0 * by);
                eprintln!("{text}");
                if by > most {
                    slower.push(text);
                }
            }
            _ => eprintln!("{} {:.3} ms, not in the baseline", change.name, change.ms),
        }
    }
    match slower.is_empty() {
        true => Ok(()),
        false => Err(Error::Threshold {
            why: format!("{} of {} cases are slower: {}", slower.len(), changes.len(), slower.join("; ")),
            remedy: format!("find out why, or allow more than {}% with --max-regress", 100.0 * most),
        }),
    }
}

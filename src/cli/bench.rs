//! `waata bench`

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::{print_json, show};
use waata::bench::{self, Change, Family, Options, Report, Sizes};
use waata::engine::Device;
use waata::{Error, Result};

/// Sizes default to those of docs/benchmarks.md, which need 3 GB of memory.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    families: Vec<FamilyName>,
    /// Only cases whose name has this in it
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    #[arg(long)]
    learners: Option<usize>,
    #[arg(long)]
    courses: Option<usize>,
    #[arg(long)]
    enrolments: Option<usize>,
    /// Width of the vectors
    #[arg(long)]
    dim: Option<usize>,
    /// Batches of the multi-task head, such as 1024,65536
    #[arg(long, value_delimiter = ',')]
    batch: Vec<usize>,
    /// Triples of a TransD batch
    #[arg(long)]
    triples: Option<usize>,
    /// Learners to rank
    #[arg(long)]
    ranked: Option<usize>,
    /// Rows of a row-sparse Adam step, such as 10000,100000
    #[arg(long, value_delimiter = ',')]
    rows: Vec<usize>,
    /// What edges of the attention read rows in: f32, bf16 or f16
    #[arg(long, default_value = "f32")]
    storage: String,
    /// Seconds for the repetitions of one case
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value = "auto")]
    device: String,
    #[arg(long)]
    json: bool,
    /// Measure nothing: write the graph and the ids that the cases work on to this folder, as .npy
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "baseline"])]
    save_inputs: Option<PathBuf>,
    /// A document of an earlier `waata bench --json` to compare with
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Exit with 8 where a case takes longer than the baseline by more than this
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    max_regress: f64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum FamilyName {
    Attention,
    Transd,
    Head,
    Step,
    Ranking,
    Adam,
    All,
}

impl FamilyName {
    fn families(self) -> Vec<Family> {
        match self {
            FamilyName::Attention => vec![Family::Attention],
            FamilyName::Transd => vec![Family::TransD],
            FamilyName::Head => vec![Family::Head],
            FamilyName::Step => vec![Family::Step],
            FamilyName::Ranking => vec![Family::Ranking],
            FamilyName::Adam => vec![Family::Adam],
            FamilyName::All => Family::ALL.to_vec(),
        }
    }
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
    let options = options(&args)?;
    if let Some(dir) = &args.save_inputs {
        return bench::save(&options.sizes, dir);
    }
    let device = Device::parse(&args.device)?;
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

fn options(args: &Args) -> Result<Options> {
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return Err(Error::config(
            "--seconds",
            format!("{} is out of range", args.seconds),
            "choose up to 3600",
        ));
    }
    let plain = Sizes::default();
    let list = |given: &[usize], plain: Vec<usize>| if given.is_empty() { plain } else { given.to_vec() };
    let mut families: Vec<Family> = args.families.iter().flat_map(|name| name.families()).collect();
    let mut seen = vec![];
    families.retain(|f| {
        !seen.contains(f) && {
            seen.push(*f);
            true
        }
    });
    Ok(Options {
        families,
        only: args.only.clone(),
        sizes: Sizes {
            learners: args.learners.unwrap_or(plain.learners),
            courses: args.courses.unwrap_or(plain.courses),
            enrolments: args.enrolments.unwrap_or(plain.enrolments),
            dim: args.dim.unwrap_or(plain.dim),
            batches: list(&args.batch, plain.batches),
            triples: args.triples.unwrap_or(plain.triples),
            ranked: args.ranked.unwrap_or(plain.ranked),
            rows: list(&args.rows, plain.rows),
            storage: args.storage.clone(),
        },
        budget: Duration::from_secs_f64(args.seconds),
    })
}

fn read(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "reading"))?;
    serde_json::from_str(&text).map_err(|e| {
        Error::data(
            path,
            None,
            format!("is no document of waata bench: {e}"),
            "make one with waata bench --json",
        )
    })
}

/// Says how every case changed; `Error::Threshold` where one is slower by more than `most`.
fn judge(changes: &[Change], most: f64) -> Result<()> {
    let mut slower = vec![];
    for change in changes {
        match (change.baseline_ms, change.change) {
            (Some(before), Some(by)) => {
                let text =
                    format!("{} {:.3} ms, was {before:.3} ({:+.1}%)", change.name, change.ms, 100.0 * by);
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

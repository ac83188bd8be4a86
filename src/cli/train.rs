//! `waata train`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::show::{self, Meter};
use super::{base, eval, open_data, print_json, recommend};
use waata::config::Config;
use waata::data::{Dataset, Split};
use waata::engine::{Device, memory, system};
use waata::models::Recommender;
use waata::serve::read_config;
use waata::train::{EpochLog, LAST, MemoryEstimate, Meta, Observer, Run, RunFiles, memory_estimate};
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Prepared data set, or a folder of source files; data/sample by default
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the run; a new one under runs/ by default
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Start from the settings of a file; by default from the data set's own run.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start from a preset
    #[arg(long, value_name = "NAME", conflicts_with = "config", value_parser = super::presets::parser())]
    preset: Option<String>,
    /// Change a setting, such as --set train.lr=0.001; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Estimate the memory of the run, and stop
    #[arg(long)]
    plan: bool,
    /// Print the estimate as JSON
    #[arg(long, requires = "plan")]
    json: bool,
    /// Refuse a run that needs more memory, such as 12G; by default what the machine or the GPU has free
    #[arg(long, value_name = "BYTES", value_parser = system::parse_size)]
    memory_limit: Option<u64>,
    /// Continue an interrupted run
    #[arg(long, value_name = "RUN", conflicts_with_all = ["out", "config", "preset", "settings"])]
    resume: Option<PathBuf>,
    /// Print every loss of an epoch, and norm, cosine with the target and weight of its gradient
    #[arg(short, long)]
    verbose: bool,
    /// Print results and errors only
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

impl Args {
    /// A line on stderr, unless all is to be quiet.
    fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

const SAMPLE: &str = "data/sample";

pub fn run(args: Args) -> Result<()> {
    let device = Device::parse(&args.device)?;
    let (dir, data_path, config) = match &args.resume {
        Some(dir) => {
            let meta = Meta::read(dir)?;
            let config = read_config(dir)?;
            (dir.clone(), args.data.clone().unwrap_or(meta.data), config)
        }
        None => {
            let data = args.data.clone().unwrap_or_else(|| SAMPLE.into());
            let config = Config::resolve(base(&args.config, &args.preset, &data), &args.settings)?;
            if args.data.is_none() && !data.is_dir() {
                return Err(Error::config(
                    "--data",
                    format!("the sample ({SAMPLE}) is not in this folder"),
                    "name a data set: --data DIR (waata synth --out DIR makes one)",
                ));
            }
            let dir = args.out.clone().unwrap_or_else(|| free_folder(&data));
            if dir.exists() && !args.plan {
                return Err(Error::data(dir, None, "exists already", "choose another --out, or --resume it"));
            }
            (dir, data, config)
        }
    };
    let data = open_data(&data_path)?;
    let memory = estimated(&args, &config, &data, &device)?;
    if args.plan {
        return Ok(());
    }
    let mut run = match args.resume {
        Some(_) => Run::load(&data, &config, &device, &dir, LAST)?,
        None => Run::new(&data, &config, &device, &dir)?,
    };
    args.say(&format!(
        "{} on {}: {}, {}, {}\n{}, {}, on {}",
        run.model().name(),
        data.name,
        counted(data.learners(), "learner"),
        counted(data.courses, "course"),
        counted(data.enrolments(), "enrolment"),
        counted(data.triples.len(), "triple"),
        counted(run.model().params().elements(), "parameter"),
        device.name()
    ));
    run.check()?;
    if args.resume.is_none() {
        Meta::write(&dir, &data_path, &data)?;
    }
    catch_interrupts();
    let mut progress = Progress::new(&args, config.eval.metric.clone());
    let outcome = run.train(&mut progress)?;
    progress.end();
    SAVED.store(true, Ordering::SeqCst);
    if INTERRUPTED.load(Ordering::SeqCst) {
        return Err(Error::Interrupted {
            why: "all epochs were done and are saved".into(),
            remedy: format!("measure them with: waata eval {}", dir.display()),
        });
    }
    let best = match outcome.best {
        Some(best) => format!("best {} {:.4} at epoch {}", config.eval.metric, best.metric, best.epoch),
        None => "no validation".into(),
    };
    let why = if outcome.early { " (stopped early)" } else { "" };
    let (epochs, steps) = (counted(outcome.epochs as usize, "epoch"), counted(outcome.steps as usize, "step"));
    args.say(&format!("{epochs}, {steps}{why}; {best}"));

    // The best checkpoint where validation chose one, else the model as it is.
    let chosen = RunFiles { dir: dir.clone() }.best_or_last();
    if chosen != LAST {
        run.restore(chosen)?;
    }
    let ranker = run.ranker();
    let found = eval::evaluate(&ranker, Split::Test)?;
    let text = serde_json::to_vec_pretty(&found)
        .map_err(|e| Error::corrupt(&dir, format!("the metrics cannot be written: {e}"), "report this"))?;
    base::files::write(&dir.join("metrics.json"), &text)?;
    let learners = counted(found.learners, "learner");
    show::line(&format!("test, {learners}, all {} ranked", counted(data.courses, "course")))?;
    show::line(&show::metrics(&found.metrics))?;
    if let Some(learner) = recommend::first_with_history(&data) {
        show::line("")?;
        show::line(&recommend::text(&ranker, learner, 5)?)?;
    }
    args.say(&measured(&memory, &device));
    show::line(&format!("\nsaved in {}: waata eval, recommend --learner ID, inspect", dir.display()))
}

/// A count with its unit.
fn counted(n: usize, unit: &str) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    format!("{} {unit}{}", groups.join(","), if n == 1 { "" } else { "s" })
}

/// The memory that the run will take, said and held against what there is.
fn estimated(args: &Args, config: &Config, data: &Dataset, device: &Device) -> Result<MemoryEstimate> {
    let memory = MemoryEstimate::new(config, data, device)?;
    match args.plan {
        true if args.json => print_json(&memory)?,
        true => show::line(&memory.text())?,
        false => args.say(&memory.summary()),
    }
    let limit = match args.memory_limit {
        Some(limit) => Some(limit),
        None => memory_estimate::limit(device)?,
    };
    limit.map_or(Ok(()), |limit| memory.fits(limit, config, data, device))?;
    Ok(memory)
}

/// The estimate beside what was measured.
fn measured(memory: &MemoryEstimate, device: &Device) -> String {
    let mut text = String::new();
    if let Some(resident) = system::resident() {
        let used = memory::usage();
        text = format!(
            "memory: estimated at most {}, peak {}\n  tensors {} ({} with cached blocks), lists {}",
            system::size(memory.host),
            system::size(resident.peak),
            system::size(used.tensors_peak),
            system::size(used.peak_reserved),
            system::size(used.lists_peak)
        );
    }
    if let Device::Gpu(gpu) = device {
        let (estimated, peak) = (system::size(memory.device), system::size(gpu.memory_in_use().1));
        text += &format!("\nmemory of the GPU: estimated at most {estimated}, peak {peak}");
    }
    text
}

/// runs/<data set>-<first free number>
fn free_folder(data: &Path) -> PathBuf {
    let name = data.file_name().map_or("run".into(), |n| n.to_string_lossy().into_owned());
    let folder = |i: u32| PathBuf::from(format!("runs/{name}-{i}"));
    (1..).map(folder).find(|f| !f.exists()).unwrap_or_else(|| folder(0))
}

pub(super) static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// All is saved: an interrupt has nothing to wait for.
static SAVED: AtomicBool = AtomicBool::new(false);

/// While training, the first interrupt saves and stops, and a second one ends the program at once; after it, the
/// first one does.
pub(super) fn catch_interrupts() {
    let caught = ctrlc::set_handler(|| {
        let second = INTERRUPTED.swap(true, Ordering::SeqCst);
        if SAVED.load(Ordering::SeqCst) {
            eprintln!("\nstopped; the trained model is saved, and waata eval goes on from it");
            std::process::exit(130);
        }
        if second {
            std::process::exit(130);
        }
        eprintln!("\nsaving after this step; once more stops without saving");
    });
    if let Err(error) = caught {
        eprintln!("note: interrupts will not save the run ({error})");
    }
}

struct Progress {
    meter: Meter,
    metric: String,
    epochs: u64,
    verbose: bool,
    quiet: bool,
}

impl Progress {
    fn new(args: &Args, metric: String) -> Progress {
        let (verbose, quiet) = (args.verbose, args.quiet);
        Progress { meter: Meter::new("steps", 1), metric, epochs: 1, verbose, quiet }
    }

    fn end(&self) {
        self.meter.end();
    }

    fn note_unless_quiet(&self, text: &str) {
        if !self.quiet {
            self.meter.note(text);
        }
    }
}

/// The loss that gradients are weighted against: the ranking's, else the first task's.
fn target(values: &BTreeMap<String, f64>) -> Option<(&str, f64)> {
    let loss = |name: &&String| name.starts_with("loss/");
    let ranking = ["loss/softmax", "loss/bpr", "loss/bce/enrolled"];
    let known = ranking.iter().find_map(|name| values.get_key_value(*name));
    let (name, value) = known.or_else(|| values.iter().find(|(name, _)| loss(name)))?;
    Some((name.strip_prefix("loss/")?, *value))
}

impl Observer for Progress {
    fn begin(&mut self, _model: &dyn Recommender, _steps_per_epoch: u64, epochs: u64) {
        self.epochs = epochs;
    }

    fn step(&mut self, epoch: u64, step: u64, of: u64, values: &BTreeMap<String, f64>) -> bool {
        if !self.quiet {
            self.meter.at(epoch * of + step, of * self.epochs, || {
                target(values).map_or(String::new(), |(loss, value)| format!("{loss} {value:.4}"))
            });
        }
        INTERRUPTED.load(Ordering::SeqCst)
    }

    fn note(&mut self, text: &str) {
        self.note_unless_quiet(text);
    }

    fn epoch(&mut self, log: &EpochLog) {
        let mut text = format!("epoch {:>3}/{} {:>7.1} s", log.epoch, self.epochs, log.seconds.unwrap_or(0.0));
        if let Some((loss, value)) = target(&log.values) {
            text += &format!("  {loss} {value:.4}");
        }
        if let Some(valid) = &log.valid {
            let value = valid.get(&self.metric).copied().unwrap_or(f64::NAN);
            text += &format!("  {} {value:.4}{}", self.metric, if log.best { " best" } else { "" });
        }
        self.note_unless_quiet(&text);
        if !self.verbose {
            return;
        }
        for (name, value) in &log.values {
            let Some(loss) = name.strip_prefix("loss/") else { continue };
            let part = |kind: &str| log.values.get(&format!("{kind}/{loss}"));
            let mut text = format!("    {loss:<20} {value:.4}");
            if let Some(norm) = part("norm") {
                text += &format!("  gradient {norm:.1e}");
            }
            if let Some(cosine) = part("cosine") {
                text += &format!("  cosine {cosine:+.2}");
            }
            if let Some(weight) = part("weight") {
                text += &format!("  weight {weight:.2}");
            }
            self.note_unless_quiet(&text);
        }
    }
}

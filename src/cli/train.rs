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
use waata::train::{BEST, EpochLog, MemoryPlan, Meta, Observer, Run, RunFiles, plan};
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
    /// Print how much memory the run would take, and stop
    #[arg(long)]
    plan: bool,
    /// Print the plan as JSON
    #[arg(long, requires = "plan")]
    json: bool,
    /// Refuse a run that needs more memory, such as 12G; by default what the machine or the GPU has free
    #[arg(long, value_name = "BYTES", value_parser = system::parse_size)]
    memory_limit: Option<u64>,
    /// Continue an interrupted run
    #[arg(long, value_name = "RUN", conflicts_with_all = ["out", "config", "preset", "settings"])]
    resume: Option<PathBuf>,
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
    let memory = planned(&args, &config, &data, &device)?;
    if args.plan {
        return Ok(());
    }
    let mut run = match args.resume {
        Some(_) => Run::load(&data, &config, &device, &dir, "last")?,
        None => Run::new(&data, &config, &device, &dir)?,
    };
    eprintln!(
        "{} on {}: {} learners, {} courses, {} enrolments, {} triples; {} parameters; {}",
        run.model().name(),
        data.name,
        data.learners(),
        data.courses,
        data.enrolments(),
        data.triples.len(),
        run.model().params().elements(),
        device.name()
    );
    run.check()?;
    if args.resume.is_none() {
        Meta::write(&dir, &data_path, &data)?;
    }
    catch_interrupts();
    let mut watcher = Watcher::new(config.eval.metric.clone());
    let outcome = run.train(&mut watcher)?;
    watcher.end();
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
    eprintln!("{} epochs, {} steps{why}; {best}", outcome.epochs, outcome.steps);

    // The best checkpoint where validation chose one, else the model as it stands.
    if (RunFiles { dir: dir.clone() }).checkpoints().join("best.json").is_file() {
        run.restore(BEST)?;
    }
    let ranker = run.ranker();
    let found = eval::evaluate(&ranker, Split::Test)?;
    let text = serde_json::to_vec_pretty(&found)
        .map_err(|e| Error::corrupt(&dir, format!("the metrics cannot be written: {e}"), "report this"))?;
    base::files::write(&dir.join("metrics.json"), &text)?;
    show::line(&format!("test, {} learners, all {} courses ranked", found.learners, data.courses))?;
    show::line(&show::metrics(&found.metrics))?;
    if let Some(learner) = recommend::first_with_history(&data) {
        show::line("")?;
        show::line(&recommend::text(&ranker, learner, 5)?)?;
    }
    if let Some(memory) = &memory {
        say_memory(memory, &device);
    }
    show::line(&format!("\nsaved in {}: waata eval, recommend --learner ID, inspect", dir.display()))
}

/// The run's memory plan, said and held against what there is. A plan that cannot be made is no reason not to train.
fn planned(args: &Args, config: &Config, data: &Dataset, device: &Device) -> Result<Option<MemoryPlan>> {
    let memory = match MemoryPlan::new(config, data, device) {
        Ok(memory) => memory,
        Err(error) if args.plan => return Err(error),
        Err(error) => {
            eprintln!("no memory plan, so no limit is kept: {error}");
            return Ok(None);
        }
    };
    match args.plan {
        true if args.json => print_json(&memory)?,
        true => show::line(&memory.text())?,
        false => eprintln!("{}", memory.summary()),
    }
    match args.memory_limit {
        Some(most) => memory.fits(most, config, data, device)?,
        None => plan::limit(device)?.map_or(Ok(()), |most| memory.fits(most, config, data, device))?,
    }
    Ok(Some(memory))
}

/// The plan and what was measured.
fn say_memory(planned: &MemoryPlan, device: &Device) {
    let against = |planned: u64, measured: u64| {
        let more = 100.0 * (planned as f64 / measured.max(1) as f64 - 1.0);
        format!("planned {}, measured peak {} ({more:+.1} %)", system::size(planned), system::size(measured))
    };
    if let Some(resident) = system::resident() {
        let used = memory::usage();
        eprintln!(
            "memory: {}; tensors {}, with freed blocks {}, lists {}",
            against(planned.host, resident.peak),
            system::size(used.tensors_peak),
            system::size(used.blocks_peak),
            system::size(used.lists_peak)
        );
    }
    if let Device::Gpu(gpu) = device {
        eprintln!("memory of the GPU: {}", against(planned.device, gpu.memory_in_use().1));
    }
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

struct Watcher {
    meter: Meter,
    metric: String,
    steps_per_epoch: u64,
    epochs: u64,
    headed: bool,
}

impl Watcher {
    fn new(metric: String) -> Watcher {
        Watcher { meter: Meter::new("training", 1), metric, steps_per_epoch: 1, epochs: 1, headed: false }
    }

    fn end(&self) {
        self.meter.end();
    }
}

impl Observer for Watcher {
    fn begin(&mut self, _model: &dyn Recommender, steps_per_epoch: u64, epochs: u64) {
        (self.steps_per_epoch, self.epochs) = (steps_per_epoch, epochs);
    }

    fn step(&mut self, epoch: u64, step: u64, of: u64, values: &BTreeMap<String, f64>) -> bool {
        self.meter.at(epoch * of + step, of * self.epochs, || {
            values
                .iter()
                .find(|(k, _)| k.starts_with("loss/"))
                .map_or(String::new(), |(k, v)| format!("{k} {v:.4}"))
        });
        INTERRUPTED.load(Ordering::SeqCst)
    }

    fn note(&mut self, text: &str) {
        self.meter.note(text);
    }

    fn epoch(&mut self, log: &EpochLog) {
        if !self.headed {
            self.headed = true;
            self.meter
                .note("per epoch: mean losses; then norm / cosine with the target / weight of each gradient");
        }
        let mut text = format!("epoch {:>3} {:>6.1}s", log.epoch, log.seconds.unwrap_or(0.0));
        for (name, value) in &log.values {
            if let Some(loss) = name.strip_prefix("loss/") {
                text += &format!("  {loss} {value:.4}");
            }
        }
        if let Some(valid) = &log.valid {
            let value = valid.get(&self.metric).copied().unwrap_or(f64::NAN);
            text += &format!("  valid {} {value:.4}{}", self.metric, if log.best { " *" } else { "" });
        }
        let mut weights = String::new();
        for (name, norm) in &log.values {
            if let Some(loss) = name.strip_prefix("norm/") {
                weights += &format!("  {loss} {norm:.1e}");
                let part = |kind: &str| log.values.get(&format!("{kind}/{loss}"));
                if let (Some(cosine), Some(weight)) = (part("cosine"), part("weight")) {
                    weights += &format!("/{cosine:+.2}/{weight:.2}");
                }
            }
        }
        self.meter.note(&text);
        if !weights.is_empty() {
            self.meter.note(&format!("         {weights}"));
        }
    }
}

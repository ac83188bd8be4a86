//! `waata prepare`

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::files;
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::print_json;
use super::show::{self, Meter};
use waata::Result;
use waata::config::preset;
use waata::data::formats::{self, FORMATS, MALFORMED_SHARE, Progress, ReadOptions, SourceCount};
use waata::data::prepare::{PrepareOptions, PrepareReport, prepare};
use waata::data::split::{Ratios, SplitPolicy};
use waata::engine::system::parse_size;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the source files, or one csv file of person-course
    source: PathBuf,
    /// Folder to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// What the source files are; auto recognizes all but table by the files
    #[arg(long, value_parser = format_names(), default_value = "auto")]
    format: String,
    /// Which column is what, for --format table: a map file, or the name of one in data/maps/
    #[arg(long, value_name = "FILE|NAME")]
    map: Option<PathBuf>,
    /// Share of a course's videos watched, or of its problems answered, from which an enrolment has the label
    /// `completed` (mooccubex and mooccube; 0.5 by default)
    #[arg(long, value_name = "SHARE")]
    completed_share: Option<f64>,
    /// Refuse a published file with a larger share of malformed lines
    #[arg(long, default_value_t = MALFORMED_SHARE)]
    malformed_share: f64,
    /// Refuse a published file at its first malformed line
    #[arg(long)]
    strict: bool,
    /// Keep only the first learners of the source
    #[arg(long, value_name = "LEARNERS")]
    limit: Option<usize>,
    /// Stop if reading needs more memory than this (suffixes K, M, G); nothing is written then
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    memory_limit: Option<u64>,
    /// How enrolments are split; by default as the source says, else at random
    #[arg(long, value_enum)]
    split: Option<SplitName>,
    /// Shares of train, valid and test for random and chronological splits
    #[arg(long, default_value = "60/20/20")]
    ratios: String,
    /// Split the rows of each learner instead of all rows together (random)
    #[arg(long)]
    per_learner: bool,
    /// Seed of a random split
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Name of the data set; the folder's by default
    #[arg(long)]
    name: Option<String>,
    /// Replace an existing data set
    #[arg(long)]
    force: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitName {
    Given,
    Random,
    Chronological,
    Last,
}

fn format_names() -> PossibleValuesParser {
    let auto = PossibleValue::new("auto");
    let named = FORMATS.iter().map(|format| PossibleValue::new(format.name).help(format.about));
    PossibleValuesParser::new([auto].into_iter().chain(named))
}

pub fn run(args: Args) -> Result<()> {
    let ratios: Ratios = args.ratios.parse()?;
    let meters = Arc::new(Mutex::new(Meters::default()));
    let told = meters.clone();
    let mut progress = Progress::default().on_read(move |file, done, of| {
        // A meter that another thread broke is no reason to stop reading.
        told.lock().unwrap_or_else(PoisonError::into_inner).at(file, done, of);
    });
    if let Some(bytes) = args.memory_limit {
        progress = progress.memory_limit(bytes)?;
    }
    catch_interrupts();
    let report = prepare(&PrepareOptions {
        source: args.source,
        format: formats::named(&args.format)?,
        map: args.map,
        read: ReadOptions {
            completed_share: args.completed_share,
            malformed_share: args.malformed_share,
            strict: args.strict,
            limit: args.limit,
            progress,
        },
        out: args.out,
        split: args.split.map(|name| match name {
            SplitName::Given => SplitPolicy::Given,
            SplitName::Random => SplitPolicy::Random { ratios, per_learner: args.per_learner },
            SplitName::Chronological => SplitPolicy::Chronological { ratios },
            SplitName::Last => SplitPolicy::Last,
        }),
        seed: args.seed,
        name: args.name,
        force: args.force,
    });
    meters.lock().unwrap_or_else(PoisonError::into_inner).end();
    let report = report?;
    suggest_settings(&report)?;
    for warning in report.warnings() {
        eprintln!("note: {warning}");
    }
    if args.json {
        return print_json(&report);
    }
    let c = &report.counts;
    show::line(&format!("{} ({}), split {}", report.out.display(), report.source.format, report.split))?;
    show::line(&format!("{} learners, {} courses, {} enrolments", c.learners, c.courses, c.enrolments))?;
    show::line(&format!("{} entities, {} relations, {} triples", c.entities, c.relations, c.triples))?;
    show::line(&format!("train {}, valid {}, test {}", c.train, c.valid, c.test))?;
    for label in &c.labels {
        show::line(&format!("{}: {} enrolments, {:.1} %", label.name, label.positives, 100.0 * label.rate))?;
    }
    counts(&report.source.counts)
}

/// A meter for the file that is being read.
#[derive(Default)]
struct Meters {
    current: Option<(PathBuf, Meter)>,
}

/// Megabytes are what a meter counts.
const MB: u64 = 1_000_000;

impl Meters {
    fn at(&mut self, file: &Path, done: u64, of: u64) {
        // Small files are read in a moment.
        if of < 16 * MB {
            return;
        }
        if self.current.as_ref().is_none_or(|(known, _)| known != file) {
            self.end();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            self.current = Some((file.into(), Meter::new(format!("{name} (MB)"), of.div_ceil(MB))));
        }
        if let Some((_, meter)) = &mut self.current {
            meter.at(done.div_ceil(MB), of.div_ceil(MB), String::new);
        }
    }

    fn end(&mut self) {
        if let Some((_, meter)) = self.current.take() {
            meter.end();
        }
    }
}

/// An interrupt while reading ends at once, for nothing half written stays; while writing, when the data set is whole.
fn catch_interrupts() {
    let caught = ctrlc::set_handler(|| {
        if !files::is_writing() {
            match files::has_written() {
                true => eprintln!("\nwaata: interrupted: the data set is there"),
                false => eprintln!("\nwaata: interrupted: nothing was written"),
            }
            std::process::exit(130);
        }
        eprintln!("\nthe data set is being written: it will be whole in a moment");
    });
    if let Err(error) = caught {
        eprintln!("note: an interrupt may leave a hidden folder beside --out ({error})");
    }
}

/// What was found beside what the publishers of the source say.
fn counts(counts: &[SourceCount]) -> Result<()> {
    let Some(width) = counts.iter().map(|c| c.what.len()).max() else { return Ok(()) };
    show::line(&format!("{:width$} {:>11} {:>11} {:>11}", "", "found", "published", "difference"))?;
    for count in counts {
        let SourceCount { what, found, published } = count;
        show::line(&format!("{what:width$} {found:>11} {published:>11} {:>+11}", count.difference()))?;
    }
    Ok(())
}

/// Writes the settings that suit the data set beside it; `waata train` starts from them unless told otherwise.
fn suggest_settings(report: &PrepareReport) -> Result<()> {
    let c = &report.counts;
    // Ranking learns from histories; where most learners have hardly one, the tasks are what can be learned.
    let name = if c.has_time && c.learner_degree.mean >= 3.0 { "history" } else { "tasks" };
    let path = report.out.join("run.toml");
    files::write(&path, preset(name)?.as_bytes())?;
    eprintln!("note: {} has the settings of preset `{name}`, which suit this data set", path.display());
    Ok(())
}

//! `waata prepare`

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;

use super::print_json;
use super::show::{self, Meter};
use waata::config::preset;
use waata::data::formats::raw::{MALFORMED_SHARE, RawOptions, SourceCount};
use waata::data::formats::{Control, Format};
use waata::data::prepare::{PrepareOptions, PrepareReport, prepare};
use waata::data::split::{Ratios, SplitPolicy};
use waata::data::store;
use waata::engine::system::parse_size;
use waata::train::checkpoint;
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the source files, or one csv file of person-course
    source: PathBuf,
    /// Folder to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// What the source files are; auto recognizes all but table by the files
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatName,
    /// Which column is what, for --format table (data/maps/ has examples)
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Share of a course's videos watched, or of its problems answered, from which an enrolment has the label
    /// `completed` (mooccubex and mooccube; 0.5 by default)
    #[arg(long, value_name = "SHARE")]
    completed_share: Option<f64>,
    /// Refuse a raw file with a larger share of malformed lines
    #[arg(long, value_name = "SHARE", default_value_t = MALFORMED_SHARE)]
    malformed_share: f64,
    /// Refuse a raw file at its first malformed line
    #[arg(long)]
    strict: bool,
    /// Keep the first LEARNERS learners of the source only, for a quick look
    #[arg(long, value_name = "LEARNERS")]
    limit: Option<usize>,
    /// Stop if reading takes more memory than this, such as 2G; no data set is written then
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    memory_limit: Option<u64>,
    /// Save the progress of reading a long log this often; after an interrupt the same command resumes there (0: never)
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    save_every: f64,
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
enum FormatName {
    Auto,
    /// csv files of this program's own format
    Interchange,
    /// train.txt, kg_final.txt and so on, as published with KGAT
    Kgat,
    /// Any tables, described by --map
    Table,
    /// entities/ and relations/ of MOOCCubeX
    Mooccubex,
    /// entities/ and relations/ of MOOCCube
    Mooccube,
    /// studentInfo.csv and the other tables of OULAD
    Oulad,
    /// HMXPC13_DI_v2 or HXPC13_DI_v3 of HarvardX and MITx
    PersonCourse,
    /// appendix.csv of HarvardX and MITx: has no learners, so it is refused
    EdxReport,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitName {
    Given,
    Random,
    Chronological,
    Last,
}

pub fn run(args: Args) -> Result<()> {
    let ratios: Ratios = args.ratios.parse()?;
    let meters = Arc::new(Mutex::new(Meters::default()));
    let told = meters.clone();
    let mut control = Control::default().telling(move |file, done, of| {
        // A meter that another thread broke is no reason to stop reading.
        told.lock().unwrap_or_else(PoisonError::into_inner).at(file, done, of);
    });
    if let Some(bytes) = args.memory_limit {
        control = control.within(bytes)?;
    }
    let save_every = match Duration::try_from_secs_f64(args.save_every) {
        Ok(Duration::ZERO) => None,
        Ok(every) => Some(every),
        Err(_) => {
            let why = format!("{} is no number of seconds", args.save_every);
            return Err(Error::config("--save-every", why, "30 is usual, and 0 never saves"));
        }
    };
    catch_interrupts();
    let report = prepare(&PrepareOptions {
        source: args.source,
        format: match args.format {
            FormatName::Auto => Format::Auto,
            FormatName::Interchange => Format::Interchange,
            FormatName::Kgat => Format::Kgat,
            FormatName::Table => Format::Table,
            FormatName::Mooccubex => Format::MoocCubeX,
            FormatName::Mooccube => Format::MoocCube,
            FormatName::Oulad => Format::Oulad,
            FormatName::PersonCourse => Format::PersonCourse,
            FormatName::EdxReport => Format::EdxReport,
        },
        map: args.map,
        raw: RawOptions {
            completed_share: args.completed_share,
            malformed_share: args.malformed_share,
            strict: args.strict,
            limit: args.limit,
            control,
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
        save_every,
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
        if !store::is_writing() {
            match store::has_written() {
                true => eprintln!("\nwaata: interrupted: the data set is there"),
                false => {
                    let next = "the same command begins anew, but for what was saved of long logs";
                    eprintln!("\nwaata: interrupted: nothing was written\n  {next}");
                }
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
    checkpoint::write_atomically(&path, preset(name)?.as_bytes())?;
    eprintln!("note: {} has the settings of preset `{name}`, which suit this data set", path.display());
    Ok(())
}

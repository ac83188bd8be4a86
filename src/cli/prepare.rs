//! `waata prepare`

use std::path::PathBuf;

use clap::ValueEnum;

use super::{print_json, show};
use crate::Result;
use crate::config::preset;
use crate::data::formats::Format;
use crate::data::formats::raw::{MALFORMED_SHARE, RawOptions, SourceCount};
use crate::data::prepare::{PrepareOptions, PrepareReport, prepare};
use crate::data::split::{Ratios, SplitPolicy};
use crate::train::checkpoint;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the source files, or one csv file of person-course
    source: PathBuf,
    /// Folder to write
    #[arg(short, long)]
    out: PathBuf,
    /// What the source files are; auto recognises all but table by the files
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatName,
    /// Which column is what, for --format table (data/maps/ has examples)
    #[arg(long)]
    map: Option<PathBuf>,
    /// Share of a course's videos watched, or of its problems answered, from which an enrolment has the label
    /// `completed` (mooccubex and mooccube; 0.5 where absent)
    #[arg(long)]
    completed_share: Option<f64>,
    /// Refuse a raw file with a larger share of malformed lines
    #[arg(long, default_value_t = MALFORMED_SHARE)]
    malformed_share: f64,
    /// Refuse a raw file at its first malformed line
    #[arg(long)]
    strict: bool,
    /// As the source says where this is absent, else random
    #[arg(long, value_enum)]
    split: Option<SplitName>,
    /// Shares of train, valid and test for random and chronological splits
    #[arg(long, default_value = "60/20/20")]
    ratios: String,
    /// Split the rows of each learner instead of all rows together (random)
    #[arg(long)]
    per_learner: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Name of the data set; the folder's where absent
    #[arg(long)]
    name: Option<String>,
    /// Replace an existing data set
    #[arg(long)]
    force: bool,
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
    })?;
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

//! `waata prepare`

use std::path::PathBuf;

use clap::ValueEnum;

use super::{print_json, show};
use crate::Result;
use crate::config::preset;
use crate::data::formats::Format;
use crate::data::prepare::{PrepareOptions, PrepareReport, prepare};
use crate::data::split::{Ratios, SplitPolicy};
use crate::train::checkpoint;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the source files
    source: PathBuf,
    /// Folder to write
    #[arg(short, long)]
    out: PathBuf,
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatName,
    /// Which column is what, for --format table (data/maps/ has examples)
    #[arg(long)]
    map: Option<PathBuf>,
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
    Interchange,
    Kgat,
    Table,
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
        },
        map: args.map,
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
    show::line(&format!("train {}, valid {}, test {}", c.train, c.valid, c.test))
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

//! `waata synth`

use std::path::PathBuf;

use clap::ValueEnum;

use super::show;
use waata::Result;
use waata::data::synth::{Preset, Recipe};

#[derive(clap::Args)]
pub struct Args {
    /// Size and proportions of a published data set; the flags below override them
    #[arg(long, value_enum)]
    preset: Option<PresetName>,
    /// Learners, each with at least one enrolment; 1000 without a preset
    #[arg(long, value_name = "N")]
    learners: Option<usize>,
    /// Courses; 200 without a preset
    #[arg(long, value_name = "N")]
    courses: Option<usize>,
    /// Enrolments; 12000 without a preset
    #[arg(long, value_name = "N")]
    enrolments: Option<u64>,
    /// Share of learners whose behaviour was logged; the others complete nothing. 1 without a preset
    #[arg(long, value_name = "SHARE")]
    log_share: Option<f64>,
    /// Seed of the generator
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Folder to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an existing folder
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum PresetName {
    /// 3,330,294 learners, 4,216 courses, 23,615,324 enrolments
    Mooccubex,
    /// 4,500,000 learners, 756 courses, 7,588,365 enrolments
    Edx,
}

pub fn run(args: Args) -> Result<()> {
    let base = match args.preset {
        Some(PresetName::Mooccubex) => Recipe::preset(Preset::MoocCubeX, args.seed),
        Some(PresetName::Edx) => Recipe::preset(Preset::Edx, args.seed),
        None => Recipe::new(1_000, 200, 12_000, args.seed),
    };
    let recipe = Recipe {
        learners: args.learners.unwrap_or(base.learners),
        courses: args.courses.unwrap_or(base.courses),
        enrolments: args.enrolments.unwrap_or(base.enrolments),
        log_share: args.log_share.unwrap_or(base.log_share),
        ..base
    };
    let counts = recipe.write_interchange(&args.out, args.force)?;
    show::line(&format!(
        "{}: {} learners, {} courses, {} enrolments, {} triples",
        args.out.display(),
        counts.learners,
        counts.courses,
        counts.enrolments,
        counts.triples
    ))
}

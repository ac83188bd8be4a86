//! `waata synth`

use std::path::PathBuf;

use super::show;
use crate::Result;
use crate::data::synth;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 1000)]
    learners: usize,
    #[arg(long, default_value_t = 200)]
    courses: usize,
    #[arg(long, default_value_t = 12_000)]
    enrolments: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write (interchange csv)
    #[arg(short, long)]
    out: PathBuf,
    /// Replace an existing folder
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<()> {
    let counts = synth::generate_folder(
        args.learners,
        args.courses,
        args.enrolments,
        args.seed,
        &args.out,
        args.force,
    )?;
    show::line(&format!(
        "{}: {} learners, {} courses, {} enrolments, {} triples",
        args.out.display(),
        counts.learners,
        counts.courses,
        counts.enrolments,
        counts.triples
    ))
}

//! `waata report`

use std::path::PathBuf;

use super::show;
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of a comparison
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Folder for report.html, report.md and the figures; FROM/report by default
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite an earlier report
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<()> {
    let out = args.out.unwrap_or_else(|| args.from.join("report"));
    if !args.force && out.join(report::PAGE).exists() {
        return Err(Error::data(
            &out,
            None,
            "has a report already",
            "write over it with --force, or name another --out",
        ));
    }
    let written = report::write(&args.from, &out)?;
    for line in &written.verdict {
        show::line(line)?;
    }
    show::line(&format!(
        "\n{} (the same as {} and {} figures beside it)",
        written.html.display(),
        written.markdown.file_name().unwrap_or_default().display(),
        written.figures.len()
    ))
}

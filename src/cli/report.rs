//! `waata report`

use std::path::PathBuf;

use super::show;
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of a comparison (waata compare) or of a run (waata train)
    folder: PathBuf,
    /// Folder for report.html, report.md and the figures; FOLDER/report if absent
    #[arg(long)]
    out: Option<PathBuf>,
    /// Overwrite an older report
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<()> {
    let out = args.out.unwrap_or_else(|| args.folder.join("report"));
    if !args.force && out.join(report::PAGE).exists() {
        return Err(Error::data(
            &out,
            None,
            "has a report already",
            "overwrite it with --force, or name another --out",
        ));
    }
    let written = report::write(&args.folder, &out)?;
    for line in &written.summary {
        show::line(line)?;
    }
    show::line(&format!(
        "\n{} (also as {}, with {} figures)",
        written.html.display(),
        written.markdown.file_name().unwrap_or_default().display(),
        written.figures.len()
    ))
}

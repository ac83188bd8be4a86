//! The report of a comparison or of a single run: one HTML page, the same as Markdown, and every figure as an SVG file.
//!
//! [`tables`] reads and writes the tables of a comparison, [`read`] the whole folder, [`field`] puts seeds together,
//! [`sections`] decide what is said, [`document`] holds it independent of the format, [`html`] and [`markdown`] write
//! it, [`chart`] draws. The same folder gives the same bytes.

mod chart;
mod document;
mod field;
mod html;
mod markdown;
mod names;
mod read;
mod sections;
pub mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use base::{Error, Result};

/// What was written.
pub struct Written {
    pub html: PathBuf,
    pub markdown: PathBuf,
    pub figures: Vec<PathBuf>,
    /// The first lines of the report.
    pub summary: Vec<String>,
}

/// Name of the page in the folder of a report.
pub const PAGE: &str = "report.html";

/// Reads the folder `from` of a comparison or a run and writes report.html, report.md and the figures into `to`,
/// which is created if it does not exist. Nothing is written if the folder cannot be read.
pub fn write(from: &Path, to: &Path) -> Result<Written> {
    let results = read::Results::open(from)?;
    let document = sections::document(&field::Field::of(&results));
    fs::create_dir_all(to).map_err(Error::io(to, "creating the folder"))?;
    let save = |name: &str, text: &str| {
        let path = to.join(name);
        fs::write(&path, text).map_err(Error::io(&path, "writing"))?;
        Ok(path)
    };
    let figures = document.figures().into_iter();
    let figures = figures.map(|figure| save(&format!("{}.svg", figure.id), &figure.standalone()));
    let figures = figures.collect::<Result<_>>()?;
    let markdown = save("report.md", &markdown::text(&document))?;
    let html = save(PAGE, &html::page(&document))?;
    Ok(Written { html, markdown, figures, summary: document.summary })
}

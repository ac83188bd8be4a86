//! The report of a comparison: one HTML page, the same as Markdown, and every figure as an SVG file.
//!
//! [`read`] takes in the folder, [`variants`] puts seeds together, [`sections`] decide what is said, [`document`] holds
//! it apart from how it is written down, [`html`] and [`markdown`] write it, [`bars`] and [`lines`] draw. The same
//! folder gives the same bytes.

mod bars;
mod document;
mod html;
mod lines;
mod markdown;
mod names;
mod read;
mod sections;
mod svg;
mod variants;

use std::fs;
use std::path::{Path, PathBuf};

use base::{Error, Result};

/// What was written.
pub struct Written {
    pub html: PathBuf,
    pub markdown: PathBuf,
    pub figures: Vec<PathBuf>,
    /// How WAA-TA stands, as the report's first lines say it.
    pub verdict: Vec<String>,
}

/// Name of the page in the folder of a report.
pub const PAGE: &str = "report.html";

/// Reads the folder `from` that `waata compare` left and writes report.html, report.md and the figures into `to`,
/// which is made where it is not there. Nothing is written where the folder cannot be read.
pub fn write(from: &Path, to: &Path) -> Result<Written> {
    let comparison = read::Comparison::open(from)?;
    let field = variants::Field::of(&comparison);
    let (document, verdict) = sections::document(&field);
    fs::create_dir_all(to).map_err(Error::io(to, "creating the folder"))?;
    let mut figures = vec![];
    for image in document.figures() {
        figures.push(save(to, &format!("{}.svg", image.id), &image.standalone())?);
    }
    let markdown = save(to, "report.md", &markdown::text(&document))?;
    let html = save(to, PAGE, &html::page(&document))?;
    Ok(Written { html, markdown, figures, verdict })
}

fn save(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(Error::io(&path, "writing"))?;
    Ok(path)
}

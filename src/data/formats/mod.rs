//! One file per format that a data set can be read from; docs/data.md documents them.

mod completed;
mod control;
mod coverage;
mod edx;
pub mod interchange;
pub mod kgat;
mod lists;
mod map;
mod mooccube;
mod mooccubex;
mod oulad;
pub mod raw;
mod raw_lines;
mod raw_rows;
mod relations;
mod resume;
pub mod table;
pub(crate) mod text;
pub(crate) mod time;
mod write;

pub use control::Control;
pub(super) use resume::clear as clear_saved;
pub use write::write;

use super::Dataset;
use super::assemble::{Rows, assemble};
use base::{Error, Result};
use raw::{RawOptions, SourceCount};
use serde::Serialize;
use std::path::Path;

/// What a reader found besides the data: for the user, and for the manifest of the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SourceReport {
    pub format: String,
    /// Files that were read, relative to the folder.
    pub files: Vec<String>,
    /// Optional files that are not there.
    pub missing: Vec<String>,
    /// Rows that named a (learner, course) pair again and were merged into the first.
    pub duplicates: u64,
    /// Malformed lines of raw files, which were passed over.
    pub malformed: u64,
    /// The first of them: file, line and reason.
    pub malformed_first: Vec<String>,
    /// What raw files consist of, beside what their publishers say.
    pub counts: Vec<SourceCount>,
    /// Anything else worth a line.
    pub notes: Vec<String>,
    /// Whether the source says which rows are train, valid and test.
    pub has_split: bool,
}

/// A data set as its source has it, and the report. Without `report.has_split` every row is in train.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub dataset: Dataset,
    pub report: SourceReport,
}

/// Which reader to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Whichever the files of the folder belong to.
    #[default]
    Auto,
    Interchange,
    Kgat,
    /// MOOCCubeX as published.
    MoocCubeX,
    /// MOOCCube as published.
    MoocCube,
    /// OULAD as published.
    Oulad,
    /// The learners of HarvardX and MITx, HMXPC13_DI_v2 and HXPC13_DI_v3.
    PersonCourse,
    /// The courses of HarvardX and MITx, which have no learners: recognized so that the refusal can say so.
    EdxReport,
    /// Any tables, described by a map file.
    Table,
}

/// Reads a folder. `map` is the map file of [`Format::Table`]. Errors: `Error::Data` for content that cannot be
/// used, with file and line; `Error::Config` for a format and options that do not belong together.
pub fn read(folder: &Path, format: Format, map: Option<&Path>, options: &RawOptions) -> Result<Loaded> {
    options.check()?;
    let format = match (format, map) {
        (Format::Auto, Some(_)) => Format::Table,
        (Format::Auto, None) => detect(folder)?,
        (chosen, _) => chosen,
    };
    if options.completed_share.is_some() && !matches!(format, Format::MoocCubeX | Format::MoocCube) {
        let why =
            "belongs to --format mooccubex and mooccube: other sources say themselves what was completed";
        return Err(Error::config("--completed-share", why, "leave it out"));
    }
    let mut loaded = read_format(folder, format, map, options)?;
    options.control.memory()?;
    if let Some(limit) = options.limit
        && let Some(left_out) = loaded.dataset.keep_learners(limit)
    {
        let all = left_out + limit as u64;
        loaded
            .report
            .notes
            .push(format!("--limit: the first {limit} of {all} learners; the rest is left out"));
    }
    Ok(loaded)
}

fn read_format(folder: &Path, format: Format, map: Option<&Path>, options: &RawOptions) -> Result<Loaded> {
    match (format, map) {
        (Format::Table, Some(map)) => table::read(folder, map),
        (Format::Table, None) => Err(Error::config(
            "--format table",
            "needs a map file that says which column is what",
            "add --map FILE.toml (data/maps/ has examples, docs/data.md describes them)",
        )),
        (_, Some(_)) => {
            Err(Error::config("--map", "belongs to --format table", "leave out --map, or set the format"))
        }
        (Format::Kgat, None) => kgat::read(folder),
        (Format::MoocCubeX, None) => mooccubex::read(folder, options),
        (Format::MoocCube, None) => mooccube::read(folder, options),
        (Format::Oulad, None) => oulad::read(folder, options),
        (Format::PersonCourse, None) => edx::person_course::read(folder, options),
        (Format::EdxReport, None) => Err(edx::report::refuse(folder)),
        (Format::Interchange | Format::Auto, None) => interchange::read(folder),
    }
}

/// Recognizes the format of a folder by its files.
pub fn detect(folder: &Path) -> Result<Format> {
    // A single csv file is enough where its header tells what it is.
    if !folder.is_file() {
        require_folder(folder)?;
    }
    if folder.join(interchange::INTERACTIONS).is_file() {
        Ok(Format::Interchange)
    } else if folder.join(kgat::TRAIN).is_file() {
        Ok(Format::Kgat)
    } else if raw::locate(folder, mooccube::MARK).is_some() {
        Ok(Format::MoocCube)
    } else if raw::locate(folder, mooccubex::USERS).is_some() {
        Ok(Format::MoocCubeX)
    } else if raw::locate(folder, oulad::STUDENTS).is_some() {
        Ok(Format::Oulad)
    } else if edx::person_course::find(folder)?.is_some() {
        Ok(Format::PersonCourse)
    } else if edx::report::find(folder)?.is_some() {
        Ok(Format::EdxReport)
    } else {
        require_folder(folder)?;
        Err(Error::data(
            folder,
            None,
            format!(
                "has neither {} (interchange) nor {} (KGAT) nor the files of a published data set",
                interchange::INTERACTIONS,
                kgat::TRAIN
            ),
            "name the folder that has one of them, or describe its tables: --format table --map FILE.toml",
        ))
    }
}

/// The ids of one kind of thing that no file lists: 0 to the largest one seen.
#[derive(Default)]
pub(crate) struct ImpliedIds {
    pub count: usize,
    /// Rows that named an id: far fewer than ids means that the ids are not numbered from 0.
    seen: usize,
}

impl ImpliedIds {
    pub fn see(&mut self, id: u32) {
        self.count = self.count.max(id as usize + 1);
        self.seen += 1;
    }

    /// The number of ids. Errors: `Error::Data` when they are so sparse that a table of them would be mostly
    /// empty (and could exhaust the memory because of one wrong digit).
    pub fn dense(&self, path: &Path, what: &str) -> Result<usize> {
        if self.count > 1_000_000 && self.count / 64 > self.seen {
            return Err(Error::data(
                path,
                None,
                format!("the largest {what} id is {}, but only {} rows name one", self.count - 1, self.seen),
                format!("number {what} ids from 0 without gaps"),
            ));
        }
        Ok(self.count)
    }
}

/// Checks that the source is a folder.
pub(crate) fn require_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let why = if folder.exists() { "is not a folder" } else { "does not exist" };
    Err(Error::data(folder, None, why, "name the folder that holds the source files"))
}

/// The data set's name when none is given: that of its folder.
pub(crate) fn folder_name(folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.into());
    full.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|| "data".into())
}

/// The last step of every reader: rows become interactions, and the whole is checked once.
pub(crate) fn finish(
    folder: &Path,
    mut dataset: Dataset,
    rows: Rows,
    mut report: SourceReport,
) -> Result<Loaded> {
    let (interactions, duplicates) = assemble(rows, dataset.learners(), dataset.courses);
    dataset.interactions = interactions;
    report.duplicates = duplicates;
    checked(folder, dataset, report)
}

fn checked(folder: &Path, dataset: Dataset, report: SourceReport) -> Result<Loaded> {
    // The readers check every id where they can name the line; what this finds would be their mistake.
    dataset.validate().map_err(|why| Error::data(folder, None, why, "check the ids of the source files"))?;
    Ok(Loaded { dataset, report })
}

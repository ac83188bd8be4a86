//! The formats that a data set can be read from: a file and an entry in [`FORMATS`] each. docs/data.md documents them;
//! docs/adding-a-format.md says how to add one.

mod edx_report;
pub mod interchange;
mod kgat;
mod mooccube;
mod mooccubex;
mod oulad;
mod person_course;
mod shared;
mod table;

pub use interchange::write;
pub use shared::progress::Progress;
pub use table::{ShippedMap, maps};

use super::Dataset;
use base::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Every format, in the order in which a source is tried.
pub static FORMATS: &[Format] = &[
    interchange::FORMAT,
    kgat::FORMAT,
    mooccube::FORMAT,
    mooccubex::FORMAT,
    oulad::FORMAT,
    person_course::FORMAT,
    edx_report::FORMAT,
    table::FORMAT,
];

/// A format of source files.
#[derive(Debug)]
pub struct Format {
    /// As `--format` and docs/data.md name it.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Options that only some formats have a use for, and this one has.
    pub options: &'static [&'static str],
    /// Whether a source is of this format, by the names or the headers of its files.
    detect: fn(&Path) -> Result<bool>,
    read: fn(&Request) -> Result<Loaded>,
}

/// What a reader is asked for.
struct Request<'a> {
    source: &'a Path,
    map: Option<&'a Path>,
    options: &'a ReadOptions,
}

/// What may be chosen about the reading of a source.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The share of a course's videos or problems, above 0 and at most 1, from which an enrolment is `completed`.
    /// None: [`COMPLETED_SHARE`].
    pub completed_share: Option<f64>,
    /// A published file with a larger share of malformed lines, from 0 to 1, is refused.
    pub malformed_share: f64,
    /// Refuse a published file at its first malformed line.
    pub strict: bool,
    /// Keep only the first learners of the source, with all that belongs to them.
    pub limit: Option<usize>,
    pub progress: Progress,
}

/// Half of a course: what `explored` asks for in the person-course data of edX, and `audited` in its reports.
pub const COMPLETED_SHARE: f64 = 0.5;

/// A line in a thousand: damage of a copy stays below, a misunderstood format does not.
pub const MALFORMED_SHARE: f64 = 0.001;

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            completed_share: None,
            malformed_share: MALFORMED_SHARE,
            strict: false,
            limit: None,
            progress: Progress::default(),
        }
    }
}

impl ReadOptions {
    /// Errors: `Error::Config` for a share out of range.
    fn check(&self) -> Result<()> {
        let (key, why, remedy) = if self.completed_share.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            ("--completed-share", "must be above 0 and at most 1", "0.5 is half of the course")
        } else if !(0.0..=1.0).contains(&self.malformed_share) {
            ("--malformed-share", "must be from 0 to 1", "0.001 is a line in 1,000")
        } else if self.limit == Some(0) {
            ("--limit", "must be at least 1", "1000 learners are enough for a try")
        } else {
            return Ok(());
        };
        Err(Error::config(key, why, remedy))
    }
}

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
    /// Malformed lines of published files, which were passed over.
    pub malformed: u64,
    /// The first of them: file, line and reason.
    pub malformed_first: Vec<String>,
    /// What published files consist of, beside what their publishers say.
    pub counts: Vec<SourceCount>,
    /// Anything else worth a line.
    pub notes: Vec<String>,
    /// Whether the source says which rows are train, valid and test.
    pub has_split: bool,
}

/// How often something was found, and how often its publishers say that it is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceCount {
    pub what: String,
    pub found: u64,
    pub published: u64,
}

impl SourceCount {
    /// Found minus published.
    pub fn difference(&self) -> i64 {
        self.found as i64 - self.published as i64
    }
}

/// A data set as its source has it, and the report. Without `report.has_split` every row is in train.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub dataset: Dataset,
    pub report: SourceReport,
}

/// The format of this name; None for `auto`. Errors: `Error::Config` for any other name.
pub fn named(name: &str) -> Result<Option<&'static Format>> {
    match FORMATS.iter().find(|format| format.name == name) {
        None if name != "auto" => {
            let remedy = format!("name one of auto, {}", names(|_| true));
            Err(Error::config("--format", format!("'{name}' is unknown"), remedy))
        }
        found => Ok(found),
    }
}

fn names(which: impl Fn(&Format) -> bool) -> String {
    let names: Vec<_> = FORMATS.iter().filter(|format| which(format)).map(|format| format.name).collect();
    names.join(", ")
}

/// Reads a source: a folder, or the one file of a format that has only one. Without a format it is the one of `map`, if
/// there is a map, else the one that the source is recognized by. `map` is a map file, or the name of a shipped map
/// ([`maps`]). Errors: `Error::Data` for content that cannot be used, with file and line; `Error::Config` for a format and
/// options that do not belong together; `Error::Io` for files that cannot be read.
pub fn read(
    source: &Path,
    format: Option<&'static Format>,
    map: Option<&Path>,
    options: &ReadOptions,
) -> Result<Loaded> {
    options.check()?;
    let format = match (format, map) {
        (Some(format), _) => format,
        (None, Some(_)) => &table::FORMAT,
        (None, None) => detect(source)?,
    };
    for (key, given) in [("--map", map.is_some()), ("--completed-share", options.completed_share.is_some())] {
        if given && !format.options.contains(&key) {
            let takers = names(|format| format.options.contains(&key));
            let why = format!("belongs to --format {takers}, and the source is read as {}", format.name);
            return Err(Error::config(key, why, format!("leave out {key}, or set the format")));
        }
    }
    let mut loaded = (format.read)(&Request { source, map, options })?;
    options.progress.check_memory()?;
    if let Some(limit) = options.limit
        && let Some(left_out) = loaded.dataset.keep_learners(limit)
    {
        let all = left_out + limit as u64;
        let note = format!("--limit: the first {limit} of {all} learners; the rest is left out");
        loaded.report.notes.push(note);
    }
    Ok(loaded)
}

/// Recognizes the format of a source by its files. Errors: `Error::Data` where no format does, with the command to read it
/// by a shipped map if there is one for its files.
pub fn detect(source: &Path) -> Result<&'static Format> {
    // A single csv file is enough where its header tells what it is.
    if !source.is_file() {
        require_folder(source)?;
    }
    for format in FORMATS {
        if (format.detect)(source)? {
            return Ok(format);
        }
    }
    require_folder(source)?;
    let why = format!("has the files of no format ({})", names(|_| true));
    let remedy = match maps().find(|map| map.fits(source)) {
        Some(map) => {
            format!(
                "a shipped map describes these files: waata prepare {} --map {} -o OUT",
                source.display(),
                map.name
            )
        }
        None => {
            "name the folder that has them (docs/data.md), or describe its tables: --map FILE.toml".into()
        }
    };
    Err(Error::data(source, None, why, remedy))
}

/// Checks that the source is a folder.
fn require_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let why = if folder.exists() { "is not a folder" } else { "does not exist" };
    Err(Error::data(folder, None, why, "name the folder that holds the source files"))
}

/// `folder/file`, such as "entities/user.json", or the file without its own folders directly in `folder`, since downloads
/// of single files lie flat; None where neither is there.
fn locate(folder: &Path, file: &str) -> Option<PathBuf> {
    let nested = folder.join(file);
    let flat = folder.join(nested.file_name()?);
    [nested, flat].into_iter().find(|path| path.is_file())
}

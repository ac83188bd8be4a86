//! From the files of a source to a prepared data set in one call, and what a prepared data set consists of.

use super::formats::{self, Format, ReadOptions, SourceReport};
use super::split::{self, Ratios, SplitPolicy};
use super::stats::Counts;
use super::store::{self, Provenance};
use base::{Error, Result, files};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What `waata prepare` is asked for.
#[derive(Clone, Debug, Default)]
pub struct PrepareOptions {
    /// The folder of the source files.
    pub source: PathBuf,
    /// None: recognized by the files.
    pub format: Option<&'static Format>,
    /// A map file or the name of a shipped map, for the format `table`.
    pub map: Option<PathBuf>,
    pub read: ReadOptions,
    /// The folder to write.
    pub out: PathBuf,
    /// None: as the source says, and random 60/20/20 where it says nothing.
    pub split: Option<SplitPolicy>,
    pub seed: u64,
    /// None: the name of the source's folder, or the one in the map.
    pub name: Option<String>,
    /// Replace an existing data set at `out`.
    pub force: bool,
}

/// Serializes to the document of `prepare --json`.
#[derive(Clone, Debug, Serialize)]
pub struct PrepareReport {
    pub schema_version: u32,
    pub out: PathBuf,
    pub source: SourceReport,
    /// The split policy as text, such as "random 0.6/0.2/0.2".
    pub split: String,
    pub seed: u64,
    pub counts: Counts,
}

impl PrepareReport {
    /// What a user should know before training: one sentence each, empty when all is well.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let counts = &self.counts;
        if self.source.duplicates > 0 {
            warnings.push(format!("{} rows repeated a (learner, course) pair and were merged", self.source.duplicates));
        }
        if counts.triples == 0 {
            warnings.push("there are no triples: the knowledge graph is empty".into());
        } else if counts.courses_without_triples > 0 {
            let (without, all) = (counts.courses_without_triples, counts.courses);
            warnings.push(format!("{without} of {all} courses have no triple"));
        }
        for (split, rows) in [("train", counts.train), ("valid", counts.valid), ("test", counts.test)] {
            if rows == 0 {
                warnings.push(format!("no enrolment is in {split}"));
            }
        }
        if counts.learners_without_train > 0 {
            warnings.push(format!(
                "{} of {} learners have no train enrolment: ranking skips them",
                counts.learners_without_train, counts.learners
            ));
        }
        if self.source.malformed > 0 {
            warnings.push(format!("{} malformed lines were passed over; the first:", self.source.malformed));
            warnings.extend(self.source.malformed_first.iter().map(|line| format!("  {line}")));
        }
        warnings.extend(self.source.notes.iter().cloned());
        warnings
    }
}

/// Reads the source, splits it and writes the prepared data set; nothing is written unless all of it can be.
/// Errors: `Error::Data` for bad input and for an output folder that exists, `Error::Config` for options that do
/// not fit the source, `Error::Io` for files that cannot be read or written.
pub fn prepare(options: &PrepareOptions) -> Result<PrepareReport> {
    files::check_output(&options.out, options.force, store::MANIFEST)?;
    refuse_source_as_output(&options.source, &options.out)?;
    let loaded = formats::read(&options.source, options.format, options.map.as_deref(), &options.read)?;
    let (mut dataset, source) = (loaded.dataset, loaded.report);
    if let Some(name) = &options.name {
        dataset.name = name.clone();
    }
    let policy = options.split.unwrap_or(match source.has_split {
        true => SplitPolicy::Given,
        false => SplitPolicy::Random { ratios: Ratios::default(), per_learner: false },
    });
    split::assign(&mut dataset, policy, source.has_split, options.seed)?;
    options.read.progress.check_memory()?;
    let provenance = Provenance {
        format: source.format.clone(),
        split: policy.to_string(),
        seed: options.seed,
        duplicates_merged: source.duplicates,
    };
    store::write(&dataset, &options.out, provenance, options.force)?;
    Ok(PrepareReport {
        schema_version: 1,
        out: options.out.clone(),
        source,
        split: policy.to_string(),
        seed: options.seed,
        counts: Counts::of(&dataset),
    })
}

/// Replacing the output folder must never delete the source.
fn refuse_source_as_output(source: &Path, out: &Path) -> Result<()> {
    match (source.canonicalize(), out.canonicalize()) {
        (Ok(source), Ok(full)) if source.starts_with(&full) => {
            Err(Error::data(out, None, "is or contains the source folder", "choose another output folder"))
        }
        _ => Ok(()),
    }
}

//! What reading the raw files must find.

use std::collections::BTreeMap;

use serde::Serialize;
use waata_data::Dataset;
use waata_data::synth::Recipe;

use super::lines::Lines;

/// Numbers by name.
pub(super) type Tally = BTreeMap<&'static str, u64>;

/// The document `expected.json` beside the raw files, which no format reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Expected {
    pub schema_version: u32,
    /// Sizes, preset and seed.
    pub name: String,
    pub log_share: f64,
    /// As in `inspect --json`.
    pub counts: ExpectedCounts,
    /// Rows of user.json that name a (learner, course) pair again.
    pub duplicates: u64,
    /// Malformed lines of all files.
    pub malformed: u64,
    /// What `prepare --json` lists as found, by the same words.
    pub found: BTreeMap<&'static str, u64>,
    /// Everything else that was planted or that the notes of a report count.
    pub quirks: BTreeMap<&'static str, u64>,
    /// SHA-256 of a line "U_24,C_597214,1" for each enrolment: learner, course, completed; learners in the order of
    /// user.json, their rows in time order.
    pub rows_sha256: String,
    pub files: BTreeMap<&'static str, ExpectedFile>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExpectedCounts {
    pub learners: u64,
    pub courses: u64,
    pub enrolments: u64,
    pub entities: u64,
    pub relations: u64,
    pub triples: u64,
    pub triples_by_relation: BTreeMap<&'static str, u64>,
    /// Enrolments that reach half of the course's videos or problems.
    pub completed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExpectedFile {
    pub bytes: u64,
    /// With malformed ones and a header.
    pub lines: u64,
    pub malformed: u64,
}

impl Expected {
    pub(super) fn new(recipe: &Recipe, data: &Dataset) -> Expected {
        let (name, log_share) = (data.name.clone(), recipe.log_share);
        Expected { schema_version: 1, name, log_share, ..Default::default() }
    }

    /// Counts lines of a file, or of a part of it.
    pub(super) fn file(&mut self, file: &'static str, lines: &Lines) {
        let entry = self.files.entry(file).or_default();
        entry.bytes += lines.bytes.len() as u64;
        entry.lines += lines.lines;
        entry.malformed += lines.malformed;
        self.malformed += lines.malformed;
    }

    pub(super) fn lines(&self, file: &str) -> u64 {
        self.files.get(file).map_or(0, |file| file.lines)
    }

    pub(super) fn quirk(&mut self, name: &'static str, count: u64) {
        *self.quirks.entry(name).or_default() += count;
    }

    pub(super) fn quirks(&mut self, tally: &Tally) {
        tally.iter().for_each(|(name, count)| self.quirk(name, *count));
    }

    /// Bytes of all raw files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }
}

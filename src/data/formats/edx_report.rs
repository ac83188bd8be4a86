//! The course report of HarvardX and MITx, 2012 to 2016 (appendix.csv): a row per course and no learners.

use super::shared::source::find_by_header;
use super::{Format, Request};
use base::{Error, Result};
use std::path::{Path, PathBuf};

pub(super) const FORMAT: Format = Format {
    name: "edx-report",
    about: "appendix.csv of HarvardX and MITx: has no learners, so it is refused",
    options: &[],
    detect: |source| Ok(find(source)?.is_some()),
    read: |request| Err(refuse(request)),
};

/// The columns of the report, and as one copy renames them.
const HEADERS: [[&str; 3]; 2] =
    [["Institution", "Course Number", "Course Subject"], ["institution", "course_number", "course_subject"]];

/// The file of the report, if the folder has one.
fn find(source: &Path) -> Result<Option<PathBuf>> {
    for header in &HEADERS {
        if let Some(path) = find_by_header(source, header)?.into_iter().next() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Why the report cannot be prepared.
fn refuse(request: &Request) -> Error {
    match find(request.source) {
        Ok(Some(path)) => Error::data(
            path,
            None,
            "holds a row per course and no learners, so there are no enrolments to train on or to rank for; it is \
             good for comparing courses, and for triples of institution, instructors and subject",
            "take the learners from the person-course data (--format person-course), and put triples of this file \
             beside the enrolments in the interchange format (triples.csv)",
        ),
        Ok(None) => Error::data(
            request.source,
            None,
            "has no csv file with the columns Institution, Course Number and Course Subject",
            "name the folder of appendix.csv, or choose another --format",
        ),
        Err(error) => error,
    }
}

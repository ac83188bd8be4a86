//! The course report of HarvardX and MITx, 2012 to 2016 (appendix.csv): a row per course and no learners.

use crate::formats::raw_rows::find_by_header;
use base::{Error, Result};
use std::path::{Path, PathBuf};

/// The columns of the report, and as one copy renames them.
const HEADERS: [[&str; 3]; 2] =
    [["Institution", "Course Number", "Course Subject"], ["institution", "course_number", "course_subject"]];

/// The file of the report, if the folder has one.
pub fn find(source: &Path) -> Result<Option<PathBuf>> {
    for header in &HEADERS {
        if let Some(path) = find_by_header(source, header)?.into_iter().next() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Why the report cannot be prepared.
pub fn refuse(source: &Path) -> Error {
    match find(source) {
        Ok(Some(path)) => Error::data(
            path,
            None,
            "holds a row per course and no learners, so there are no enrolments to train on or to rank for; it is \
             good for comparing courses, and for triples of institution, instructors and subject",
            "take the learners from the person-course data (--format person-course), and put triples of this file \
             beside the enrolments in the interchange format (triples.csv)",
        ),
        Ok(None) => Error::data(
            source,
            None,
            "has no csv file with the columns Institution, Course Number and Course Subject",
            "name the folder of appendix.csv, or choose another --format",
        ),
        Err(error) => error,
    }
}

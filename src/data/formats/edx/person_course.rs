//! The person-course data of HarvardX and MITx, academic year 2013: HMXPC13_DI_v2 and HXPC13_DI_v3, a row per
//! enrolment. Country, education, year of birth and gender stand in the same rows and are never kept.

use crate::Dataset;
use crate::assemble::Rows;
use crate::formats::raw::{RawFolder, RawOptions};
use crate::formats::raw_rows::{find_by_header, id, label};
use crate::formats::table::{Numbering, add_attributes};
use crate::formats::text::lossy;
use crate::formats::time::{TimeKind, parse_time};
use crate::formats::{Loaded, finish};
use base::{Error, Result};
use regex::Regex;
use std::path::{Path, PathBuf};

const COURSE: &str = "course_id";
const LEARNER: &str = "userid_DI";
const TIME: &str = "start_time_DI";
/// The behaviours after enrolling, each of them rarer than the one before.
const LABELS: [&str; 3] = ["viewed", "explored", "certified"];
/// Rows that contradict themselves or lack logs are marked in a column of one of these names.
const FLAGS: [&str; 2] = ["inconsistent_flag", "incomplete_flag"];

/// HarvardX/CB22x/2013_Spring
const COURSE_ID: &str = "^(?<institution>[^/]+)/(?<code>[^/]+)/(?<term>[^/]+)$";

/// The file of the data in a folder, or `source` itself. None where there is none. Errors: `Error::Data` when there
/// are several: v3 repeats rows of v2.
pub fn find(source: &Path) -> Result<Option<PathBuf>> {
    let mut found = find_by_header(source, &[COURSE, LEARNER, TIME, LABELS[0], LABELS[1], LABELS[2]])?;
    if let [first, second, ..] = found.as_slice() {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let why =
            format!("has several versions of the person-course data: {}, {}", name(first), name(second));
        return Err(Error::data(source, None, why, "name the file to read instead of the folder"));
    }
    Ok(found.pop())
}

/// Reads the data from a folder or a csv file. Errors: as for the other readers.
pub fn read(source: &Path, options: &RawOptions) -> Result<Loaded> {
    let Some(path) = find(source)? else {
        let why = format!(
            "there is no csv file with the columns {COURSE}, {LEARNER}, {TIME}, {}",
            LABELS.join(", ")
        );
        let remedy = "name the file or its folder, such as the one of HMXPC13_DI_v2_5-14-14.csv";
        return Err(Error::data(source, None, why, remedy));
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut raw = RawFolder::open(folder, options, "person-course")?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    raw.report.files.push(file.clone());
    let mut out = Source::default();
    read_rows(&mut raw, &path, &mut out)?;
    if out.rows.len() == 0 {
        return Err(Error::data(
            path,
            None,
            "the file has no rows",
            "copy it again: it may have been cut off",
        ));
    }
    compare(&mut raw, &out);
    notes(&mut raw, &out);
    let mut dataset = Dataset {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        learner_names: out.learners.names.into(),
        courses: out.courses.names.len(),
        entity_names: out.courses.names.into(),
        labels: LABELS.map(String::from).into(),
        ..Default::default()
    };
    // The pattern is a constant; that it compiles is what a test of this module shows.
    if let Ok(pattern) = Regex::new(COURSE_ID) {
        let unmatched =
            add_attributes(&mut dataset, &pattern, &["institution", "code", "term"].map(String::from));
        if unmatched > 0 {
            raw.note(format!("{unmatched} courses are not named institution/code/term, and have no triples"));
        }
    }
    finish(folder, dataset, out.rows, raw.finish())
}

#[derive(Default)]
struct Source {
    learners: Numbering,
    courses: Numbering,
    rows: Rows,
    flagged: u64,
    without_time: u64,
    /// Rows with a later behaviour but not the one before.
    skipping: u64,
}

fn read_rows(raw: &mut RawFolder, path: &Path, out: &mut Source) -> Result<()> {
    out.rows.labels = vec![Vec::new(); LABELS.len()];
    let [viewed, explored, certified] = LABELS;
    let required = [COURSE, LEARNER, TIME, viewed, explored, certified];
    raw.rows(path, required, FLAGS, |[course, learner, start, values @ ..], flags| {
        let (learner, course) = (id(learner, LEARNER)?, id(course, COURSE)?);
        let values: [&str; 3] = values;
        let mut labels = [0u8; 3];
        for ((label_value, text), name) in labels.iter_mut().zip(values).zip(LABELS) {
            *label_value = label(text, name)?;
        }
        let time = match start {
            "" => None,
            text => Some(parse_date(text).ok_or_else(|| {
                format!("{TIME} '{}' is neither 2012-12-19 nor 12/19/12", lossy(text.as_bytes()))
            })?),
        };
        out.rows.learner.push(out.learners.of(learner));
        out.rows.course.push(out.courses.of(course));
        // Without a date an enrolment comes before the learner's others.
        out.rows.time.push(time.unwrap_or(f64::NEG_INFINITY));
        labels.iter().zip(&mut out.rows.labels).for_each(|(&value, column)| column.push(value));
        out.without_time += time.is_none() as u64;
        out.skipping += labels.windows(2).any(|pair| pair[0] < pair[1]) as u64;
        out.flagged += flags.contains(&"1") as u64;
        Ok(())
    })?;
    Ok(())
}

/// A date as the versions write it, in seconds since 1970: 2012-12-19, 12/19/12 or 12/19/2012.
fn parse_date(text: &str) -> Option<f64> {
    if let Some((seconds, TimeKind::Date)) = parse_time(text) {
        return Some(seconds);
    }
    let mut parts = text.split('/');
    let mut part = |digits: std::ops::RangeInclusive<usize>| -> Option<u32> {
        let part = parts.next()?;
        let plain = digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if plain { part.parse().ok() } else { None }
    };
    let (month, day, year) = (part(1..=2)?, part(1..=2)?, part(2..=4)?);
    let year = if year < 100 { 2000 + year } else { year };
    if parts.next().is_some() {
        return None;
    }
    // The other parser knows the lengths of months.
    parse_time(&format!("{year:04}-{month:02}-{day:02}")).map(|(seconds, _)| seconds)
}

/// v2 has the courses of both universities, v3 those of Harvard alone.
fn compare(raw: &mut RawFolder, out: &Source) {
    let rows = out.rows.len() as u64;
    let (learners, courses) = (out.learners.names.len() as u64, out.courses.names.len() as u64);
    if out.courses.names.iter().any(|name| name.starts_with("MITx/")) {
        raw.count("rows (v2)", rows, 641_138);
        raw.count("learners (v2)", learners, 476_532);
        raw.count("courses (v2)", courses, 16);
    } else {
        raw.count("courses (v3)", courses, 5);
    }
}

fn notes(raw: &mut RawFolder, out: &Source) {
    let rows = out.rows.len();
    if out.flagged > 0 {
        raw.note(format!(
            "{} of {rows} rows are flagged as inconsistent or incomplete; they are kept",
            out.flagged
        ));
    }
    if out.without_time > 0 {
        raw.note(format!("{} of {rows} rows have no {TIME} and come first", out.without_time));
    }
    if out.skipping > 0 {
        raw.note(format!(
            "{} of {rows} rows leave out a step of viewed, explored, certified; they are kept as they are",
            out.skipping
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_dates() {
        let day = Some(1_355_875_200.0);
        for text in ["2012-12-19", "12/19/12", "12/19/2012"] {
            assert_eq!(parse_date(text), day, "{text}");
        }
        assert_eq!(parse_date("1/2/13"), parse_date("2013-01-02"));
        for bad in ["", "19/12/12", "2/30/13", "12/19", "12/19/12/1", "1355875200", "12/19/+2", "0/1/12"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_pattern_of_courses() {
        let found = Regex::new(COURSE_ID).unwrap().captures("HarvardX/CB22x/2013_Spring").unwrap();
        assert_eq!(
            (&found["institution"], &found["code"], &found["term"]),
            ("HarvardX", "CB22x", "2013_Spring")
        );
    }
}

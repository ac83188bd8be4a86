//! The person-course data of HarvardX and MITx, academic year 2013: HMXPC13_DI_v2 and HXPC13_DI_v3, a row per
//! enrolment. Country, education, year of birth and gender stand in the same rows and are never kept.

use super::shared::graph::Graph;
use super::shared::ids::TextIds;
use super::shared::source::{Source, find_by_header};
use super::shared::values::{date, label, lossy, require_text};
use super::{Format, Loaded, Request};
use crate::assemble::Rows;
use base::{Error, Result};
use std::path::{Path, PathBuf};

const COURSE: &str = "course_id";
const LEARNER: &str = "userid_DI";
const TIME: &str = "start_time_DI";
/// The behaviours after enrolling, each of them rarer than the one before.
const LABELS: [&str; 3] = ["viewed", "explored", "certified"];
const REQUIRED: [&str; 6] = [COURSE, LEARNER, TIME, LABELS[0], LABELS[1], LABELS[2]];
/// Rows that contradict themselves or lack logs are marked in a column of one of these names.
const FLAGS: [&str; 2] = ["inconsistent_flag", "incomplete_flag"];

pub(super) const FORMAT: Format = Format {
    name: "person-course",
    about: "HMXPC13_DI_v2 or HXPC13_DI_v3 of HarvardX and MITx",
    options: &[],
    detect: |source| Ok(find(source)?.is_some()),
    read,
};

/// The file of the data in a folder, or `source` itself. None where there is none. Errors: `Error::Data` when there
/// are several: v3 repeats rows of v2.
fn find(source: &Path) -> Result<Option<PathBuf>> {
    let mut found = find_by_header(source, &REQUIRED)?;
    if let [first, second, ..] = found.as_slice() {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let why = format!("has several versions of the person-course data: {}, {}", name(first), name(second));
        return Err(Error::data(source, None, why, "name the file to read instead of the folder"));
    }
    Ok(found.pop())
}

/// Reads the data from a folder or a csv file. Errors: as for the other readers.
fn read(request: &Request) -> Result<Loaded> {
    let Some(path) = find(request.source)? else {
        let why = format!("there is no csv file with the columns {}", REQUIRED.join(", "));
        let remedy = "name the file or its folder, such as the one of HMXPC13_DI_v2_5-14-14.csv";
        return Err(Error::data(request.source, None, why, remedy));
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut source = Source::open(folder, request.options, &FORMAT)?;
    source.report.files.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let (learners, courses, rows) = read_rows(&mut source, &path)?;
    // v2 has the courses of both universities, v3 those of Harvard alone.
    if courses.names.iter().any(|name| name.starts_with("MITx/")) {
        source.count("rows (v2)", rows.len() as u64, 641_138);
        source.count("learners (v2)", learners.names.len() as u64, 476_532);
        source.count("courses (v2)", courses.names.len() as u64, 16);
    } else {
        source.count("courses (v3)", courses.names.len() as u64, 5);
    }
    let mut graph = Graph::new(courses.names);
    // HarvardX/CB22x/2013_Spring
    let unmatched = graph.relate_names(&["institution", "code", "term"], |name| {
        let parts: Vec<String> = name.split('/').map(String::from).collect();
        (parts.len() == 3 && !parts.contains(&String::new())).then_some(parts)
    });
    source.note_if(unmatched, format!("{unmatched} courses are not named institution/code/term, and have no triples"));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut dataset = graph.dataset(name, learners.names);
    dataset.labels = LABELS.map(String::from).into();
    source.finish_rows(dataset, rows)
}

fn read_rows(source: &mut Source, path: &Path) -> Result<(TextIds, TextIds, Rows)> {
    let (mut learners, mut courses) = (TextIds::default(), TextIds::default());
    let mut out = Rows { labels: vec![Vec::new(); LABELS.len()], ..Default::default() };
    let (mut flagged, mut without_time, mut skipping) = (0, 0, 0);
    source.rows(path, REQUIRED, FLAGS, |[course, learner, start, values @ ..], flags| {
        let (learner, course) = (require_text(learner, LEARNER)?, require_text(course, COURSE)?);
        let mut labels = [0; 3];
        for ((value, text), name) in labels.iter_mut().zip::<[&str; 3]>(values).zip(LABELS) {
            *value = label(text, name)?;
        }
        let time = match start {
            "" => None,
            text => Some(
                parse_date(text)
                    .ok_or_else(|| format!("{TIME} '{}' is neither 2012-12-19 nor 12/19/12", lossy(text)))?,
            ),
        };
        out.learner.push(learners.of(learner));
        out.course.push(courses.of(course));
        // Without a date an enrolment comes before the learner's others.
        out.time.push(time.unwrap_or(f64::NEG_INFINITY));
        labels.iter().zip(&mut out.labels).for_each(|(&value, column)| column.push(value));
        without_time += time.is_none() as u64;
        skipping += labels.windows(2).any(|pair| pair[0] < pair[1]) as u64;
        flagged += flags.contains(&"1") as u64;
        Ok(())
    })?;
    if out.len() == 0 {
        let remedy = "copy it again: it may have been cut off";
        return Err(Error::data(path, None, "the file has no rows", remedy));
    }
    let rows = out.len();
    for (count, what) in [
        (flagged, "are flagged as inconsistent or incomplete; they are kept"),
        (without_time, "have no start_time_DI and come first"),
        (skipping, "leave out a step of viewed, explored, certified; they are kept as they are"),
    ] {
        source.note_if(count, format!("{count} of {rows} rows {what}"));
    }
    Ok((learners, courses, out))
}

/// A date as the versions write it, in seconds since 1970: 2012-12-19, 12/19/12 or 12/19/2012.
fn parse_date(text: &str) -> Option<f64> {
    let parts: Vec<&str> = text.split('/').collect();
    let [month, day, year] = parts[..] else { return date(text) };
    let part = |part: &str, digits: std::ops::RangeInclusive<usize>| {
        let plain = digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse::<u32>().ok()).flatten()
    };
    let (month, day, year) = (part(month, 1..=2)?, part(day, 1..=2)?, part(year, 2..=4)?);
    let year = if year < 100 { 2000 + year } else { year };
    // The other parser knows the lengths of months.
    date(&format!("{year:04}-{month:02}-{day:02}"))
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
}

//! What the readers of raw published files share: files that may be missing, lines that may be malformed up to a
//! share, ids with a prefix, and counts beside the published ones.

use super::text::lossy;
use super::time::{TimeKind, parse_time};
use super::{Control, SourceReport, require_folder};
use base::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What may be chosen about raw files.
#[derive(Clone, Debug)]
pub struct RawOptions {
    /// The share of a course's videos or problems, above 0 and at most 1, from which an enrolment is `completed`.
    /// None: [`COMPLETED_SHARE`].
    pub completed_share: Option<f64>,
    /// A file with a larger share of malformed lines, from 0 to 1, is refused.
    pub malformed_share: f64,
    /// Refuse a file at its first malformed line.
    pub strict: bool,
    /// Keep so many learners, the first of the source, and what belongs to them.
    pub limit: Option<usize>,
    /// What watches over the reading.
    pub control: Control,
}

/// Half of a course: what `explored` asks for in the person-course data of edX, and `audited` in its reports.
pub const COMPLETED_SHARE: f64 = 0.5;

/// A line in a thousand: damage of a copy stays below, a misunderstood format does not.
pub const MALFORMED_SHARE: f64 = 0.001;

/// Malformed lines that are shown, over all files of a source.
pub(super) const SHOWN: usize = 10;

impl Default for RawOptions {
    fn default() -> Self {
        RawOptions {
            completed_share: None,
            malformed_share: MALFORMED_SHARE,
            strict: false,
            limit: None,
            control: Control::default(),
        }
    }
}

impl RawOptions {
    /// Errors: `Error::Config` for a share out of range.
    pub fn check(&self) -> Result<()> {
        if self.completed_share.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            let why = "must be above 0 and at most 1";
            return Err(Error::config("--completed-share", why, "0.5 is half of the course"));
        }
        if !(0.0..=1.0).contains(&self.malformed_share) {
            return Err(Error::config(
                "--malformed-share",
                "must be from 0 to 1",
                "0.001 is a line in 1,000",
            ));
        }
        if self.limit == Some(0) {
            return Err(Error::config("--limit", "must be at least 1", "1000 learners are a taste"));
        }
        Ok(())
    }
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

/// A folder of raw files, and the report that reading them fills in.
pub(crate) struct RawFolder<'a> {
    pub(super) folder: &'a Path,
    pub(super) options: &'a RawOptions,
    pub report: SourceReport,
}

impl<'a> RawFolder<'a> {
    pub fn open(folder: &'a Path, options: &'a RawOptions, format: &str) -> Result<RawFolder<'a>> {
        require_folder(folder)?;
        Ok(RawFolder {
            folder,
            options,
            report: SourceReport { format: format.into(), ..Default::default() },
        })
    }

    /// The path of `file`, such as "entities/user.json", or of the file itself without its folder: downloads of
    /// single files lie flat. Takes note of it as read or as missing.
    pub fn find(&mut self, file: &str) -> Option<PathBuf> {
        let found = locate(self.folder, file);
        if found.is_some() { &mut self.report.files } else { &mut self.report.missing }.push(file.into());
        found
    }

    /// [`RawFolder::find`] for a file without which nothing can be read.
    pub fn require(&mut self, file: &str) -> Result<PathBuf> {
        self.find(file).ok_or_else(|| {
            let remedy = "download it, or choose another --format";
            Error::data(self.folder.join(file), None, "the file is missing", remedy)
        })
    }

    pub fn count(&mut self, what: &str, found: u64, published: u64) {
        self.report.counts.push(SourceCount { what: what.into(), found, published });
    }

    pub fn note(&mut self, note: String) {
        self.report.notes.push(note);
    }

    /// The report, when all has been read.
    pub fn finish(mut self) -> SourceReport {
        if !self.report.missing.is_empty() {
            self.note(format!("optional files that are not there: {}", self.report.missing.join(", ")));
        }
        self.report
    }
}

/// `folder/file`, or the file without its own folders directly in `folder`; None where neither is there.
pub(crate) fn locate(folder: &Path, file: &str) -> Option<PathBuf> {
    let nested = folder.join(file);
    let flat = folder.join(nested.file_name()?);
    [nested, flat].into_iter().find(|path| path.is_file())
}

/// A share as text, such as "0.1 %".
pub(crate) fn percent(share: f64) -> String {
    // Rounded because 100 * 0.001 has more digits than anybody wrote.
    format!("{} %", (share * 1e8).round() / 1e6)
}

/// One JSON document. Err: why it is none, or not the expected one.
pub(crate) fn json<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|e| {
        format!("not the expected JSON: {}", e.to_string().replace(" at line 1 column ", ", byte "))
    })
}

/// A line of JSON with null for every NaN and Infinity outside its strings: Python writes them, although JSON has
/// neither. None where the line has none, or is no JSON object.
pub(super) fn without_nan(line: &[u8]) -> Option<Vec<u8>> {
    const NONE: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    if !line.starts_with(b"{") {
        return None;
    }
    let mut out = Vec::with_capacity(line.len());
    let (mut at, mut quoted, mut changed) = (0, false, false);
    while let Some(&byte) = line.get(at) {
        if !quoted && let Some(word) = NONE.iter().find(|word| line[at..].starts_with(word)) {
            out.extend_from_slice(b"null");
            at += word.len();
            changed = true;
            continue;
        }
        if byte == b'"' {
            quoted = !quoted;
        }
        // What a backslash escapes in a string does not end it.
        let taken = if quoted && byte == b'\\' { 2 } else { 1 };
        out.extend(line[at..].iter().take(taken));
        at += taken;
    }
    changed.then_some(out)
}

/// The two columns of a line, separated by a tab. Err: why they cannot be used.
pub(crate) fn pair(line: &[u8]) -> Result<[&str; 2], String> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not valid UTF-8".to_string())?;
    let mut columns = text.split('\t').map(str::trim);
    match (columns.next(), columns.next(), columns.next()) {
        (Some(a), Some(b), None) if !a.is_empty() && !b.is_empty() => Ok([a, b]),
        _ => Err(format!("'{}' is not two columns separated by a tab", lossy(line))),
    }
}

/// The number of an id such as "U_24" with the prefix "U_". None for any other text.
pub(crate) fn number(id: &str, prefix: &str) -> Option<u64> {
    let digits = id.strip_prefix(prefix)?;
    let plain = (1..=18).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// [`number`], or why the id cannot be used.
pub(crate) fn require_number(id: &str, prefix: &str) -> Result<u64, String> {
    number(id, prefix)
        .ok_or_else(|| format!("the id '{}' is not {prefix} and a number", lossy(id.as_bytes())))
}

/// The dates of a learner's enrolments, in seconds since 1970, as the only content of `out`. Err: why they do not fit
/// the number of courses, or are none.
pub(crate) fn enrolment_times(courses: usize, texts: &[&str], out: &mut Vec<f64>) -> Result<(), String> {
    out.clear();
    if courses != texts.len() {
        return Err(format!("course_order has {courses} values, enroll_time {}", texts.len()));
    }
    for text in texts {
        match parse_time(text) {
            Some((seconds, TimeKind::Date)) => out.push(seconds),
            _ => return Err(format!("the enroll_time '{}' is no date", lossy(text.as_bytes()))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_columns() {
        assert_eq!((number("U_24", "U_"), number("U_024", "U_")), (Some(24), Some(24)));
        for bad in ["U_", "24", "V_24", "U_2x", "U_-2", "U_1234567890123456789", "U_٣"] {
            assert_eq!(number(bad, "U_"), None, "{bad}");
        }
        assert_eq!(pair(b"K_a b_c\tC_1\r"), Ok(["K_a b_c", "C_1"]));
        for bad in [&b"a"[..], b"a\t", b"\tb", b"a\tb\tc", b"\xff\tb", b""] {
            assert!(pair(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nan_is_null_outside_strings() {
        let repaired = |line: &str| without_nan(line.as_bytes()).map(|l| String::from_utf8(l).unwrap());
        assert_eq!(
            repaired(r#"{"a":[NaN,-Infinity, Infinity],"b":"NaN \" NaN","c":NaN}"#).unwrap(),
            r#"{"a":[null,null, null],"b":"NaN \" NaN","c":null}"#
        );
        for same in [r#"{"a":"NaN"}"#, "NaN", "", r#"{"a":"\"#] {
            assert_eq!(repaired(same), None, "{same}");
        }
    }

    #[test]
    fn shares() {
        assert_eq!(
            (percent(0.001), percent(0.5), percent(0.0)),
            ("0.1 %".into(), "50 %".into(), "0 %".into())
        );
        let share = |completed_share, malformed_share| RawOptions {
            completed_share,
            malformed_share,
            ..Default::default()
        };
        assert!(share(Some(1.0), 1.0).check().is_ok() && share(None, 0.0).check().is_ok());
        for bad in
            [share(Some(0.0), 0.1), share(Some(1.1), 0.1), share(Some(f64::NAN), 0.1), share(None, -0.1)]
        {
            assert_eq!(bad.check().unwrap_err().exit_code(), 2);
        }
    }
}

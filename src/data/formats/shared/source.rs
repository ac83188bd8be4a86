//! A source that is being read: its files, which may be missing, their lines, which may be malformed up to a share, and the
//! report.

use super::lines::{self, SIZES};
use super::values::{percent, with_nulls};
use crate::Dataset;
use crate::assemble::{Rows, assemble};
use crate::formats::{Format, Loaded, ReadOptions, SourceCount, SourceReport, locate, require_folder};
use base::{Error, Result};
use std::path::{Path, PathBuf};

/// Malformed lines that are shown, over all files of a source.
const SHOWN: usize = 10;

pub struct Source<'a> {
    pub folder: &'a Path,
    options: &'a ReadOptions,
    pub report: SourceReport,
}

impl<'a> Source<'a> {
    pub fn open(folder: &'a Path, options: &'a ReadOptions, format: &Format) -> Result<Source<'a>> {
        require_folder(folder)?;
        let report = SourceReport { format: format.name.into(), ..Default::default() };
        Ok(Source { folder, options, report })
    }

    /// The name of the folder, which is that of the data set where nothing else names it.
    pub fn name(&self) -> String {
        let full = self.folder.canonicalize().unwrap_or_else(|_| self.folder.into());
        full.file_name().map_or_else(|| "data".into(), |name| name.to_string_lossy().into_owned())
    }

    /// The path of a file ([`locate`]), which the report lists as read or as missing.
    pub fn find(&mut self, file: &str) -> Option<PathBuf> {
        let found = locate(self.folder, file);
        if found.is_some() { &mut self.report.files } else { &mut self.report.missing }.push(file.into());
        found
    }

    /// [`Source::find`] for a file without which nothing can be read.
    pub fn require(&mut self, file: &str) -> Result<PathBuf> {
        self.find(file).ok_or_else(|| {
            let remedy = "the format needs it: add it, or choose another --format";
            Error::data(self.folder.join(file), None, "the file is missing", remedy)
        })
    }

    pub fn completed_share(&self) -> Option<f64> {
        self.options.completed_share
    }

    pub fn count(&mut self, what: impl Into<String>, found: u64, published: u64) {
        self.report.counts.push(SourceCount { what: what.into(), found, published });
    }

    /// Adds a note to the report unless `found` is 0.
    pub fn note_if(&mut self, found: u64, note: String) {
        if found > 0 {
            self.report.notes.push(note);
        }
    }

    /// Adds a note of the optional files that are missing.
    pub fn note_missing(&mut self) {
        let missing = &self.report.missing;
        self.note_if(missing.len() as u64, format!("optional files that are not there: {}", missing.join(", ")));
    }

    /// Gives what `parse` makes of every line that is not blank to `keep`, with the number of the line, in the order of the
    /// file; returns how many lines there were. Both answer a malformed line with the reason, and must not have kept
    /// anything of it. Errors: `Error::Data` when too many lines are malformed, or with `strict` the first one.
    pub fn lines<T: Send>(
        &mut self,
        path: &Path,
        parse: impl Fn(&[u8]) -> Result<T, String> + Sync,
        mut keep: impl FnMut(u64, T) -> Result<(), String>,
    ) -> Result<u64> {
        let ReadOptions { strict, malformed_share: share, ref progress, .. } = *self.options;
        let (mut lines, mut malformed, mut first) = (0, 0, None);
        let file = path.strip_prefix(self.folder).unwrap_or(path).display();
        let shown = &mut self.report.malformed_first;
        let parse = |line: &[u8]| with_nulls(line, &parse);
        lines::parsed(path, SIZES, progress, parse, |number, value| {
            lines += 1;
            let Err(why) = value.and_then(|value| keep(number, value)) else { return Ok(()) };
            if strict {
                let remedy = "repair the line, or leave out --strict to pass over it";
                return Err(Error::data(path, Some(number), why, remedy));
            }
            malformed += 1;
            if shown.len() < SHOWN {
                shown.push(format!("{file}:{number}: {why}"));
            }
            first.get_or_insert((number, why));
            Ok(())
        })?;
        self.report.malformed += malformed;
        match first {
            Some((number, why)) if malformed as f64 > share * lines as f64 => {
                let share = percent(share);
                let why = format!("{malformed} of {lines} lines are malformed, more than {share}; the first: {why}");
                let remedy = "copy the file again, repair it, check --format, or allow more with --malformed-share";
                Err(Error::data(path, Some(number), why, remedy))
            }
            _ => Ok(lines),
        }
    }

    /// Gives every row of a csv file with a header to `keep`: the fields of the columns `required`, then those of
    /// `optional`, empty where the file does not have the column. Returns how many rows there were. A line is a row,
    /// whatever its quotes say: the csv crate would take an open quote for a field of several lines, so one damaged byte
    /// could swallow the rest of a file. Errors: `Error::Data` for a missing column, and as [`Source::lines`].
    pub fn rows<const N: usize, const M: usize>(
        &mut self,
        path: &Path,
        required: [&str; N],
        optional: [&str; M],
        mut keep: impl FnMut([&str; N], [&str; M]) -> Result<(), String>,
    ) -> Result<u64> {
        let header = header(path)?;
        let place = |name: &str| header.iter().position(|h| h == name);
        if let Some(missing) = required.iter().find(|name| place(name).is_none()) {
            let why = format!("the column '{missing}' is missing");
            return Err(Error::data(path, Some(1), why, "copy the file again, with its header"));
        }
        let places = (required.map(place), optional.map(place));
        let parse = |line: &[u8]| {
            let mut row = fields(line);
            if row.len() != header.len() {
                return Err(format!("the row has {} fields, the header {}", row.len(), header.len()));
            }
            let mut take = |place: Option<usize>| place.map(|at| std::mem::take(&mut row[at])).unwrap_or_default();
            Ok((places.0.map(&mut take), places.1.map(&mut take)))
        };
        let mut is_header = true;
        let lines = self.lines(path, parse, |_, (required, optional)| {
            if std::mem::take(&mut is_header) {
                return Ok(());
            }
            keep(required.each_ref().map(String::as_str), optional.each_ref().map(String::as_str))
        })?;
        Ok(lines.saturating_sub(1))
    }

    /// The last step of a reader: rows become interactions, and the whole is checked once.
    pub fn finish_rows(mut self, mut dataset: Dataset, rows: Rows) -> Result<Loaded> {
        let (interactions, duplicates) = assemble(rows, dataset.learners(), dataset.courses);
        dataset.interactions = interactions;
        self.report.duplicates = duplicates;
        self.finish(dataset)
    }

    /// The last step where the interactions are there already.
    pub fn finish(self, dataset: Dataset) -> Result<Loaded> {
        // The readers check every id where they can name the line; what this finds would be their mistake.
        dataset.validate().map_err(|why| Error::data(self.folder, None, why, "check the ids of the source files"))?;
        Ok(Loaded { dataset, report: self.report })
    }
}

/// The names of a csv file's columns; none where the file is empty.
fn header(path: &Path) -> Result<Vec<String>> {
    Ok(lines::first(path)?.map(|line| fields(&line)).unwrap_or_default())
}

/// The csv files of a folder, or the file `source` itself, whose header has all of `columns`; sorted by name.
pub fn find_by_header(source: &Path, columns: &[&str]) -> Result<Vec<PathBuf>> {
    let mut candidates = Vec::new();
    if source.is_file() {
        candidates.push(source.to_path_buf());
    } else if source.is_dir() {
        for entry in std::fs::read_dir(source).map_err(Error::io(source, "listing"))? {
            let path = entry.map_err(Error::io(source, "listing"))?.path();
            let csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
            if csv && path.is_file() {
                candidates.push(path);
            }
        }
        candidates.sort();
    }
    let mut found = Vec::new();
    for path in candidates {
        let header = header(&path)?;
        if columns.iter().all(|column| header.iter().any(|h| h == column)) {
            found.push(path);
        }
    }
    Ok(found)
}

/// The fields of a line of csv, without blanks around them; `"` quotes a field, `""` in it is a quote. Bytes that
/// are not UTF-8 become replacement characters, which no id, label or date has.
fn fields(line: &[u8]) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (vec![], String::new(), false);
    let text = String::from_utf8_lossy(line);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields.iter().map(|field| field.trim().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn quotes_and_blanks() {
        assert_eq!(fields(b"a, b ,,\"c, \"\"d\"\"\""), ["a", "b", "", "c, \"d\""]);
        assert_eq!(fields(b""), [""]);
    }
}

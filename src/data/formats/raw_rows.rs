//! Raw csv files: rows by the names of their columns, and damage that stays in its line.
//!
//! A line is a row, whatever its quotes say. The csv crate would take an open quote for a field of several lines, so one
//! damaged byte could swallow the rest of a file.

use super::raw::RawFolder;
use super::text::{Lines, lossy};
use base::{Error, Result};
use std::path::{Path, PathBuf};

impl RawFolder<'_> {
    /// Gives every row of a csv file with a header to `take`: the fields of the columns `required`, then those of
    /// `optional`, empty where the file does not have the column. Returns how many rows there were. `take` answers a
    /// malformed row with the reason, and must not have kept anything of it. Errors: `Error::Data` for a missing column,
    /// and as [`RawFolder::lines`].
    pub fn rows<const N: usize, const M: usize>(
        &mut self,
        path: &Path,
        required: [&str; N],
        optional: [&str; M],
        mut take: impl FnMut([&str; N], [&str; M]) -> Result<(), String>,
    ) -> Result<u64> {
        let header = header(path)?;
        let place = |name: &str| header.iter().position(|h| h == name);
        if let Some(missing) = required.iter().find(|name| place(name).is_none()) {
            let why = format!("the column '{missing}' is missing");
            return Err(Error::data(path, Some(1), why, "copy the file again, with its header"));
        }
        // A required column is there, so its place is never past the row.
        let places = required.map(|name| place(name).unwrap_or(usize::MAX));
        let others = optional.map(place);
        let mut first = true;
        let lines = self.lines(path, |_, line| {
            if std::mem::take(&mut first) {
                return Ok(());
            }
            let row = fields(line);
            if row.len() != header.len() {
                return Err(format!("the row has {} fields, the header {}", row.len(), header.len()));
            }
            let field = |place: usize| row.get(place).map_or("", String::as_str);
            take(places.map(field), others.map(|place| place.map_or("", field)))
        })?;
        Ok(lines.saturating_sub(1))
    }
}

/// The names of a csv file's columns; none where the file is empty.
fn header(path: &Path) -> Result<Vec<String>> {
    let mut lines = Lines::open(path)?;
    Ok(if lines.advance()? { fields(lines.line()) } else { vec![] })
}

/// The csv files of a folder, or the file `source` itself, whose header has all of `columns`; sorted by name.
pub(super) fn find_by_header(source: &Path, columns: &[&str]) -> Result<Vec<PathBuf>> {
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

/// An id out of a row. Err: why it is none.
pub(super) fn id<'a>(text: &'a str, column: &str) -> Result<&'a str, String> {
    match text {
        "" => Err(format!("{column} is empty")),
        _ if text.contains('\u{FFFD}') => Err(format!("{column} is not valid UTF-8")),
        _ => Ok(text),
    }
}

/// A label out of a row, 0 or 1. Err: why it is none.
pub(super) fn label(text: &str, column: &str) -> Result<u8, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        other => Err(format!("{column} is '{}', neither 0 nor 1", lossy(other.as_bytes()))),
    }
}

/// The fields of a line of csv, without blanks around them; `"` quotes a field, `""` in it is a quote. Bytes that
/// are not UTF-8 become replacement characters, which no id, label or date has.
fn fields(line: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(line);
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let field = fields.last_mut();
        match (letter, field) {
            ('"', Some(field)) if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => fields.push(String::new()),
            (_, Some(field)) => field.push(letter),
            (_, None) => {}
        }
    }
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

//! What HarvardX and MITx published of their edX courses: csv files, recognised by their headers.

pub(super) mod person_course;
pub(super) mod report;

use super::text::Lines;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The csv files of a folder, or the file `source` itself, whose header has all of `columns`; sorted by name.
fn find_by_header(source: &Path, columns: &[&str]) -> Result<Vec<PathBuf>> {
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
        let mut lines = Lines::open(&path)?;
        if lines.advance()? {
            let header = fields(lines.line());
            if columns.iter().all(|column| header.iter().any(|h| h == column)) {
                found.push(path);
            }
        }
    }
    Ok(found)
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

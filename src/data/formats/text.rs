//! Reading delimited text: every complaint names the file, the line, what is wrong and what to do.

use base::{Error, Result};
use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The largest id: 2^32 - 1 itself stays free as a mark.
pub(crate) const MAX_ID: u32 = u32::MAX - 1;

const TRUNCATED: &str = "the file may have been cut off: copy it again, or complete or delete this line";

/// How a table is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub delimiter: u8,
    pub header: bool,
    /// Whether `"` quotes a field.
    pub quote: bool,
}

impl Dialect {
    pub const CSV: Dialect = Dialect { delimiter: b',', header: true, quote: true };
}

/// A csv or tsv file, read one row at a time in constant memory.
pub(crate) struct Table {
    path: PathBuf,
    reader: Reader<File>,
    header: Vec<String>,
    record: ByteRecord,
}

impl Table {
    /// Opens a table and reads its header, if it has one. Errors: `Error::Io` when the file cannot be opened,
    /// `Error::Data` when it is empty or its header is not UTF-8.
    pub fn open(path: &Path, dialect: Dialect) -> Result<Table> {
        let file = File::open(path).map_err(Error::io(path, "opening"))?;
        let reader = ReaderBuilder::new()
            .delimiter(dialect.delimiter)
            .has_headers(dialect.header)
            .quoting(dialect.quote)
            .buffer_capacity(1 << 18)
            .from_reader(file);
        let mut table = Table { path: path.into(), reader, header: Vec::new(), record: ByteRecord::new() };
        if dialect.header {
            let header = table.reader.byte_headers().cloned();
            table.record = header.map_err(|e| table.broken(e))?;
            if table.record.is_empty() {
                return Err(
                    table.fail_file("the file is empty", "write the header and the rows, or delete the file")
                );
            }
            table.header = (0..table.record.len())
                .map(|i| table.text(i).map(|s| s.trim().to_string()))
                .collect::<Result<_>>()?;
            for (i, name) in table.header.iter().enumerate() {
                if table.header[..i].contains(name) {
                    let why = format!("the header has the column '{name}' twice");
                    return Err(table.fail(why, "rename or delete one of them"));
                }
            }
        }
        Ok(table)
    }

    pub fn header(&self) -> &[String] {
        &self.header
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|h| h == name)
    }

    /// The position of a column that must be there.
    pub fn require(&self, name: &str) -> Result<usize> {
        self.column(name).ok_or_else(|| {
            Error::data(
                &self.path,
                Some(1),
                format!("the column '{name}' is missing (the header has: {})", self.header.join(", ")),
                "add the column, or correct its name in the header",
            )
        })
    }

    /// Moves to the next row; false at the end.
    pub fn advance(&mut self) -> Result<bool> {
        let mut record = std::mem::take(&mut self.record);
        let more = self.reader.read_byte_record(&mut record);
        self.record = record;
        more.map_err(|e| self.broken(e))
    }

    /// A field without the blanks around it; a column that the row does not have is empty.
    pub fn field(&self, column: usize) -> &[u8] {
        self.record.get(column).unwrap_or(b"").trim_ascii()
    }

    pub fn text(&self, column: usize) -> Result<&str> {
        std::str::from_utf8(self.field(column)).map_err(|_| {
            let why = format!("field {} is not valid UTF-8", column + 1);
            self.fail(why, "convert the file to UTF-8, for instance with iconv")
        })
    }

    /// A field as an id: a decimal integer from 0 to 2^32 - 2. `what` names it in the complaint.
    pub fn id(&self, column: usize, what: &str) -> Result<u32> {
        parse_id(self.field(column)).map_err(|bad| {
            let (why, remedy) = bad.explain(self.field(column), what);
            self.fail(why, remedy)
        })
    }

    /// A field of 0 or 1. `what` names it in the complaint.
    pub fn label(&self, column: usize, what: &str) -> Result<u8> {
        match self.field(column) {
            b"0" => Ok(0),
            b"1" => Ok(1),
            other => Err(self.fail(
                format!("{what} is '{}', neither 0 nor 1", lossy(other)),
                "write labels as 0 or 1, or delete the column",
            )),
        }
    }

    /// An error at the current row.
    pub fn fail(&self, why: impl Into<String>, remedy: impl Into<String>) -> Error {
        let byte = self.record.position().map(|p| p.byte()).unwrap_or(0);
        Error::data(&self.path, line_at(&self.path, byte), why, remedy)
    }

    /// An error of the file as a whole.
    pub fn fail_file(&self, why: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::data(&self.path, None, why, remedy)
    }

    fn broken(&self, error: csv::Error) -> Error {
        let byte = error.position().map(|p| p.byte()).unwrap_or(0);
        match error.into_kind() {
            ErrorKind::Io(source) => Error::io(&self.path, "reading")(source),
            ErrorKind::UnequalLengths { expected_len, len, .. } => {
                let line = line_at(&self.path, byte);
                let first = if self.header.is_empty() { "first row" } else { "header" };
                let why = format!("the row has {len} fields, the {first} {expected_len}");
                Error::data(&self.path, line, why, TRUNCATED)
            }
            other => Error::data(
                &self.path,
                line_at(&self.path, byte),
                format!("not a table: {other:?}"),
                TRUNCATED,
            ),
        }
    }
}

/// The line, from 1, on which the record starts whose reading began at `byte`. Only errors ask, so reading the
/// file again costs nothing that matters, and the answer is right for any mixture of line ends and blank lines.
fn line_at(path: &Path, byte: u64) -> Option<u64> {
    let mut before = Vec::new();
    let mut reader = BufReader::new(File::open(path).ok()?);
    let mut line = 1;
    let mut left = byte;
    while left > 0 {
        before.resize(left.min(1 << 16) as usize, 0);
        reader.read_exact(&mut before).ok()?;
        line += before.iter().filter(|&&b| b == b'\n').count() as u64;
        left -= before.len() as u64;
    }
    loop {
        let buffer = reader.fill_buf().ok()?;
        let used = match buffer.first() {
            Some(b'\n') => {
                line += 1;
                1
            }
            Some(b'\r') => 1,
            _ => return Some(line),
        };
        reader.consume(used);
    }
}

/// Why a field is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadId {
    Empty,
    Negative,
    TooLarge,
    NotANumber,
}

impl BadId {
    pub fn explain(self, field: &[u8], what: &str) -> (String, &'static str) {
        let field = lossy(field);
        match self {
            BadId::Empty => (format!("the {what} id is missing"), TRUNCATED),
            BadId::Negative => (
                format!("the {what} id '{field}' is negative"),
                "number ids from 0, without gaps where possible",
            ),
            BadId::TooLarge => (
                format!("the {what} id '{field}' is larger than {MAX_ID}"),
                "number ids from 0, without gaps",
            ),
            BadId::NotANumber => (
                format!("the {what} id '{field}' is not a number"),
                "write ids as integers from 0, or read text ids with --format table --map",
            ),
        }
    }
}

pub(crate) fn parse_id(field: &[u8]) -> Result<u32, BadId> {
    match field {
        [] => return Err(BadId::Empty),
        [b'-', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            return Err(BadId::Negative);
        }
        _ => {}
    }
    let mut value = 0u64;
    for &b in field {
        if !b.is_ascii_digit() {
            return Err(BadId::NotANumber);
        }
        value = (value * 10 + (b - b'0') as u64).min(1 << 40);
    }
    if value <= MAX_ID as u64 { Ok(value as u32) } else { Err(BadId::TooLarge) }
}

/// Text of a complaint: bounded, and printable whatever the bytes are.
pub(crate) fn lossy(field: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(&field[..field.len().min(60)]).escape_debug().collect();
    if field.len() > 60 { text + "..." } else { text }
}

/// Bytes of the longest line: a file without line ends must not fill the memory.
pub(super) const LONGEST_LINE: u64 = 1 << 28;

/// Why a line is too long, and what to do.
pub(super) const TOO_LONG: (&str, &str) = ("the line is longer than 256 MiB", "check the format of the file");

/// Lines of a text file as bytes without their line ends, numbered from 1.
pub(crate) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    buffer: Vec<u8>,
    pub number: u64,
}

impl Lines {
    pub fn open(path: &Path) -> Result<Lines> {
        let file = File::open(path).map_err(Error::io(path, "opening"))?;
        Ok(Lines {
            path: path.into(),
            reader: BufReader::with_capacity(1 << 18, file),
            buffer: Vec::new(),
            number: 0,
        })
    }

    /// The next line that is not blank.
    pub fn advance(&mut self) -> Result<bool> {
        loop {
            self.buffer.clear();
            self.number += 1;
            let read = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', &mut self.buffer);
            match read.map_err(Error::io(&self.path, "reading"))? as u64 {
                0 => return Ok(false),
                LONGEST_LINE => {
                    let (why, remedy) = TOO_LONG;
                    return Err(self.fail(why, remedy));
                }
                _ => {}
            }
            if self.number == 1 && self.buffer.starts_with(b"\xEF\xBB\xBF") {
                self.buffer.drain(..3);
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    pub fn line(&self) -> &[u8] {
        self.buffer.trim_ascii_end()
    }

    /// The fields of the line, separated by any run of blanks and tabs.
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.buffer.split(|b| b.is_ascii_whitespace()).filter(|w| !w.is_empty())
    }

    pub fn id(&self, word: &[u8], what: &str) -> Result<u32> {
        parse_id(word).map_err(|bad| {
            let (why, remedy) = bad.explain(word, what);
            self.fail(why, remedy)
        })
    }

    pub fn utf8<'a>(&self, bytes: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(bytes).map_err(|_| {
            self.fail("the line is not valid UTF-8", "convert the file to UTF-8, for instance with iconv")
        })
    }

    pub fn fail(&self, why: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::data(&self.path, Some(self.number), why, remedy)
    }

    /// For a line with fewer fields than it must have.
    pub fn cut_off(&self, why: impl Into<String>) -> Error {
        self.fail(why, TRUNCATED)
    }

    pub fn fail_file(&self, why: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::data(&self.path, None, why, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert_eq!(parse_id(b"0"), Ok(0));
        assert_eq!(parse_id(b"4294967294"), Ok(MAX_ID));
        assert_eq!(parse_id(b"4294967295"), Err(BadId::TooLarge));
        assert_eq!(parse_id(b"99999999999999999999999999"), Err(BadId::TooLarge));
        assert_eq!(parse_id(b"-1"), Err(BadId::Negative));
        assert_eq!(parse_id(b""), Err(BadId::Empty));
        for bad in [&b"1.0"[..], b"a", b"-", b"+1", b"1 2", b"\xff"] {
            assert_eq!(parse_id(bad), Err(BadId::NotANumber));
        }
    }
}

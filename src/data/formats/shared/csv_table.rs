//! Tables of delimited text whose every row must be sound: an error names the file, the line, what is wrong and what to
//! do.

use super::time::{TimeKind, parse_time};
use super::values::{Place, TRUNCATED, lossy};
use crate::Split;
use base::{Error, Result};
use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use serde::Deserialize;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// How a table is written.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    pub delimiter: u8,
    pub header: bool,
    /// Whether `"` quotes a field.
    pub quote: bool,
}

/// A column by its name in the header, or by its position from 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Column {
    Position(usize),
    Name(String),
}

impl From<&str> for Column {
    fn from(name: &str) -> Column {
        Column::Name(name.into())
    }
}

/// A csv or tsv file, read one row at a time in constant memory.
pub struct CsvTable {
    path: PathBuf,
    reader: Reader<File>,
    header: Vec<String>,
    record: ByteRecord,
}

impl CsvTable {
    /// Opens a table and reads its header, if it has one. Errors: `Error::Io` when the file cannot be opened,
    /// `Error::Data` when it is empty or its header is not UTF-8.
    pub fn open(path: &Path, dialect: Dialect) -> Result<CsvTable> {
        let file = File::open(path).map_err(Error::io(path, "opening"))?;
        let reader = ReaderBuilder::new()
            .delimiter(dialect.delimiter)
            .has_headers(dialect.header)
            .quoting(dialect.quote)
            .buffer_capacity(1 << 18)
            .from_reader(file);
        let mut table = CsvTable { path: path.into(), reader, header: Vec::new(), record: ByteRecord::new() };
        if dialect.header {
            let header = table.reader.byte_headers().cloned();
            table.record = header.map_err(|e| table.broken(e))?;
            if table.record.is_empty() {
                let remedy = "write the header and the rows, or delete the file";
                return Err(table.fail_file("the file is empty", remedy));
            }
            table.header =
                (0..table.record.len()).map(|i| table.text(i).map(|s| s.trim().to_string())).collect::<Result<_>>()?;
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

    /// The position of a column, which must be there.
    pub fn find(&self, column: &Column) -> Result<usize> {
        let name = match column {
            Column::Position(position) => return Ok(*position),
            Column::Name(name) => name,
        };
        if self.header.is_empty() {
            return name.parse().map_err(|_| {
                self.fail_file(
                    format!("the column '{name}' cannot be found: the file is read without a header"),
                    "name columns by position, from 0, or set header = true",
                )
            });
        }
        self.header.iter().position(|h| h == name).ok_or_else(|| {
            let why = format!("the column '{name}' is missing (the header has: {})", self.header.join(", "));
            Error::data(&self.path, Some(1), why, "add the column, or correct its name in the header")
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
        self.utf8(self.field(column), &format!("field {}", column + 1))
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

    /// A time; the whole column must be numbers or must be dates.
    pub fn time(&self, column: usize, kind: &mut Option<TimeKind>) -> Result<f64> {
        let text = self.text(column)?;
        let Some((time, this)) = parse_time(text) else {
            let why = format!("the time '{}' is neither a finite number nor an ISO date", lossy(text));
            return Err(self.fail(why, "write times as numbers, 2024-01-31 or 2024-01-31T12:30:00"));
        };
        if *kind.get_or_insert(this) != this {
            let remedy = "write all times of the file as numbers, or all as dates";
            return Err(self.fail("numbers and dates are mixed in the time column", remedy));
        }
        Ok(time)
    }

    pub fn split(&self, column: usize) -> Result<Split> {
        let field = self.field(column);
        Split::ALL.into_iter().find(|s| s.name().as_bytes() == field).ok_or_else(|| {
            let why = format!("the split '{}' is unknown", lossy(field));
            self.fail(why, "write train, valid or test, or delete the column")
        })
    }

    /// An error of the file as a whole.
    pub fn fail_file(&self, why: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::data(&self.path, None, why, remedy)
    }

    fn broken(&self, error: csv::Error) -> Error {
        let line = line_at(&self.path, error.position().map_or(0, |p| p.byte()));
        let why = match error.into_kind() {
            ErrorKind::Io(source) => return Error::io(&self.path, "reading")(source),
            ErrorKind::UnequalLengths { expected_len, len, .. } => {
                let first = if self.header.is_empty() { "first row" } else { "header" };
                format!("the row has {len} fields, the {first} {expected_len}")
            }
            other => format!("not a table: {other:?}"),
        };
        Error::data(&self.path, line, why, TRUNCATED)
    }
}

impl Place for CsvTable {
    fn fail(&self, why: impl Into<String>, remedy: impl Into<String>) -> Error {
        let byte = self.record.position().map_or(0, |p| p.byte());
        Error::data(&self.path, line_at(&self.path, byte), why, remedy)
    }
}

/// The line, from 1, on which the record starts whose reading began at `byte`, possibly with blank lines. Only errors
/// ask, so reading the file again costs nothing that matters.
fn line_at(path: &Path, byte: u64) -> Option<u64> {
    let mut reader = BufReader::new(File::open(path).ok()?);
    let ends = |bytes: &mut dyn Iterator<Item = u8>| bytes.filter(|&b| b == b'\n').count() as u64;
    let before = ends(&mut (&mut reader).take(byte).bytes().map_while(Result::ok));
    let blank = ends(&mut reader.bytes().map_while(Result::ok).take_while(|b| b"\r\n".contains(b)));
    Some(1 + before + blank)
}

//! A csv file with a head, whose errors name file and line.

use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::AGAIN;
use base::{Error, Result};

pub struct Sheet {
    path: PathBuf,
    head: StringRecord,
    records: Vec<StringRecord>,
}

impl Sheet {
    pub fn open(path: &Path) -> Result<Sheet> {
        let refuse = |error: csv::Error| {
            let line = error.position().map(|p| p.line());
            let why = match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    format!("has {len} fields where the head has {expected_len}")
                }
                csv::ErrorKind::Utf8 { .. } => "is no UTF-8 text".into(),
                _ => error.to_string(),
            };
            Error::data(path, line, why, AGAIN)
        };
        let mut reader = ReaderBuilder::new().trim(Trim::All).from_path(path).map_err(refuse)?;
        let head = reader.headers().map_err(refuse)?.clone();
        let records = reader.records().collect::<Result<Vec<_>, _>>().map_err(refuse)?;
        Ok(Sheet { path: path.into(), head, records })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn columns(&self) -> impl Iterator<Item = (usize, &str)> {
        self.head.iter().enumerate()
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.head.iter().position(|own| own == name)
    }

    pub fn need(&self, name: &str) -> Result<usize> {
        self.column(name).ok_or_else(|| {
            let why = match self.head.is_empty() {
                true => "is empty".into(),
                false => format!("has no column `{name}`"),
            };
            Error::data(&self.path, Some(1), why, AGAIN)
        })
    }

    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.records.iter().map(|record| Row { sheet: self, record })
    }
}

pub struct Row<'a> {
    sheet: &'a Sheet,
    record: &'a StringRecord,
}

impl Row<'_> {
    pub fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or("")
    }

    /// A finite number; none where the field is empty.
    pub fn number(&self, column: usize) -> Result<Option<f64>> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Some(value)),
            _ => {
                let name = self.sheet.head.get(column).unwrap_or("");
                let why = format!("{name} is `{text}`, not a finite number");
                Err(self.error(why, "delete the folder of this run below runs/ and run waata compare again"))
            }
        }
    }

    pub fn error(&self, why: String, remedy: &str) -> Error {
        Error::data(&self.sheet.path, self.record.position().map(|p| p.line()), why, remedy)
    }
}

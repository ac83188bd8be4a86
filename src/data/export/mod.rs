//! Tables for other programs: npy, or Parquet where the program was built with it.
//!
//! A table goes to its file a block of rows at a time, so the memory that it takes does not grow with it.

mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod tables;

use std::path::Path;

use serde::Serialize;

use super::dataset::Dataset;
use super::names::Names;
use super::store::{write_file, write_folder};
use base::{Error, Result};
pub use tables::Part;

/// Says what the files of an export hold, and marks its folder.
pub const LIST: &str = "export.json";

/// Rows of a block, for a table of few numbers a row. In Parquet a block is a group of rows.
pub const BLOCK: usize = 1 << 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// numpy's: `numpy.load`.
    Npy,
    /// Apache Parquet, compressed with Snappy: pandas, polars, Spark, DuckDB.
    Parquet,
}

impl Format {
    /// Errors: `Error::Config` for a format that this program was built without.
    pub fn check(self) -> Result<()> {
        if self == Format::Parquet && !cfg!(feature = "parquet") {
            return Err(Error::config(
                "--format",
                "this program was built without Parquet",
                "build it with it: cargo build --release --features parquet, or use --format npy",
            ));
        }
        Ok(())
    }

    fn extension(self) -> &'static str {
        match self {
            Format::Npy => "npy",
            Format::Parquet => "parquet",
        }
    }
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exported {
    pub file: String,
    pub rows: u64,
    /// Names of the columns, in their order.
    pub columns: Vec<String>,
}

/// How the model of a run scores a course for a learner by their vectors u and i: scale <u, i> + bias_i, and the head's
/// logit where it has part in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scoring {
    pub model: String,
    /// Absent where the product has no part in the score.
    pub scale: Option<f32>,
    pub bias: bool,
    /// Whether the head adds its logit, which is no product of vectors.
    pub head: bool,
}

/// Serializes to `export.json`, and to the document of `export --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct List {
    pub schema_version: u32,
    /// Name and fingerprint of the data set.
    pub data: String,
    pub fingerprint: String,
    pub format: Format,
    pub files: Vec<Exported>,
    /// Where there are vectors.
    pub scoring: Option<Scoring>,
}

/// A new folder that `fill` puts tables into, all or nothing. Errors: `Error::Data` when the folder exists (with `force`:
/// when it is no export), `Error::Io` when it cannot be written, and those of [`Format::check`] and of `fill`.
pub fn folder(
    data: &Dataset,
    format: Format,
    out: &Path,
    force: bool,
    fill: impl FnOnce(&mut Folder) -> Result<()>,
) -> Result<List> {
    format.check()?;
    write_folder(out, force, LIST, |temp| {
        let mut folder = Folder { path: temp, format, files: vec![], scoring: None };
        fill(&mut folder)?;
        let list = List {
            schema_version: 1,
            data: data.name.clone(),
            fingerprint: data.fingerprint(),
            format,
            files: folder.files,
            scoring: folder.scoring,
        };
        let path = temp.join(LIST);
        let text = serde_json::to_vec_pretty(&list).map_err(|e| Error::io(&path, "writing")(e.into()))?;
        write_file(&path, &text)?;
        Ok(list)
    })
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    U8,
    U32,
    U64,
    F32,
    /// In Parquet only.
    Text,
    /// So many f32 a row. In npy a table of vectors has no other column.
    Vector(usize),
}

/// The values of one column in a block of rows.
pub enum Values<'a> {
    U8(&'a [u8]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    F32(&'a [f32]),
    Text(Vec<&'a str>),
    /// (rows, D), row-major
    Vector(&'a [f32]),
}

impl Values<'_> {
    /// How many rows of a column they are. `None` for values of another kind.
    fn rows(&self, kind: Kind) -> Option<usize> {
        match (self, kind) {
            (Values::U8(values), Kind::U8) => Some(values.len()),
            (Values::U32(values), Kind::U32) => Some(values.len()),
            (Values::U64(values), Kind::U64) => Some(values.len()),
            (Values::F32(values), Kind::F32) => Some(values.len()),
            (Values::Text(values), Kind::Text) => Some(values.len()),
            (Values::Vector(values), Kind::Vector(dim)) if dim > 0 && values.len().is_multiple_of(dim) => {
                Some(values.len() / dim)
            }
            _ => None,
        }
    }
}

/// A column by its name.
pub type Named = (String, Kind);

pub fn column(name: &str, kind: Kind) -> Named {
    (name.into(), kind)
}

/// A folder that tables are written into.
pub struct Folder<'a> {
    path: &'a Path,
    format: Format,
    files: Vec<Exported>,
    pub scoring: Option<Scoring>,
}

impl Folder<'_> {
    pub fn format(&self) -> Format {
        self.format
    }

    /// A table of `rows` rows, whose blocks `fill` hands to the function that it is given, in order. `Error::Shape` for
    /// blocks that are not of these columns and rows.
    pub fn table(
        &mut self,
        name: &str,
        columns: &[Named],
        rows: usize,
        fill: impl FnOnce(&mut dyn FnMut(&[Values]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let file = format!("{name}.{}", self.format.extension());
        let path = self.path.join(&file);
        let mut left = rows;
        match self.format {
            Format::Npy => {
                let mut table = npy::Table::create(&path, columns, rows)?;
                fill(&mut |block| {
                    left = counted(columns, block, left)?;
                    table.block(block)
                })?;
                table.finish()?;
            }
            #[cfg(feature = "parquet")]
            Format::Parquet => {
                let mut table = parquet::Table::create(&path, columns)?;
                fill(&mut |block| {
                    left = counted(columns, block, left)?;
                    table.block(block)
                })?;
                table.finish()?;
            }
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => self.format.check()?,
        }
        if left > 0 {
            return Err(Error::shape("export", format!("{rows} rows"), format!("{left} fewer")));
        }
        let columns = columns.iter().map(|(name, _)| name.clone()).collect();
        self.files.push(Exported { file, rows: rows as u64, columns });
        Ok(())
    }

    /// A table of vectors (rows, dim) of what the first `rows` names say, whose rows `fill` hands over in order. Parquet
    /// has id and name beside each.
    pub fn vectors(
        &mut self,
        name: &str,
        (names, rows): (&Names, usize),
        dim: usize,
        fill: impl FnOnce(&mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let vector = column("vector", Kind::Vector(dim));
        if self.format == Format::Npy {
            return self.table(name, &[vector], rows, |put| fill(&mut |block| put(&[Values::Vector(block)])));
        }
        let columns = [column("id", Kind::U32), column("name", Kind::Text), vector];
        self.table(name, &columns, rows, |put| {
            let mut next = 0;
            fill(&mut |block| {
                let own = next..rows.min(next + block.len() / dim.max(1));
                next = own.end;
                let ids: Vec<u32> = own.clone().map(|id| id as u32).collect();
                let text = own.map(|id| &names[id]).collect();
                put(&[Values::U32(&ids), Values::Text(text), Values::Vector(block)])
            })
        })
    }
}

/// How many rows are left after a block. `Error::Shape` where it is not of these columns, or longer than what is left.
fn counted(columns: &[Named], block: &[Values], left: usize) -> Result<usize> {
    let rows: Option<Vec<usize>> =
        columns.iter().zip(block).map(|((_, kind), values)| values.rows(*kind)).collect();
    match rows.as_deref() {
        Some(&[first, ref others @ ..])
            if columns.len() == block.len() && others.iter().all(|&rows| rows == first) && first <= left =>
        {
            Ok(left - first)
        }
        other => {
            Err(Error::shape("export", format!("{columns:?} in at most {left} rows"), format!("{other:?}")))
        }
    }
}

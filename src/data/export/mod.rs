//! Tables for other programs: npy, or Parquet where the program was built with it.
//!
//! A table is a list of columns, each of which gives its values for any block of rows. Tables are written block by block,
//! so memory does not grow with them.

mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod tables;

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use crate::dataset::Dataset;
use crate::names::Names;
use base::{Error, Result, files};

pub use tables::Part;

/// Lists the files of an export; an export is recognized by it.
pub const LIST: &str = "export.json";

/// Rows of a block, and the most numbers that a block of vectors has (32 MiB). In Parquet a block is a row group.
const ROWS: usize = 1 << 18;
const NUMBERS: usize = 1 << 23;

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
pub struct TableFile {
    pub file: String,
    pub rows: u64,
    /// Names of the columns, in their order.
    pub columns: Vec<String>,
}

/// How the model of a run scores a course for a learner, given their vectors u and i: scale <u, i> + bias_i, plus the
/// head's logit where the head takes part.
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
    pub files: Vec<TableFile>,
    /// Where there are vectors.
    pub scoring: Option<Scoring>,
}

/// Lets `fill` write tables into a new folder, which is there as a whole or not at all. Errors: `Error::Data` when the
/// folder exists (with `force`: when it is no export), `Error::Io` when it cannot be written, and those of
/// [`Format::check`] and of `fill`.
pub fn folder(
    data: &Dataset,
    format: Format,
    out: &Path,
    force: bool,
    fill: impl FnOnce(&mut Folder) -> Result<()>,
) -> Result<List> {
    format.check()?;
    files::write_folder(out, force, LIST, |temp| {
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
        files::write(&path, &text)?;
        Ok(list)
    })
}

/// What one row of a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    U8,
    U32,
    U64,
    F32,
    /// In Parquet only.
    Text,
    /// So many f32. In npy a table of vectors has no other column.
    Vector(usize),
}

/// The values of a column in a block of rows.
#[derive(Debug)]
pub enum Values<'a> {
    U8(Cow<'a, [u8]>),
    U32(Cow<'a, [u32]>),
    U64(Cow<'a, [u64]>),
    /// Of [`Kind::F32`], or (rows, D) of [`Kind::Vector`].
    F32(Cow<'a, [f32]>),
    Text(Vec<&'a str>),
}

impl Values<'_> {
    /// The number of rows, for a column of this kind. `None` for values of another kind.
    fn rows(&self, kind: Kind) -> Option<usize> {
        match (self, kind) {
            (Values::U8(values), Kind::U8) => Some(values.len()),
            (Values::U32(values), Kind::U32) => Some(values.len()),
            (Values::U64(values), Kind::U64) => Some(values.len()),
            (Values::F32(values), Kind::F32) => Some(values.len()),
            (Values::F32(values), Kind::Vector(dim)) if dim > 0 && values.len().is_multiple_of(dim) => {
                Some(values.len() / dim)
            }
            (Values::Text(values), Kind::Text) => Some(values.len()),
            _ => None,
        }
    }
}

/// A column of a table.
pub struct Column<'a> {
    name: String,
    kind: Kind,
    values: Box<dyn FnMut(Range<usize>) -> Result<Values<'a>> + 'a>,
}

impl<'a> Column<'a> {
    /// A column whose values in any block of rows `values` gives; blocks are asked for in order.
    pub fn new(
        name: impl Into<String>,
        kind: Kind,
        values: impl FnMut(Range<usize>) -> Result<Values<'a>> + 'a,
    ) -> Column<'a> {
        Column { name: name.into(), kind, values: Box::new(values) }
    }

    /// A column of numbers that are computed row by row, in order.
    pub fn computed(name: impl Into<String>, mut value: impl FnMut(usize) -> u32 + 'a) -> Column<'a> {
        Column::new(name, Kind::U32, move |rows| Ok(Values::U32(rows.map(&mut value).collect())))
    }

    pub fn u8(name: impl Into<String>, values: &'a [u8]) -> Column<'a> {
        Column::new(name, Kind::U8, |rows| Ok(Values::U8(values[rows].into())))
    }

    pub fn u32(name: impl Into<String>, values: &'a [u32]) -> Column<'a> {
        Column::new(name, Kind::U32, |rows| Ok(Values::U32(values[rows].into())))
    }

    pub fn u64(name: impl Into<String>, values: &'a [u64]) -> Column<'a> {
        Column::new(name, Kind::U64, |rows| Ok(Values::U64(values[rows].into())))
    }

    pub fn f32(name: impl Into<String>, values: &'a [f32]) -> Column<'a> {
        Column::new(name, Kind::F32, |rows| Ok(Values::F32(values[rows].into())))
    }
}

/// Writes the blocks of one table to a file.
trait TableWriter {
    /// The values of every column, of equally many rows.
    fn block(&mut self, values: &[Values]) -> Result<()>;

    fn finish(&mut self) -> Result<()>;
}

/// A folder that tables are written into.
pub struct Folder<'a> {
    path: &'a Path,
    format: Format,
    files: Vec<TableFile>,
    pub scoring: Option<Scoring>,
}

impl Folder<'_> {
    /// Writes a table of `rows` rows. Errors: `Error::Shape` where a column gives values of another kind or number, and
    /// the errors of the columns.
    pub fn table(&mut self, name: &str, rows: usize, mut columns: Vec<Column>) -> Result<()> {
        let file = format!("{name}.{}", self.format.extension());
        let path = self.path.join(&file);
        let kinds: Vec<(String, Kind)> = columns.iter().map(|c| (c.name.clone(), c.kind)).collect();
        let at_once = |kind: Kind| if let Kind::Vector(dim) = kind { (NUMBERS / dim.max(1)).max(1) } else { ROWS };
        let at_once = kinds.iter().map(|&(_, kind)| at_once(kind)).min().unwrap_or(ROWS);
        files::write_with(&path, |to| {
            let mut writer = self.writer(&path, to, &kinds, rows)?;
            for start in (0..rows).step_by(at_once) {
                let block = start..rows.min(start + at_once);
                let values = columns.iter_mut().map(|column| {
                    let (values, wanted) = ((column.values)(block.clone())?, block.len());
                    match values.rows(column.kind) {
                        Some(found) if found == wanted => Ok(values),
                        found => {
                            let wanted = format!("{wanted} rows of {} as {:?}", column.name, column.kind);
                            Err(Error::shape("export", wanted, format!("{found:?}")))
                        }
                    }
                });
                writer.block(&values.collect::<Result<Vec<_>>>()?)?;
            }
            writer.finish()
        })?;
        let columns = kinds.into_iter().map(|(name, _)| name).collect();
        self.files.push(TableFile { file, rows: rows as u64, columns });
        Ok(())
    }

    fn writer<'f>(
        &self,
        path: &'f Path,
        to: &'f mut File,
        columns: &[(String, Kind)],
        rows: usize,
    ) -> Result<Box<dyn TableWriter + 'f>> {
        match self.format {
            Format::Npy => Ok(Box::new(npy::Writer::new(path, to, columns, rows)?)),
            #[cfg(feature = "parquet")]
            Format::Parquet => Ok(Box::new(parquet::Writer::new(path, to, columns)?)),
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => self.format.check().and(Err(Error::shape("export", "npy", "parquet"))),
        }
    }

    /// Writes a table of names by number. numpy has no text of variable length: there they are two tables, the bytes of
    /// all names and where each name begins.
    pub fn names(&mut self, what: &str, names: &Names) -> Result<()> {
        if self.format == Format::Npy {
            let (bytes, offsets) = (names.bytes(), names.offsets());
            self.table(&format!("{what}-bytes"), bytes.len(), vec![Column::u8("bytes", bytes)])?;
            return self.table(&format!("{what}-offsets"), offsets.len(), vec![Column::u64("offset", offsets)]);
        }
        self.table(what, names.len(), id_and_name(names).into())
    }

    /// Writes a table of vectors (rows, dim), which `vectors` gives for any block of rows. Parquet has number and name
    /// beside each.
    pub fn vectors<'a>(
        &mut self,
        name: &str,
        (names, rows): (&'a Names, usize),
        dim: usize,
        mut vectors: impl FnMut(Range<usize>) -> Result<Vec<f32>> + 'a,
    ) -> Result<()> {
        let vector = Column::new("vector", Kind::Vector(dim), move |rows| Ok(Values::F32(vectors(rows)?.into())));
        let mut columns = if self.format == Format::Npy { vec![] } else { Vec::from(id_and_name(names)) };
        columns.push(vector);
        self.table(name, rows, columns)
    }
}

fn id_and_name(names: &Names) -> [Column<'_>; 2] {
    let text = |rows: Range<usize>| Ok(Values::Text(rows.map(|id| &names[id]).collect()));
    [Column::computed("id", |id| id as u32), Column::new("name", Kind::Text, text)]
}

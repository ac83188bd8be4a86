//! numpy's format: a line of Python that says what the values are, and the values.
//!
//! Several columns are one array of records, `numpy.load(file)["course"]`; one column is an array of its own, of rows
//! where it holds vectors.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::{Kind, TableWriter, Values};
use base::{Error, Result};

/// The first value begins at a multiple of this many bytes.
const ALIGN: usize = 64;

pub(super) struct Writer<'a> {
    path: &'a Path,
    file: BufWriter<&'a mut File>,
    /// Bytes of a row in each column.
    sizes: Vec<usize>,
}

impl<'a> Writer<'a> {
    pub fn new(path: &'a Path, file: &'a mut File, columns: &[(String, Kind)], rows: usize) -> Result<Writer<'a>> {
        let sizes = columns.iter().map(|(_, kind)| Ok(value(*kind)?.1)).collect::<Result<_>>()?;
        let mut writer = Writer { path, file: BufWriter::with_capacity(1 << 20, file), sizes };
        writer.put(&header(columns, rows)?)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io(self.path, "writing"))
    }
}

impl TableWriter for Writer<'_> {
    fn block(&mut self, columns: &[Values]) -> Result<()> {
        if let [only] = columns {
            return self.put(bytes(only));
        }
        let width: usize = self.sizes.iter().sum();
        let rows = columns.first().map_or(0, |first| bytes(first).len() / self.sizes[0]);
        let mut records = vec![0; rows * width];
        let mut at = 0;
        for (values, &size) in columns.iter().zip(&self.sizes) {
            for (record, value) in records.chunks_exact_mut(width).zip(bytes(values).chunks_exact(size)) {
                record[at..at + size].copy_from_slice(value);
            }
            at += size;
        }
        self.put(&records)
    }

    fn finish(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io(self.path, "writing"))
    }
}

/// As a little-endian machine has them, the only kind that data sets are read on.
fn bytes<'a>(values: &'a Values) -> &'a [u8] {
    match values {
        Values::U8(values) => values,
        Values::U32(values) => bytemuck::cast_slice(values),
        Values::U64(values) => bytemuck::cast_slice(values),
        Values::F32(values) => bytemuck::cast_slice(values),
        Values::Text(_) => &[],
    }
}

/// numpy's name of the type, and the bytes of a row.
fn value(kind: Kind) -> Result<(&'static str, usize)> {
    match kind {
        Kind::U8 => Ok(("|u1", 1)),
        Kind::U32 => Ok(("<u4", 4)),
        Kind::U64 => Ok(("<u8", 8)),
        Kind::F32 => Ok(("<f4", 4)),
        Kind::Vector(dim) => Ok(("<f4", 4 * dim)),
        Kind::Text => Err(Error::shape("npy", "numbers", "text")),
    }
}

/// The magic bytes, the version, the length of what follows, and a Python dictionary, filled up with blanks.
fn header(columns: &[(String, Kind)], rows: usize) -> Result<Vec<u8>> {
    let (descr, shape) = match columns {
        [(_, kind)] => {
            let shape = if let Kind::Vector(dim) = kind { format!("({rows}, {dim})") } else { format!("({rows},)") };
            (format!("'{}'", value(*kind)?.0), shape)
        }
        _ => {
            let field = |(name, kind): &(String, Kind)| Ok(format!("('{}', '{}')", quoted(name), value(*kind)?.0));
            let fields: Vec<String> = columns.iter().map(field).collect::<Result<_>>()?;
            (format!("[{}]", fields.join(", ")), format!("({rows},)"))
        }
    };
    let mut text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}").into_bytes();
    // Version 1 has two bytes for the length, version 2 four.
    let long = text.len() + ALIGN > u16::MAX as usize;
    let before = if long { 12 } else { 10 };
    text.resize((before + text.len() + 1).next_multiple_of(ALIGN) - before - 1, b' ');
    text.push(b'\n');
    let mut header = b"\x93NUMPY".to_vec();
    match long {
        false => header.extend([&[1, 0][..], &(text.len() as u16).to_le_bytes()].concat()),
        true => header.extend([&[2, 0][..], &(text.len() as u32).to_le_bytes()].concat()),
    }
    header.extend(text);
    Ok(header)
}

/// A name inside the quotes of a Python string, in ASCII.
fn quoted(name: &str) -> String {
    let letter = |c: char| match c {
        '\'' | '\\' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        _ => format!("\\U{:08x}", c as u32),
    };
    name.chars().map(letter).collect()
}

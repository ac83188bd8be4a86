//! Apache Parquet: a group of rows for each block, Snappy.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use super::{Kind, TableWriter, Values};
use base::{Error, Result};

pub(super) struct Writer<'a> {
    path: &'a Path,
    kinds: Vec<Kind>,
    writer: SerializedFileWriter<&'a mut File>,
}

impl<'a> Writer<'a> {
    pub fn new(path: &'a Path, file: &'a mut File, columns: &[(String, Kind)]) -> Result<Writer<'a>> {
        let fail = |e: ParquetError| failed(path, e);
        let fields = columns.iter().map(|(name, kind)| field(name, *kind)).collect::<Result<_, _>>();
        let schema = Type::group_type_builder("table").with_fields(fields.map_err(fail)?).build().map_err(fail)?;
        // Floats have hardly any values in common that a dictionary could save.
        let floats = columns.iter().filter(|(_, kind)| matches!(kind, Kind::F32 | Kind::Vector(_)));
        let properties = floats.fold(WriterProperties::builder(), |properties, (name, kind)| {
            let mut path = vec![name.clone()];
            if let Kind::Vector(_) = kind {
                path.extend(["list".into(), "element".into()]);
            }
            properties.set_column_dictionary_enabled(path.into(), false)
        });
        let properties = properties.set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(fail)?;
        Ok(Writer { path, kinds: columns.iter().map(|(_, kind)| *kind).collect(), writer })
    }

    fn row_group(&mut self, columns: &[Values]) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for (values, kind) in columns.iter().zip(&self.kinds) {
            let column = group.next_column()?;
            let mut column = column.ok_or_else(|| ParquetError::General("a column more than the table has".into()))?;
            write(column.untyped(), values, *kind)?;
            column.close()?;
        }
        group.close().map(|_| ())
    }
}

impl TableWriter for Writer<'_> {
    fn block(&mut self, columns: &[Values]) -> Result<()> {
        self.row_group(columns).map_err(|e| failed(self.path, e))
    }

    fn finish(&mut self) -> Result<()> {
        self.writer.finish().map(|_| ()).map_err(|e| failed(self.path, e))
    }
}

fn write(column: &mut ColumnWriter, values: &Values, kind: Kind) -> Result<(), ParquetError> {
    match (column, values) {
        (ColumnWriter::Int32ColumnWriter(column), Values::U8(values)) => {
            let values: Vec<i32> = values.iter().map(|&v| v as i32).collect();
            column.write_batch(&values, None, None)?;
        }
        (ColumnWriter::Int32ColumnWriter(column), Values::U32(values)) => {
            column.write_batch(bytemuck::cast_slice(values), None, None)?;
        }
        (ColumnWriter::Int64ColumnWriter(column), Values::U64(values)) => {
            column.write_batch(bytemuck::cast_slice(values), None, None)?;
        }
        (ColumnWriter::ByteArrayColumnWriter(column), Values::Text(values)) => {
            let values: Vec<ByteArray> = values.iter().map(|&text| ByteArray::from(text)).collect();
            column.write_batch(&values, None, None)?;
        }
        (ColumnWriter::FloatColumnWriter(column), Values::F32(values)) => {
            if let Kind::Vector(dim) = kind {
                // A list begins where the repetition level is 0.
                let begins: Vec<i16> = (0..values.len()).map(|i| (i % dim != 0) as i16).collect();
                column.write_batch(values, Some(&vec![1; values.len()]), Some(&begins))?;
            } else {
                column.write_batch(values, None, None)?;
            }
        }
        _ => return Err(ParquetError::General(format!("values that are not {kind:?}"))),
    }
    Ok(())
}

fn field(name: &str, kind: Kind) -> Result<TypePtr, ParquetError> {
    let one = |name: &str, physical, logical| {
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(logical)
            .build()
    };
    let field = match kind {
        Kind::U8 => one(name, Physical::INT32, Some(LogicalType::integer(8, false)))?,
        Kind::U32 => one(name, Physical::INT32, Some(LogicalType::integer(32, false)))?,
        Kind::U64 => one(name, Physical::INT64, Some(LogicalType::integer(64, false)))?,
        Kind::F32 => one(name, Physical::FLOAT, None)?,
        Kind::Text => one(name, Physical::BYTE_ARRAY, Some(LogicalType::String))?,
        Kind::Vector(_) => {
            let element = one("element", Physical::FLOAT, None)?;
            let list = Type::group_type_builder("list")
                .with_repetition(Repetition::REPEATED)
                .with_fields(vec![Arc::new(element)])
                .build()?;
            Type::group_type_builder(name)
                .with_repetition(Repetition::REQUIRED)
                .with_logical_type(Some(LogicalType::List))
                .with_fields(vec![Arc::new(list)])
                .build()?
        }
    };
    Ok(Arc::new(field))
}

fn failed(path: &Path, error: ParquetError) -> Error {
    Error::io(path, "writing")(std::io::Error::other(error))
}

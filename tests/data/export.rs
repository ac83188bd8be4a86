//! Exports, read back by hand: numpy's format with a parser of its own; Parquet by the crate that wrote it.

use std::fs;
use std::ops::Range;
use std::path::Path;

use base::Result;
use waata_data::export::{self, Column, Folder, Format, Kind, LIST, List, Part, Values};
use waata_data::{Dataset, Interactions, Split};

const ALL: [Part; 3] = [Part::Interactions, Part::Graph, Part::Names];

fn write(data: &Dataset, parts: &[Part], format: Format, out: &Path, force: bool) -> Result<List> {
    let fill = |folder: &mut Folder| parts.iter().try_for_each(|&part| folder.part(data, part));
    export::folder(data, format, out, force, fill)
}

/// More rows than a block has, learners without any, and a label whose name is hard to quote.
fn large() -> Dataset {
    let learners = 100_000;
    let rows = |u: u64| if u.is_multiple_of(5) { 0 } else { 4 };
    let offsets: waata_data::Column<u64> = std::iter::once(0)
        .chain((0..learners).scan(0, |end, u| {
            *end += rows(u);
            Some(*end)
        }))
        .collect();
    let n = offsets[learners as usize] as usize;
    let data = Dataset {
        name: "large".into(),
        learner_names: (0..learners).map(|u| format!("Müller {u}")).collect(),
        entity_names: (0..9).map(|e| format!("e{e}")).collect(),
        courses: 7,
        relation_names: vec!["by", ""].into(),
        triples: vec![[0, 0, 8], [6, 1, 7], [3, 0, 8]].into(),
        labels: vec!["done".into(), "it's \"so\"\\ 完".into()],
        interactions: Interactions {
            offsets,
            course: (0..n as u32).map(|row| (row + row / 4) % 7).collect(),
            label_values: vec![
                (0..n).map(|row| (row % 3 == 0) as u8).collect(),
                (0..n).map(|row| (row % 5 == 0) as u8).collect(),
            ],
            split: (0..n).map(|row| Split::ALL[row % 3]).collect(),
            has_time: true,
        },
    };
    data.validate().unwrap();
    data
}

/// The header's dictionary and the values behind it.
fn npy(path: &Path) -> (String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let start = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert_eq!((start % 64, bytes[start - 1]), (0, b'\n'));
    (String::from_utf8(bytes[10..start].to_vec()).unwrap().trim_end().into(), bytes[start..].to_vec())
}

#[test]
fn tables_as_npy() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let data = large();
    let list = write(&data, &ALL, Format::Npy, &out, false).unwrap();
    assert_eq!(list.fingerprint, data.fingerprint());
    let files: Vec<(&str, u64)> = list.files.iter().map(|f| (f.file.as_str(), f.rows)).collect();
    let text = data.learner_names.iter().map(str::len).sum::<usize>() as u64;
    let n = data.enrolments();
    assert!(n > 1 << 18, "more than a block");
    assert_eq!(
        files,
        [
            ("interactions.npy", n as u64),
            ("graph.npy", 3),
            ("learners-bytes.npy", text),
            ("learners-offsets.npy", 100_001),
            ("entities-bytes.npy", 18),
            ("entities-offsets.npy", 10),
            ("relations-bytes.npy", 2),
            ("relations-offsets.npy", 3),
        ]
    );
    let stated: serde_json::Value = serde_json::from_slice(&fs::read(out.join(LIST)).unwrap()).unwrap();
    assert_eq!(stated, serde_json::to_value(&list).unwrap());

    let (header, values) = npy(&out.join("interactions.npy"));
    let descr = "[('learner', '<u4'), ('course', '<u4'), ('split', '|u1'), ('label/done', '|u1'), \
        ('label/it\\'s \"so\"\\\\ \\U00005b8c', '|u1')]";
    assert_eq!(header, format!("{{'descr': {descr}, 'fortran_order': False, 'shape': ({n},), }}"));
    assert_eq!(values.len(), n * 11);
    let i = &data.interactions;
    let mut records = values.chunks_exact(11);
    for u in 0..data.learners() {
        for row in data.rows(u) {
            let want = [
                &(u as u32).to_le_bytes()[..],
                &i.course[row].to_le_bytes(),
                &[i.split[row].index() as u8, i.label_values[0][row], i.label_values[1][row]],
            ];
            assert_eq!(records.next().unwrap(), want.concat(), "row {row}");
        }
    }
    let (header, values) = npy(&out.join("graph.npy"));
    let descr = "[('head', '<u4'), ('relation', '<u4'), ('tail', '<u4')]";
    assert_eq!(header, format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (3,), }}"));
    assert_eq!(values, bytemuck::cast_slice::<u32, u8>(&[0, 0, 8, 6, 1, 7, 3, 0, 8]));
    let (header, bytes) = npy(&out.join("learners-bytes.npy"));
    assert_eq!(header, format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({},), }}", bytes.len()));
    let (header, offsets) = npy(&out.join("learners-offsets.npy"));
    assert_eq!(header, "{'descr': '<u8', 'fortran_order': False, 'shape': (100001,), }");
    let offsets: Vec<u64> = bytemuck::pod_collect_to_vec(&offsets);
    for (u, cut) in offsets.windows(2).enumerate() {
        assert_eq!(&bytes[cut[0] as usize..cut[1] as usize], data.learner_names[u].as_bytes());
    }
}

#[test]
fn a_part_of_an_empty_data_set_and_folders_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let empty =
        Dataset { interactions: Interactions { offsets: vec![0].into(), ..Default::default() }, ..Default::default() };
    let again = |force| write(&empty, &[Part::Graph], Format::Npy, &out, force);
    assert_eq!(again(false).unwrap().files.len(), 1);
    let (header, values) = npy(&out.join("graph.npy"));
    assert!(header.contains("'shape': (0,)") && values.is_empty());
    assert_eq!(again(false).unwrap_err().exit_code(), 3);
    again(true).unwrap();
    fs::remove_file(out.join(LIST)).unwrap();
    assert_eq!(again(true).unwrap_err().exit_code(), 3, "not known as an export");
}

/// A header has four bytes for its length where two are too few.
#[test]
fn a_label_with_a_name_of_any_length() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut data = Dataset { labels: vec![], ..large() };
    data.interactions.label_values.truncate(1);
    data.labels = vec![String::new()];
    data.labels[0] = "long".repeat(20_000);
    write(&data, &[Part::Interactions], Format::Npy, &out, false).unwrap();
    let bytes = fs::read(out.join("interactions.npy")).unwrap();
    assert_eq!(bytes[..8], *b"\x93NUMPY\x02\x00");
    let start = 12 + u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    assert_eq!((start % 64, bytes[start - 1]), (0, b'\n'));
    assert_eq!(bytes.len() - start, 10 * data.enrolments());
}

#[test]
fn values_that_are_not_of_the_column_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    type Give = fn(Range<usize>) -> Result<Values<'static>>;
    let attempt = |kind: Kind, give: Give| {
        let out = temp.path().join("out");
        let error = export::folder(&large(), Format::Npy, &out, false, |folder| {
            folder.table("t", 2, vec![Column::u8("a", &[1, 2]), Column::new("b", kind, give)])
        });
        assert!(!out.exists(), "all or nothing");
        error.unwrap_err().to_string()
    };
    for (kind, give, words) in [
        (Kind::U32, (|_| Ok(Values::U32(vec![1].into()))) as Give, "Some(1)"),
        (Kind::U32, |_| Ok(Values::U32(vec![1, 2, 3].into())), "Some(3)"),
        (Kind::U8, |_| Ok(Values::U32(vec![1, 2].into())), "None"),
        (Kind::Vector(2), |_| Ok(Values::F32(vec![1.0; 3].into())), "None"),
        (Kind::Text, |_| Ok(Values::Text(vec!["a", "b"])), "numbers"),
    ] {
        let error = attempt(kind, give);
        assert!(error.contains(words), "{error}");
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_is_named_where_it_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let error = write(&large(), &ALL, Format::Parquet, &out, false).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("--features parquet") && !out.exists(), "{error}");
}

#[cfg(feature = "parquet")]
mod parquet_files {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, ListAccessor, Row, RowAccessor};
    use waata_data::Names;

    fn rows(path: &Path) -> Vec<Row> {
        let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
        reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
    }

    fn values(row: &Row) -> Vec<Field> {
        row.get_column_iter().map(|(_, field)| field.clone()).collect()
    }

    #[test]
    fn tables() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let data = large();
        write(&data, &ALL, Format::Parquet, &out, false).unwrap();
        let found = rows(&out.join("interactions.parquet"));
        assert_eq!(found.len(), data.enrolments());
        let names: Vec<&String> = found[0].get_column_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["learner", "course", "split", "label/done", "label/it's \"so\"\\ 完"]);
        let i = &data.interactions;
        for u in 0..data.learners() {
            for row in data.rows(u) {
                let labels = [0, 1].map(|k| Field::UByte(i.label_values[k][row]));
                let split = Field::UByte(i.split[row].index() as u8);
                let [done, so] = labels;
                assert_eq!(values(&found[row]), [Field::UInt(u as u32), Field::UInt(i.course[row]), split, done, so]);
            }
        }
        for (what, names) in [("learners", &data.learner_names), ("relations", &data.relation_names)] {
            let found = rows(&out.join(what).with_extension("parquet"));
            assert_eq!(found.len(), names.len());
            for (id, row) in found.iter().enumerate() {
                assert_eq!(values(row), [Field::UInt(id as u32), Field::Str(names[id].into())]);
            }
        }
        let found = rows(&out.join("graph.parquet"));
        assert_eq!(values(&found[1]), [6, 1, 7].map(Field::UInt));
    }

    #[test]
    fn vectors() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let names: Names = ["a", "ü", ""].iter().collect();
        export::folder(&large(), Format::Parquet, &out, false, |folder| {
            let number = |at: usize| at as f32 + 1.0;
            folder.vectors("v", (&names, 3), 3, |rows| Ok((3 * rows.start..3 * rows.end).map(number).collect()))?;
            folder.table("bias", 2, vec![Column::f32("bias", &[0.5, -1.0])])
        })
        .unwrap();
        let found = rows(&out.join("v.parquet"));
        let number = |row: &Row, at| row.get_list(2).unwrap().get_float(at).unwrap();
        let vectors: Vec<[f32; 3]> = found.iter().map(|row| [0, 1, 2].map(|at| number(row, at))).collect();
        assert_eq!(vectors, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]);
        for (id, name) in names.iter().enumerate() {
            assert_eq!(values(&found[id])[..2], [Field::UInt(id as u32), Field::Str(name.into())]);
        }
        let found: Vec<Vec<Field>> = rows(&out.join("bias.parquet")).iter().map(values).collect();
        assert_eq!(found, [[Field::Float(0.5)], [Field::Float(-1.0)]]);
    }
}

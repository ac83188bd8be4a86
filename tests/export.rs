//! Exports, read back by hand: numpy's format with a parser of its own; Parquet by the crate that wrote it.

mod common;

use std::fs;
use std::path::Path;

use waata::data::export::{self, Folder, Format, LIST, List, Part};
use waata::data::{Column, Dataset, Interactions, Split};
use waata::engine::{DType, Device};
use waata::eval::{Ranker, export as of_run, top_courses};
use waata::{Result, models};

use common::tiny;
use common::whole::model;

const ALL: [Part; 3] = [Part::Interactions, Part::Graph, Part::Names];

fn write(data: &Dataset, parts: &[Part], format: Format, out: &Path, force: bool) -> Result<List> {
    let fill = |folder: &mut Folder| parts.iter().try_for_each(|&part| folder.part(data, part));
    export::folder(data, format, out, force, fill)
}

/// More rows than a block has, learners without any, and a label whose name is hard to quote.
fn large() -> Dataset {
    let learners = 100_000;
    let rows = |u: u64| if u.is_multiple_of(5) { 0 } else { 4 };
    let offsets: Column<u64> = std::iter::once(0)
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
    let empty = Dataset {
        interactions: Interactions { offsets: vec![0].into(), ..Default::default() },
        ..Default::default()
    };
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
    let mut data = tiny::dataset();
    data.labels[0] = "long".repeat(20_000);
    write(&data, &[Part::Interactions], Format::Npy, &out, false).unwrap();
    let bytes = fs::read(out.join("interactions.npy")).unwrap();
    assert_eq!(bytes[..8], *b"\x93NUMPY\x02\x00");
    let start = 12 + u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    assert_eq!((start % 64, bytes[start - 1]), (0, b'\n'));
    assert_eq!(bytes.len() - start, 10 * data.enrolments());
}

#[test]
fn blocks_that_are_not_of_the_table_are_refused() {
    use waata::data::export::{Kind, Values};
    let temp = tempfile::tempdir().unwrap();
    let columns = [("a".to_string(), Kind::U32), ("b".to_string(), Kind::U8)];
    let attempt = |blocks: &[&[Values]]| {
        let out = temp.path().join("out");
        let error = export::folder(&tiny::dataset(), Format::Npy, &out, false, |folder| {
            folder.table("t", &columns, 2, |put| blocks.iter().try_for_each(|block| put(block)))
        });
        assert!(!out.exists(), "all or nothing");
        error.unwrap_err().to_string()
    };
    for (blocks, words) in [
        (&[&[Values::U32(&[1]), Values::U8(&[1, 2])][..]][..], "Some([1, 2])"),
        (&[&[Values::U32(&[1, 2, 3]), Values::U8(&[1, 2, 3])]], "at most 2 rows"),
        (&[&[Values::U32(&[1, 2])]], "Some([2])"),
        (&[&[Values::U32(&[1, 2]), Values::U32(&[1, 2])]], "None"),
        (&[&[Values::U32(&[1]), Values::U8(&[1])]], "1 fewer"),
    ] {
        let error = attempt(blocks);
        assert!(error.contains(words), "{error}");
    }
}

/// The f32 of a file of vectors, and how many a row has.
fn vectors(path: &Path) -> (Vec<f32>, usize) {
    let (header, values) = npy(path);
    assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': ("), "{header}");
    let shape = header.split('(').nth(1).unwrap().split(')').next().unwrap();
    let sizes: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(&values);
    assert_eq!(values.len(), sizes.iter().product::<usize>());
    (values, sizes.get(1).copied().unwrap_or(1))
}

/// What is written is enough to rank as the model does, where it ranks by the match score.
#[test]
fn scores_follow_from_what_is_written() {
    let data = tiny::dataset();
    for settings in [
        &["model.name=lightgcn", "model.layers=[8, 8]"][..],
        &["model.name=bpr-mf"],
        &["model.name=waa-ta", "eval.rank_by=inner", "model.layers=[6, 4]"],
        &["model.name=waa-ta", "eval.rank_by=inner", "model.layers=[6, 4]", "model.propagation=full"],
        &[
            "eval.rank_by=inner",
            "loss.ranking=softmax",
            "loss.softmax_scale=3.0",
            "model.propagation=history",
        ],
        &["eval.rank_by=both"],
        &["eval.rank_by=head"],
    ] {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("out");
        let config = tiny::config(&[settings, &["model.dim=8"]].concat()).unwrap();
        let (model, graph) = model(&config, &data, &Device::Cpu, DType::F32);
        let ranker = Ranker { model: &*model, data: &data, config: &config, device: &Device::Cpu };
        let mut told = vec![];
        let list = export::folder(&data, Format::Npy, &out, false, |folder| {
            of_run::vectors(&ranker, folder, &mut |done, of| told.push((done, of)))?;
            of_run::edges(&graph, folder)
        });
        let list = list.unwrap();
        assert_eq!(told, [(0, 5), (5, 5)]);

        let (header, edges) = npy(&out.join("edges.npy"));
        let fields = ["head", "relation", "tail", "bucket"].map(|name| format!("('{name}', '<u4')"));
        assert!(header.contains(&format!("[{}]", fields.join(", "))), "{header}");
        let edges: Vec<[u32; 4]> = bytemuck::pod_collect_to_vec(&edges);
        let want: Vec<[u32; 4]> = graph.edges.iter().map(|e| [e.dst, e.relation, e.src, e.bucket]).collect();
        assert_eq!(edges, want);

        let (learners, dim) = vectors(&out.join("learner-vectors.npy"));
        let (courses, _) = vectors(&out.join("course-vectors.npy"));
        assert_eq!((learners.len(), courses.len()), (data.learners() * dim, data.courses * dim));
        let full = settings.contains(&"model.propagation=full");
        assert!(!full || out.join("entity-vectors.npy").exists());
        if out.join("entity-vectors.npy").exists() {
            let (entities, _) = vectors(&out.join("entity-vectors.npy"));
            assert_eq!(entities.len(), data.entities() * dim);
            assert_eq!(entities[..courses.len()], courses, "courses are the first entities");
        }
        let scoring = list.scoring.unwrap();
        let bias = out.join("course-bias.npy");
        assert_eq!(bias.exists(), scoring.bias);
        let bias = if scoring.bias { vectors(&bias).0 } else { vec![0.0; data.courses] };
        assert_eq!(
            scoring.head,
            settings.contains(&"eval.rank_by=both") || settings.contains(&"eval.rank_by=head")
        );
        assert_eq!(scoring.scale.is_none(), settings.contains(&"eval.rank_by=head"), "{settings:?}");
        if scoring.head {
            continue;
        }
        for learner in [0, 1, 4] {
            for (course, score) in top_courses(&ranker, learner, 6).unwrap() {
                let row = |z: &[f32], at: u32| z[at as usize * dim..][..dim].to_vec();
                let (u, i) = (row(&learners, learner), row(&courses, course));
                let product: f32 = u.iter().zip(i).map(|(a, b)| a * b).sum();
                let want = scoring.scale.unwrap() * product + bias[course as usize];
                assert!((score - want).abs() < 1e-5 * (1.0 + want.abs()), "{settings:?}: {score}, {want}");
            }
        }
    }
}

#[test]
fn a_model_in_closed_form_has_no_vectors() {
    let temp = tempfile::tempdir().unwrap();
    let data = tiny::dataset();
    let config = tiny::config(&["model.name=itemknn"]).unwrap();
    let solved = models::closed_form(&config, &data, &Device::Cpu).unwrap().unwrap();
    let ranker = Ranker { model: &solved, data: &data, config: &config, device: &Device::Cpu };
    let out = temp.path().join("out");
    let written = export::folder(&data, Format::Npy, &out, false, |folder| {
        of_run::vectors(&ranker, folder, &mut |_, _| ())
    });
    let error = written.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("itemknn") && !out.exists(), "{error}");
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
    use waata::data::Names;
    use waata::data::export::{Kind, Values};

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
                assert_eq!(
                    values(&found[row]),
                    [Field::UInt(u as u32), Field::UInt(i.course[row]), split, done, so]
                );
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
        let bias = [("bias".to_string(), Kind::F32)];
        export::folder(&large(), Format::Parquet, &out, false, |folder| {
            folder.vectors("v", (&names, 3), 3, |put| {
                put(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
                put(&[7.0, 8.0, 9.0])
            })?;
            folder.table("bias", &bias, 2, |put| put(&[Values::F32(&[0.5, -1.0])]))
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

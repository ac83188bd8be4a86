//! Vectors and edges of a run, read back by hand from npy.

mod common;

use std::fs;
use std::path::Path;

use common::tiny;
use common::whole::model;
use waata::data::export::{self, Format};
use waata::engine::{DType, Device};
use waata::eval::{Ranker, export as of_run, top_courses};
use waata::models;

/// The header's dictionary and the values behind it.
fn npy(path: &Path) -> (String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let start = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert_eq!((start % 64, bytes[start - 1]), (0, b'\n'));
    (String::from_utf8(bytes[10..start].to_vec()).unwrap().trim_end().into(), bytes[start..].to_vec())
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
        &["eval.rank_by=inner", "loss.ranking=softmax", "loss.softmax_scale=3.0", "model.propagation=history"],
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
        assert_eq!(scoring.head, settings.contains(&"eval.rank_by=both") || settings.contains(&"eval.rank_by=head"));
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
    let written =
        export::folder(&data, Format::Npy, &out, false, |folder| of_run::vectors(&ranker, folder, &mut |_, _| ()));
    let error = written.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("itemknn") && !out.exists(), "{error}");
}

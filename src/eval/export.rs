//! The tables of a run: the vectors that ranking compares, and the graph that the model propagates on.

use std::ops::Range;

use super::Ranker;
use super::evaluate::BLOCK;
use crate::config::Propagation;
use crate::data::Split;
use crate::data::export::{Column, Folder, Scoring};
use crate::engine::RowSet;
use crate::graph::Edge;
use crate::models::{Learners, TrainGraph, learners_for};
use crate::{Error, Result};

/// Writes the tables `learner-vectors`, `course-vectors` and, where all entities have vectors (under `full` propagation
/// over the knowledge graph), `entity-vectors`, in the order of the ids; `course-bias` where the score has one; and how the
/// model scores with them. Learners are represented by all enrolments of the data set, as in `top_courses`. `progress`
/// gets the number of learners that are done, and of all.
///
/// Errors: `Error::Config` for a closed-form model, which has no vectors.
pub fn vectors(ranker: &Ranker, folder: &mut Folder, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
    let Ranker { model, data, config, device } = *ranker;
    let encoded = model.encode()?;
    if encoded.nodes.is_empty() {
        let why = format!("`{}` scores by what each learner took, and has no vectors", model.name());
        let remedy = "export the vectors of a model that steps have trained";
        return Err(Error::config("model.name", why, remedy));
    }
    let dim = encoded.z_courses.cols();
    let (count, entities) = (data.learners(), data.entities());
    let ids = |rows: Range<usize>| rows.map(|id| id as u32).collect::<Vec<u32>>();
    folder.vectors("learner-vectors", (&data.learner_names, count), dim, |rows| {
        let mut vectors = Vec::with_capacity(rows.len() * dim);
        for start in rows.clone().step_by(BLOCK) {
            progress(start, count);
            let learners = learners_for(data, config, &ids(start..rows.end.min(start + BLOCK)), &Split::ALL);
            vectors.extend(model.represent_learners(&encoded, &learners)?.to_vec()?);
        }
        Ok(vectors)
    })?;
    progress(count, count);
    folder.vectors("course-vectors", (&data.entity_names, data.courses), dim, |rows| {
        let z = &encoded.z_courses;
        RowSet::new(device, ids(rows), z.rows())?.gather(z)?.to_vec()
    })?;
    if config.model.propagation == Propagation::Full && encoded.nodes[0].rows() == count + entities {
        folder.vectors("entity-vectors", (&data.entity_names, entities), dim, |rows| {
            // Entities follow the learners among the nodes and are represented as these are.
            let mut nodes = Learners { id: ids(count + rows.start..count + rows.end), ..Learners::new() };
            rows.for_each(|_| nodes.histories.push([]));
            model.represent_learners(&encoded, &nodes)?.to_vec()
        })?;
    }
    let scorer = model.scorer(&encoded)?;
    let bias = scorer.dot().and_then(|dot| dot.bias.as_ref());
    if let Some(bias) = bias {
        let values = bias.to_vec()?;
        folder.table("course-bias", values.len(), vec![Column::f32("bias", &values)])?;
    }
    folder.scoring = Some(Scoring {
        model: model.name().into(),
        scale: scorer.dot().map(|dot| dot.scale),
        bias: bias.is_some(),
        head: scorer.has_head(),
    });
    Ok(())
}

/// Writes the table `edges`: head, relation, tail and recency bucket of every edge, in the graph's own numbers.
pub fn edges(graph: &TrainGraph, folder: &mut Folder) -> Result<()> {
    let column = |name, of: fn(&Edge) -> u32| Column::computed(name, move |row| of(&graph.edges[row]));
    let columns = [
        column("head", |e| e.dst),
        column("relation", |e| e.relation),
        column("tail", |e| e.src),
        column("bucket", |e| e.bucket),
    ];
    folder.table("edges", graph.edges.len(), columns.into())
}

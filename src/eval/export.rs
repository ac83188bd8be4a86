//! The tables of a run: the vectors that ranking compares, and the graph that the model propagates on.

use super::Ranker;
use super::evaluate::BLOCK;
use crate::config::Propagation;
use crate::data::Split;
use crate::data::export::{self, Folder, Kind, Scoring, Values};
use crate::engine::RowSet;
use crate::models::{Learners, TrainGraph, learners_for};
use crate::{Error, Result};

/// Numbers of a block of vectors: 32 MiB.
const NUMBERS: usize = 1 << 23;

/// Tables `learner-vectors`, `course-vectors` and, where all entities have vectors (under `full` propagation over the
/// knowledge graph), `entity-vectors`, in the order of the ids; `course-bias` where the score has one; and what the score
/// makes of them. Learners are known by all that the data set holds of them, as for `top_courses`. `progress` is told how
/// many learners are done, of how many.
///
/// Errors: `Error::Config` for a model in closed form, which counts courses and has no vectors.
pub fn vectors(ranker: &Ranker, folder: &mut Folder, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
    let Ranker { model, data, config, device } = *ranker;
    let encoded = model.encode()?;
    if encoded.nodes.is_empty() {
        let why = format!("`{}` scores by what each learner took, and has no vectors", model.name());
        return Err(Error::config(
            "model.name",
            why,
            "export the vectors of a model that steps have trained",
        ));
    }
    let dim = encoded.z_courses.cols();
    let (count, entities) = (data.learners(), data.entities());
    folder.vectors("learner-vectors", (&data.learner_names, count), dim, |put| {
        let mut rows = vec![];
        for start in (0..count).step_by(BLOCK) {
            progress(start, count);
            let ids: Vec<u32> = (start..count.min(start + BLOCK)).map(|u| u as u32).collect();
            let learners = learners_for(data, config, &ids, &Split::ALL);
            rows.extend(model.represent_learners(&encoded, &learners)?.to_vec()?);
            if rows.len() >= NUMBERS {
                put(&rows)?;
                rows.clear();
            }
        }
        progress(count, count);
        if rows.is_empty() { Ok(()) } else { put(&rows) }
    })?;
    let at_once = (NUMBERS / dim).max(1);
    folder.vectors("course-vectors", (&data.entity_names, data.courses), dim, |put| {
        let (z, ids) = (&encoded.z_courses, (0..data.courses as u32).collect::<Vec<u32>>());
        ids.chunks(at_once)
            .try_for_each(|ids| put(&RowSet::new(device, ids.to_vec(), z.rows())?.gather(z)?.to_vec()?))
    })?;
    if config.model.propagation == Propagation::Full && encoded.nodes[0].rows() == count + entities {
        folder.vectors("entity-vectors", (&data.entity_names, entities), dim, |put| {
            let ids: Vec<u32> = (count..count + entities).map(|node| node as u32).collect();
            ids.chunks(at_once).try_for_each(|ids| {
                // Entities follow the learners among the nodes, and have their vectors as these have.
                let mut nodes = Learners { id: ids.to_vec(), ..Learners::new() };
                ids.iter().for_each(|_| nodes.histories.push([]));
                put(&model.represent_learners(&encoded, &nodes)?.to_vec()?)
            })
        })?;
    }
    let scorer = model.scorer(&encoded)?;
    let bias = scorer.dot().and_then(|dot| dot.bias.as_ref());
    if let Some(bias) = bias {
        let values = bias.to_vec()?;
        let columns = [export::column("bias", Kind::F32)];
        folder.table("course-bias", &columns, values.len(), |put| put(&[Values::F32(&values)]))?;
    }
    folder.scoring = Some(Scoring {
        model: model.name().into(),
        scale: scorer.dot().map(|dot| dot.scale),
        bias: bias.is_some(),
        head: scorer.has_head(),
    });
    Ok(())
}

/// The table `edges`: head, relation, tail and recency bucket of every edge, in the graph's own numbers.
pub fn edges(graph: &TrainGraph, folder: &mut Folder) -> Result<()> {
    let columns = ["head", "relation", "tail", "bucket"].map(|name| export::column(name, Kind::U32));
    folder.table("edges", &columns, graph.edges.len(), |put| {
        graph.edges.chunks(export::BLOCK).try_for_each(|edges| {
            let of = |part: fn(&crate::graph::Edge) -> u32| edges.iter().map(part).collect::<Vec<u32>>();
            let [head, relation] = [of(|e| e.dst), of(|e| e.relation)];
            let [tail, bucket] = [of(|e| e.src), of(|e| e.bucket)];
            put(&[Values::U32(&head), Values::U32(&relation), Values::U32(&tail), Values::U32(&bucket)])
        })
    })
}

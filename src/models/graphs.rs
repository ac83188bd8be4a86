//! From a data set to the graph that a model propagates on. Enrolments come from what training may know only.

use crate::config::{Config, EdgeBias, EncoderKind, Propagation};
use crate::data::{Dataset, Split};
use crate::graph::Edge;
use crate::layers::{Relations, recency_bucket};

/// The edges of training: the collaborative knowledge graph, or its course side alone.
#[derive(Clone, Debug)]
pub struct TrainGraph {
    pub relations: Relations,
    pub nodes: usize,
    pub edges: Vec<Edge>,
}

impl TrainGraph {
    /// `splits`: the parts whose enrolments training may know.
    pub fn new(config: &Config, data: &Dataset, splits: &[Split]) -> TrainGraph {
        let relations = Relations { kg: data.relations(), self_loop: config.attention.self_loop };
        if config.model.encoder == EncoderKind::Table {
            return TrainGraph { relations, nodes: data.learners() + data.courses, edges: vec![] };
        }
        let full = config.model.propagation == Propagation::Full;
        let shift = if full { data.learners() as u32 } else { 0 };
        let nodes = shift as usize + data.entities();
        let mut edges = vec![];
        let triples = if config.kg.propagate { &data.triples[..] } else { &[] };
        for &[head, relation, tail] in triples {
            let (head, tail) = (head + shift, tail + shift);
            edges.push(Edge { dst: head, relation, src: tail, bucket: 0 });
            edges.push(Edge { dst: tail, relation: relations.inverse(relation), src: head, bucket: 0 });
        }
        if full {
            let buckets = match config.attention.edge_bias {
                EdgeBias::Recency => config.attention.recency_buckets,
                EdgeBias::None => 0,
            };
            for u in 0..data.learners() {
                let rows: Vec<usize> = known_rows(data, u, splits).collect();
                for (i, &row) in rows.iter().enumerate() {
                    let course = data.interactions.course[row] + shift;
                    let bucket = if buckets > 0 { recency_bucket(rows.len() - 1 - i, buckets) } else { 0 };
                    edges.push(Edge { dst: u as u32, relation: relations.enrol(), src: course, bucket });
                    edges.push(Edge { dst: course, relation: relations.enrolled_by(), src: u as u32, bucket: 0 });
                }
            }
        }
        if relations.self_loop {
            edges.extend((0..nodes as u32).map(|v| Edge { dst: v, relation: relations.itself(), src: v, bucket: 0 }));
        }
        TrainGraph { relations, nodes, edges }
    }
}

/// Rows of a learner in the given splits, in time order.
pub fn known_rows<'a>(data: &'a Dataset, learner: usize, splits: &'a [Split]) -> impl Iterator<Item = usize> + 'a {
    data.rows(learner).filter(move |&row| splits.contains(&data.interactions.split[row]))
}

/// The triples that TransD is trained on: every edge of the graph but self-loops and, unless asked for,
/// enrolments.
pub fn triples_for_training(config: &Config, graph: &TrainGraph) -> Vec<[u32; 3]> {
    let relations = graph.relations;
    let kept = |e: &&Edge| {
        let of_kg = (e.relation as usize) < 2 * relations.kg;
        let enrolment = e.relation == relations.enrol() || e.relation == relations.enrolled_by();
        of_kg || (enrolment && config.kg.enrolments)
    };
    graph.edges.iter().filter(kept).map(|e| [e.dst, e.relation, e.src]).collect()
}

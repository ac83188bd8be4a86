//! What a training step reads, decided before its tape is begun.

use std::sync::Arc;

use crate::engine::{RowSet, StepRandom, Tensor};
use crate::graph::Blocks;
use crate::ops::{Rows, SoftmaxLoss, Triples};

/// By default everything: all parameters in full, and the whole graph.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// By the parameter's place: the rows of it that stand on the tape in its stead, a compact tensor. `None`, or beyond
    /// the end: the whole parameter stands there.
    pub rows: Vec<Option<Arc<RowSet>>>,
    /// The neighbourhoods that the step draws, where it draws them.
    pub blocks: Option<Blocks>,
    /// Random numbers of the dropout; nothing is dropped without them.
    pub dropout: Option<StepRandom>,
    /// The batch on the device; made from the batch where it is absent.
    pub inputs: Option<Arc<Inputs>>,
}

/// A batch on the device: all that a step uploads, so that a replay of recorded work can have another batch.
#[derive(Clone)]
pub struct Inputs {
    /// (rows) the learners' places among the nodes; absent where learners are no nodes.
    pub learners: Option<Rows>,
    /// Places of courses whose vectors the step makes, where it does not make those of all: ascending.
    pub courses: Option<Rows>,
    /// (rows) positives and negatives among those courses, for BPR.
    pub triplets: Option<(Rows, Rows)>,
    /// The softmax objective, with its targets.
    pub softmax: Option<SoftmaxLoss>,
    /// (pairs) the pair's row, and its course among the courses.
    pub pair_row: Rows,
    pub pair_course: Rows,
    /// (pairs, K) labels, and where they count.
    pub labels: (Tensor, Option<Tensor>),
    /// The same for the auxiliary heads, (pairs, K M).
    pub auxiliary: Option<(Tensor, Option<Tensor>)>,
    pub triples: Option<Triples>,
}

impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inputs({} pairs)", self.pair_row.len())
    }
}

impl Plan {
    /// Places of graph nodes in the entities' tables as they stand on the tape.
    pub fn nodes(&self, ids: &[u32]) -> Vec<u32> {
        match &self.blocks {
            Some(blocks) => blocks.nodes().places(ids),
            None => ids.to_vec(),
        }
    }
}

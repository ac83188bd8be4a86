//! What the host gives to a training step: everything is uploaded before the tape begins, so that a captured step can
//! be replayed on another batch.

use std::sync::Arc;

use super::Learners;
use crate::engine::{RowSet, StepRandom, Tensor};
use crate::graph::Blocks;
use crate::ops::{Rows, SoftmaxLoss, Triples};

/// The inputs of one step. By default all parameters are read in full, over the whole graph.
#[derive(Default)]
pub struct StepInputs {
    /// By the parameter's place: the rows of it that are put on the tape, as a compact tensor. `None`, or beyond the end:
    /// the whole parameter is.
    pub rows: Vec<Option<Arc<RowSet>>>,
    /// The sampled neighbourhoods, where propagation samples.
    pub blocks: Option<Blocks>,
    /// Random numbers of the dropout; without them nothing is dropped.
    pub dropout: Option<StepRandom>,
    /// Absent in a step on triples alone.
    pub batch: Option<DeviceBatch>,
    pub triples: Option<Triples>,
}

/// A batch of interactions on the device.
pub struct DeviceBatch {
    /// (rows) the learners' places among the nodes.
    pub learners: BatchLearners,
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
}

/// How the learners of a batch are represented.
pub enum BatchLearners {
    /// As nodes of the graph.
    Nodes(Rows),
    /// By attention over their histories.
    Histories(Learners),
}

impl StepInputs {
    /// Places of graph nodes in the entities' tables as they are on the tape.
    pub fn nodes(&self, ids: &[u32]) -> Vec<u32> {
        match &self.blocks {
            Some(blocks) => blocks.nodes().places(ids),
            None => ids.to_vec(),
        }
    }
}

//! What a training step reads, decided before its tape is begun.

use std::sync::Arc;

use crate::engine::RowSet;
use crate::graph::Blocks;

/// By default everything: all parameters in full, and the whole graph.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// By the parameter's place: the rows of it that stand on the tape in its stead, a compact tensor. `None`, or beyond
    /// the end: the whole parameter stands there.
    pub rows: Vec<Option<Arc<RowSet>>>,
    /// The neighbourhoods that the step draws, where it draws them.
    pub blocks: Option<Blocks>,
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

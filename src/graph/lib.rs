//! Graphs as the kernels read them: CSR by head, with its transpose, its (head, relation) groups, and the
//! schedule that cuts rows of any degree into bounded pieces.

mod bipartite;
mod corrupt;
mod id_sets;
mod inverse_index;
mod row_splits;
mod sample;
mod sorted_groups;

use std::sync::Arc;

use base::{Error, Result};
use bipartite::Sorted;
use engine::memory::Allocation;
use engine::{Device, Index};
use row_splits::Cut;

pub use bipartite::{BipartiteEdges, MOST_CHUNKS, UNPAIRED};
pub use corrupt::{Corruption, Corruptor};
pub use id_sets::IdSets;
pub use inverse_index::{InverseIndex, Rows};
pub use row_splits::{PIECE, RowSplits, UNSPLIT, block_rows};
pub use sample::{Block, Blocks, Drawn, Level, draw};
pub use sorted_groups::SortedGroups;

/// A directed edge from the node that listens (head) to the node it hears (tail).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub head: u32,
    pub relation: u32,
    pub tail: u32,
    /// Recency bucket of the edge, 0 where edges carry none.
    pub bucket: u32,
}

/// Edges sorted by (head, relation), stable in the order they were given; parallel edges stay apart.
///
/// Heads and tails may be two sides (learners and courses) or the same nodes.
#[derive(Clone, Debug)]
pub struct Graph {
    pub heads: usize,
    pub tails: usize,
    pub relations: usize,
    /// One more than the largest bucket of an edge; 0 without edges.
    pub buckets: usize,
    /// (heads + 1) the edges of head v are `offsets[v] .. offsets[v + 1]`.
    pub offsets: Index<u64>,
    /// (edges) tail of each edge.
    pub tail: Index<u32>,
    /// (edges) head of each edge.
    pub head: Index<u32>,
    /// (edges) bucket of each edge.
    pub bucket: Index<u32>,
    /// (edges) group of each edge.
    pub group: Index<u32>,
    pub groups: Groups,
    pub by_tail: ByTail,
    /// RowSplits of the heads' rows, and of the tails' rows in the transpose.
    pub head_pieces: RowSplits,
    pub tail_pieces: RowSplits,
    /// The part that the CPU streams over, where there is one.
    pub pairs: Option<Arc<BipartiteEdges>>,
}

/// SortedGroups of edges with the same (head, relation). What depends on both alone is computed once per group.
#[derive(Clone, Debug)]
pub struct Groups {
    pub count: usize,
    /// (groups + 1) the edges of group g are `offsets[g] .. offsets[g + 1]`.
    pub offsets: Index<u64>,
    pub head: Index<u32>,
    pub relation: Index<u32>,
    /// (heads + 1) the groups of head v are `of_head[v] .. of_head[v + 1]`.
    pub of_head: Index<u64>,
    /// (groups) group ids sorted by relation, and (relations + 1) where each relation's begin.
    pub by_relation: Index<u32>,
    pub of_relation: Index<u64>,
    /// RowSplits of the groups' edges, of the heads' groups, and of the relations' groups.
    pub pieces: RowSplits,
    pub head_pieces: RowSplits,
    pub relation_pieces: RowSplits,
}

/// The transpose: for each tail the edges that end there, in edge order.
#[derive(Clone, Debug)]
pub struct ByTail {
    /// (tails + 1)
    pub offsets: Index<u64>,
    /// (edges) edge ids.
    pub edge: Index<u32>,
}

impl Graph {
    /// Sorts `edges` and builds every index. Ids out of range are an error of the caller.
    pub fn new(
        device: &Device,
        heads: usize,
        tails: usize,
        relations: usize,
        edges: &[Edge],
    ) -> Result<Graph> {
        if edges.len() >= u32::MAX as usize {
            return Err(Error::shape("graph", "fewer than 2^32 - 1 edges", format!("{}", edges.len())));
        }
        let outside = |e: &&Edge| {
            e.head as usize >= heads || e.tail as usize >= tails || e.relation as usize >= relations
        };
        if let Some(e) = edges.iter().find(outside) {
            return Err(Error::shape(
                "graph",
                format!("ids below {heads} heads, {relations} relations, {tails} tails"),
                format!("{e:?}"),
            ));
        }
        let (offsets, sorted) = {
            // Two stable counting sorts: by relation, then by head.
            let by_relation = sorted_by(relations, edges.len(), |i| edges[i].relation).1;
            let (offsets, order) = sorted_by(heads, edges.len(), |i| edges[by_relation[i] as usize].head);
            let _held = Allocation::lists(8 * edges.len());
            let sorted = order.iter().map(|&i| edges[by_relation[i as usize] as usize]);
            (offsets, sorted.collect::<Vec<Edge>>())
        };
        let _held = Allocation::lists(size_of_val(&sorted[..]));
        Graph::from_sorted(device, heads, tails, relations, offsets, &sorted)
    }

    /// With `pairs` where they pay: for steps over the whole graph on the CPU.
    pub fn streamed(mut self, device: &Device) -> Result<Graph> {
        if let Device::Cpu = device {
            self.pairs = self.find_pairs(device, false)?;
        }
        Ok(self)
    }

    /// As `new`, for edges that are already sorted by (head, relation) with the given row offsets.
    pub fn from_sorted(
        device: &Device,
        heads: usize,
        tails: usize,
        relations: usize,
        offsets: Vec<u64>,
        edges: &[Edge],
    ) -> Result<Graph> {
        // A sampled step builds a graph for each hop: the two halves of the work go side by side.
        let (
            (runs, (of_relation, by_relation), [head_pieces, pieces, pieces_of_head, relation_pieces]),
            ((tail_offsets, by_tail), tail_pieces, [tail, head, bucket]),
        ) = rayon::join(
            || {
                let runs = HeadGroups::new(heads, &offsets, edges);
                let by_relation = sorted_by(relations, runs.head.len(), |g| runs.relation[g]);
                let cut = [&offsets, &runs.offsets, &runs.of_head, &by_relation.0].map(|of| Cut::new(of));
                (runs, by_relation, cut)
            },
            || {
                let by_tail = sorted_by(tails, edges.len(), |i| edges[i].tail);
                let cut = Cut::new(&by_tail.0);
                let column = |of: fn(&Edge) -> u32| edges.iter().map(of).collect::<Vec<u32>>();
                (by_tail, cut, [column(|e| e.tail), column(|e| e.head), column(|e| e.bucket)])
            },
        );
        Ok(Graph {
            heads,
            tails,
            relations,
            buckets: bucket.iter().max().map_or(0, |&most| most as usize + 1),
            head_pieces: head_pieces.on(device)?,
            tail_pieces: tail_pieces.on(device)?,
            tail: Index::new(device, tail)?,
            head: Index::new(device, head)?,
            bucket: Index::new(device, bucket)?,
            group: Index::new(device, runs.of_edge)?,
            groups: Groups {
                count: runs.head.len(),
                pieces: pieces.on(device)?,
                head_pieces: pieces_of_head.on(device)?,
                relation_pieces: relation_pieces.on(device)?,
                offsets: Index::new(device, runs.offsets)?,
                head: Index::new(device, runs.head)?,
                relation: Index::new(device, runs.relation)?,
                of_head: Index::new(device, runs.of_head)?,
                by_relation: Index::new(device, by_relation)?,
                of_relation: Index::new(device, of_relation)?,
            },
            by_tail: ByTail {
                offsets: Index::new(device, tail_offsets)?,
                edge: Index::new(device, by_tail)?,
            },
            offsets: Index::new(device, offsets)?,
            pairs: None,
        })
    }

    /// With `pairs` for a graph of their kind of any size, which `streamed` looks for only where they pay. For tests.
    pub fn with_pairs(mut self, device: &Device) -> Result<Graph> {
        self.pairs = self.find_pairs(device, true)?;
        Ok(self)
    }

    /// With a GPU's launches ordered by blocks of `rows` nodes (`block_rows` of a table's columns), where there are more
    /// nodes than that. On the tails' side an edge gathers two rows, its group's and its head's: blocks of half as many.
    pub fn with_blocks(mut self, device: &Device, rows: usize) -> Result<Graph> {
        if let Device::Cpu = device {
            return Ok(self);
        }
        if self.tails > rows {
            let (tail, groups) = (self.tail.host(), &mut self.groups);
            let gathered = |e: u64| tail[e as usize];
            self.head_pieces = RowSplits::by_block(device, self.offsets.host(), rows, gathered)?;
            groups.pieces = RowSplits::by_block(device, groups.offsets.host(), rows, gathered)?;
        }
        if self.heads > rows / 2 {
            let (head, edge) = (self.head.host(), self.by_tail.edge.host());
            let gathered = |i: u64| head[edge[i as usize] as usize];
            self.tail_pieces = RowSplits::by_block(device, self.by_tail.offsets.host(), rows / 2, gathered)?;
        }
        Ok(self)
    }

    fn find_pairs(&self, device: &Device, always: bool) -> Result<Option<Arc<BipartiteEdges>>> {
        let sorted = Sorted {
            heads: self.heads,
            tails: self.tails,
            offsets: self.offsets.host(),
            tail: self.tail.host(),
            head: self.head.host(),
            bucket: self.bucket.host(),
            group: self.group.host(),
            groups: &self.groups,
            tail_offsets: self.by_tail.offsets.host(),
            by_tail: self.by_tail.edge.host(),
        };
        Ok(BipartiteEdges::find(device, &sorted, always)?.map(Arc::new))
    }

    pub fn edges(&self) -> usize {
        self.tail.len()
    }

    /// The edges of head `v`.
    pub fn row(&self, v: usize) -> std::ops::Range<usize> {
        let offsets = self.offsets.host();
        offsets[v] as usize..offsets[v + 1] as usize
    }
}

/// Edges of one head and relation each, of sorted edges.
#[derive(Default)]
struct HeadGroups {
    offsets: Vec<u64>,
    head: Vec<u32>,
    relation: Vec<u32>,
    of_edge: Vec<u32>,
    of_head: Vec<u64>,
}

impl HeadGroups {
    fn new(heads: usize, offsets: &[u64], edges: &[Edge]) -> HeadGroups {
        let mut runs = HeadGroups { of_edge: Vec::with_capacity(edges.len()), ..HeadGroups::default() };
        // Often a group for each head.
        runs.of_head.reserve(heads + 1);
        runs.offsets.reserve(heads + 1);
        runs.head.reserve(heads);
        runs.relation.reserve(heads);
        for v in 0..heads {
            runs.of_head.push(runs.head.len() as u64);
            let mut last = None;
            for i in offsets[v]..offsets[v + 1] {
                let relation = edges[i as usize].relation;
                if last != Some(relation) {
                    runs.offsets.push(i);
                    runs.head.push(v as u32);
                    runs.relation.push(relation);
                    last = Some(relation);
                }
                runs.of_edge.push(runs.head.len() as u32 - 1);
            }
        }
        runs.of_head.push(runs.head.len() as u64);
        runs.offsets.push(edges.len() as u64);
        runs
    }
}

/// Stable counting sort of 0..n by key: the offsets of each key's run, and the items in order.
pub fn sorted_by(keys: usize, n: usize, key: impl Fn(usize) -> u32) -> (Vec<u64>, Vec<u32>) {
    let mut offsets = vec![0u64; keys + 1];
    for i in 0..n {
        offsets[key(i) as usize + 1] += 1;
    }
    for k in 0..keys {
        offsets[k + 1] += offsets[k];
    }
    let mut next = offsets.clone();
    let mut order = vec![0u32; n];
    for i in 0..n {
        let place = &mut next[key(i) as usize];
        order[*place as usize] = i as u32;
        *place += 1;
    }
    (offsets, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_groups_and_transposes() {
        let e = |head, relation, tail| Edge { head, relation, tail, bucket: 0 };
        let edges = [e(2, 1, 0), e(0, 1, 3), e(0, 0, 3), e(2, 1, 0), e(0, 1, 1)];
        let g = Graph::new(&Device::Cpu, 3, 4, 2, &edges).unwrap();
        assert_eq!(g.offsets.host(), [0, 3, 3, 5]);
        assert_eq!(g.tail.host(), [3, 3, 1, 0, 0]);
        assert_eq!(g.groups.head.host(), [0, 0, 2]);
        assert_eq!(g.groups.relation.host(), [0, 1, 1]);
        assert_eq!(g.groups.offsets.host(), [0, 1, 3, 5]);
        assert_eq!(g.groups.of_head.host(), [0, 2, 2, 3]);
        assert_eq!(g.groups.by_relation.host(), [0, 1, 2]);
        assert_eq!(g.groups.of_relation.host(), [0, 1, 3]);
        assert_eq!(g.by_tail.offsets.host(), [0, 2, 3, 3, 5]);
        assert_eq!(g.by_tail.edge.host(), [3, 4, 2, 0, 1]);
        assert!(Graph::new(&Device::Cpu, 2, 4, 2, &edges).is_err());
    }
}

//! Graphs as the kernels read them: CSR by destination, with its transpose, its (dst, relation) groups, and the
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

/// An edge along which a message flows, from `src` to `dst`. For a triple of the knowledge graph `dst` is the head and
/// `src` the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub dst: u32,
    pub relation: u32,
    pub src: u32,
    /// Recency bucket of the edge, 0 where edges carry none.
    pub bucket: u32,
}

/// Edges sorted by (dst, relation), stable in the order they were given; parallel edges stay apart.
///
/// Destinations and sources may be two sides (learners and courses) or the same nodes.
#[derive(Clone, Debug)]
pub struct Graph {
    pub num_dst: usize,
    pub num_src: usize,
    pub relations: usize,
    /// One more than the largest bucket of an edge; 0 without edges.
    pub buckets: usize,
    /// (num_dst + 1) the edges of destination v are `offsets[v] .. offsets[v + 1]`.
    pub offsets: Index<u64>,
    /// (edges) source of each edge.
    pub src: Index<u32>,
    /// (edges) destination of each edge.
    pub dst: Index<u32>,
    /// (edges) bucket of each edge.
    pub bucket: Index<u32>,
    /// (edges) group of each edge.
    pub group: Index<u32>,
    pub groups: Groups,
    pub by_src: BySrc,
    /// RowSplits of the destinations' rows, and of the sources' rows in the transpose.
    pub dst_splits: RowSplits,
    pub src_splits: RowSplits,
    /// The part that the CPU streams over, where there is one.
    pub bipartite: Option<Arc<BipartiteEdges>>,
}

/// SortedGroups of edges with the same (dst, relation). What depends on both alone is computed once per group.
#[derive(Clone, Debug)]
pub struct Groups {
    pub count: usize,
    /// (groups + 1) the edges of group g are `offsets[g] .. offsets[g + 1]`.
    pub offsets: Index<u64>,
    pub dst: Index<u32>,
    pub relation: Index<u32>,
    /// (num_dst + 1) the groups of destination v are `of_dst[v] .. of_dst[v + 1]`.
    pub of_dst: Index<u64>,
    /// (groups) group ids sorted by relation, and (relations + 1) where each relation's begin.
    pub by_relation: Index<u32>,
    pub of_relation: Index<u64>,
    /// RowSplits of the groups' edges, of the destinations' groups, and of the relations' groups.
    pub splits: RowSplits,
    pub dst_splits: RowSplits,
    pub relation_splits: RowSplits,
}

/// The transpose: for each source the edges that end there, in edge order.
#[derive(Clone, Debug)]
pub struct BySrc {
    /// (num_src + 1)
    pub offsets: Index<u64>,
    /// (edges) edge ids.
    pub edge: Index<u32>,
}

impl Graph {
    /// Sorts `edges` and builds every index. Ids out of range are an error of the caller.
    pub fn new(device: &Device, num_dst: usize, num_src: usize, relations: usize, edges: &[Edge]) -> Result<Graph> {
        if edges.len() >= u32::MAX as usize {
            return Err(Error::shape("graph", "fewer than 2^32 - 1 edges", format!("{}", edges.len())));
        }
        let outside =
            |e: &&Edge| e.dst as usize >= num_dst || e.src as usize >= num_src || e.relation as usize >= relations;
        if let Some(e) = edges.iter().find(outside) {
            return Err(Error::shape(
                "graph",
                format!("ids below {num_dst} destinations, {relations} relations, {num_src} sources"),
                format!("{e:?}"),
            ));
        }
        let (offsets, sorted) = {
            // Two stable counting sorts: by relation, then by destination.
            let by_relation = sorted_by(relations, edges.len(), |i| edges[i].relation).1;
            let (offsets, order) = sorted_by(num_dst, edges.len(), |i| edges[by_relation[i] as usize].dst);
            let _held = Allocation::lists(8 * edges.len());
            let sorted = order.iter().map(|&i| edges[by_relation[i as usize] as usize]);
            (offsets, sorted.collect::<Vec<Edge>>())
        };
        let _held = Allocation::lists(size_of_val(&sorted[..]));
        Graph::from_sorted(device, num_dst, num_src, relations, offsets, &sorted)
    }

    /// With `pairs` where they pay: for steps over the whole graph on the CPU.
    pub fn streamed(mut self, device: &Device) -> Result<Graph> {
        if let Device::Cpu = device {
            self.bipartite = self.find_bipartite(device, false)?;
        }
        Ok(self)
    }

    /// As `new`, for edges that are already sorted by (dst, relation) with the given row offsets.
    pub fn from_sorted(
        device: &Device,
        num_dst: usize,
        num_src: usize,
        relations: usize,
        offsets: Vec<u64>,
        edges: &[Edge],
    ) -> Result<Graph> {
        // A sampled step builds a graph for each hop: the two halves of the work go side by side.
        let (
            (runs, (of_relation, by_relation), [dst_splits, splits, splits_of_dst, relation_splits]),
            ((src_offsets, by_src), src_splits, [src, dst, bucket]),
        ) = rayon::join(
            || {
                let runs = DstGroups::new(num_dst, &offsets, edges);
                let by_relation = sorted_by(relations, runs.dst.len(), |g| runs.relation[g]);
                let cut = [&offsets, &runs.offsets, &runs.of_dst, &by_relation.0].map(|of| Cut::new(of));
                (runs, by_relation, cut)
            },
            || {
                let by_src = sorted_by(num_src, edges.len(), |i| edges[i].src);
                let cut = Cut::new(&by_src.0);
                let column = |of: fn(&Edge) -> u32| edges.iter().map(of).collect::<Vec<u32>>();
                (by_src, cut, [column(|e| e.src), column(|e| e.dst), column(|e| e.bucket)])
            },
        );
        Ok(Graph {
            num_dst,
            num_src,
            relations,
            buckets: bucket.iter().max().map_or(0, |&most| most as usize + 1),
            dst_splits: dst_splits.on(device)?,
            src_splits: src_splits.on(device)?,
            src: Index::new(device, src)?,
            dst: Index::new(device, dst)?,
            bucket: Index::new(device, bucket)?,
            group: Index::new(device, runs.of_edge)?,
            groups: Groups {
                count: runs.dst.len(),
                splits: splits.on(device)?,
                dst_splits: splits_of_dst.on(device)?,
                relation_splits: relation_splits.on(device)?,
                offsets: Index::new(device, runs.offsets)?,
                dst: Index::new(device, runs.dst)?,
                relation: Index::new(device, runs.relation)?,
                of_dst: Index::new(device, runs.of_dst)?,
                by_relation: Index::new(device, by_relation)?,
                of_relation: Index::new(device, of_relation)?,
            },
            by_src: BySrc { offsets: Index::new(device, src_offsets)?, edge: Index::new(device, by_src)? },
            offsets: Index::new(device, offsets)?,
            bipartite: None,
        })
    }

    /// With `pairs` for a graph of their kind of any size, which `streamed` looks for only where they pay. For tests.
    pub fn with_bipartite(mut self, device: &Device) -> Result<Graph> {
        self.bipartite = self.find_bipartite(device, true)?;
        Ok(self)
    }

    /// With a GPU's launches ordered by blocks of `rows` nodes (`block_rows` of a table's columns), where there are
    /// more nodes than that. On the sources' side an edge gathers two rows, its group's and its destination's: blocks
    /// of half as many.
    pub fn with_blocks(mut self, device: &Device, rows: usize) -> Result<Graph> {
        if let Device::Cpu = device {
            return Ok(self);
        }
        if self.num_src > rows {
            let (src, groups) = (self.src.host(), &mut self.groups);
            let gathered = |e: u64| src[e as usize];
            self.dst_splits = RowSplits::by_block(device, self.offsets.host(), rows, gathered)?;
            groups.splits = RowSplits::by_block(device, groups.offsets.host(), rows, gathered)?;
        }
        if self.num_dst > rows / 2 {
            let (dst, edge) = (self.dst.host(), self.by_src.edge.host());
            let gathered = |i: u64| dst[edge[i as usize] as usize];
            self.src_splits = RowSplits::by_block(device, self.by_src.offsets.host(), rows / 2, gathered)?;
        }
        Ok(self)
    }

    fn find_bipartite(&self, device: &Device, always: bool) -> Result<Option<Arc<BipartiteEdges>>> {
        let sorted = Sorted {
            num_dst: self.num_dst,
            num_src: self.num_src,
            offsets: self.offsets.host(),
            src: self.src.host(),
            dst: self.dst.host(),
            bucket: self.bucket.host(),
            group: self.group.host(),
            groups: &self.groups,
            src_offsets: self.by_src.offsets.host(),
            by_src: self.by_src.edge.host(),
        };
        Ok(BipartiteEdges::find(device, &sorted, always)?.map(Arc::new))
    }

    pub fn edges(&self) -> usize {
        self.src.len()
    }

    /// The edges of destination `v`.
    pub fn row(&self, v: usize) -> std::ops::Range<usize> {
        let offsets = self.offsets.host();
        offsets[v] as usize..offsets[v + 1] as usize
    }
}

/// Edges of one destination and relation each, of sorted edges.
#[derive(Default)]
struct DstGroups {
    offsets: Vec<u64>,
    dst: Vec<u32>,
    relation: Vec<u32>,
    of_edge: Vec<u32>,
    of_dst: Vec<u64>,
}

impl DstGroups {
    fn new(num_dst: usize, offsets: &[u64], edges: &[Edge]) -> DstGroups {
        let mut runs = DstGroups { of_edge: Vec::with_capacity(edges.len()), ..DstGroups::default() };
        // Often a group for each destination.
        runs.of_dst.reserve(num_dst + 1);
        runs.offsets.reserve(num_dst + 1);
        runs.dst.reserve(num_dst);
        runs.relation.reserve(num_dst);
        for v in 0..num_dst {
            runs.of_dst.push(runs.dst.len() as u64);
            let mut last = None;
            for i in offsets[v]..offsets[v + 1] {
                let relation = edges[i as usize].relation;
                if last != Some(relation) {
                    runs.offsets.push(i);
                    runs.dst.push(v as u32);
                    runs.relation.push(relation);
                    last = Some(relation);
                }
                runs.of_edge.push(runs.dst.len() as u32 - 1);
            }
        }
        runs.of_dst.push(runs.dst.len() as u64);
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
        let e = |dst, relation, src| Edge { dst, relation, src, bucket: 0 };
        let edges = [e(2, 1, 0), e(0, 1, 3), e(0, 0, 3), e(2, 1, 0), e(0, 1, 1)];
        let g = Graph::new(&Device::Cpu, 3, 4, 2, &edges).unwrap();
        assert_eq!(g.offsets.host(), [0, 3, 3, 5]);
        assert_eq!(g.src.host(), [3, 3, 1, 0, 0]);
        assert_eq!(g.groups.dst.host(), [0, 0, 2]);
        assert_eq!(g.groups.relation.host(), [0, 1, 1]);
        assert_eq!(g.groups.offsets.host(), [0, 1, 3, 5]);
        assert_eq!(g.groups.of_dst.host(), [0, 2, 2, 3]);
        assert_eq!(g.groups.by_relation.host(), [0, 1, 2]);
        assert_eq!(g.groups.of_relation.host(), [0, 1, 3]);
        assert_eq!(g.by_src.offsets.host(), [0, 2, 3, 3, 5]);
        assert_eq!(g.by_src.edge.host(), [3, 4, 2, 0, 1]);
        assert!(Graph::new(&Device::Cpu, 2, 4, 2, &edges).is_err());
    }
}

//! Many rows that hear few columns, and are heard by them: learners and courses.
//!
//! Where every edge of a learner has its inverse, one stream over the learners serves both directions: what is read
//! of a learner is read once from memory, and the rows of courses, and what is summed for them, stay in the cache.

use std::ops::Range;

use super::Groups;
use super::row_splits::RowSplits;
use base::Result;
use engine::Device;
use engine::memory::Allocation;

/// Rows of columns that are taken to stay in a cache: 16 MB of 256-byte rows.
const MOST_COLUMNS: usize = 64 * 1024;
/// Most chunks of rows, each of which sums for all columns apart.
pub const MOST_CHUNKS: usize = 16;
/// Edges of a chunk for each column, below which sums apart cost more than they save.
const EDGES_PER_COLUMN: usize = 8;

/// `BipartiteEdges::row_edge` of an edge that is no inverse of a row's edge.
pub const UNPAIRED: u32 = u32::MAX;

/// The destinations `0 .. rows`, whose edges (ids `0 .. edges`, groups `0 .. groups`) all end at `columns`, each with
/// its inverse among the columns' edges. These inverses fill whole groups, and no other edge ends at a row.
#[derive(Clone, Debug)]
pub struct BipartiteEdges {
    pub rows: usize,
    pub columns: Range<usize>,
    pub edges: usize,
    pub groups: usize,
    /// Consecutive rows of about as many edges each: fixed by the graph.
    pub chunks: Vec<Range<usize>>,
    /// (edges) the inverse of each row's edge, and its bucket.
    pub inverse: Vec<u32>,
    pub inverse_bucket: Vec<u32>,
    /// (edges) the place of the edge's source in `columns`, and of its inverse's group in `inverse_groups`.
    pub column: Vec<[u32; 2]>,
    /// The groups of inverses, ascending.
    pub inverse_groups: Vec<u32>,
    /// (all edges - edges) for each later edge the row's edge that it is the inverse of, or `UNPAIRED`.
    pub row_edge: Vec<u32>,
    /// The other edges, by destination, group and source; the first destination here is destination `rows`, the first
    /// group `groups`, the first source `rows`. Entries are edges, and for sources places in `BySrc::edge`.
    pub other_dst: RowSplits,
    pub other_groups: RowSplits,
    pub other_src: RowSplits,
    _held: Allocation,
}

/// What `Graph` has built before.
pub(super) struct Sorted<'a> {
    pub num_dst: usize,
    pub num_src: usize,
    pub offsets: &'a [u64],
    pub src: &'a [u32],
    pub dst: &'a [u32],
    pub bucket: &'a [u32],
    pub group: &'a [u32],
    pub groups: &'a Groups,
    pub src_offsets: &'a [u64],
    pub by_src: &'a [u32],
}

impl BipartiteEdges {
    /// None where the graph is not of this kind, or too small for it to pay, unless `always`.
    pub(super) fn find(device: &Device, g: &Sorted, always: bool) -> Result<Option<BipartiteEdges>> {
        if g.num_dst != g.num_src {
            return Ok(None);
        }
        let (rows, columns) = rows_and_columns(g);
        let edges = g.offsets[rows] as usize;
        let enough = edges >= EDGES_PER_COLUMN * MOST_CHUNKS * columns.len() && columns.len() <= MOST_COLUMNS;
        if edges == 0 || !(enough || always) {
            return Ok(None);
        }
        let groups = g.groups.of_dst.host()[rows] as usize;
        let Some(inverse) = inverses(g, rows, edges) else { return Ok(None) };
        let mut row_edge = vec![UNPAIRED; g.src.len() - edges];
        for (e, &inverse) in inverse.iter().enumerate() {
            row_edge[inverse as usize - edges] = e as u32;
        }
        let paired = |e: usize| row_edge[e - edges] != UNPAIRED;
        let group_offsets = g.groups.offsets.host();
        let mut inverse_groups = vec![];
        let mut place = vec![UNPAIRED; g.groups.count - groups];
        let (mut of_group, mut of_dst) = (vec![], vec![vec![]; g.num_dst - rows]);
        for group in groups..g.groups.count {
            let own = group_offsets[group] as usize..group_offsets[group + 1] as usize;
            let pairs = own.clone().filter(|&e| paired(e)).count();
            if pairs == 0 {
                let ranges: &mut Vec<Range<u64>> = &mut of_dst[g.groups.dst.host()[group] as usize - rows];
                match ranges.last_mut().filter(|last| last.end == own.start as u64) {
                    Some(last) => last.end = own.end as u64,
                    None => ranges.push(own.start as u64..own.end as u64),
                }
                of_group.push(one(own.start as u64..own.end as u64));
            } else if pairs == own.len() {
                place[group - groups] = inverse_groups.len() as u32;
                inverse_groups.push(group as u32);
                of_group.push(vec![]);
            } else {
                return Ok(None);
            }
        }
        // A source's edges are in edge order: those of the rows come first.
        let of_src = (rows..g.num_src).map(|t| {
            let own = g.src_offsets[t] as usize..g.src_offsets[t + 1] as usize;
            let first = own.start + g.by_src[own.clone()].partition_point(|&e| (e as usize) < edges);
            one(first as u64..own.end as u64)
        });
        let of_src: Vec<_> = of_src.collect();
        let column = |(&src, &inverse): (&u32, &u32)| {
            [src - columns.start as u32, place[g.group[inverse as usize] as usize - groups]]
        };
        Ok(Some(BipartiteEdges {
            // Inverses with their buckets and columns, and who is whose inverse.
            _held: Allocation::lists(16 * edges + size_of_val(&row_edge[..]) + size_of_val(&inverse_groups[..])),
            column: g.src.iter().zip(&inverse).map(column).collect(),
            rows,
            columns,
            edges,
            groups,
            chunks: chunks(&g.offsets[..=rows]),
            inverse_bucket: inverse.iter().map(|&e| g.bucket[e as usize]).collect(),
            inverse,
            inverse_groups,
            row_edge,
            other_dst: RowSplits::of_ranges(device, &of_dst)?,
            other_groups: RowSplits::of_ranges(device, &of_group)?,
            other_src: RowSplits::of_ranges(device, &of_src)?,
        }))
    }
}

/// The longest run of destinations 0 .. rows of which none hears another, and the sources that they hear.
fn rows_and_columns(g: &Sorted) -> (usize, Range<usize>) {
    let (mut rows, mut columns) = (0, g.num_src..0);
    while rows < g.num_dst {
        let own = &g.src[g.offsets[rows] as usize..g.offsets[rows + 1] as usize];
        let first = own.iter().fold(columns.start, |first, &t| first.min(t as usize));
        if first <= rows {
            break;
        }
        columns = first..own.iter().fold(columns.end, |end, &t| end.max(t as usize + 1));
        rows += 1;
    }
    (rows, columns)
}

/// For each edge of the rows an edge of its own that leads back; None where some edge has none or some edge that
/// ends at a row is left over.
fn inverses(g: &Sorted, rows: usize, edges: usize) -> Option<Vec<u32>> {
    let mut inverse = vec![0; edges];
    let mut own = vec![];
    for l in 0..rows {
        let back = &g.by_src[g.src_offsets[l] as usize..g.src_offsets[l + 1] as usize];
        own.clear();
        own.extend(g.offsets[l] as u32..g.offsets[l + 1] as u32);
        // Stable, as the edges that lead back are sorted by destination and then by id.
        own.sort_by_key(|&e| g.src[e as usize]);
        if own.len() != back.len() {
            return None;
        }
        for (&e, &b) in own.iter().zip(back) {
            if g.src[e as usize] != g.dst[b as usize] {
                return None;
            }
            inverse[e as usize] = b;
        }
    }
    Some(inverse)
}

/// Cuts the rows into chunks of about as many edges.
fn chunks(offsets: &[u64]) -> Vec<Range<usize>> {
    let (rows, edges) = (offsets.len() - 1, offsets[offsets.len() - 1]);
    let mut chunks = vec![];
    let mut first = 0;
    for i in 1..=MOST_CHUNKS as u64 {
        let end = match i == MOST_CHUNKS as u64 {
            true => rows,
            false => offsets.partition_point(|&o| o < edges * i / MOST_CHUNKS as u64).min(rows),
        };
        if end > first {
            chunks.push(first..end);
            first = end;
        }
    }
    chunks
}

/// A list of one range.
fn one(range: Range<u64>) -> Vec<Range<u64>> {
    std::iter::once(range).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Edge, Graph};
    use super::*;

    #[test]
    fn inverses_are_found_and_the_rest_is_left() {
        let e = |dst, relation, src| Edge { dst, relation, src, bucket: dst };
        // Learners 0, 1; courses 2, 3; an attribute 4. Learner 0 has course 3 twice.
        let pairs = [(0, 3), (0, 3), (1, 2), (0, 2)];
        let mut edges: Vec<Edge> = pairs.iter().flat_map(|&(l, c)| [e(l, 0, c), e(c, 1, l)]).collect();
        edges.extend([e(3, 2, 4), e(4, 3, 3), e(2, 0, 3)]);
        let graph = Graph::new(&Device::Cpu, 5, 5, 4, &edges).unwrap();
        assert!(graph.bipartite.is_none(), "too small to pay");
        let graph = graph.with_bipartite(&Device::Cpu).unwrap();
        let p = graph.bipartite.as_ref().unwrap();
        assert_eq!((p.rows, p.columns.clone(), p.edges, p.groups), (2, 2..4, 4, 2));
        for (edge, &inverse) in p.inverse.iter().enumerate() {
            let (own, back) = (graph.src.host(), graph.dst.host());
            assert_eq!(own[edge], back[inverse as usize]);
            assert_eq!(graph.dst.host()[edge], graph.src.host()[inverse as usize]);
            assert_eq!(p.row_edge[inverse as usize - p.edges] as usize, edge);
            let [column, group] = p.column[edge].map(|place| place as usize);
            assert_eq!(p.columns.start + column, own[edge] as usize);
            let group = p.inverse_groups[group];
            assert_eq!(group, graph.group.host()[inverse as usize]);
        }
        let mut inverse = p.inverse.clone();
        inverse.sort_unstable();
        inverse.dedup();
        assert_eq!(inverse.len(), 4);
        let others: usize = (0..p.other_dst.count()).map(|i| p.other_dst.range(i).len()).sum();
        assert_eq!((others, p.row_edge.iter().filter(|&&e| e == UNPAIRED).count()), (3, 3));
        // An inverse less, or an edge within the learners, and there are no pairs.
        let missing = Graph::new(&Device::Cpu, 5, 5, 4, &edges[1..]).unwrap();
        assert!(missing.with_bipartite(&Device::Cpu).unwrap().bipartite.is_none());
    }

    #[test]
    fn chunks_cover_all_rows() {
        let offsets: Vec<u64> = (0..=100).map(|i| i * i).collect();
        let chunks = chunks(&offsets);
        assert_eq!((chunks[0].start, chunks[chunks.len() - 1].end), (0, 100));
        assert!(chunks.windows(2).all(|w| w[0].end == w[1].start));
    }
}

//! Sampled neighbourhoods: for the nodes of a batch, some edges of each, hop by hop, as graphs of their own.
//!
//! A destination of degree d is given min(d, k) edges. Where d > k its row is cut into k equal strata and one place is
//! drawn in each, so every edge is drawn k / d times in expectation, whatever d is: an edge stands for d / k of them,
//! and a sum under given weights has the full sum as its mean. Rows are sorted by relation, so the strata also spread
//! the draws over relations in proportion to their edges; the variance is at most that of independent draws. An edge
//! that lies in two strata may be drawn by both.
//!
//! Draw j of a node is a counter-based random number of (seed, stream, hop, node, j): it depends on no order, thread
//! or device, and `kernels/sample.cu` draws the same.

use std::sync::Arc;

use base::parallel::prelude::*;

use super::{Edge, Graph};
use base::{Error, Result};
use engine::device::{Grid, kernels};
use engine::parallel::prefetch;
use engine::{Device, Gpu, Index, Philox};

/// Destinations per task.
const CHUNK: usize = 512;

/// Hops take streams of their own, above those of dropout.
const HOP_STREAM: u64 = 0x7A00;

/// Nodes of one level, ascending, and the place of each among them: a bit per node of the graph and a running count
/// per word.
#[derive(Clone, Debug, Default)]
pub struct Level {
    ids: Vec<u32>,
    bits: Vec<u64>,
    before: Vec<u32>,
}

impl Level {
    /// The distinct nodes of some lists, of a graph of `n` nodes.
    fn new(n: usize, lists: &[&[u32]]) -> Level {
        let mut bits = vec![0u64; n.div_ceil(64)];
        for list in lists {
            for &id in *list {
                bits[id as usize / 64] |= 1 << (id % 64);
            }
        }
        let mut before = Vec::with_capacity(bits.len());
        let mut count = 0;
        for word in &bits {
            before.push(count);
            count += word.count_ones();
        }
        let mut ids = Vec::with_capacity(count as usize);
        for (at, &word) in bits.iter().enumerate() {
            let mut left = word;
            while left != 0 {
                ids.push(at as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        Level { ids, bits, before }
    }

    /// The nodes, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The place of a node of this level.
    #[inline]
    pub fn place(&self, id: u32) -> u32 {
        let (word, below) = (id as usize / 64, (1u64 << (id % 64)) - 1);
        self.before[word] + (self.bits[word] & below).count_ones()
    }

    /// Places of nodes of this level.
    pub fn places(&self, ids: &[u32]) -> Vec<u32> {
        ids.iter().map(|&id| self.place(id)).collect()
    }
}

/// One hop: destinations are places in level h, sources places in level h + 1.
#[derive(Clone, Debug)]
pub struct Block {
    pub graph: Arc<Graph>,
    /// (edges) edge of the whole graph that each is.
    pub edge: Vec<u32>,
    /// (num_dst) how many edges of the whole graph each of the destination's stands for: degree over draws.
    pub stands_for: Vec<f32>,
}

/// The blocks of a batch. Level 0 are its own nodes; level h + 1 are those of level h and what they were given, so
/// every level lies within the next.
#[derive(Clone, Debug)]
pub struct Blocks {
    pub levels: Vec<Level>,
    pub blocks: Vec<Block>,
}

/// Edges drawn for some destinations.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// (num_dst + 1)
    pub offsets: Vec<u64>,
    /// Edges of the graph; those of each destination ascend.
    pub edge: Vec<u32>,
    /// Their sources.
    pub src: Vec<u32>,
    /// (num_dst) edges of the graph for each that was drawn; 1 where there are none.
    pub stands_for: Vec<f32>,
}

impl Blocks {
    /// Blocks of some nodes over a graph whose destinations and sources are the same nodes: hop h gives each node of
    /// level h at most `fan_out[h]` edges. `extra` nodes join the last level without being heard.
    pub fn sample(
        graph: &Graph,
        device: &Device,
        nodes: &[u32],
        extra: &[u32],
        fan_out: &[usize],
        random: Philox,
    ) -> Result<Blocks> {
        let n = graph.num_dst;
        if let Some(id) = nodes.iter().chain(extra).find(|&&id| id as usize >= n) {
            return Err(Error::shape("sample", format!("nodes below {n}"), format!("{id}")));
        }
        let first = if fan_out.is_empty() { Level::new(n, &[nodes, extra]) } else { Level::new(n, &[nodes]) };
        let (mut levels, mut blocks) = (vec![first], vec![]);
        for (hop, &k) in fan_out.iter().enumerate() {
            let dst_nodes = &levels[hop];
            let drawn = draw(graph, device, dst_nodes.ids(), k, random, hop)?;
            let more = if hop + 1 == fan_out.len() { extra } else { &[] };
            let level = Level::new(n, &[dst_nodes.ids(), &drawn.src, more]);
            blocks.push(block(graph, device, dst_nodes, &level, drawn)?);
            levels.push(level);
        }
        Ok(Blocks { levels, blocks })
    }

    /// The innermost level: every node that the batch reads.
    pub fn nodes(&self) -> &Level {
        &self.levels[self.levels.len() - 1]
    }
}

/// The local graph of drawn edges, sorted as the whole graph is: by destination and relation.
fn block(graph: &Graph, device: &Device, dst_nodes: &Level, level: &Level, drawn: Drawn) -> Result<Block> {
    let groups = &graph.groups;
    let (of_dst, bounds) = (groups.of_dst.host(), groups.offsets.host());
    let (relation, bucket) = (groups.relation.host(), graph.bucket.host());
    let mut edges = vec![Edge { dst: 0, relation: 0, src: 0, bucket: 0 }; drawn.edge.len()];
    let mut tasks = vec![];
    let mut left = &mut edges[..];
    for first in (0..dst_nodes.len()).step_by(CHUNK) {
        let end = (first + CHUNK).min(dst_nodes.len());
        let count = (drawn.offsets[end] - drawn.offsets[first]) as usize;
        let (own, rest) = std::mem::take(&mut left).split_at_mut(count);
        left = rest;
        tasks.push((first..end, own));
    }
    tasks.into_par_iter().for_each(|(range, mut edges)| {
        for dst in range {
            let v = dst_nodes.ids[dst] as usize;
            let own = drawn.offsets[dst] as usize..drawn.offsets[dst + 1] as usize;
            let (row, rest) = std::mem::take(&mut edges).split_at_mut(own.len());
            edges = rest;
            let (mut group, last) = (of_dst[v] as usize, of_dst[v + 1] as usize - 1);
            let drawn = drawn.edge[own.clone()].iter().zip(&drawn.src[own]);
            for (edge, (&e, &src)) in row.iter_mut().zip(drawn) {
                while group < last && bounds[group + 1] <= e as u64 {
                    group += 1;
                }
                let bucket = if graph.buckets > 1 { bucket[e as usize] } else { 0 };
                *edge = Edge { dst: dst as u32, relation: relation[group], src: level.place(src), bucket };
            }
        }
    });
    let local = Graph::from_sorted(device, dst_nodes.len(), level.len(), graph.relations, drawn.offsets, &edges)?;
    Ok(Block { graph: Arc::new(local), edge: drawn.edge, stands_for: drawn.stands_for })
}

/// At most `k` edges of each destination, as described above. On a GPU the kernel draws.
pub fn draw(graph: &Graph, device: &Device, dst_nodes: &[u32], k: usize, random: Philox, hop: usize) -> Result<Drawn> {
    let random = Philox::new(random.seed, random.stream ^ (HOP_STREAM + hop as u64) << 48);
    let offsets = graph.offsets.host();
    let (mut out, mut stands_for) = (Vec::with_capacity(dst_nodes.len() + 1), Vec::with_capacity(dst_nodes.len()));
    let mut sum = 0;
    out.push(0);
    for &v in dst_nodes {
        let degree = offsets[v as usize + 1] - offsets[v as usize];
        let draws = degree.min(k as u64);
        sum += draws;
        out.push(sum);
        stands_for.push(if draws == 0 { 1.0 } else { degree as f32 / draws as f32 });
    }
    let (edge, src) = match device {
        Device::Cpu => draw_on_cpu(graph, dst_nodes, &out, k, random),
        Device::Gpu(gpu) => {
            let edge = draw_on_gpu(gpu, graph, device, dst_nodes, &out, k, random)?;
            let src = graph.src.host();
            let src_nodes = edge.iter().map(|&e| src[e as usize]).collect();
            (edge, src_nodes)
        }
    };
    Ok(Drawn { offsets: out, edge, src, stands_for })
}

/// Destinations between the request for a row's edges and their use.
const PREFETCH_DISTANCE: usize = 16;

fn draw_on_cpu(graph: &Graph, dst_nodes: &[u32], out: &[u64], k: usize, random: Philox) -> (Vec<u32>, Vec<u32>) {
    let (offsets, src) = (graph.offsets.host(), graph.src.host());
    let total = out[dst_nodes.len()] as usize;
    let (mut edge, mut src_nodes) = (vec![0; total], vec![0; total]);
    let mut tasks = vec![];
    let (mut edge_left, mut src_left) = (&mut edge[..], &mut src_nodes[..]);
    for (i, dst_nodes) in dst_nodes.chunks(CHUNK).enumerate() {
        let count = (out[i * CHUNK + dst_nodes.len()] - out[i * CHUNK]) as usize;
        let (own, rest) = std::mem::take(&mut edge_left).split_at_mut(count);
        let (own_src, rest_src) = std::mem::take(&mut src_left).split_at_mut(count);
        (edge_left, src_left) = (rest, rest_src);
        tasks.push((dst_nodes, own, own_src));
    }
    tasks.into_par_iter().for_each(|(dst_nodes, mut edge, mut src_nodes)| {
        for (i, &v) in dst_nodes.iter().enumerate() {
            if let Some(&next) = dst_nodes.get(i + PREFETCH_DISTANCE) {
                let begin = offsets[next as usize] as usize;
                prefetch(&src[begin.min(src.len())..(begin + 1).min(src.len())]);
            }
            let (begin, degree) = (offsets[v as usize], offsets[v as usize + 1] - offsets[v as usize]);
            let draws = degree.min(k as u64) as usize;
            let (own, rest) = std::mem::take(&mut edge).split_at_mut(draws);
            let (own_src, rest_src) = std::mem::take(&mut src_nodes).split_at_mut(draws);
            (edge, src_nodes) = (rest, rest_src);
            if degree <= k as u64 {
                own.iter_mut().zip(begin..).for_each(|(e, at)| *e = at as u32);
                own_src.copy_from_slice(&src[begin as usize..begin as usize + draws]);
                continue;
            }
            for (part, own) in own.chunks_mut(4).enumerate() {
                let bits = random.block((part as u64) << 32 | v as u64);
                for (i, (e, bits)) in own.iter_mut().zip(bits).enumerate() {
                    *e = (begin + stratum((4 * part + i) as u64, bits, k as u64, degree)) as u32;
                }
            }
            own_src.iter_mut().zip(own).for_each(|(t, e)| *t = src[*e as usize]);
        }
    });
    (edge, src_nodes)
}

/// The place below `degree` that draw j of k takes: (j + bits / 2^32) degree / k, rounded down.
#[inline]
fn stratum(j: u64, bits: u32, k: u64, degree: u64) -> u64 {
    ((j << 32 | bits as u64) / k * degree) >> 32
}

fn draw_on_gpu(
    gpu: &Gpu,
    graph: &Graph,
    device: &Device,
    dst_nodes: &[u32],
    out: &[u64],
    k: usize,
    random: Philox,
) -> Result<Vec<u32>> {
    let total = out[dst_nodes.len()] as usize;
    if total == 0 {
        return Ok(vec![]);
    }
    let mut edge = gpu.allocate(total * size_of::<u32>())?;
    gpu.launch(kernels::SAMPLE_NEIGHBOURS, Grid::cover(dst_nodes.len() * k.div_ceil(4), 256))
        .buffer(&mut edge)
        .index(&Index::new(device, dst_nodes.to_vec())?)
        .index(&Index::new(device, out.to_vec())?)
        .index(&graph.offsets)
        .count(dst_nodes.len())
        .count(k)
        .value(random.seed)
        .value(random.stream)
        .run()?;
    edge.read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rank_their_nodes() {
        let level = Level::new(200, &[&[130, 7, 64], &[7, 63, 199]]);
        assert_eq!(level.ids(), [7, 63, 64, 130, 199]);
        assert_eq!(level.places(&[199, 7, 64]), [4, 0, 2]);
        assert!(Level::new(0, &[]).is_empty());
    }

    #[test]
    fn strata_cover_the_row_evenly() {
        for (k, degree) in [(10u64, 11u64), (10, 100_000), (3, 4_294_967_295), (1, 2)] {
            assert_eq!(stratum(0, 0, k, degree), 0);
            assert_eq!(stratum(k - 1, u32::MAX, k, degree), degree - 1);
            for j in 1..k {
                let (low, high) = (stratum(j - 1, u32::MAX, k, degree), stratum(j, 0, k, degree));
                assert!(low <= high && high <= low + 1, "{j} of {k}, {degree}");
            }
        }
    }
}

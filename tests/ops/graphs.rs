//! Graphs that the graph ops are tried on.

use std::sync::Arc;

use waata::engine::{Device, Philox};
use waata::graph::{Edge, Graph};

/// Name, and how it is made: heads, tails, relations, edges.
#[derive(Clone)]
pub struct Example {
    pub name: &'static str,
    pub heads: usize,
    pub tails: usize,
    pub relations: usize,
    pub edges: Vec<Edge>,
    /// Whether the CPU streams over its pairs (a graph of this size would not be worth it).
    pub paired: bool,
    /// Rows of a block that a GPU's launches are ordered by (a graph of this size would not have more than one).
    pub block: Option<usize>,
}

/// Buckets that edges carry.
pub const BUCKETS: usize = 3;

impl Example {
    pub fn on(&self, device: &Device) -> Arc<Graph> {
        let mut graph = Graph::new(device, self.heads, self.tails, self.relations, &self.edges).unwrap();
        if let (Some(block), Device::Gpu(_)) = (self.block, device) {
            let pieces = |g: &Graph| [&g.dst_splits, &g.groups.splits, &g.src_splits].map(|p| p.count());
            let before = pieces(&graph);
            graph = graph.with_blocks(device, block).unwrap();
            let cut = before.iter().zip(pieces(&graph)).all(|(before, after)| *before < after);
            assert!(cut, "{}", self.name);
        }
        if !(self.paired && *device == Device::Cpu) {
            return Arc::new(graph);
        }
        let graph = graph.with_bipartite(device).unwrap();
        assert!(graph.bipartite.is_some(), "{}", self.name);
        Arc::new(graph)
    }

    pub fn groups(&self) -> usize {
        self.on(&Device::Cpu).groups.count
    }
}

fn random(name: &'static str, heads: usize, tails: usize, relations: usize, count: usize, hubs: bool) -> Example {
    let draw = Philox::new(3, count as u64);
    let edges = (0..count as u64).map(|i| {
        let below = |j: u64, n: usize| draw.below_at(4 * i + j, n as u32);
        // Half of all edges leave one head, and a third of all end at one tail.
        let head = if hubs && i % 2 == 0 { 2 } else { below(0, heads) };
        let tail = if hubs && i % 3 == 0 { 1 } else { below(1, tails) };
        Edge { dst: head, src: tail, relation: below(2, relations), bucket: below(3, BUCKETS) }
    });
    Example { name, heads, tails, relations, edges: edges.collect(), paired: false, block: None }
}

/// No edges; one edge; parallel edges and heads and tails without any; rows that are split, with groups that are
/// and relations that none uses; rows that are cut by blocks of the table that they gather from.
pub fn examples() -> Vec<Example> {
    let e = |head, relation, tail, bucket| Edge { dst: head, relation, src: tail, bucket };
    let mut hub = random("hub", 9, 30, 3, 1400, true);
    hub.relations = 4;
    let small = |name, (heads, tails, relations), edges| Example {
        name,
        heads,
        tails,
        relations,
        edges,
        paired: false,
        block: None,
    };
    vec![
        small("no edges", (2, 3, 1), vec![]),
        small("one edge", (1, 1, 1), vec![e(0, 0, 0, 0)]),
        small(
            "parallel",
            (5, 4, 2),
            vec![e(3, 1, 0, 1), e(0, 1, 3, 0), e(0, 0, 3, 2), e(3, 1, 0, 0), e(0, 1, 1, 1), e(4, 0, 2, 0)],
        ),
        random("random", 20, 13, 3, 90, false),
        enrolments(),
        blocks(),
        hub,
    ]
}

/// Learners 0 .. 40 and courses 40 .. 47 that hear each other under one of two relations and their inverses, with
/// parallel enrolments, a learner with many, learners and a course with none; attributes, edges among the courses and
/// the attributes, and attributes without any.
fn enrolments() -> Example {
    const LEARNERS: u32 = 40;
    let draw = Philox::new(4, 0);
    let mut edges = vec![];
    for i in 0..400 {
        let below = |j: u64, n: u32| draw.below_at(8 * i + j, n);
        let learner = if i % 3 == 0 { 7 } else { below(0, LEARNERS - 2) };
        let course = LEARNERS + below(1, 6);
        let kind = below(2, 4) / 3;
        edges.push(Edge { dst: learner, relation: kind, src: course, bucket: below(3, BUCKETS as u32) });
        edges.push(Edge { dst: course, relation: 4 - kind, src: learner, bucket: below(4, BUCKETS as u32) });
    }
    for i in 0..30 {
        let below = |j: u64, n: u32| draw.below_at(10_000 + 8 * i + j, n);
        let (head, tail) = (LEARNERS + below(0, 9), LEARNERS + below(1, 9));
        let relation = [2, 5][below(2, 2) as usize];
        edges.push(Edge { dst: head, relation, src: tail, bucket: below(3, BUCKETS as u32) });
    }
    Example { name: "enrolments", heads: 52, tails: 52, relations: 6, edges, paired: true, block: None }
}

/// Long rows on both sides whose entries ascend, as those of courses do, and a few nodes to a block.
fn blocks() -> Example {
    let mut example = random("blocks", 14, 40, 2, 1000, true);
    example.edges.sort_by_key(|e| e.src);
    Example { block: Some(6), ..example }
}

/// The one of this name.
pub fn example(name: &str) -> Example {
    examples().into_iter().find(|e| e.name == name).unwrap()
}

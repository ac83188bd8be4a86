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
}

/// Buckets that edges carry.
pub const BUCKETS: usize = 3;

impl Example {
    pub fn on(&self, device: &Device) -> Arc<Graph> {
        Arc::new(Graph::new(device, self.heads, self.tails, self.relations, &self.edges).unwrap())
    }

    pub fn groups(&self) -> usize {
        self.on(&Device::Cpu).groups.count
    }
}

fn random(
    name: &'static str,
    heads: usize,
    tails: usize,
    relations: usize,
    count: usize,
    hubs: bool,
) -> Example {
    let draw = Philox::new(3, count as u64);
    let edges = (0..count as u64).map(|i| {
        let below = |j: u64, n: usize| draw.below_at(4 * i + j, n as u32);
        // Half of all edges leave one head, and a third of all end at one tail.
        let head = if hubs && i % 2 == 0 { 2 } else { below(0, heads) };
        let tail = if hubs && i % 3 == 0 { 1 } else { below(1, tails) };
        Edge { head, tail, relation: below(2, relations), bucket: below(3, BUCKETS) }
    });
    Example { name, heads, tails, relations, edges: edges.collect() }
}

/// No edges; one edge; parallel edges and heads and tails without any; rows that are split, with groups that are
/// and relations that none uses.
pub fn examples() -> Vec<Example> {
    let e = |head, relation, tail, bucket| Edge { head, relation, tail, bucket };
    let mut hub = random("hub", 9, 30, 3, 1400, true);
    hub.relations = 4;
    vec![
        Example { name: "no edges", heads: 2, tails: 3, relations: 1, edges: vec![] },
        Example { name: "one edge", heads: 1, tails: 1, relations: 1, edges: vec![e(0, 0, 0, 0)] },
        Example {
            name: "parallel",
            heads: 5,
            tails: 4,
            relations: 2,
            edges: vec![
                e(3, 1, 0, 1),
                e(0, 1, 3, 0),
                e(0, 0, 3, 2),
                e(3, 1, 0, 0),
                e(0, 1, 1, 1),
                e(4, 0, 2, 0),
            ],
        },
        random("random", 20, 13, 3, 90, false),
        hub,
    ]
}

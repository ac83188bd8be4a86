//! How many nodes, edges and groups a step draws, hop by hop: tried on the data set itself, without its graph. Learners
//! of a course are drawn from all enrolments, which needs no list of them; as many come out as of the course's own.

use std::collections::HashSet;

use super::sizes::{Counts, Hop, Work};
use crate::config::{Config, Ranking};
use crate::data::{Dataset, Split};
use crate::engine::Philox;
use crate::graph::PIECE;

const STREAM: u64 = 0x706C_616E;

struct Draws<'a> {
    data: &'a Dataset,
    splits: &'a [Split],
    random: Philox,
    at: u64,
    /// First neighbour in the knowledge graph of each entity, and (relation, neighbour), by relation.
    first: Vec<u64>,
    related: Vec<(u32, u32)>,
}

impl Draws<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.at += 1;
        self.random.below_at(self.at, n.max(1) as u32) as usize
    }

    /// A row that training knows, as (learner, row).
    fn row(&mut self) -> (usize, usize) {
        let offsets = &self.data.interactions.offsets;
        loop {
            let r = self.below(self.data.enrolments());
            if self.splits.contains(&self.data.interactions.split[r]) {
                return (offsets.partition_point(|&o| o <= r as u64) - 1, r);
            }
        }
    }
}

/// The hops of one step, the batch's own nodes first; the last has no edges of its own.
pub(super) fn hops(config: &Config, data: &Dataset, splits: &[Split], c: &Counts, w: &Work) -> Vec<Hop> {
    if c.known == 0 || config.model.fan_out.is_empty() {
        return vec![];
    }
    let (first, related) = neighbours(config, data);
    let random = Philox::new(config.seed, STREAM);
    let mut draws = Draws { data, splits, random, at: 0, first, related };
    let shift = data.learners();
    let mut level: HashSet<u32> = HashSet::new();
    for _ in 0..w.rows {
        let (u, r) = draws.row();
        level.extend([u as u32, (shift + data.interactions.course[r] as usize) as u32]);
    }
    match config.loss.ranking {
        Ranking::Softmax => level.extend((shift..shift + data.courses).map(|v| v as u32)),
        _ => level.extend((w.rows..w.pairs).map(|_| (shift + draws.below(data.courses)) as u32)),
    }
    let mut hops = vec![];
    for &k in &config.model.fan_out {
        let mut hop = Hop { nodes: level.len(), ..Hop::default() };
        let mut heads: Vec<u32> = level.iter().copied().collect();
        heads.sort_unstable();
        for v in heads.into_iter().map(|v| v as usize) {
            let (tails, groups) = draw(config, c, &mut draws, v, k);
            hop.edges += tails.len();
            hop.groups += groups;
            hop.pieces += tails.len().div_ceil(PIECE as usize);
            level.extend(tails);
        }
        hops.push(hop);
    }
    let triples = level.len() + if w.joint { w.triple_nodes } else { 0 };
    hops.push(Hop { nodes: triples.min(c.nodes), ..Hop::default() });
    hops
}

/// Tails that node `v` is given of at most `k`, and how many groups they make.
fn draw(config: &Config, c: &Counts, draws: &mut Draws, v: usize, k: usize) -> (Vec<u32>, usize) {
    let (data, itself) = (draws.data, usize::from(config.attention.self_loop));
    if v < data.learners() {
        let known: Vec<usize> =
            data.rows(v).filter(|&r| draws.splits.contains(&data.interactions.split[r])).collect();
        let (degree, mut tails) = (known.len() + itself, vec![]);
        for j in 0..degree.min(k) {
            let place = if degree > k { draws.below(degree) } else { j };
            tails.push(
                known
                    .get(place)
                    .map_or(v as u32, |&r| (data.learners() + data.interactions.course[r] as usize) as u32),
            );
        }
        let groups = usize::from(!known.is_empty()) + itself.min(tails.len());
        return (tails, groups);
    }
    let entity = v - data.learners();
    let (begin, end) = (draws.first[entity] as usize, draws.first[entity + 1] as usize);
    let taken = c.degree.get(entity).map_or(0, |&d| d as usize);
    let degree = end - begin + taken + itself;
    let (mut tails, mut relations) = (vec![], HashSet::new());
    for j in 0..degree.min(k) {
        let place = if degree > k { draws.below(degree) } else { j };
        if place < end - begin {
            let (relation, tail) = draws.related[begin + place];
            relations.insert(relation);
            tails.push((data.learners() + tail as usize) as u32);
        } else if place < end - begin + taken {
            relations.insert(u32::MAX);
            tails.push(draws.row().0 as u32);
        } else {
            relations.insert(u32::MAX - 1);
            tails.push(v as u32);
        }
    }
    (tails, relations.len())
}

/// The knowledge graph by entity, both ways.
fn neighbours(config: &Config, data: &Dataset) -> (Vec<u64>, Vec<(u32, u32)>) {
    let triples = if config.kg.propagate { &data.triples[..] } else { &[] };
    let both = |&[h, r, t]: &[u32; 3]| [(h, 2 * r, t), (t, 2 * r + 1, h)];
    let mut edges: Vec<(u32, u32, u32)> = triples.iter().flat_map(both).collect();
    edges.sort_unstable();
    let mut first = vec![0u64; data.entities() + 1];
    edges.iter().for_each(|e| first[e.0 as usize + 1] += 1);
    for v in 0..data.entities() {
        first[v + 1] += first[v];
    }
    (first, edges.into_iter().map(|(_, r, t)| (r, t)).collect())
}

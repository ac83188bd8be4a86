//! Counts of a data set as a run sees it, found in a few passes over its enrolments and triples.

use crate::config::{Config, EncoderKind, KnownHistory, PositiveDraw, Propagation, Ranking};
use crate::data::{Dataset, Split};
use crate::graph::PIECE;

/// Sizes of a graph that propagation runs on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GraphSize {
    pub heads: usize,
    pub tails: usize,
    pub edges: usize,
    /// Distinct (head, relation).
    pub groups: usize,
    pub relations: usize,
    /// Enrolments that the CPU streams over, and their courses; 0 where it does not (`graph::BipartiteEdges`).
    pub streamed: (usize, usize),
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub learners: usize,
    pub courses: usize,
    pub enrolments: usize,
    /// Enrolments that training knows, and those to predict in validation and test.
    pub known: usize,
    pub relevant: [usize; 2],
    /// Learners that have some to predict.
    pub asked: [usize; 2],
    /// Positives of an epoch, and the mean length of their histories and of those of test learners.
    pub positives: usize,
    pub history: f64,
    pub test_history: f64,
    /// The graph of the whole run.
    pub graph: GraphSize,
    /// Triples that TransD learns.
    pub taught: usize,
    /// (nodes) edges and groups of each node of the graph.
    degree: Vec<u32>,
    groups: Vec<u32>,
}

/// Levels of a sampled step, the batch's own nodes first: nodes, and the edges and groups of their hop.
pub(super) type Level = [usize; 3];

impl Counts {
    pub fn new(config: &Config, data: &Dataset, splits: &[Split]) -> Counts {
        let mut c = Counts {
            learners: data.learners(),
            courses: data.courses,
            enrolments: data.enrolments(),
            ..Counts::default()
        };
        let before = match config.train.history {
            KnownHistory::Auto => data.splits_by_time(),
            KnownHistory::Before => true,
            KnownHistory::Others => false,
        };
        let (mut lengths, mut test_lengths) = (0.0, 0.0);
        let mut known_of = vec![0u32; data.learners()];
        for (u, known_of) in known_of.iter_mut().enumerate() {
            let mut of = [0usize; 3];
            data.rows(u).for_each(|r| of[data.interactions.split[r].index()] += 1);
            let known: usize = splits.iter().map(|&s| of[s.index()]).sum();
            for (i, relevant) in [of[1], of[2]].into_iter().enumerate() {
                c.relevant[i] += relevant;
                c.asked[i] += usize::from(relevant > 0);
            }
            *known_of = known as u32;
            c.known += known;
            let drawn = match config.train.positives_per_learner {
                0 => known,
                n => n.min(known),
            };
            c.positives += drawn;
            lengths += drawn as f64 * mean_history(config, before, known);
            let kept = known.min(config.model.max_history);
            test_lengths += if of[2] > 0 { kept as f64 } else { 0.0 };
        }
        c.history = lengths / c.positives.max(1) as f64;
        c.test_history = test_lengths / c.asked[1].max(1) as f64;
        c.count_graph(config, data, splits, &known_of);
        c
    }

    fn count_graph(&mut self, config: &Config, data: &Dataset, splits: &[Split], known_of: &[u32]) {
        let relations = 2 * data.relations() + 2 + usize::from(config.attention.self_loop);
        if config.model.encoder == EncoderKind::Table {
            let nodes = self.learners + self.courses;
            self.graph = GraphSize { heads: nodes, tails: nodes, relations, ..GraphSize::default() };
            return;
        }
        let full = config.model.propagation == Propagation::Full;
        let shift = if full { self.learners } else { 0 };
        let nodes = shift + data.entities();
        (self.degree, self.groups) = (vec![0; nodes], vec![0; nodes]);
        if config.kg.propagate {
            let mut groups: Vec<u64> = Vec::with_capacity(2 * data.triples.len());
            for &[h, r, t] in &data.triples {
                for (v, r) in [(h, 2 * r), (t, 2 * r + 1)] {
                    self.degree[shift + v as usize] += 1;
                    groups.push(u64::from(v) << 32 | u64::from(r));
                }
            }
            groups.sort_unstable();
            groups.dedup();
            groups.iter().for_each(|g| self.groups[shift + (g >> 32) as usize] += 1);
        }
        if full {
            for (u, &known) in known_of.iter().enumerate() {
                (self.degree[u], self.groups[u]) = (known, u32::from(known > 0));
            }
            for (course, &taken) in data.course_degrees(splits).iter().enumerate() {
                self.degree[shift + course] += taken;
                self.groups[shift + course] += u32::from(taken > 0);
            }
        }
        if config.attention.self_loop {
            self.degree.iter_mut().chain(&mut self.groups).for_each(|n| *n += 1);
        }
        let sum = |of: &[u32]| of.iter().map(|&n| n as usize).sum();
        let streams = full && config.model.fan_out.is_empty() && self.known >= 128 * self.courses;
        let streams = streams && !config.attention.self_loop && self.courses <= 64 * 1024;
        self.graph = GraphSize {
            heads: nodes,
            tails: nodes,
            edges: sum(&self.degree),
            groups: sum(&self.groups),
            relations,
            streamed: if streams { (self.known, self.courses) } else { (0, 0) },
        };
        let enrolments = if config.kg.enrolments && full { 2 * self.known } else { 0 };
        self.taught = enrolments + if config.kg.propagate { 2 * data.triples.len() } else { 0 };
    }

    /// Rows and pairs of a batch of `rows` positives.
    pub fn pairs(&self, config: &Config, rows: usize) -> usize {
        rows * (1 + if self.courses > 1 { config.train.negatives } else { 0 })
    }

    /// Courses whose vectors a sampled step makes.
    pub fn courses_of_batch(&self, config: &Config, rows: usize) -> usize {
        match config.loss.ranking {
            Ranking::Softmax => self.courses,
            _ => distinct(self.pairs(config, rows), self.courses),
        }
    }

    /// What a sampled step on `rows` positives reads, on average: each node is in a level with a probability, which
    /// follows from those of the nodes that may draw it. `extra`: nodes of triples.
    pub fn levels(
        &self,
        config: &Config,
        (data, splits): (&Dataset, &[Split]),
        rows: usize,
        extra: usize,
    ) -> Vec<Level> {
        let (n, shift, known) = (self.graph.heads, self.learners, self.known.max(1) as f64);
        let chance = |expected: f64| 1.0 - (-expected).exp();
        let mut level = vec![0f64; n];
        let negatives = (self.pairs(config, rows) - rows) as f64 / self.courses.max(1) as f64;
        for (u, p) in level[..shift].iter_mut().enumerate() {
            *p = chance(rows as f64 * f64::from(self.degree[u]) / known);
        }
        let degrees = data.course_degrees(splits);
        for (p, &taken) in level[shift..].iter_mut().zip(&degrees) {
            *p = match config.loss.ranking {
                Ranking::Softmax => 1.0,
                _ => chance(rows as f64 * f64::from(taken) / known + negatives),
            };
        }
        let mut levels = vec![];
        for &k in &config.model.fan_out {
            let drawn = |v: usize| f64::from(self.degree[v].min(k as u32));
            let groups = |v: usize| drawn(v).min(f64::from(self.groups[v]));
            let sum = |of: &dyn Fn(usize) -> f64| -> usize {
                level.iter().enumerate().map(|(v, p)| p * of(v)).sum::<f64>() as usize
            };
            levels.push([sum(&|_| 1.0), sum(&drawn), sum(&groups)]);
            // Each edge of a node in the level is drawn with the same chance.
            let share: Vec<f64> =
                (0..n).map(|v| level[v] * drawn(v) / f64::from(self.degree[v].max(1))).collect();
            let mut heard = vec![0f64; n];
            let mut edge = |a: usize, b: usize| {
                heard[b] += share[a];
                heard[a] += share[b];
            };
            for u in 0..self.learners {
                for r in data.rows(u).filter(|&r| splits.contains(&data.interactions.split[r])) {
                    edge(u, shift + data.interactions.course[r] as usize);
                }
            }
            if config.kg.propagate {
                data.triples.iter().for_each(|&[h, _, t]| edge(shift + h as usize, shift + t as usize));
            }
            for (p, heard) in level.iter_mut().zip(heard) {
                *p = 1.0 - (1.0 - *p) * (-heard).exp();
            }
        }
        let last = level.iter().sum::<f64>() as usize;
        levels.push([(last + extra).min(n), 0, 0]);
        levels
    }
}

/// Mean length of the history of a drawn positive of a learner with `known` enrolments: those before it, or all others.
fn mean_history(config: &Config, before: bool, known: usize) -> f64 {
    let late = config.train.positives_per_learner > 0 && config.train.draw == PositiveDraw::Late;
    let kept = f64::from(1.0 - config.model.history_dropout);
    let (mut sum, mut weights) = (0.0, 0.0);
    for i in 0..known {
        let weight = if late { (i + 1) as f64 } else { 1.0 };
        let length = (if before { i } else { known - 1 }) as f64 * kept;
        sum += weight * length.min(config.model.max_history as f64);
        weights += weight;
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// Distinct numbers among `draws` of `n`, on average.
pub(super) fn distinct(draws: usize, n: usize) -> usize {
    let n = n.max(1) as f64;
    (n * (1.0 - (-(draws as f64) / n).exp())).round() as usize
}

/// Bytes of the lists of `Graph::from_sorted`.
pub(super) fn graph_lists(g: &GraphSize) -> usize {
    let cut = |n: usize| 24 * n + n / 256 * 8;
    let pieces = g.heads.min(g.edges) + g.edges / PIECE as usize;
    let tail_pieces = g.tails.min(g.edges) + g.edges / PIECE as usize;
    let of_groups = g.groups + g.edges / PIECE as usize;
    let streamed = match g.streamed {
        (0, _) => 0,
        (enrolments, courses) => {
            16 * enrolments + 4 * (g.edges - enrolments) + 8 * (g.heads - courses.min(g.heads)).min(g.groups)
        }
    };
    20 * g.edges
        + 8 * (g.heads + g.tails)
        + (cut(pieces) + 8 * g.heads)
        + (cut(tail_pieces) + 8 * g.tails)
        + 20 * g.groups
        + 8 * g.heads
        + (cut(of_groups) + 8 * g.groups)
        + (cut(g.heads.min(g.groups)) + 8 * g.heads)
        + streamed
}

/// Bytes of the lists of `Rows` of `ids` ids, of which `distinct` are distinct; on a GPU they are filled up.
pub(super) fn rows_lists(ids: usize, distinct: usize, on_gpu: bool) -> usize {
    if on_gpu { 28 * ids + ids / 8 } else { 8 * ids + 20 * distinct.min(ids) }
}

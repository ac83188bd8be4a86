//! The numbers that sizes of memory follow from: those of a data set, of a step's batch, of a block of learners to rank.

use crate::config::{Config, EncoderKind, KnownHistory, LabelSpace, PositiveDraw, Propagation, Ranking};
use crate::data::{Dataset, Split};
use crate::graph::PIECE;

/// Counts of a data set, as a run on it sees them. Everything is found in a pass over the enrolments and one over the
/// triples.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub learners: usize,
    pub courses: usize,
    pub entities: usize,
    /// Enrolments, those that training knows, and those to find in the validation and in the test.
    pub enrolments: usize,
    pub known: usize,
    pub wanted: [usize; 2],
    /// Learners that training knows an enrolment of, and those with something to find.
    pub active: usize,
    pub asked: [usize; 2],
    /// Positives of an epoch, and how long the history of each is on average.
    pub positives: usize,
    pub history: f64,
    /// How long the history of a learner to be ranked is on average.
    pub known_history: f64,
    /// (courses) enrolments that training knows.
    pub degree: Vec<u32>,
    /// Triples of the knowledge graph that propagation runs on, with the groups of their edges.
    pub triples: usize,
    pub triple_groups: usize,
    /// (entities) edges of the knowledge graph at each, either way.
    pub related: Vec<u32>,
    pub nodes: usize,
    pub edges: usize,
    pub groups: usize,
    /// Nodes that have edges, and pieces of their rows.
    pub heads: usize,
    pub pieces: usize,
    /// Edges of learners, where they are nodes.
    pub of_learners: usize,
}

impl Counts {
    pub fn new(config: &Config, data: &Dataset, splits: &[Split]) -> Counts {
        let mut c = Counts {
            learners: data.learners(),
            courses: data.courses,
            entities: data.entities(),
            enrolments: data.enrolments(),
            degree: data.course_degrees(splits),
            ..Counts::default()
        };
        let most = config.model.max_history;
        let before = match config.train.history {
            KnownHistory::Auto => data.splits_by_time(),
            KnownHistory::Before => true,
            KnownHistory::Others => false,
        };
        let (mut lengths, mut known_lengths) = (0.0, 0.0);
        let mut learner_pieces = 0;
        for u in 0..data.learners() {
            let mut of = [0usize; 3];
            data.rows(u).for_each(|r| of[data.interactions.split[r].index()] += 1);
            let known: usize = splits.iter().map(|&s| of[s.index()]).sum();
            for (i, wanted) in [of[1], of[2]].into_iter().enumerate() {
                c.wanted[i] += wanted;
                c.asked[i] += usize::from(wanted > 0);
            }
            c.known += known;
            c.active += usize::from(known > 0);
            learner_pieces += known.div_ceil(PIECE as usize);
            let drawn = match config.train.positives_per_learner {
                0 => known,
                n => n.min(known),
            };
            c.positives += drawn;
            lengths += drawn as f64 * mean_history(config, before, known, most);
            known_lengths += if of[2] > 0 { known.min(most) as f64 } else { 0.0 };
        }
        c.history = lengths / c.positives.max(1) as f64;
        c.known_history = known_lengths / c.asked[1].max(1) as f64;
        c.graph(config, data, learner_pieces);
        c
    }

    fn graph(&mut self, config: &Config, data: &Dataset, learner_pieces: usize) {
        if config.model.encoder == EncoderKind::Table {
            self.nodes = self.learners + self.courses;
            return;
        }
        let full = config.model.propagation == Propagation::Full;
        self.related = vec![0; self.entities];
        if config.kg.propagate {
            self.triples = data.triples.len();
            let mut groups: Vec<u64> = Vec::with_capacity(2 * data.triples.len());
            for &[h, r, t] in &data.triples {
                self.related[h as usize] += 1;
                self.related[t as usize] += 1;
                groups.extend([((h as u64) << 32) | (2 * r as u64), ((t as u64) << 32) | (2 * r as u64 + 1)]);
            }
            groups.sort_unstable();
            groups.dedup();
            self.triple_groups = groups.len();
        }
        let (learners, known) = if full { (self.learners, self.known) } else { (0, 0) };
        let itself = usize::from(config.attention.self_loop);
        self.nodes = learners + self.entities;
        self.of_learners = known + itself * learners;
        self.edges = 2 * self.triples + 2 * known + itself * self.nodes;
        self.groups = self.triple_groups + itself * self.nodes;
        (self.heads, self.pieces) = if full { (self.active, learner_pieces) } else { (0, 0) };
        for v in 0..self.entities {
            let taken = if full { self.degree.get(v).map_or(0, |&d| d as usize) } else { 0 };
            let degree = taken + self.related[v] as usize + itself;
            self.groups += usize::from(taken > 0);
            self.heads += usize::from(degree > 0);
            self.pieces += degree.div_ceil(PIECE as usize);
        }
        if full {
            self.groups += self.active;
            self.heads += itself * (self.learners - self.active);
        }
    }

    /// Triples that TransD learns.
    pub fn taught(&self, config: &Config) -> usize {
        let enrolments = config.kg.enrolments && config.model.propagation == Propagation::Full;
        2 * self.triples + if enrolments { 2 * self.known } else { 0 }
    }
}

/// Mean length of what a drawn positive of a learner with `known` enrolments is known by: those before it, or all others.
fn mean_history(config: &Config, before: bool, known: usize, most: usize) -> f64 {
    let late = config.train.positives_per_learner > 0 && config.train.draw == PositiveDraw::Late;
    let (mut sum, mut weights) = (0.0, 0.0);
    for i in 0..known {
        let weight = if late { (i + 1) as f64 } else { 1.0 };
        let heard =
            (if before { i } else { known - 1 }) as f64 * f64::from(1.0 - config.model.history_dropout);
        sum += weight * heard.min(most as f64);
        weights += weight;
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// One hop of a sampled step, or all of it where it is the last: nodes, and what they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Hop {
    pub nodes: usize,
    pub edges: usize,
    pub groups: usize,
    pub pieces: usize,
}

/// What a step and a block of the ranking work on.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    /// Positives, pairs, courses among them, and places in histories with the rows that have one.
    pub rows: usize,
    pub pairs: usize,
    pub asked: usize,
    pub history: [usize; 2],
    pub triples: usize,
    pub triple_nodes: usize,
    /// Whether a step learns triples, too.
    pub joint: bool,
    pub hops: Vec<Hop>,
    /// Learners ranked at once, their histories, and pairs judged at once.
    pub ranked: usize,
    pub ranked_history: [usize; 2],
    pub judged: usize,
}

impl Work {
    /// The same with so much more of what varies from step to step.
    pub fn fuller(&mut self, factor: f64) {
        let more = |n: &mut usize| *n = (*n as f64 * factor).round() as usize;
        more(&mut self.history[0]);
        for hop in &mut self.hops {
            [&mut hop.nodes, &mut hop.edges, &mut hop.groups, &mut hop.pieces].into_iter().for_each(more);
        }
    }
}

/// Names of the sizes, for whoever asks how a number came about.
pub(super) type Sizes = Vec<(String, f64)>;

/// Every number that a size may be proportional to; equal ones stay apart by their names.
pub(super) fn sizes(c: &Counts, w: &Work) -> Sizes {
    let mut all: Vec<(String, usize)> = [
        ("nodes", c.nodes),
        ("edges", c.edges),
        ("groups", c.groups),
        ("heads", c.heads),
        ("pieces", c.pieces),
        ("learners", c.learners),
        ("entities", c.entities),
        ("courses", c.courses),
        ("edges of learners", c.of_learners),
        ("edges of entities", c.edges - c.of_learners),
        ("groups of entities", c.groups.saturating_sub(c.active)),
        ("active learners", c.active),
        ("rows", w.rows),
        ("pairs", w.pairs),
        ("courses asked", w.asked),
        ("histories", w.history[0]),
        ("rows with history", w.history[1]),
        ("triples of a batch", w.triples),
        ("nodes of triples", w.triple_nodes),
        ("rows x courses", w.rows * c.courses),
        ("learners ranked", w.ranked),
        ("histories ranked", w.ranked_history[0]),
        ("learners ranked with history", w.ranked_history[1]),
        ("learners ranked x courses", w.ranked * c.courses),
        ("pairs judged", w.judged),
    ]
    .map(|(name, n)| (name.to_string(), n))
    .into();
    for (h, hop) in w.hops.iter().enumerate() {
        let of = [("nodes", hop.nodes), ("edges", hop.edges), ("groups", hop.groups), ("pieces", hop.pieces)];
        all.extend(of.map(|(name, n)| (format!("{name} of hop {h}"), n)));
    }
    all.into_iter().map(|(name, n)| (name, n as f64)).collect()
}

/// What a step of `batch` positives and a ranking of `block` learners work on; hops are left to `hops`.
pub(super) fn work(config: &Config, c: &Counts, (batch, block): (usize, usize), joint: bool) -> Work {
    let rows = batch.min(c.positives);
    let negatives = if c.courses > 1 { config.train.negatives } else { 0 };
    let pairs = rows * (1 + negatives);
    let asked = match config.loss.ranking {
        Ranking::Softmax => c.courses,
        _ => distinct(pairs, c.courses),
    };
    let triples = config.kg.batch_size.min(c.taught(config));
    let ranked = block.min(c.asked[0].max(c.asked[1]));
    let [history, ranked_history] =
        [(rows, c.history), (ranked, c.known_history)].map(|(n, mean)| [(n as f64 * mean) as usize, n]);
    // Of the test: an enrolment and a course that was not taken.
    let judged = 2 * ranked * c.wanted[1] / c.asked[1].max(1);
    let triple_nodes = distinct(3 * triples, c.nodes);
    let hops = vec![];
    Work { rows, pairs, asked, history, triples, triple_nodes, joint, hops, ranked, ranked_history, judged }
}

/// Distinct numbers among `draws` of `n`, on average.
pub(super) fn distinct(draws: usize, n: usize) -> usize {
    let n = n.max(1) as f64;
    (n * (1.0 - (-(draws as f64) / n).exp())).round() as usize
}

/// Whether labels count on enrolments alone.
pub(super) fn masks(config: &Config) -> bool {
    config.loss.label_space == LabelSpace::Enrolled
}

//! Batches of an epoch: positives in a random order, their learners' histories, and negatives.
//!
//! Every choice is a counter-based random number of (seed, epoch, index): a resumed run goes on with the batches
//! that it would have seen.

use rayon::prelude::*;

use crate::config::{Config, KnownHistory, LabelSpace, PositiveDraw, Propagation, Ranking};
use crate::data::negatives::NegativeSampler;
use crate::data::{CourseLists, Dataset, Split};
use crate::engine::Philox;
use crate::graph::{Corruption, Corruptor};
use crate::models::{self, Batch, ENROLLED, Learners, TripleBatch};
use crate::{Error, Result};

const ORDER_STREAM: u64 = 0x6F72_6465;
const DRAW_STREAM: u64 = 0x6472_6177;
const DROP_STREAM: u64 = 0x6472_6F70;
const TRIPLE_STREAM: u64 = 0x7472_6970;
const CORRUPT_STREAM: u64 = 0x636F_7272;

pub struct Sampler<'a> {
    data: &'a Dataset,
    config: &'a Config,
    splits: &'a [Split],
    /// (learner, row) of each positive.
    positives: Vec<(u32, u32)>,
    /// First positive of each learner, learners + 1.
    first: Vec<u32>,
    taken: CourseLists,
    /// Column in the data set's labels of each task; `None` is enrolment itself.
    labels: Vec<Option<usize>>,
    /// A learner is known by the courses before a positive, not by all the others.
    before: bool,
}

impl<'a> Sampler<'a> {
    /// `splits`: what training may know and learn from.
    pub fn new(data: &'a Dataset, config: &'a Config, splits: &'a [Split], tasks: &[String]) -> Result<Sampler<'a>> {
        let mut positives = vec![];
        let mut first = Vec::with_capacity(data.learners() + 1);
        for u in 0..data.learners() {
            first.push(positives.len() as u32);
            let rows = data.rows(u).filter(|&r| splits.contains(&data.interactions.split[r]));
            positives.extend(rows.map(|r| (u as u32, r as u32)));
        }
        first.push(positives.len() as u32);
        if positives.is_empty() {
            return Err(Error::config(
                "data",
                "no enrolment is in the train part",
                "prepare the data set with another --split",
            ));
        }
        let labels = tasks
            .iter()
            .map(|task| if task == ENROLLED { Ok(None) } else { data.require_label(task).map(Some) })
            .collect::<Result<_>>()?;
        let before = match config.train.history {
            KnownHistory::Auto => data.splits_by_time(),
            KnownHistory::Before if !data.interactions.has_time => {
                return Err(Error::config(
                    "train.history",
                    "the data set has no times, so nothing is known to come before",
                    "use --set train.history=others, or prepare the data set with times",
                ));
            }
            KnownHistory::Before => true,
            KnownHistory::Others => false,
        };
        let taken = data.course_lists(splits);
        Ok(Sampler { data, config, splits, positives, first, taken, labels, before })
    }

    /// Positives of one epoch, in the order of its batches.
    pub fn epoch(&self, epoch: u64) -> Vec<u32> {
        let order = Philox::new(self.config.seed, ORDER_STREAM ^ (epoch << 32));
        let draw = Philox::new(self.config.seed, DRAW_STREAM ^ (epoch << 32));
        let per_learner = self.config.train.positives_per_learner;
        let mut chosen: Vec<u32> = match per_learner {
            0 => (0..self.positives.len() as u32).collect(),
            _ => (0..self.data.learners())
                .flat_map(|u| {
                    let mut own: Vec<u32> = (self.first[u]..self.first[u + 1]).collect();
                    choose(&mut own, per_learner, self.config.train.draw, draw, u as u64);
                    own
                })
                .collect(),
        };
        order.shuffle(&mut chosen);
        chosen
    }

    /// The batch of some positives of `epoch`.
    pub fn batch(&self, epoch: u64, positives: &[u32]) -> Batch {
        let train = &self.config.train;
        let q = train.negatives;
        let sampler = NegativeSampler::new(self.config.seed, epoch, self.data.courses, q);
        let with_history = self.config.model.propagation == Propagation::History
            || (self.config.loss.ranking == Ranking::Softmax && self.config.loss.softmax_mask_seen);
        let rows: Vec<_> = positives
            .par_iter()
            .map(|&p| {
                let (learner, row) = self.positives[p as usize];
                let mut negatives = vec![0; q];
                let drawn = sampler.draw(p as u64, self.taken.of(learner as usize), &mut negatives);
                negatives.truncate(drawn);
                let history = if with_history { self.history(epoch, p, learner, row) } else { vec![] };
                (history, negatives)
            })
            .collect();
        let k = self.labels.len();
        let mut batch = Batch {
            learners: Learners::new(),
            positive: Vec::with_capacity(positives.len()),
            negative: vec![],
            pair_row: vec![],
            pair_course: vec![],
            labels: vec![],
            mask: (self.config.loss.label_space == LabelSpace::Enrolled).then(Vec::new),
            triples: None,
        };
        for (i, (&p, (history, negatives))) in positives.iter().zip(rows).enumerate() {
            let (learner, row) = self.positives[p as usize];
            let course = self.data.interactions.course[row as usize];
            batch.learners.id.push(learner);
            batch.learners.histories.push(history);
            batch.positive.push(course);
            // A learner of every course has no negative: the positive stands in, and its BPR term is constant.
            batch.negative.push(negatives.first().copied().unwrap_or(course));
            batch.pair_row.push(i as u32);
            batch.pair_course.push(course);
            batch.labels.extend(self.labels.iter().map(|label| match label {
                None => 1.0,
                Some(column) => self.data.interactions.label_values[*column][row as usize] as f32,
            }));
            if let Some(mask) = &mut batch.mask {
                mask.extend(std::iter::repeat_n(1.0, k));
            }
            for course in negatives {
                if let Some(mask) = &mut batch.mask {
                    mask.extend(self.labels.iter().map(|label| if label.is_none() { 1.0 } else { 0.0 }));
                }
                batch.pair_row.push(i as u32);
                batch.pair_course.push(course);
                batch.labels.extend(std::iter::repeat_n(0.0, k));
            }
        }
        batch
    }

    /// What the learner of a positive is known by, with what became of it: the courses before it, or all the others
    /// where they will be heard together with later ones; the positive itself is never among them.
    fn history(&self, epoch: u64, positive: u32, learner: u32, row: u32) -> Vec<(u32, u8)> {
        let split = &self.data.interactions.split;
        let known = self.data.rows(learner as usize).filter(|&r| self.splits.contains(&split[r]));
        let mut rows: Vec<usize> = match self.before {
            true => known.take_while(|&r| r < row as usize).collect(),
            false => known.filter(|&r| r != row as usize).collect(),
        };
        let rate = self.config.model.history_dropout;
        if rate > 0.0 {
            let random = Philox::new(self.config.seed, DROP_STREAM ^ (epoch << 32));
            let mut at = (positive as u64) << 20;
            rows.retain(|_| {
                at += 1;
                random.uniform_at(at) >= rate
            });
        }
        models::history(self.data, self.config, &rows)
    }
}

/// Keeps `n` of the items, drawn without replacement.
fn choose(items: &mut Vec<u32>, n: usize, draw: PositiveDraw, random: Philox, learner: u64) {
    let n = n.min(items.len());
    for i in 0..n {
        let left = items.len() - i;
        let at = learner << 16 | i as u64;
        let j = match draw {
            PositiveDraw::Uniform => random.below_at(at, left as u32) as usize,
            // The square root of a uniform number has a density that rises with its argument.
            PositiveDraw::Late => ((random.uniform_at(4 * at).sqrt() * left as f32) as usize).min(left - 1),
        };
        // What is left stays in time order behind the chosen ones.
        items[i..=i + j].rotate_right(1);
    }
    items.truncate(n);
}

/// Batches of triples with their corruptions.
pub struct TripleSampler {
    triples: Vec<[u32; 3]>,
    corruptor: Corruptor,
    kind: Corruption,
    seed: u64,
}

impl TripleSampler {
    /// `triples` in node ids of a graph of `nodes` nodes and `relations` relations.
    pub fn new(config: &Config, triples: Vec<[u32; 3]>, nodes: usize, relations: usize) -> Result<TripleSampler> {
        let corruptor = Corruptor::new(nodes, relations, &triples)?;
        Ok(TripleSampler { triples, corruptor, kind: config.kg.corruption, seed: config.seed })
    }

    pub fn len(&self) -> usize {
        self.triples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.triples.is_empty()
    }

    /// A random order of all triples for one epoch.
    pub fn epoch(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.triples.len() as u32).collect();
        Philox::new(self.seed, TRIPLE_STREAM ^ (epoch << 32)).shuffle(&mut order);
        order
    }

    /// The batch of `order[first .. first + size]`, around the end of the order where it is shorter.
    pub fn batch(&self, epoch: u64, order: &[u32], first: usize, size: usize) -> Result<TripleBatch> {
        let chosen = (0..size.min(order.len())).map(|i| self.triples[order[(first + i) % order.len()] as usize]);
        let mut batch = TripleBatch::default();
        for [head, relation, tail] in chosen {
            batch.head.push(head);
            batch.relation.push(relation);
            batch.tail.push(tail);
        }
        let random = Philox::new(self.seed, CORRUPT_STREAM);
        let columns = (&batch.head[..], &batch.relation[..], &batch.tail[..]);
        let at = (epoch, first as u64);
        (batch.negative_head, batch.negative_tail) = self.corruptor.corrupt(self.kind, random, at, columns)?;
        Ok(batch)
    }
}

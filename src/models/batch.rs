//! What a model is given: learners with what they are known by, and the courses that they are paired with.

use crate::config::{Config, HistoryLabels};
use crate::data::{Dataset, Split};
use crate::layers::Histories;

/// Rows of learners. The same learner may stand in several rows, cut at different places of its history.
#[derive(Clone, Debug, Default)]
pub struct Learners {
    pub id: Vec<u32>,
    /// What each row may know: read under `history` propagation, and by masks.
    pub histories: Histories,
}

impl Learners {
    pub fn new() -> Self {
        Learners { id: vec![], histories: Histories::new() }
    }

    pub fn rows(&self) -> usize {
        self.id.len()
    }
}

/// One step's enrolments and negatives.
#[derive(Clone, Debug)]
pub struct Batch {
    pub learners: Learners,
    /// (rows) the positive of each row.
    pub positive: Vec<u32>,
    /// (rows) one sampled negative of each row, for BPR; empty without negatives.
    pub negative: Vec<u32>,
    /// (pairs) row and course of each pair that the head judges.
    pub pair_row: Vec<u32>,
    pub pair_course: Vec<u32>,
    /// (pairs x K) labels, row-major.
    pub labels: Vec<f32>,
    /// (pairs x K) 1 where the label counts, 0 where it does not; all count where absent.
    pub mask: Option<Vec<f32>>,
    /// Triples of the joint phase.
    pub triples: Option<TripleBatch>,
}

/// Triples with their corruptions, in node ids of the graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TripleBatch {
    pub head: Vec<u32>,
    pub relation: Vec<u32>,
    pub tail: Vec<u32>,
    pub negative_head: Vec<u32>,
    pub negative_tail: Vec<u32>,
}

impl TripleBatch {
    /// Every node of the triples and their corruptions.
    pub fn nodes(&self) -> Vec<u32> {
        [&self.head[..], &self.tail, &self.negative_head, &self.negative_tail].concat()
    }
}

/// Learners as they stand when a part is predicted: known by everything before it.
pub fn learners_for(data: &Dataset, config: &Config, ids: &[u32], known: &[Split]) -> Learners {
    let mut histories = Histories::new();
    for &u in ids {
        let rows = data.rows(u as usize).filter(|&r| known.contains(&data.interactions.split[r]));
        histories.push(history(data, config, &rows.collect::<Vec<_>>()));
    }
    Learners { id: ids.to_vec(), histories }
}

/// The most recent of some enrolments of a learner, which are rows of the data set in time order: courses, and their
/// labels as bits where the model reads them.
pub fn history(data: &Dataset, config: &Config, rows: &[usize]) -> Vec<(u32, u8)> {
    let latest = &rows[rows.len().saturating_sub(config.model.max_history)..];
    let labels = match config.model.history_labels {
        HistoryLabels::None => &[],
        HistoryLabels::Shared | HistoryLabels::Course => &data.interactions.label_values[..],
    };
    let outcome = |r: usize| labels.iter().rev().fold(0, |bits, label| bits << 1 | u8::from(label[r] != 0));
    latest.iter().map(|&r| (data.interactions.course[r], outcome(r))).collect()
}

//! Each task's logits against its labels: the area under the ROC curve and the log-loss.

use std::collections::BTreeMap;

use super::evaluate::{BLOCK, Ranker, known_before};
use super::{auc, log_loss};
use crate::Result;
use crate::data::Split;
use crate::data::negatives::NegativeSampler;
use crate::models::{ENROLLED, Encoded, Learners, learners_for};

/// Stream of the courses that enrolments are held against.
const AGAINST: u64 = u32::MAX as u64;

impl Ranker<'_> {
    /// `auc/TASK` and `logloss/TASK` over all enrolments of the part, learners without a history included; of
    /// enrolment itself, against one course not taken for each. A metric that is not defined is left out.
    pub(super) fn task_metrics(
        &self,
        encoded: &Encoded,
        split: Split,
        ids: &[u32],
        metrics: &mut BTreeMap<String, f64>,
    ) -> Result<()> {
        let Ranker { model, data, config, .. } = *self;
        let tasks = model.tasks();
        let columns: Vec<Option<usize>> = tasks.iter().map(|t| data.label(t)).collect();
        let taken = data.course_lists(&Split::ALL);
        let negatives = NegativeSampler::new(config.seed, AGAINST, data.courses, 1);
        let mut scores: Vec<Vec<f32>> = vec![vec![]; tasks.len()];
        let mut labels: Vec<Vec<bool>> = vec![vec![]; tasks.len()];
        for block in ids.chunks(BLOCK) {
            let learners: Learners = learners_for(data, config, block, known_before(split));
            let (mut pairs, mut rows) = (vec![], vec![]);
            for (i, &u) in block.iter().enumerate() {
                for r in data.rows(u as usize).filter(|&r| data.interactions.split[r] == split) {
                    pairs.push((i as u32, data.interactions.course[r]));
                    rows.push(Some(r));
                    let mut negative = [0];
                    if negatives.draw(r as u64, taken.of(u as usize), &mut negative) == 1 {
                        pairs.push((i as u32, negative[0]));
                        rows.push(None);
                    }
                }
            }
            let logits = model.logits(encoded, &learners, &pairs)?.to_vec()?;
            for (row, z) in rows.iter().zip(logits.chunks_exact(tasks.len())) {
                for (k, column) in columns.iter().enumerate() {
                    let label = match (tasks[k].as_str(), column, row) {
                        (ENROLLED, _, row) => Some(row.is_some()),
                        (_, Some(column), Some(r)) => Some(data.interactions.label_values[*column][*r] == 1),
                        _ => None,
                    };
                    if let Some(label) = label {
                        scores[k].push(z[k]);
                        labels[k].push(label);
                    }
                }
            }
        }
        for (k, task) in tasks.iter().enumerate() {
            let found = [("auc", auc(&scores[k], &labels[k])), ("logloss", log_loss(&scores[k], &labels[k]))];
            for (name, value) in found {
                if let Some(value) = value {
                    metrics.insert(format!("{name}/{task}"), value);
                }
            }
        }
        Ok(())
    }
}

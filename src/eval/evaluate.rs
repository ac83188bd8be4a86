//! A model against the held-out part of a data set: every course ranked for every learner, and each task's AUC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Idcg, auc, ranking_metrics};
use crate::config::{Config, NdcgIdcg};
use crate::data::negatives::NegativeSampler;
use crate::data::{Dataset, Split};
use crate::engine::{Device, Philox};
use crate::graph::IdSets;
use crate::models::{ENROLLED, Encoded, Learners, Recommender, learners_for};
use crate::{Error, Result};

/// Stream of the courses that enrolments are held against in `auc/enrolled`.
const AUC_EPOCH: u64 = u32::MAX as u64;

/// Learners whose vectors are held at once: memory does not grow with their number, nor with that of pairs.
const BLOCK: usize = 1536;

/// The answer of `waata eval --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    pub schema_version: u32,
    pub split: Split,
    /// Learners ranked: those with something to find and something to be known by.
    pub learners: usize,
    /// Learners with something to find who have no enrolment that may be known.
    pub learners_without_history: usize,
    /// `recall@10`, `ndcg@10`, `hr@10`, `mrr@10`, ..., and `auc/<task>` where both classes occur.
    pub metrics: BTreeMap<String, f64>,
}

/// What may be known when a part is predicted.
pub fn known_before(split: Split) -> &'static [Split] {
    match split {
        Split::Train => &[],
        Split::Valid => &[Split::Train],
        Split::Test => &[Split::Train, Split::Valid],
    }
}

/// A recommender with what it is measured on.
pub struct Ranker<'a> {
    pub model: &'a dyn Recommender,
    pub data: &'a Dataset,
    pub config: &'a Config,
    pub device: &'a Device,
}

impl Ranker<'_> {
    /// Ranks all courses for the learners of a part. `only` restricts it to a sample, by learner id; `progress` is
    /// told how many learners are done, of how many.
    pub fn evaluate(
        &self,
        split: Split,
        only: Option<&[u32]>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Evaluation> {
        let Ranker { model, data, config, device } = *self;
        let encoded = model.encode()?;
        let scorer = model.scorer(&encoded)?;
        let known = known_before(split);
        let masked: &[Split] =
            if split == Split::Test && !config.eval.mask_valid { &[Split::Train] } else { known };
        let all: Vec<u32> = (0..data.learners() as u32).collect();
        let has = |u: u32, splits: &[Split]| {
            data.rows(u as usize).any(|r| splits.contains(&data.interactions.split[r]))
        };
        let asked: Vec<u32> = only.unwrap_or(&all).iter().copied().filter(|&u| has(u, &[split])).collect();
        let (ids, without): (Vec<u32>, Vec<u32>) = asked.iter().partition(|&&u| has(u, known));

        let depth = config.eval.k.iter().copied().max().unwrap_or(1).min(data.courses.max(1));
        let cutoffs: Vec<usize> = config.eval.k.iter().map(|&k| k.min(depth)).collect();
        let idcg = match config.eval.ndcg_idcg {
            NdcgIdcg::Truth => Idcg::Truth,
            NdcgIdcg::Retrieved => Idcg::Retrieved,
        };
        let courses_in = |ids: &[u32], splits: &[Split]| -> Vec<Vec<u32>> {
            ids.iter()
                .map(|&u| {
                    let rows =
                        data.rows(u as usize).filter(|&r| splits.contains(&data.interactions.split[r]));
                    rows.map(|r| data.interactions.course[r]).collect()
                })
                .collect()
        };
        // Sums over learners in a fixed order, block by block: the block's size does not change the bits of a
        // learner's metrics, and sums are of f64.
        let mut sums = vec![[0.0f64; 4]; cutoffs.len()];
        let mut counted = 0;
        for (i, block) in ids.chunks(BLOCK).enumerate() {
            progress(i * BLOCK, ids.len());
            let learners = learners_for(data, config, block, known);
            let z_u = model.represent_learners(&encoded, &learners)?;
            let seen = IdSets::new(device, courses_in(block, masked), data.courses)?;
            let truth = IdSets::new(&Device::Cpu, courses_in(block, &[split]), data.courses)?;
            let top = scorer.rank(&z_u, &seen, depth)?;
            let metrics = ranking_metrics(&top, &truth, &cutoffs, idcg)?;
            counted += metrics.rows.len();
            for (sum, at) in sums.iter_mut().zip(&metrics.at) {
                for (sum, values) in
                    sum.iter_mut().zip([&at.recalls, &at.ndcgs, &at.hits, &at.reciprocal_ranks])
                {
                    values.iter().for_each(|v| *sum += v);
                }
            }
        }
        progress(ids.len(), ids.len());
        let mut metrics = BTreeMap::new();
        for (k, sum) in config.eval.k.iter().zip(&sums) {
            for (name, sum) in ["recall", "ndcg", "hr", "mrr"].iter().zip(sum) {
                metrics.insert(format!("{name}@{k}"), if counted == 0 { 0.0 } else { sum / counted as f64 });
            }
        }
        self.task_aucs(&encoded, split, &asked, &mut metrics)?;
        Ok(Evaluation {
            schema_version: 1,
            split,
            learners: counted,
            learners_without_history: without.len(),
            metrics,
        })
    }

    /// AUC of each task over all enrolments of the part, learners without a history included; of enrolment itself, against one course not taken for each.
    fn task_aucs(
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
        let negatives = NegativeSampler::new(config.seed, AUC_EPOCH, data.courses, 1);
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
            if let Some(value) = auc(&scores[k], &labels[k]) {
                metrics.insert(format!("auc/{task}"), value);
            }
        }
        Ok(())
    }
}

/// A fixed random sample of the learners that have something in `split`; all where `n` is 0 or enough.
pub fn sample_learners(data: &Dataset, split: Split, n: usize, seed: u64) -> Vec<u32> {
    let has = |u: &u32| data.rows(*u as usize).any(|r| data.interactions.split[r] == split);
    let mut ids: Vec<u32> = (0..data.learners() as u32).filter(has).collect();
    if n > 0 && n < ids.len() {
        Philox::new(seed, 0x7661_6C69).shuffle(&mut ids);
        ids.truncate(n);
        ids.sort_unstable();
    }
    ids
}

impl Evaluation {
    /// The metric of that name. `Error::Config` where the evaluation has none.
    pub fn metric(&self, name: &str) -> Result<f64> {
        self.metrics.get(name).copied().ok_or_else(|| {
            Error::config(
                "eval.metric",
                format!("`{name}` was not computed"),
                "use one of recall, ndcg, hr, mrr @K",
            )
        })
    }
}

//! A model against a held-out part of a data set. Ranking is always of the full catalogue; there is no sampled evaluation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::slices::Sums;
use super::{Exposure, RANKING, Slice, Slicer, ranking_metrics};
use crate::config::Config;
use crate::data::{Dataset, Split};
use crate::engine::{Device, Philox, memory};
use crate::graph::IdSets;
use crate::models::{Recommender, learners_for};
use crate::{Error, Result};

/// Learners whose vectors are held at once: memory does not grow with their number, nor with that of pairs.
pub(crate) const BLOCK: usize = 1536;

/// The answer of `waata eval --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    pub schema_version: u32,
    pub split: Split,
    /// Learners ranked: those with courses to find and a history.
    pub learners: usize,
    /// Learners with courses to find but no history.
    pub learners_without_history: usize,
    /// `recall@10`, `ndcg@10`, `hr@10`, `mrr@10`, `coverage@10`, `popularity@10`, `arp@10`, ..., `logloss/<task>`, and
    /// `auc/<task>` where both classes occur. Never NaN: what is not defined is absent.
    pub metrics: BTreeMap<String, f64>,
    /// The ranking metrics by the learners' activity and by the popularity of the courses to find.
    #[serde(default)]
    pub slices: Vec<Slice>,
}

/// The ranking metrics of each learner, for tests between models.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerLearner {
    /// Learners by their id, ascending.
    pub learner: Vec<u32>,
    /// Enrolments that were known of each.
    pub known: Vec<u32>,
    /// Courses to find.
    pub wanted: Vec<u32>,
    /// `recall@10`, `ndcg@10`, `hr@10`, `mrr@10`, ...: one value for each learner.
    pub metrics: BTreeMap<String, Vec<f64>>,
}

/// What may be known when a part is predicted.
pub fn known_before(split: Split) -> &'static [Split] {
    match split {
        Split::Train => &[],
        Split::Valid => &[Split::Train],
        _ => &[Split::Train, Split::Valid],
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
    /// Ranks all courses for the learners of a part. `only` restricts it to a sample, by learner id; `progress` gets the
    /// number of learners that are done, and of all.
    pub fn evaluate(
        &self,
        split: Split,
        only: Option<&[u32]>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Evaluation> {
        self.evaluate_into(split, only, None, progress)
    }

    /// As `evaluate`, with the metrics of each learner: some hundred bytes for each.
    pub fn evaluate_learners(
        &self,
        split: Split,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Evaluation, PerLearner)> {
        let mut each = PerLearner::default();
        Ok((self.evaluate_into(split, None, Some(&mut each), progress)?, each))
    }

    fn evaluate_into(
        &self,
        split: Split,
        only: Option<&[u32]>,
        mut each: Option<&mut PerLearner>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Evaluation> {
        let Ranker { model, data, config, device } = *self;
        // Cached blocks of training steps have other sizes, and at full size take gigabytes.
        memory::empty_cache();
        let encoded = model.encode()?;
        let scorer = model.scorer(&encoded)?;
        let known = known_before(split);
        let masked: &[Split] = if split == Split::Test && !config.eval.mask_valid { &[Split::Train] } else { known };
        let all: Vec<u32> = (0..data.learners() as u32).collect();
        let has = |u: u32, splits: &[Split]| data.courses_in(u as usize, splits).next().is_some();
        let asked: Vec<u32> = only.unwrap_or(&all).iter().copied().filter(|&u| has(u, &[split])).collect();
        let (ids, without): (Vec<u32>, Vec<u32>) = asked.iter().partition(|&&u| has(u, known));

        let depth = config.eval.k.iter().copied().max().unwrap_or(1).min(data.courses.max(1));
        let cutoffs: Vec<usize> = config.eval.k.iter().map(|&k| k.min(depth)).collect();
        let idcg = config.eval.ndcg_idcg;
        let courses_in = |ids: &[u32], splits: &[Split]| -> Vec<Vec<u32>> {
            ids.iter().map(|&u| data.courses_in(u as usize, splits).collect()).collect()
        };
        // Sums over learners in a fixed order, block by block: the block's size does not change the bits of a
        // learner's metrics, and sums are of f64.
        let mut sums = Sums::new(cutoffs.len());
        let mut slicer = Slicer::new(data, cutoffs.len());
        let mut exposure = Exposure::new(&data.course_degrees(&[Split::Train]), &cutoffs);
        for (i, block) in ids.chunks(BLOCK).enumerate() {
            progress(i * BLOCK, ids.len());
            let learners = learners_for(data, config, block, known);
            let z_u = model.represent_learners(&encoded, &learners)?;
            let seen = IdSets::new(device, courses_in(block, masked), data.courses)?;
            let truth = IdSets::new(&Device::Cpu, courses_in(block, &[split]), data.courses)?;
            let top = scorer.rank(&z_u, &seen, depth)?;
            let found = ranking_metrics(&top, &truth, &cutoffs, idcg)?;
            let known: Vec<usize> = courses_in(block, known).iter().map(Vec::len).collect();
            sums.add_all(&found.at);
            slicer.add(&top, (&found.rows, &found.at), &truth, &known, idcg)?;
            exposure.add(&top, &found.rows);
            if let Some(each) = &mut each {
                for &row in &found.rows {
                    each.learner.push(block[row]);
                    each.known.push(known[row] as u32);
                    each.wanted.push(truth.row(row).len() as u32);
                }
                for (k, at) in config.eval.k.iter().zip(&found.at) {
                    for (name, values) in RANKING.iter().zip(&at.values) {
                        each.metrics.entry(format!("{name}@{k}")).or_default().extend(values);
                    }
                }
            }
        }
        progress(ids.len(), ids.len());
        let mut metrics = sums.means(&config.eval.k);
        exposure.finish(&config.eval.k, &mut metrics);
        self.task_metrics(&encoded, split, &asked, &mut metrics)?;
        Ok(Evaluation {
            schema_version: 1,
            split,
            learners: sums.learners,
            learners_without_history: without.len(),
            metrics,
            slices: slicer.finish(&config.eval.k),
        })
    }
}

/// A fixed random sample of the learners that have something in `split`; all where `n` is 0 or enough.
pub fn sample_learners(data: &Dataset, split: Split, n: usize, seed: u64) -> Vec<u32> {
    let has = |u: &u32| data.courses_in(*u as usize, &[split]).next().is_some();
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
            Error::config("eval.metric", format!("`{name}` was not computed"), "use one of recall, ndcg, hr, mrr @K")
        })
    }
}

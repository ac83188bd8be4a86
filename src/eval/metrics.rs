//! Recall, NDCG, hit rate and reciprocal rank of top-K lists, formulas (19) and (20); the area under the ROC curve
//! and the log-loss of logits.

use super::TopK;
use crate::config::Idcg;
use crate::graph::IdSets;
use crate::{Error, Result};

/// The names of the ranking metrics, in the order of [`AtCutoff::values`].
pub const RANKING: [&str; 4] = ["recall", "ndcg", "hr", "mrr"];

/// Metrics at one cut-off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AtCutoff {
    pub k: usize,
    /// Recall, NDCG, hit rate and reciprocal rank of the first hit (0 without one) of each learner, in the order of
    /// [`RankingMetrics::rows`].
    pub values: [Vec<f64>; 4],
}

impl AtCutoff {
    /// Means over the learners; 0 where there are none.
    pub fn means(&self) -> [f64; 4] {
        self.values.each_ref().map(|each| each.iter().sum::<f64>() / each.len().max(1) as f64)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct RankingMetrics {
    /// Rows of the lists that have something to find.
    pub rows: Vec<usize>,
    pub at: Vec<AtCutoff>,
}

/// Metrics of `top` against the courses to find, at each of `cutoffs`. NDCG is divided by the DCG of min(K, |T|) hits, or,
/// with `Idcg::Retrieved`, by that of the hits anywhere in the list, the best K of them: this inflates NDCG, and is for
/// comparison with numbers that were published so.
///
/// Rows with nothing to find are left out. A list may be shorter than a cut-off (few candidates); a cut-off
/// beyond the K of the lists is `Error::Shape`, as are other numbers of rows.
pub fn ranking_metrics(top: &TopK, truth: &IdSets, cutoffs: &[usize], idcg: Idcg) -> Result<RankingMetrics> {
    if truth.rows() != top.rows() {
        let (expected, got) = (format!("{} rows of truth", top.rows()), format!("{}", truth.rows()));
        return Err(Error::shape("metrics", expected, got));
    }
    if let Some(k) = cutoffs.iter().find(|&&k| k == 0 || k > top.k) {
        return Err(Error::shape("metrics", format!("cut-offs in 1..={}", top.k), format!("{k}")));
    }
    // discounts[j] = 1 / log2(j + 2), and the DCG of that many hits in a row.
    let discounts: Vec<f64> = (0..top.k).map(|j| 1.0 / (j as f64 + 2.0).log2()).collect();
    let mut ideal = vec![0.0];
    discounts.iter().for_each(|d| ideal.push(ideal[ideal.len() - 1] + d));

    let rows: Vec<usize> = (0..top.rows()).filter(|&b| !truth.row(b).is_empty()).collect();
    let mut at: Vec<AtCutoff> = cutoffs.iter().map(|&k| AtCutoff { k, ..AtCutoff::default() }).collect();
    for &b in &rows {
        let relevant = truth.row(b);
        // Places of the hits, ascending.
        let list = top.row(b).iter().enumerate();
        let hits: Vec<usize> =
            list.filter(|(_, id)| relevant.binary_search(id).is_ok()).map(|(place, _)| place).collect();
        for at in &mut at {
            let found = &hits[..hits.partition_point(|&place| place < at.k)];
            let dcg = found.iter().fold(0.0, |dcg, &place| dcg + discounts[place]);
            let best = match idcg {
                Idcg::Truth => ideal[relevant.len().min(at.k)],
                Idcg::Retrieved => ideal[hits.len().min(at.k)],
            };
            let values = [
                found.len() as f64 / relevant.len() as f64,
                if best > 0.0 { dcg / best } else { 0.0 },
                (!found.is_empty()) as u32 as f64,
                found.first().map_or(0.0, |place| 1.0 / (place + 1) as f64),
            ];
            at.values.iter_mut().zip(values).for_each(|(all, value)| all.push(value));
        }
    }
    Ok(RankingMetrics { rows, at })
}

/// Area under the ROC curve: the probability that a positive scores above a negative, ties counting half.
///
/// By average ranks in O(n log n). `None` where one class is missing or a score is NaN.
///
/// # Panics
/// Where the slices have different lengths.
pub fn auc(scores: &[f32], labels: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), labels.len(), "auc: one label for each score");
    if scores.iter().any(|s| s.is_nan()) {
        return None;
    }
    let mut pairs: Vec<(f32, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let positives = labels.iter().filter(|&&label| label).count() as u64;
    let negatives = labels.len() as u64 - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    // Pairs (positive, negative) won, in halves: exact in integers up to 2^63 pairs.
    let (mut halves, mut below) = (0u64, 0u64);
    for tie in pairs.chunk_by(|a, b| a.0 == b.0) {
        let up = tie.iter().filter(|(_, label)| *label).count() as u64;
        let down = tie.len() as u64 - up;
        halves += up * (2 * below + down);
        below += down;
    }
    Some(halves as f64 / (2.0 * positives as f64 * negatives as f64))
}

/// Mean of -log p(label) for p = sigmoid(logit): softplus(-z) where the label is 1, softplus(z) where it is 0.
///
/// No probability is formed, so a sure and wrong logit costs its length and not infinity. Defined for labels that
/// are all equal; `None` without labels, and where a logit is not finite.
///
/// # Panics
/// Where the slices have different lengths.
pub fn log_loss(logits: &[f32], labels: &[bool]) -> Option<f64> {
    assert_eq!(logits.len(), labels.len(), "log-loss: one label for each logit");
    if logits.is_empty() || logits.iter().any(|z| !z.is_finite()) {
        return None;
    }
    let loss = |(&z, &label): (&f32, &bool)| {
        let against = if label { -(z as f64) } else { z as f64 };
        against.max(0.0) + (-against.abs()).exp().ln_1p()
    };
    Some(logits.iter().zip(labels).map(loss).sum::<f64>() / logits.len() as f64)
}

//! Recall, NDCG, hit rate and reciprocal rank of top-K lists, formulas (19) and (20); the area under the ROC curve
//! and the log-loss of logits.

use super::TopK;
use crate::config::Idcg;
use crate::graph::IdSets;
use crate::{Error, Result};

/// Metrics at one cut-off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AtCutoff {
    pub k: usize,
    /// Means over the learners that have something to find; 0 where there are none.
    pub recall: f64,
    pub ndcg: f64,
    pub hit_rate: f64,
    /// Mean of 1 / rank of the first hit among the first K, 0 without one.
    pub mrr: f64,
    /// The same per learner, in the order of `RankingMetrics::rows`.
    pub recalls: Vec<f64>,
    pub ndcgs: Vec<f64>,
    pub hits: Vec<f64>,
    pub reciprocal_ranks: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RankingMetrics {
    /// Rows of the lists that have something to find.
    pub rows: Vec<usize>,
    pub at: Vec<AtCutoff>,
}

/// Metrics of `top` against the courses to find, at each of `cutoffs`.
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
    let mut hit = vec![];
    for &b in &rows {
        let wanted = truth.row(b);
        hit.clear();
        hit.extend(top.row(b).iter().map(|id| wanted.binary_search(id).is_ok()));
        let retrieved = hit.iter().filter(|&&hit| hit).count();
        for at in &mut at {
            let places =
                || hit.iter().take(at.k).enumerate().filter(|(_, hit)| **hit).map(|(place, _)| place);
            let found = places().count();
            let dcg = places().fold(0.0, |dcg, place| dcg + discounts[place]);
            let best = match idcg {
                Idcg::Truth => ideal[wanted.len().min(at.k)],
                Idcg::Retrieved => ideal[retrieved.min(at.k)],
            };
            let reciprocal = places().next().map_or(0.0, |place| 1.0 / (place + 1) as f64);
            at.recalls.push(found as f64 / wanted.len() as f64);
            at.ndcgs.push(if best > 0.0 { dcg / best } else { 0.0 });
            at.hits.push((found > 0) as u32 as f64);
            at.reciprocal_ranks.push(reciprocal);
        }
    }
    for at in &mut at {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        (at.recall, at.ndcg) = (mean(&at.recalls), mean(&at.ndcgs));
        (at.hit_rate, at.mrr) = (mean(&at.hits), mean(&at.reciprocal_ranks));
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

#[cfg(test)]
mod tests {
    use super::super::NO_COURSE;
    use super::*;
    use crate::engine::Device;

    fn lists(k: usize, rows: &[&[u32]]) -> TopK {
        let mut ids = vec![];
        for row in rows {
            ids.extend_from_slice(row);
            ids.resize(ids.len() + k - row.len(), NO_COURSE);
        }
        TopK { k, scores: vec![0.0; ids.len()], ids }
    }

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "got {got}, want {want}");
    }

    #[test]
    fn hand_computed() {
        // Row 0 finds courses 4 and 9 at ranks 1 and 3 of the three it wants; row 1 wants nothing; row 2 finds
        // its one course at rank 2 of a list of two.
        let top = lists(4, &[&[4, 7, 9, 1], &[1, 2, 3, 4], &[5, 6]]);
        let truth = IdSets::new(&Device::Cpu, &[vec![9, 4, 8, 4], vec![], vec![6]], 10).unwrap();
        let m = ranking_metrics(&top, &truth, &[1, 3, 4], Idcg::Truth).unwrap();
        assert_eq!(m.rows, [0, 2]);
        let third = 1.0 / 3f64.log2();
        // K = 1
        assert_eq!(m.at[0].recalls, [1.0 / 3.0, 0.0]);
        assert_eq!(m.at[0].ndcgs, [1.0, 0.0]);
        // K = 3: DCG of row 0 is 1 + 1/2, of an ideal 1 + 1/log2 3 + 1/2.
        close(m.at[1].recall, (2.0 / 3.0 + 1.0) / 2.0);
        close(m.at[1].ndcgs[0], 1.5 / (1.5 + third));
        close(m.at[1].ndcgs[1], third);
        close(m.at[1].hit_rate, 1.0);
        close(m.at[1].mrr, 0.75);
        // K = 4 is beyond the end of row 2's list.
        close(m.at[2].recall, m.at[1].recall);
        let m = ranking_metrics(&top, &truth, &[1, 4], Idcg::Retrieved).unwrap();
        close(m.at[0].ndcgs[0], 1.0);
        close(m.at[1].ndcgs[0], 1.5 / (1.0 + third));
        close(m.at[1].ndcgs[1], third);
        assert!(ranking_metrics(&top, &truth, &[5], Idcg::Truth).is_err());
    }

    #[test]
    fn nobody_to_evaluate() {
        let top = lists(2, &[&[0, 1]]);
        let truth = IdSets::none(&Device::Cpu, 1, 5).unwrap();
        let m = ranking_metrics(&top, &truth, &[2], Idcg::Truth).unwrap();
        assert!(m.rows.is_empty() && m.at[0].recall == 0.0);
    }

    #[test]
    fn auc_by_hand() {
        let labels = [true, false, true, false];
        assert_eq!(auc(&[0.9, 0.8, 0.7, 0.1], &labels), Some(0.75));
        assert_eq!(auc(&[0.5; 4], &labels), Some(0.5));
        // The positive at 0.7 ties with one negative: (2 + 1.5) / 4.
        assert_eq!(auc(&[0.9, 0.7, 0.7, 0.1], &labels), Some(0.875));
        assert_eq!(auc(&[0.0, -0.0], &[true, false]), Some(0.5));
        assert_eq!(auc(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(auc(&[], &[]), None);
        assert_eq!(auc(&[f32::NAN, 2.0], &[true, false]), None);
    }

    #[test]
    fn log_loss_by_hand() {
        let ln2 = std::f64::consts::LN_2;
        close(log_loss(&[0.0, 0.0], &[true, false]).unwrap(), ln2);
        close(
            log_loss(&[2.0, -1.0], &[true, true]).unwrap(),
            ((-2f64).exp().ln_1p() + 1f64.exp().ln_1p()) / 2.0,
        );
        // Sure and right, sure and wrong, and where exp would overflow.
        close(log_loss(&[80.0], &[true]).unwrap(), (-80f64).exp());
        close(log_loss(&[80.0, -80.0], &[false, true]).unwrap(), 80.0);
        close(log_loss(&[f32::MAX], &[false]).unwrap(), f32::MAX as f64);
        assert_eq!(log_loss(&[], &[]), None);
        assert_eq!(log_loss(&[f32::NAN], &[true]), None);
        assert_eq!(log_loss(&[f32::INFINITY, 0.0], &[true, false]), None);
    }
}

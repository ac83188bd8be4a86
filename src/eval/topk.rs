//! The K best courses of each row of scores, without those already seen.

use rayon::prelude::*;

use crate::engine::device::{Grid, kernels};
use crate::engine::{DType, Gpu, Index, Tensor};
use crate::graph::IdSets;
use crate::{Error, Result};

/// Largest K.
pub const MAX_K: usize = 128;
/// Fills a list that has fewer than K courses.
pub const NO_COURSE: u32 = u32::MAX;

/// Lists of at most K courses, best first; equal scores by ascending id.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    pub k: usize,
    /// (rows * k) course ids, `NO_COURSE` past the end of a short list.
    pub ids: Vec<u32>,
    /// (rows * k) their scores, -inf past the end.
    pub scores: Vec<f32>,
}

impl TopK {
    pub fn rows(&self) -> usize {
        self.ids.len() / self.k
    }

    /// The courses of row `b`, best first.
    pub fn row(&self, b: usize) -> &[u32] {
        let ids = &self.ids[b * self.k..(b + 1) * self.k];
        &ids[..ids.iter().position(|&id| id == NO_COURSE).unwrap_or(self.k)]
    }

    /// The scores of row `b`, in the order of `row`.
    pub fn row_scores(&self, b: usize) -> &[f32] {
        &self.scores[b * self.k..][..self.row(b).len()]
    }
}

/// The `k` best of each row of `scores` (B, C), f32 on either device, in the order (-score, id).
///
/// `seen` has a set of courses for each row, which are left out. `candidates`, ascending and distinct, are the
/// only courses ranked; all where absent. `Error::Shape` for k outside 1..=128 and sizes that do not fit;
/// `Error::Diverged`, naming the first row, where a candidate's score is NaN.
pub fn top_k(scores: &Tensor, seen: &IdSets, candidates: Option<&Index<u32>>, k: usize) -> Result<TopK> {
    let (rows, courses) = scores.shape();
    let wrong = |expected: String, got: String| Err(Error::shape("top_k", expected, got));
    if !(1..=MAX_K).contains(&k) {
        return wrong(format!("k in 1..={MAX_K}"), format!("{k}"));
    }
    if scores.dtype() != DType::F32 || courses >= i32::MAX as usize {
        return wrong("f32 scores of fewer than 2^31 courses".into(), format!("{scores:?}"));
    }
    if seen.rows() != rows || seen.below > courses {
        let got = format!("{} sets of ids below {}", seen.rows(), seen.below);
        return wrong(format!("{rows} seen sets of ids below {courses}"), got);
    }
    if let Some(candidates) = candidates {
        let ids = candidates.host();
        if !ids.is_sorted_by(|a, b| a < b) || ids.last().is_some_and(|&id| id as usize >= courses) {
            return wrong(
                format!("ascending, distinct candidates below {courses}"),
                format!("{candidates:?}"),
            );
        }
    }
    let mut top = TopK { k, ids: vec![NO_COURSE; rows * k], scores: vec![f32::NEG_INFINITY; rows * k] };
    let invalid = match scores.gpu() {
        _ if rows == 0 => None,
        Some(gpu) => on_gpu(gpu, scores, seen, candidates, &mut top)?,
        None => on_cpu(scores, seen, candidates, &mut top),
    };
    match invalid {
        None => Ok(top),
        Some(row) => Err(Error::Diverged {
            what: format!("a score in row {row} of the ranking"),
            step: 0,
            remedy: "the model that scores has parameters that are not finite: train it again with a lower \
                     learning rate, or rank with an earlier checkpoint"
                .into(),
        }),
    }
}

/// Larger for a better course: the score's order, then the lower id. Never 0. Zeros of both signs are equal.
#[inline(always)]
fn key(score: f32, id: u32) -> u64 {
    let bits = (score + 0.0).to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    (ordered as u64) << 32 | !id as u64
}

fn on_cpu(scores: &Tensor, seen: &IdSets, candidates: Option<&Index<u32>>, top: &mut TopK) -> Option<usize> {
    let courses = scores.cols();
    let values = scores.host::<f32>();
    let k = top.k;
    top.ids
        .par_chunks_mut(k)
        .zip(top.scores.par_chunks_mut(k))
        .enumerate()
        .map_init(Vec::new, |best, (b, (ids, scores))| {
            let row = &values[b * courses..(b + 1) * courses];
            let valid = match candidates {
                None => select(row, 0..courses as u32, seen.row(b), k, best),
                Some(candidates) => select(row, candidates.host().iter().copied(), seen.row(b), k, best),
            };
            for (place, &key) in best.iter().enumerate() {
                ids[place] = !key as u32;
                scores[place] = row[!key as u32 as usize];
            }
            if valid { None } else { Some(b) }
        })
        .flatten_iter()
        .min()
}

/// Leaves the keys of the k best in `best`, best first; false where a score is NaN.
///
/// Keys gather in a buffer that is cut to its k best whenever it is full; what falls below the k-th of the last
/// cut does not enter. After the first cut few do.
fn select(
    row: &[f32],
    ids: impl Iterator<Item = u32>,
    mut seen: &[u32],
    k: usize,
    best: &mut Vec<u64>,
) -> bool {
    let room = 4 * k.max(16);
    best.clear();
    let mut bar = 0;
    let mut valid = true;
    for id in ids {
        let score = row[id as usize];
        valid &= !score.is_nan();
        let key = key(score, id);
        if key <= bar {
            continue;
        }
        // Both lists ascend.
        while seen.first().is_some_and(|&s| s < id) {
            seen = &seen[1..];
        }
        if seen.first() == Some(&id) {
            continue;
        }
        best.push(key);
        if best.len() == room {
            best.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
            best.truncate(k);
            bar = best[k - 1];
        }
    }
    best.sort_unstable_by(|a, b| b.cmp(a));
    best.truncate(k);
    valid
}

fn on_gpu(
    gpu: &Gpu,
    scores: &Tensor,
    seen: &IdSets,
    candidates: Option<&Index<u32>>,
    top: &mut TopK,
) -> Result<Option<usize>> {
    let (rows, courses) = scores.shape();
    let mut ids = gpu.allocate(rows * top.k * 4)?;
    let mut invalid = gpu.allocate(rows * 4)?;
    let mut values = scores.empty_like(rows, top.k)?;
    let launch = gpu
        .launch(kernels::TOP_K, Grid::new(rows.min(1 << 20) as u32, 256))
        .tensor(scores)
        .index(&seen.offsets)
        .index(&seen.ids);
    match candidates {
        Some(candidates) => launch.index(candidates),
        None => launch.optional(None),
    }
    .buffer(&mut ids)
    .tensor_mut(&mut values)
    .buffer(&mut invalid)
    .count(rows)
    .count(courses)
    .count(candidates.map_or(courses, Index::len))
    .count(top.k)
    .run()?;
    top.ids = ids.read()?;
    top.scores = values.to_vec()?;
    Ok(invalid.read::<u32>()?.iter().position(|&flag| flag != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Device, Philox};

    fn sorted(row: &[f32], seen: &[u32], k: usize) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..row.len() as u32).filter(|id| !seen.contains(id)).collect();
        ids.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
        ids.truncate(k);
        ids
    }

    #[test]
    fn agrees_with_a_full_sort() {
        let random = Philox::new(5, 1);
        for (rows, courses, k) in [(3, 1, 5), (7, 60, 10), (5, 1000, 128), (4, 300, 1), (0, 5, 2)] {
            // Few distinct values: most are ties.
            let values: Vec<f32> =
                (0..rows * courses).map(|i| random.below_at(i as u64, 9) as f32 - 4.0).collect();
            let seen: Vec<Vec<u32>> = (0..rows)
                .map(|b| (0..courses as u32).filter(|c| (c * 7 + b as u32).is_multiple_of(5)).collect())
                .collect();
            let scores = Tensor::new(&Device::Cpu, rows, courses, &values).unwrap();
            let sets = IdSets::new(&Device::Cpu, &seen, courses).unwrap();
            let top = top_k(&scores, &sets, None, k).unwrap();
            for b in 0..rows {
                let row = &values[b * courses..(b + 1) * courses];
                let want = sorted(row, &seen[b], k);
                assert_eq!(top.row(b), want);
                assert!(top.row_scores(b).iter().zip(&want).all(|(s, &c)| *s == row[c as usize]));
            }
        }
    }

    #[test]
    fn candidates_signs_of_zero_and_infinities() {
        let values = [0.0, -0.0, f32::NEG_INFINITY, f32::INFINITY, -1.0];
        let scores = Tensor::new(&Device::Cpu, 1, 5, &values).unwrap();
        let seen = IdSets::none(&Device::Cpu, 1, 5).unwrap();
        let top = top_k(&scores, &seen, None, 128).unwrap();
        assert_eq!(top.row(0), [3, 0, 1, 4, 2]);
        let some = Index::new(&Device::Cpu, vec![1, 2, 4]).unwrap();
        assert_eq!(top_k(&scores, &seen, Some(&some), 2).unwrap().row(0), [1, 4]);
    }

    #[test]
    fn a_nan_is_named_by_its_row() {
        let scores = Tensor::new(&Device::Cpu, 3, 2, &[0.0, 1.0, 2.0, 3.0, f32::NAN, 1.0]).unwrap();
        let seen = IdSets::none(&Device::Cpu, 3, 2).unwrap();
        let error = top_k(&scores, &seen, None, 1).unwrap_err();
        assert!(matches!(error, Error::Diverged { .. }) && error.to_string().contains("row 2"), "{error}");
        assert!(top_k(&scores, &seen, None, 0).is_err() && top_k(&scores, &seen, None, 129).is_err());
    }
}

//! Statistics of differences between models: deviation over seeds, and a paired bootstrap over learners.
//! docs/compare.md has the formulas.

use rayon::prelude::*;

use crate::engine::Philox;

/// Random stream of the resampled learners, xor-ed with the number of the resample in the upper half.
const STREAM: u64 = 0x626F_6F74;

/// Resamples per block: each row of differences is read once for all of them.
const TOGETHER: usize = 16;

/// Mean; `None` if empty.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation (n - 1); `None` for fewer than two values.
pub fn sd(values: &[f64]) -> Option<f64> {
    let center = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|v| (v - center) * (v - center)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// A mean difference and its bootstrap statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    pub mean: f64,
    /// Ends of the 95 % interval: percentiles 2.5 and 97.5 of the resampled means.
    pub low: f64,
    pub high: f64,
    /// Two-sided: 2 min(1 + #{resampled <= 0}, 1 + #{resampled >= 0}) / (resamples + 1), at most 1.
    pub p: f64,
}

/// Paired bootstrap: learners are drawn with replacement, each with its differences in all columns.
///
/// `columns`: one list of differences per comparison, each with one value per learner. The learners drawn depend on
/// (seed, number of learners) alone. Returns one result per column; `None` without learners.
///
/// # Panics
/// If columns differ in length.
pub fn paired_bootstrap(columns: &[Vec<f64>], resamples: usize, seed: u64) -> Vec<Option<Difference>> {
    let learners = columns.first().map_or(0, Vec::len);
    assert!(columns.iter().all(|c| c.len() == learners), "bootstrap: one difference for each learner");
    if learners == 0 || resamples == 0 {
        return vec![None; columns.len()];
    }
    // Row-major, one row per learner.
    let mut rows = vec![0.0; learners * columns.len()];
    for (m, column) in columns.iter().enumerate() {
        column.iter().enumerate().for_each(|(u, value)| rows[u * columns.len() + m] = *value);
    }
    let first: Vec<usize> = (0..resamples).step_by(TOGETHER).collect();
    let means: Vec<Vec<f64>> = first
        .into_par_iter()
        .flat_map_iter(|first| {
            let count = TOGETHER.min(resamples - first);
            resampled_means(&rows, columns.len(), learners, seed, first..first + count)
        })
        .collect();
    let summary = |(m, column): (usize, &Vec<f64>)| {
        let mut of: Vec<f64> = means.iter().map(|means| means[m]).collect();
        of.sort_unstable_by(f64::total_cmp);
        let at_most = of.partition_point(|&x| x <= 0.0);
        let at_least = resamples - of.partition_point(|&x| x < 0.0);
        let p = 2.0 * (1 + at_most.min(at_least)) as f64 / (resamples + 1) as f64;
        Some(Difference {
            mean: mean(column)?,
            low: percentile(&of, 0.025),
            high: percentile(&of, 0.975),
            p: p.min(1.0),
        })
    };
    columns.iter().enumerate().map(summary).collect()
}

/// Means of all columns over the learners of each resample.
fn resampled_means(
    rows: &[f64],
    columns: usize,
    learners: usize,
    seed: u64,
    resamples: std::ops::Range<usize>,
) -> Vec<Vec<f64>> {
    let counts: Vec<Vec<u32>> = resamples.map(|b| draw(learners, seed, b as u64)).collect();
    let mut sums = vec![vec![0.0; columns]; counts.len()];
    for (u, row) in rows.chunks_exact(columns).enumerate() {
        for (sums, counts) in sums.iter_mut().zip(&counts) {
            if counts[u] > 0 {
                let n = counts[u] as f64;
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += n * value);
            }
        }
    }
    sums.iter_mut().flatten().for_each(|sum| *sum /= learners as f64);
    sums
}

/// How often resample `b` draws each learner. One block of random numbers makes two draws.
fn draw(learners: usize, seed: u64, b: u64) -> Vec<u32> {
    let random = Philox::new(seed, STREAM ^ (b << 32));
    let mut counts = vec![0; learners];
    let mut count = |high: u32, low: u32| {
        let wide = (high as u64) << 32 | low as u64;
        counts[((wide as u128 * learners as u128) >> 64) as usize] += 1;
    };
    for i in (0..learners).step_by(2) {
        let [a, b, c, d] = random.block(i as u64 / 2);
        count(a, b);
        if i + 1 < learners {
            count(c, d);
        }
    }
    counts
}

/// Percentile of ascending values, with linear interpolation.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

/// Holm's step-down correction: hypotheses whose corrected p-value is below alpha are rejected at a family-wise error
/// rate of alpha.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut corrected, mut largest) = (vec![0.0; p.len()], 0.0f64);
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max((p.len() - rank) as f64 * p[i]).min(1.0);
        corrected[i] = largest;
    }
    corrected
}

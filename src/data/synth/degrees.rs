//! Heavy-tailed numbers with an exact sum.

use super::shape::Tail;
use super::{DEGREE, STREAM};
use base::random::Philox;

const DITHER: u64 = 6;

/// Enrolments per learner: 1 plus a share of the rest by heavy-tailed weights, no more than there are courses.
pub(super) fn of_learners(learners: usize, courses: usize, enrolments: u64, tail: &Tail, seed: u64) -> Vec<u32> {
    let random = Philox::new(seed, STREAM + DEGREE);
    let weights: Vec<f64> = (0..learners).map(|u| pareto(random.uniform_at(u as u64) as f64, tail.offset)).collect();
    let extra = enrolments - learners as u64;
    let mut most = tail.most.min(courses) - 1;
    if most as u64 * (learners as u64) < 2 * extra {
        most = courses - 1;
    }
    let random = Philox::new(seed, STREAM + DITHER);
    let dither = |u: usize| if tail.dithered { random.uniform_at(u as u64) as f64 } else { 0.0 };
    apportion(&weights, extra, most as u64, dither).into_iter().map(|d| d as u32 + 1).collect()
}

/// Pareto with shape 2, less an offset: finite mean, a few values that are dozens of times the usual one.
pub(super) fn pareto(uniform: f64, offset: f64) -> f64 {
    (1.0 / (1.0 - uniform).sqrt() - offset).max(0.0)
}

/// Shares of `total` by weights, each `most` at most; their sum is `total`, which `most` must allow. `dither` is
/// added to an entry's share before it is rounded down.
pub(super) fn apportion(weights: &[f64], total: u64, most: u64, dither: impl Fn(usize) -> f64) -> Vec<u64> {
    let sum: f64 = weights.iter().sum();
    let scale = if sum > 0.0 { total as f64 / sum } else { 0.0 };
    let mut shares: Vec<u64> =
        (weights.iter().enumerate()).map(|(k, w)| ((w * scale + dither(k)) as u64).min(most)).collect();
    // What rounding and the cap left over goes round in equal parts; what rounding gave too much is taken back by
    // the same loop.
    let mut given: u64 = shares.iter().sum();
    while given > total {
        shares.iter_mut().filter(|d| **d > 0).take((given - total) as usize).for_each(|d| *d -= 1);
        given = shares.iter().sum();
    }
    while given < total {
        let open = shares.iter().filter(|d| **d < most).count() as u64;
        let part = ((total - given) / open).max(1);
        for d in shares.iter_mut() {
            let more = part.min(most - *d).min(total - given);
            *d += more;
            given += more;
        }
    }
    shares
}

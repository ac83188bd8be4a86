//! Negative sampling: courses that a learner has not enrolled in, as far as training may know.

use base::random::Philox;

/// The Philox stream of negatives, which is xor-ed with the epoch.
const STREAM: u64 = 0x6E65_6761_7469_7665;

/// Draws before the complement is enumerated. At a rejection rate of 1/2 the enumeration is needed once in 2^32
/// negatives.
const ATTEMPTS: u64 = 32;

/// Draws negatives for the training positives of one epoch. A number depends on (seed, epoch, index) alone, so
/// any thread, device and resumed run draws the same ones.
#[derive(Clone, Copy, Debug)]
pub struct NegativeSampler {
    random: Philox,
    courses: u32,
    per_positive: usize,
}

impl NegativeSampler {
    /// `per_positive` is q, the negatives of each positive; `courses` is the number of courses.
    pub fn new(seed: u64, epoch: u64, courses: usize, per_positive: usize) -> Self {
        NegativeSampler { random: Philox::new(seed, STREAM ^ epoch), courses: courses as u32, per_positive }
    }

    pub fn per_positive(&self) -> usize {
        self.per_positive
    }

    /// Fills `out` with negatives of the positive at global position `index`, uniform over the courses outside
    /// `taken` (the learner's *train* courses, ascending; held-out courses may be drawn, else training would know
    /// them). They are independent: one may appear twice. Returns how many were drawn: all of `out`, or 0 when
    /// the learner has taken every course.
    pub fn draw(&self, index: u64, taken: &[u32], out: &mut [u32]) -> usize {
        debug_assert!(taken.is_sorted());
        let free = self.courses as usize - taken.len();
        if free == 0 {
            return 0;
        }
        for (slot, negative) in out.iter_mut().enumerate() {
            let first = (index * self.per_positive as u64 + slot as u64) * (ATTEMPTS + 1);
            let drawn = (first..first + ATTEMPTS)
                .map(|at| self.random.below_at(at, self.courses))
                .find(|course| taken.binary_search(course).is_err());
            *negative =
                drawn.unwrap_or_else(|| nth_outside(taken, self.random.below_at(first + ATTEMPTS, free as u32)));
        }
        out.len()
    }
}

/// The n-th number (from 0) that is not in the ascending list `taken`.
fn nth_outside(taken: &[u32], n: u32) -> u32 {
    // Below taken[k] lie taken[k] - k numbers outside: the first k where those exceed n is where n belongs.
    let (mut low, mut high) = (0, taken.len());
    while low < high {
        let middle = (low + high) / 2;
        if taken[middle] - middle as u32 > n { high = middle } else { low = middle + 1 }
    }
    n + low as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nth_outside_enumerates_the_complement() {
        let taken = [0, 1, 4, 6, 7, 9];
        assert_eq!((0..6).map(|n| nth_outside(&taken, n)).collect::<Vec<_>>(), [2, 3, 5, 8, 10, 11]);
        assert_eq!(nth_outside(&[], 3), 3);
    }

    #[test]
    fn never_a_taken_course_and_uniform_over_the_rest() {
        let taken: Vec<u32> = (0..20).filter(|c| c % 3 == 0).collect();
        let sampler = NegativeSampler::new(1, 0, 20, 4);
        let mut hits = [0u32; 20];
        let mut out = [0; 4];
        for index in 0..6500 {
            assert_eq!(sampler.draw(index, &taken, &mut out), 4);
            out.iter().for_each(|&c| hits[c as usize] += 1);
        }
        for c in 0..20 {
            // 26,000 draws over 13 courses: 2,000 each, standard deviation 43.
            let expected = if taken.contains(&c) { 0 } else { 2000 };
            assert!(hits[c as usize].abs_diff(expected) < 220, "course {c}: {}", hits[c as usize]);
        }
    }

    #[test]
    fn learners_who_took_nearly_or_exactly_everything() {
        let all_but_one: Vec<u32> = (0..10_000).filter(|&c| c != 77).collect();
        let sampler = NegativeSampler::new(5, 3, 10_000, 3);
        let mut out = [0; 3];
        assert_eq!(sampler.draw(9, &all_but_one, &mut out), 3);
        assert_eq!(out, [77; 3]);
        let all: Vec<u32> = (0..10_000).collect();
        assert_eq!(sampler.draw(9, &all, &mut out), 0);
    }

    #[test]
    fn keyed_by_seed_epoch_and_index() {
        let draw = |seed, epoch, index| {
            let mut out = [0; 8];
            NegativeSampler::new(seed, epoch, 1 << 20, 8).draw(index, &[3], &mut out);
            out
        };
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)] {
            assert_ne!(draw(1, 2, 3), other);
        }
    }
}

//! The K best of a row of scores that comes in tiles.

use engine::simd::{ANY, SimdWork, simd};

/// Larger for a better course: the score's order, then the lower id. Never 0. Zeros of both signs are equal.
#[inline(always)]
fn key(score: f32, id: u32) -> u64 {
    let bits = (score + 0.0).to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    (ordered as u64) << 32 | !id as u64
}

/// The score and the id of a key.
#[inline(always)]
fn unkey(key: u64) -> (f32, u32) {
    let ordered = (key >> 32) as u32;
    let bits = if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered };
    (f32::from_bits(bits), !key as u32)
}

/// What was kept of one row. Keys gather until they are cut to the K best; what lies below `bar`, of which at least
/// K are not below, does not enter.
pub(super) struct Best {
    keys: Vec<u64>,
    bar: f32,
    /// No score was NaN.
    pub valid: bool,
}

impl Best {
    pub fn new() -> Best {
        Best { keys: vec![], bar: f32::NEG_INFINITY, valid: true }
    }

    pub fn clear(&mut self) {
        self.keys.clear();
        (self.bar, self.valid) = (f32::NEG_INFINITY, true);
    }

    /// Takes the scores of courses `first ..`. Those in `seen`, ascending, are left out, and overwritten.
    pub fn offer(&mut self, scores: &mut [f32], first: u32, seen: &[u32], k: usize, maxima: &mut Vec<f32>) {
        let begin = seen.partition_point(|&id| id < first);
        let seen = &seen[begin..];
        let seen = &seen[..seen.partition_point(|&id| ((id - first) as usize) < scores.len())];
        for &id in seen {
            let score = &mut scores[(id - first) as usize];
            self.valid &= !score.is_nan();
            *score = f32::NEG_INFINITY;
        }
        // The K-th largest of some groups' maxima is no larger than the K-th largest score: a bar before any key.
        let groups = (2 * k).next_multiple_of(STRIP).max(64);
        if self.bar == f32::NEG_INFINITY && scores.len() >= 2 * groups {
            maxima.clear();
            maxima.resize(groups, f32::NEG_INFINITY);
            simd(Maxima { scores, maxima });
            let (_, &mut kth, _) = maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            self.bar = kth;
        }
        simd(Collect { scores, first, seen, best: self });
        if self.keys.len() >= 4 * k.max(16) {
            self.cut(k);
        }
    }

    #[inline(always)]
    fn push(&mut self, score: f32, id: u32, seen: &[u32]) {
        if score.is_nan() {
            self.valid = false;
        } else if score >= self.bar && (score > f32::NEG_INFINITY || seen.binary_search(&id).is_err()) {
            self.keys.push(key(score, id));
        }
    }

    fn cut(&mut self, k: usize) {
        self.keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
        self.keys.truncate(k);
        self.bar = unkey(self.keys[k - 1]).0;
    }

    /// Writes the K best, best first; what lies past the end of a short list stays as it is.
    pub fn finish(&mut self, ids: &mut [u32], scores: &mut [f32]) {
        let k = ids.len();
        if self.keys.len() > k {
            self.cut(k);
        }
        self.keys.sort_unstable_by(|a, b| b.cmp(a));
        for ((&key, id), score) in self.keys.iter().zip(ids).zip(scores) {
            (*score, *id) = unkey(key);
        }
    }
}

/// Lanes of one strip of groups.
const STRIP: usize = 16;

/// Each of the maxima becomes the largest score of a group; NaN is passed over. The last few scores may be in none.
struct Maxima<'a> {
    scores: &'a [f32],
    maxima: &'a mut [f32],
}

impl SimdWork for Maxima<'_> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let (scores, maxima) = (self.scores.as_chunks::<STRIP>().0, self.maxima.as_chunks_mut::<STRIP>().0);
        let strips = maxima.len();
        for (first, out) in maxima.iter_mut().enumerate() {
            let mut most = [f32::NEG_INFINITY; STRIP];
            for scores in scores[first..].iter().step_by(strips) {
                most.iter_mut().zip(scores).for_each(|(most, score)| *most = score.max(*most));
            }
            *out = most;
        }
    }
}

/// Keeps the keys of scores that are not below the bar. NaN is not, so it is found here.
struct Collect<'a> {
    scores: &'a [f32],
    first: u32,
    seen: &'a [u32],
    best: &'a mut Best,
}

/// Scores that are held against the bar at once: by far most have none that passes.
const WIDE: usize = 32;

impl SimdWork for Collect<'_> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let Collect { scores, first, seen, best } = self;
        let bar = best.bar;
        let (wide, rest) = scores.as_chunks::<WIDE>();
        for (i, wide) in wide.iter().enumerate() {
            let mut passing = not_below::<ISA>(wide, bar);
            while passing != 0 {
                let lane = passing.trailing_zeros() as usize;
                best.push(wide[lane], first + (i * WIDE + lane) as u32, seen);
                passing &= passing - 1;
            }
        }
        for (id, &x) in (first + (scores.len() - rest.len()) as u32..).zip(rest) {
            best.push(x, id, seen);
        }
    }
}

/// Bit i is set where x[i] is not below the bar.
#[inline(always)]
fn not_below<const ISA: u8>(x: &[f32; WIDE], bar: f32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if ISA != ANY {
        // SAFETY: `simd` runs bodies for an instruction set where the processor has it; all but `ANY` have AVX2.
        return unsafe { not_below_avx2(x, bar) };
    }
    x.iter().enumerate().fold(0, |bits, (i, &x)| bits | ((x >= bar || x.is_nan()) as u32) << i)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn not_below_avx2(x: &[f32; WIDE], bar: f32) -> u32 {
    use std::arch::x86_64::{__m256, _CMP_NLT_UQ, _mm256_cmp_ps, _mm256_movemask_ps, _mm256_set1_ps};
    let x: [__m256; 4] = bytemuck::cast(*x);
    let bits = |i: usize| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(x[i], _mm256_set1_ps(bar))) as u32;
    bits(0) | bits(1) << 8 | bits(2) << 16 | bits(3) << 24
}

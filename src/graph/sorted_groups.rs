//! Places of a list sorted by the ids that stand there: on all cores, and the same for any number of them.

use rayon::prelude::*;

use base::{Error, Result};

/// Ids of one task of the first pass: its keys stay in the second-level cache.
const CHUNK: usize = 16 * 1024;
/// The first pass parts the ids by this many of their highest bits.
const HIGH: u32 = 8;

/// SortedGroups of equal ids.
#[derive(Debug, PartialEq)]
pub struct SortedGroups {
    /// (runs) the distinct ids, ascending.
    pub id: Vec<u32>,
    /// (runs + 1) the places of run s are `place[offsets[s] .. offsets[s + 1]]`.
    pub offsets: Vec<u64>,
    /// (ids) places in the list, ascending within a run.
    pub place: Vec<u32>,
}

impl SortedGroups {
    /// Sorts the places of `ids`. `Error::Shape` for an id of `n` or more, or 2^32 ids or more.
    ///
    /// Each chunk of the list is parted by the high bits; then every part, gathered from the chunks in their order,
    /// takes two counting passes over the low bits, within the first-level cache.
    pub fn new(ids: &[u32], n: usize) -> Result<SortedGroups> {
        if let Some(most) = ids.iter().copied().reduce(u32::max).filter(|&most| most as usize >= n) {
            return Err(Error::shape("rows", format!("ids below {n}"), format!("{most}")));
        }
        if ids.len() > u32::MAX as usize {
            return Err(Error::shape("rows", "fewer than 2^32 ids", format!("{}", ids.len())));
        }
        let bits = usize::BITS - n.saturating_sub(1).min(u32::MAX as usize).leading_zeros();
        let low = bits.saturating_sub(HIGH);
        let parts = 1usize << (bits - low);

        let mut keys = vec![0u64; ids.len()];
        let begins: Vec<Vec<u32>> = keys
            .par_chunks_mut(CHUNK)
            .enumerate()
            .map(|(c, keys)| part(&ids[c * CHUNK..][..keys.len()], c * CHUNK, low, keys))
            .collect();

        let mut place = vec![0u32; ids.len()];
        let (mut tasks, mut rest, mut base) = (Vec::with_capacity(parts), &mut place[..], 0);
        for p in 0..parts {
            let size = begins.iter().map(|begin| (begin[p + 1] - begin[p]) as usize).sum();
            let (mine, others) = rest.split_at_mut(size);
            rest = others;
            tasks.push((p, base, mine));
            base += size;
        }
        let runs: Vec<(Vec<u32>, Vec<u64>)> = tasks
            .into_par_iter()
            .map_init(Scratch::default, |scratch, (p, base, place)| {
                scratch.keys.clear();
                for (begin, keys) in begins.iter().zip(keys.chunks(CHUNK)) {
                    scratch.keys.extend_from_slice(&keys[begin[p] as usize..begin[p + 1] as usize]);
                }
                let half = low.div_ceil(2);
                scratch.pass(0, half);
                scratch.pass(half, low - half);
                scratch.runs(base, place)
            })
            .collect();

        let count = runs.iter().map(|(id, _)| id.len()).sum();
        let (mut id, mut offsets) = (Vec::with_capacity(count), Vec::with_capacity(count + 1));
        for (ids, begins) in runs {
            id.extend_from_slice(&ids);
            offsets.extend_from_slice(&begins);
        }
        offsets.push(ids.len() as u64);
        Ok(SortedGroups { id, offsets, place })
    }
}

/// Writes `id << 32 | place` for the ids of one chunk, parted by the bits from `low` on; returns where each part
/// begins, and the end.
fn part(ids: &[u32], first: usize, low: u32, keys: &mut [u64]) -> Vec<u32> {
    let mut next = [0u32; 1 << HIGH];
    ids.iter().for_each(|&id| next[(id >> low) as usize] += 1);
    let begins = ascend(&mut next);
    for (i, &id) in ids.iter().enumerate() {
        let at = &mut next[(id >> low) as usize];
        keys[*at as usize] = (id as u64) << 32 | (first + i) as u64;
        *at += 1;
    }
    begins
}

/// Turns counts into the place where each begins; these places again, and the end.
fn ascend(counts: &mut [u32]) -> Vec<u32> {
    let mut begins = Vec::with_capacity(counts.len() + 1);
    let mut sum = 0;
    for count in counts {
        begins.push(sum);
        (*count, sum) = (sum, sum + *count);
    }
    begins.push(sum);
    begins
}

/// Memory that the parts of one thread share.
#[derive(Default)]
struct Scratch {
    keys: Vec<u64>,
    other: Vec<u64>,
    next: Vec<u32>,
}

impl Scratch {
    /// Sorts `keys` by `bits` bits of the id from bit `from`, stably.
    fn pass(&mut self, from: u32, bits: u32) {
        if bits == 0 {
            return;
        }
        let Scratch { keys, other, next } = self;
        let digit = |key: u64| (key >> (32 + from)) as usize & ((1 << bits) - 1);
        next.clear();
        next.resize(1 << bits, 0);
        other.resize(keys.len(), 0);
        keys.iter().for_each(|&key| next[digit(key)] += 1);
        let mut sum = 0;
        for place in next.iter_mut() {
            (*place, sum) = (sum, sum + *place);
        }
        for &key in keys.iter() {
            let at = &mut next[digit(key)];
            other[*at as usize] = key;
            *at += 1;
        }
        std::mem::swap(keys, other);
    }

    /// Ids and begins of the runs of the sorted keys, whose first place is `base`; `place` takes the places.
    fn runs(&self, base: usize, place: &mut [u32]) -> (Vec<u32>, Vec<u64>) {
        let (mut id, mut begins) = (Vec::with_capacity(place.len()), Vec::with_capacity(place.len()));
        let mut last = None;
        for (i, (&key, place)) in self.keys.iter().zip(place).enumerate() {
            *place = key as u32;
            let own = (key >> 32) as u32;
            if last != Some(own) {
                last = Some(own);
                id.push(own);
                begins.push((base + i) as u64);
            }
        }
        (id, begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_sorted_by_id_and_place() {
        // Below and above the high bits, several chunks, one id for all.
        for (n, count) in [(1, 3), (8, 50), (300_000, 40_000), (usize::MAX, 70), (1 << 20, 0), (0, 0)] {
            let ids: Vec<u32> = (0..count as u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 3) as usize % n)
                .map(|id| id as u32)
                .collect();
            let runs = SortedGroups::new(&ids, n).unwrap();
            let mut want: Vec<(u32, u32)> = ids.iter().enumerate().map(|(i, &id)| (id, i as u32)).collect();
            want.sort();
            assert!(runs.place.iter().eq(want.iter().map(|(_, i)| i)));
            assert_eq!((runs.offsets.len(), runs.offsets[runs.id.len()]), (runs.id.len() + 1, count as u64));
            for (s, &id) in runs.id.iter().enumerate() {
                let own = runs.offsets[s] as usize..runs.offsets[s + 1] as usize;
                assert!(!own.is_empty() && want[own].iter().all(|&(v, _)| v == id));
            }
            assert!(runs.id.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert!(SortedGroups::new(&[8], 8).is_err());
        assert!(SortedGroups::new(&[0], 0).is_err());
    }
}

//! Corrupted triples: what a true triple of the knowledge graph is held against.

use base::{Error, Result};
use engine::{Philox, parallel};
use serde::{Deserialize, Serialize};

/// Which end of a triple is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corruption {
    /// The tail (KGAT).
    Tail,
    /// Head or tail with probability 1/2 each (TransD's `unif`).
    Unif,
    /// The head with probability tph / (tph + hpt) of the relation, where tph is the mean number of tails of a
    /// head and hpt that of heads of a tail (TransD's `bern`): the end with fewer true answers is replaced.
    Bern,
}

/// Draws after which a replacement is kept even though its triple is known.
const ATTEMPTS: u64 = 100;
/// Triples of one task.
const CHUNK: usize = 1024;

/// Draws corrupted triples that are not known to be true.
#[derive(Clone, Debug)]
pub struct Corruptor {
    entities: u32,
    /// (entities + 1) the known triples of head h are `known[offsets[h] .. offsets[h + 1]]`.
    offsets: Vec<usize>,
    /// relation << 32 | tail, ascending for each head.
    known: Vec<u64>,
    /// (relations) probability of replacing the head under `Bern`.
    head_probability: Vec<f32>,
}

impl Corruptor {
    /// `known`: the true triples (head, relation, tail); repeats count once. `Error::Shape` for ids out of range.
    pub fn new(entities: usize, relations: usize, known: &[[u32; 3]]) -> Result<Corruptor> {
        let outside =
            |&&[h, r, t]: &&[u32; 3]| h as usize >= entities || t as usize >= entities || r as usize >= relations;
        if let Some(triple) = known.iter().find(outside) {
            let expected = format!("ids below {entities} entities, {relations} relations");
            return Err(Error::shape("corruptor", expected, format!("{triple:?}")));
        }
        if entities > u32::MAX as usize {
            return Err(Error::shape("corruptor", "fewer than 2^32 entities", format!("{entities}")));
        }
        let mut sorted = known.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut offsets = vec![0usize; entities + 1];
        sorted.iter().for_each(|&[h, ..]| offsets[h as usize + 1] += 1);
        for h in 0..entities {
            offsets[h + 1] += offsets[h];
        }
        let head_probability = head_probabilities(relations, &sorted);
        let known = sorted.into_iter().map(|[_, r, t]| (r as u64) << 32 | t as u64).collect();
        Ok(Corruptor { entities: entities as u32, offsets, known, head_probability })
    }

    /// Whether (head, relation, tail) is a known triple.
    pub fn knows(&self, head: u32, relation: u32, tail: u32) -> bool {
        let row = &self.known[self.offsets[head as usize]..self.offsets[head as usize + 1]];
        row.binary_search(&((relation as u64) << 32 | tail as u64)).is_ok()
    }

    /// Heads and tails of one negative for each triple.
    ///
    /// Triple i draws from (`epoch`, `first + i`) alone, so batches of any size draw the same negatives for the
    /// same triples of an epoch. The replacement differs from what it replaces, and from all that would give a
    /// known triple, unless 100 draws find none. `Error::Shape` for ids out of range.
    pub fn corrupt(
        &self,
        kind: Corruption,
        random: Philox,
        (epoch, first): (u64, u64),
        (heads, relations, tails): (&[u32], &[u32], &[u32]),
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let count = heads.len();
        let fits = |ids: &[u32], n: usize| ids.len() == count && ids.iter().all(|&id| (id as usize) < n);
        let entities = self.entities as usize;
        if !fits(heads, entities) || !fits(tails, entities) || !fits(relations, self.head_probability.len()) {
            return Err(Error::shape(
                "corrupt",
                format!("{count} triples of {entities} entities, {} relations", self.head_probability.len()),
                "other lengths, or an id out of range",
            ));
        }
        let parts = parallel::map_chunks(count, CHUNK, |range| {
            range
                .map(|i| {
                    let triple = (heads[i], relations[i], tails[i]);
                    self.negative(kind, random, epoch, first + i as u64, triple)
                })
                .collect::<Vec<_>>()
        });
        Ok(parts.into_iter().flatten().unzip())
    }

    fn negative(
        &self,
        kind: Corruption,
        random: Philox,
        epoch: u64,
        index: u64,
        (head, relation, tail): (u32, u32, u32),
    ) -> (u32, u32) {
        // 24 bits of epoch, 33 of index, 7 of attempt.
        let block = |attempt: u64| random.block(epoch << 40 | index << 7 | attempt);
        let share = match kind {
            Corruption::Tail => 0.0,
            Corruption::Unif => 0.5,
            Corruption::Bern => self.head_probability[relation as usize],
        };
        let replace_head = engine::random::to_unit(block(0)[2]) < share;
        let mut negative = (head, tail);
        for attempt in 0..ATTEMPTS {
            let [a, b, ..] = block(attempt);
            let wide = (a as u64) << 32 | b as u64;
            let entity = ((wide as u128 * self.entities as u128) >> 64) as u32;
            negative = if replace_head { (entity, tail) } else { (head, entity) };
            if negative != (head, tail) && !self.knows(negative.0, relation, negative.1) {
                break;
            }
        }
        negative
    }
}

/// tph / (tph + hpt) for each relation; 1/2 for one without triples. `sorted` holds no repeats.
fn head_probabilities(relations: usize, sorted: &[[u32; 3]]) -> Vec<f32> {
    let distinct = |end: usize| {
        let mut pairs: Vec<(u32, u32)> = sorted.iter().map(|t| (t[1], t[end])).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut counts = vec![0u64; relations];
        pairs.iter().for_each(|&(r, _)| counts[r as usize] += 1);
        counts
    };
    // tph = triples / heads and hpt = triples / tails: their ratio is tails / (tails + heads).
    let (heads, tails) = (distinct(0), distinct(2));
    (0..relations)
        .map(|r| match heads[r] + tails[r] {
            0 => 0.5,
            both => (tails[r] as f64 / both as f64) as f32,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relation 0: one head with eight tails; relation 1: the inverse.
    fn star() -> (Corruptor, [Vec<u32>; 3]) {
        let known: Vec<[u32; 3]> = (1..9).flat_map(|t| [[0, 0, t], [t, 1, 0]]).collect();
        let columns = [0, 1, 2].map(|c| known.iter().map(|t| t[c]).cycle().take(4000).collect());
        (Corruptor::new(20, 2, &known).unwrap(), columns)
    }

    #[test]
    fn negatives_are_unknown_and_change_one_side() {
        let (corruptor, [h, r, t]) = star();
        for kind in [Corruption::Tail, Corruption::Unif, Corruption::Bern] {
            let random = Philox::new(3, 9);
            let (nh, nt) = corruptor.corrupt(kind, random, (2, 0), (&h, &r, &t)).unwrap();
            let mut changed_heads = [0, 0];
            for i in 0..h.len() {
                assert!(!corruptor.knows(nh[i], r[i], nt[i]));
                assert_eq!((nh[i] != h[i]) as u32 + (nt[i] != t[i]) as u32, 1);
                changed_heads[r[i] as usize] += (nh[i] != h[i]) as u32;
            }
            // 2,000 triples a relation; tph of relation 0 is 8 and hpt 1, so 8/9 of its heads are replaced.
            let expected = match kind {
                Corruption::Tail => [0.0, 0.0],
                Corruption::Unif => [1000.0, 1000.0],
                Corruption::Bern => [16000.0 / 9.0, 2000.0 / 9.0],
            };
            for (got, want) in changed_heads.into_iter().zip(expected) {
                assert!((got as f64 - want).abs() <= 120.0, "{kind:?}: {got} heads, want {want}");
            }
            // Another cut into batches draws the same.
            let (half_h, half_t) =
                corruptor.corrupt(kind, random, (2, 1000), (&h[1000..], &r[1000..], &t[1000..])).unwrap();
            assert_eq!((&half_h[..], &half_t[..]), (&nh[1000..], &nt[1000..]));
        }
    }

    #[test]
    fn a_full_graph_is_accepted_after_bounded_attempts() {
        let known: Vec<[u32; 3]> = (0..4).flat_map(|h| (0..4).map(move |t| [h, 0, t])).collect();
        let corruptor = Corruptor::new(4, 1, &known).unwrap();
        let (nh, nt) = corruptor.corrupt(Corruption::Tail, Philox::new(1, 1), (0, 0), (&[1], &[0], &[2])).unwrap();
        assert!(nh == [1] && nt[0] < 4);
        assert!(Corruptor::new(3, 1, &known).is_err());
        assert!(corruptor.corrupt(Corruption::Tail, Philox::new(1, 1), (0, 0), (&[1], &[1], &[2])).is_err());
    }
}

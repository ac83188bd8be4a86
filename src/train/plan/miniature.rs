//! Data sets of the same shape as another, but tiny: what a rehearsal runs on.

use super::sizes::{Counts, Work, masks};
use crate::config::{Config, Propagation, Ranking};
use crate::data::{Dataset, Interactions, Split};
use crate::models::{Batch, Learners, TripleBatch};

/// How many miniatures a plan is made of: sizes that depend on other counts are told apart by them.
pub(super) const MINIATURES: usize = 4;

/// Enrolments of a course from which the CPU streams over learners (`graph::BipartiteEdges`), and most courses for it.
const PAIRED: (usize, usize) = (128, 64 * 1024);

/// Miniature `i` of a data set with these counts: as many relations and labels, everything else in numbers that have
/// nothing to do with each other.
pub(super) fn dataset(i: usize, data: &Dataset, full: &Counts) -> Dataset {
    let paired = full.known >= PAIRED.0 * full.courses && full.courses <= PAIRED.1;
    let courses = if paired { [5, 6, 7, 9][i] } else { [41, 47, 53, 61][i] };
    let active = [211, 239, 271, 317][i];
    let attributes = [29, 37, 31, 43][i];
    let known = if paired { PAIRED.0 * courses + [23, 71, 5, 57][i] } else { [731, 811, 977, 887][i] };
    let learners = active + [13, 7, 17, 11][i];
    let mut rows: Vec<Vec<u32>> = vec![vec![]; learners];
    // One enrolment each, then more for some: learners of one, of a few and of many.
    for e in 0..known {
        let u = if e < active { e } else { (e * e + 7 * e) % (active - active / 4) };
        rows[u].push(((e * 13 + u * 5) % courses) as u32);
    }
    let mut offsets = vec![0];
    offsets.extend(rows.iter().scan(0, |sum, row| {
        *sum += row.len() as u64;
        Some(*sum)
    }));
    let interactions = Interactions {
        offsets: offsets.into(),
        course: rows.concat().into(),
        label_values: vec![vec![1; known].into(); data.labels.len()],
        split: vec![Split::Train; known].into(),
        has_time: true,
    };
    let (entities, relations) = (courses + attributes, data.relations());
    let triples = match relations {
        0 => 0,
        _ => [151, 163, 139, 181][i],
    };
    let triple = |t: usize| {
        let (head, tail) = ((t * t + 3 * t) % (courses + 2), courses + (t * 7 + t / 5) % (attributes - 3));
        [head as u32, (t % relations) as u32, tail as u32]
    };
    Dataset {
        name: "rehearsal".into(),
        learner_names: vec![""; learners].into(),
        entity_names: vec![""; entities].into(),
        courses,
        relation_names: data.relation_names.clone(),
        triples: (0..triples).map(triple).collect(),
        labels: data.labels.clone(),
        interactions,
    }
}

/// What the steps on miniature `i` work on.
pub(super) fn work(i: usize, config: &Config, c: &Counts) -> Work {
    let rows = [19, 23, 29, 31][i];
    let negatives = if c.courses > 1 { config.train.negatives } else { 0 };
    let triples = if c.taught(config) > 0 { [47, 59, 67, 79][i] } else { 0 };
    let ranked = [37, 45, 51, 65][i];
    let pairs = rows * (1 + negatives);
    Work { rows, pairs, triples, ranked, judged: [83, 97, 109, 127][i], ..Work::default() }
}

/// Courses that some rows are known by: `i % 4` of them, so that some rows have none.
pub(super) fn learners(rows: usize, c: &Counts) -> Learners {
    let mut learners = Learners { id: (0..rows as u32).collect(), ..Learners::new() };
    for row in 0..rows {
        learners.histories.push((0..row % 4 + row / 16).map(|j| (((row + j) % c.courses) as u32, 0)));
    }
    learners
}

/// A batch of this work. `tasks`: how many tasks there are.
pub(super) fn batch(config: &Config, c: &Counts, w: &Work, tasks: usize, joint: bool) -> Batch {
    let q = w.pairs / w.rows - 1;
    let with_history = config.model.propagation == Propagation::History
        || (config.loss.ranking == Ranking::Softmax && config.loss.softmax_mask_seen);
    let mut learners = learners(w.rows, c);
    if !with_history {
        learners.histories = Learners::new().histories;
        (0..w.rows).for_each(|_| learners.histories.push([]));
    }
    let course = |i: usize| (i % c.courses) as u32;
    let positive: Vec<u32> = (0..w.rows).map(course).collect();
    let pair_course = (0..w.pairs).map(|p| course(p / (q + 1) + p % (q + 1))).collect();
    Batch {
        learners,
        negative: (0..w.rows).map(|i| course(i + 1)).collect(),
        positive,
        pair_row: (0..w.pairs).map(|p| (p / (q + 1)) as u32).collect(),
        pair_course,
        labels: (0..w.pairs * tasks).map(|i| (i % 2) as f32).collect(),
        mask: masks(config).then(|| vec![1.0; w.pairs * tasks]),
        triples: joint.then(|| triples(c, w)),
    }
}

/// Triples of this work, with corrupted tails.
pub(super) fn triples(c: &Counts, w: &Work) -> TripleBatch {
    let node = |i: usize| (i % c.nodes) as u32;
    TripleBatch {
        head: (0..w.triples).map(|i| node(3 * i)).collect(),
        relation: vec![0; w.triples],
        tail: (0..w.triples).map(|i| node(5 * i + 1)).collect(),
        negative_head: (0..w.triples).map(|i| node(3 * i)).collect(),
        negative_tail: (0..w.triples).map(|i| node(7 * i + 2)).collect(),
    }
}

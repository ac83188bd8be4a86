//! The best courses for one learner.

use super::{Ranker, Scorer};
use crate::Result;
use crate::data::{Dataset, Split};
use crate::graph::IdSets;
use crate::models::{Encoded, learners_for};

/// All courses, encoded once for any number of learners.
pub struct Catalogue {
    encoded: Encoded,
    scorer: Scorer,
    /// Courses that are never recommended, ascending.
    hidden: Vec<u32>,
}

impl Catalogue {
    pub fn new(ranker: &Ranker) -> Result<Catalogue> {
        let encoded = ranker.model.encode()?;
        let scorer = ranker.model.scorer(&encoded)?;
        Ok(Catalogue { encoded, scorer, hidden: placeholders(ranker.data) })
    }

    /// The `k` best courses that `learner` has not taken, with their scores, best first. Fewer where there are not so many.
    pub fn top(&self, ranker: &Ranker, learner: u32, k: usize) -> Result<Vec<(u32, f32)>> {
        let Ranker { model, data, config, device } = *ranker;
        let learners = learners_for(data, config, &[learner], &Split::ALL);
        let z_u = model.represent_learners(&self.encoded, &learners)?;
        let excluded = [data.courses_of(learner as usize), &self.hidden].concat();
        let excluded = IdSets::new(device, [excluded], data.courses)?;
        let top = self.scorer.rank(&z_u, &excluded, k.min(data.courses))?;
        Ok(top.row(0).iter().copied().zip(top.row_scores(0).iter().copied()).collect())
    }
}

/// As `Catalogue::top`, for one learner alone.
pub fn top_courses(ranker: &Ranker, learner: u32, k: usize) -> Result<Vec<(u32, f32)>> {
    Catalogue::new(ranker)?.top(ranker, learner, k)
}

/// Ids below the largest one that no file of the source has: without a list of courses, ids run from 0 to the largest
/// one used. Such a course is called by its number, nobody took it, and no triple has it.
fn placeholders(data: &Dataset) -> Vec<u32> {
    let mut known = vec![false; data.courses];
    data.interactions.course.iter().for_each(|&c| known[c as usize] = true);
    let ends = data.triples.iter().flat_map(|&[head, _, tail]| [head, tail]);
    ends.filter(|&e| (e as usize) < data.courses).for_each(|e| known[e as usize] = true);
    let unnamed = |c: u32| data.entity_names[c as usize] == c.to_string();
    (0..data.courses as u32).filter(|&c| !known[c as usize] && unnamed(c)).collect()
}

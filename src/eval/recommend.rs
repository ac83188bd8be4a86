//! The best courses for one learner.

use super::Ranker;
use crate::Result;
use crate::data::Split;
use crate::graph::IdSets;
use crate::models::learners_for;

/// The `k` best courses that `learner` has not taken, with their scores, best first.
pub fn top_courses(ranker: &Ranker, learner: u32, k: usize) -> Result<Vec<(u32, f32)>> {
    let Ranker { model, data, config, device } = *ranker;
    let encoded = model.encode()?;
    let learners = learners_for(data, config, &[learner], &Split::ALL);
    let z_u = model.represent_learners(&encoded, &learners)?;
    let seen = IdSets::new(device, [data.courses_of(learner as usize)], data.courses)?;
    let top = model.scorer(&encoded)?.rank(&z_u, &seen, k.min(data.courses))?;
    Ok(top.row(0).iter().copied().zip(top.row_scores(0).iter().copied()).collect())
}

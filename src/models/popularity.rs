//! Popularity: the courses that most learners took, for everybody. What any model has to beat.

use super::closed_form::{CourseSets, Solution};
use crate::Result;
use crate::config::Config;

pub fn solve(_: &Config, sets: &CourseSets) -> Result<Solution> {
    let mut counts = vec![0.0f32; sets.courses];
    sets.lists.iter().flatten().for_each(|&c| counts[c as usize] += 1.0);
    Ok(Solution::Scores(counts))
}

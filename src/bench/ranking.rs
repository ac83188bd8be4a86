//! The 50 best courses of many learners, without those they have taken.

use super::{Case, Cost, Inputs};
use crate::Result;
use crate::eval::top_k;
use crate::graph::IdSets;
use crate::ops::match_scores;

const TOP: usize = 50;
/// Learners whose scores are held at once.
const BLOCK: usize = 256;

pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let (d, courses) = (inputs.sizes.dim, inputs.sizes.courses);
    let ranked = inputs.sizes.ranked.min(inputs.sizes.learners);
    let z_courses = inputs.random(courses, d, 1.0, 40)?;
    let mut seen = vec![vec![]; ranked];
    let own = inputs.enrolments().iter().take_while(|(u, _)| (*u as usize) < ranked);
    own.for_each(|&(u, c)| seen[u as usize].push(c));
    let taken: usize = seen.iter().map(Vec::len).sum();
    let k = TOP.min(courses);
    let mut blocks = vec![];
    for (i, seen) in seen.chunks(BLOCK).enumerate() {
        let z = inputs.random(seen.len(), d, 1.0, 41 + i as u64)?;
        blocks.push((z, IdSets::new(&inputs.device, seen, courses)?));
    }
    // Vectors and taken courses are read, ids and scores of the best written; a dot product a pair.
    let bytes = (ranked + courses) * d * 4 + taken * 4 + ranked * k * 8;
    let cost = Cost { bytes: bytes as f64, flops: (2 * ranked * courses * d) as f64 };
    Ok(vec![Case::new("ranking/inner", cost, move || {
        for (z, seen) in &blocks {
            top_k(&match_scores(z, &z_courses, None, 1.0)?, seen, None, k)?;
        }
        Ok(())
    })])
}

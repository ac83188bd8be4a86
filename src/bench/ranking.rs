//! The 50 best courses for many learners, without those they have taken.

use super::{Case, Cost, Inputs};
use crate::Result;
use crate::config::HeadConfig;
use crate::engine::DType;
use crate::eval::Scorer;
use crate::graph::IdSets;
use crate::layers::ParamBuilder;
use crate::models::{WaaTaHead, pair_head};

const TOP: usize = 50;
/// One learner in this many is ranked through the head, which costs hundreds of times a match score.
const HEAD_SHARE: usize = 100;
const SEED: u64 = 20;

pub(super) fn cases(inputs: &Inputs) -> Result<Vec<Case>> {
    let (d, courses) = (inputs.sizes.dim, inputs.sizes.courses);
    let ranked = inputs.sizes.ranked.min(inputs.sizes.learners);
    let z_courses = inputs.random(courses, d, 1.0, 40)?;
    let mut taken = vec![vec![]; ranked];
    let own = inputs.enrolments().iter().take_while(|(u, _)| (*u as usize) < ranked);
    own.for_each(|&(u, c)| taken[u as usize].push(c));
    let k = TOP.min(courses);
    // Preparing the courses is part of the work.
    let case = |name: &str, ranked: usize, make: Box<dyn Fn() -> Result<Scorer>>| -> Result<Case> {
        let z = inputs.random(ranked, d, 1.0, 41)?;
        let seen = IdSets::new(&inputs.device, &taken[..ranked], courses)?;
        // Vectors and taken courses are read, ids and scores of the best written.
        let bytes = (ranked + courses) * d * 4 + seen.ids.len() * 4 + ranked * k * 8;
        let flops = ranked as f64 * courses as f64 * make()?.operations() as f64;
        Ok(Case::new(name, Cost { bytes: bytes as f64, flops }, move || {
            make()?.rank(&z, &seen, k)?;
            Ok(())
        }))
    };
    let mut b = ParamBuilder::new(&inputs.device, DType::F32, SEED);
    let config = HeadConfig::default();
    let head = WaaTaHead::new(&mut b, &config, d, 2)?;
    let head = pair_head(&head, &config, &b.params, d)?;
    let z = z_courses.clone();
    let by_head = move || Scorer::new(z.clone(), None, head.clone());
    let by_match = move || Scorer::match_score(z_courses.clone());
    Ok(vec![
        case("ranking/inner", ranked, Box::new(by_match))?,
        case("ranking/head", ranked.div_ceil(HEAD_SHARE), Box::new(by_head))?,
    ])
}

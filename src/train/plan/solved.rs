//! The memory of models with a solution in closed form, by formulas: they have no tensors but their table.

use super::rehearsal::PHASES;
use super::scale::{Act, Piece};
use super::sizes::Counts;
use crate::config::Config;
use crate::engine::memory::{Part, Place};
use crate::eval::BLOCK;

pub(super) fn acts(config: &Config, c: &Counts) -> Vec<Act> {
    let matrix = c.courses * c.courses;
    let (table, work) = match config.model.name.as_str() {
        "ease" => (4 * matrix, 12 * matrix),
        "itemknn" => (4 * matrix, if config.rankers.itemknn_neighbours > 0 { 8 } else { 4 } * matrix),
        _ => (4 * c.courses, 0),
    };
    let take = |place, part, name: &str, bytes| Act::Take(Piece { place, bytes, part, name: name.into() });
    let lists = 8 * c.known + 24 * (c.learners + c.courses);
    let rows = BLOCK.min(c.asked[1]) * (table / c.courses.max(1));
    vec![
        Act::Phase(PHASES[2]),
        take(Place::Host, Part::Batch, "courses of learners", lists),
        take(Place::Host, Part::Activations, "solution in the making", work),
        take(Place::Pool, Part::Parameters, "courses", table),
        Act::Give(0),
        Act::Give(1),
        Act::Phase(PHASES[6]),
        take(Place::Pool, Part::Ranking, "learners", rows),
        take(Place::Host, Part::Ranking, "learners", rows),
    ]
}

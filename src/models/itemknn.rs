//! ItemKNN (Sarwar et al. 2001): a course scores by its cosine with the courses taken.
//!
//!   w_ij = n_ij / (sqrt(n_i n_j) + shrink),  w_ii = 0
//!
//! with n_ij the learners who took both. With `rankers.itemknn_neighbours` = k only the k largest w_ij of each course j
//! that was taken count.

use super::closed_form::{CourseSets, Solution};
use crate::Result;
use crate::config::Config;
use crate::engine::parallel;

/// (courses x courses) how many learners took both; the diagonal holds how many took the course.
pub(super) fn together(sets: &CourseSets) -> Vec<f32> {
    let n = sets.courses;
    // By rows, each by one worker: for each course, the learners who took it. Counts are whole, so any order will do.
    let mut learners: Vec<Vec<u32>> = vec![vec![]; n];
    for (u, list) in sets.lists.iter().enumerate() {
        list.iter().for_each(|&c| learners[c as usize].push(u as u32));
    }
    let mut counts = vec![0.0f32; n * n];
    parallel::for_rows(&mut counts, n, |first, rows| {
        for (i, row) in rows.chunks_exact_mut(n).enumerate() {
            for &u in &learners[first + i] {
                sets.lists[u as usize].iter().for_each(|&c| row[c as usize] += 1.0);
            }
        }
    });
    counts
}

pub fn solve(config: &Config, sets: &CourseSets) -> Result<Solution> {
    let (n, settings) = (sets.courses, &config.rankers);
    let mut weights = together(sets);
    let own: Vec<f32> = (0..n).map(|i| weights[i * n + i]).collect();
    let shrink = settings.itemknn_shrink as f32;
    for (i, row) in weights.chunks_exact_mut(n.max(1)).enumerate() {
        for (j, w) in row.iter_mut().enumerate() {
            let scale = (own[i] * own[j]).sqrt() + shrink;
            *w = if i == j || scale == 0.0 { 0.0 } else { *w / scale };
        }
    }
    let k = settings.itemknn_neighbours;
    if k > 0 && k < n {
        // The weights are symmetric: row j holds the neighbours of j. What is kept there stands in column j.
        let mut kept = vec![0.0; n * n];
        for (j, row) in weights.chunks_exact(n).enumerate() {
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            order[..k].iter().for_each(|&i| kept[i * n + j] = row[i]);
        }
        weights = kept;
    }
    Ok(Solution::Weights(weights))
}

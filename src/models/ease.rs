//! EASE (Steck 2019): the linear item-item model with a zero diagonal, in closed form.
//!
//!   P = (X^T X + lambda I)^-1,  B = I - P diag(1 / diag P),  scores X B
//!
//! In f64: X^T X of real data has condition numbers that f32 does not hold.

use super::closed_form::{CourseSets, Solution};
use super::itemknn::together;
use crate::Result;
use crate::config::Config;
use crate::engine::parallel::{self, Trans};

pub fn solve(config: &Config, sets: &CourseSets) -> Result<Solution> {
    let (n, lambda) = (sets.courses, config.rankers.ease_lambda);
    let mut p: Vec<f64> = together(sets).into_iter().map(f64::from).collect();
    (0..n).for_each(|i| p[i * n + i] += lambda);
    invert(&mut p, n);
    // Row i of the table is column i of B.
    let mut table = vec![0.0f32; n * n];
    for (i, row) in table.chunks_exact_mut(n.max(1)).enumerate() {
        for (j, b) in row.iter_mut().enumerate() {
            *b = if i == j { 0.0 } else { (-p[j * n + i] / p[i * n + i]) as f32 };
        }
    }
    Ok(Solution::Weights(table))
}

/// Rows eliminated at once.
const BLOCK: usize = 64;

/// The inverse of a symmetric positive definite matrix in place: Gauss-Jordan by blocks, whose products are most of the
/// work. Pivots are positive in any order, so rows stay where they are.
fn invert(a: &mut [f64], n: usize) {
    for first in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - first);
        // D, the block on the diagonal, becomes its inverse.
        let mut pivot = vec![0.0; width * width];
        for i in 0..width {
            pivot[i * width..][..width].copy_from_slice(&a[(first + i) * n + first..][..width]);
        }
        invert_small(&mut pivot, width);
        // The block's rows become D^-1 times themselves.
        let rows = a[first * n..(first + width) * n].to_vec();
        let mut scaled = vec![0.0; width * n];
        parallel::matmul((width, width, n), &pivot, Trans::No, &rows, Trans::No, 0.0, &mut scaled);
        // Of every other row, its part in the block's columns times that is taken away.
        let mut columns = vec![0.0; n * width];
        for (i, to) in columns.chunks_exact_mut(width).enumerate() {
            if !(first..first + width).contains(&i) {
                let from = &mut a[i * n + first..][..width];
                to.iter_mut().zip(from.iter()).for_each(|(to, from)| *to = -from);
                from.fill(0.0);
            }
        }
        for (i, row) in scaled.chunks_exact_mut(n).enumerate() {
            row[first..first + width].copy_from_slice(&pivot[i * width..][..width]);
        }
        a[first * n..(first + width) * n].fill(0.0);
        parallel::matmul((n, width, n), &columns, Trans::No, &scaled, Trans::No, 1.0, a);
        a[first * n..(first + width) * n].copy_from_slice(&scaled);
    }
}

fn invert_small(a: &mut [f64], n: usize) {
    for k in 0..n {
        let pivot = 1.0 / a[k * n + k];
        a[k * n + k] = 1.0;
        a[k * n..][..n].iter_mut().for_each(|x| *x *= pivot);
        let row = a[k * n..][..n].to_vec();
        for (i, other) in a.chunks_exact_mut(n).enumerate() {
            if i != k {
                let by = std::mem::take(&mut other[k]);
                other.iter_mut().zip(&row).for_each(|(x, r)| *x -= by * r);
            }
        }
    }
}

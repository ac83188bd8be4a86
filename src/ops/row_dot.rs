//! Inner products of rows: y_i = a_i . b_i. The match score (8), and every other score of pairs.

use super::segment_sum::{add_dots, add_scaled_rows};
use super::{check_shape, inputs};
use base::Result;
use engine::{Backward, Op, Tensor};

/// Inputs a (B, d) and b (B, d); output (B, 1).
#[derive(Clone, Copy, Debug, Default)]
pub struct RowDot;

impl Op for RowDot {
    fn name(&self) -> &'static str {
        "row_dot"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [a, b] = inputs("row_dot", "a, b", x)?;
        check_shape("row_dot", "b", b, a.rows(), a.cols())?;
        let mut y = Tensor::zeros(&a.device(), a.dtype(), a.rows(), 1)?;
        add_dots(&mut y, (a, None), (b, None))?;
        Ok(vec![y])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let Some(dy) = dy[0] else { return Ok(()) };
        for i in 0..2 {
            if let Some(dx) = &mut dx[i] {
                add_scaled_rows(dx, dy, x[1 - i])?;
            }
        }
        Ok(())
    }
}

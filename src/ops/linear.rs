//! A dense layer: y = act(x W + b). Formulas (9)-(11), and every tower and head.

use super::activation::Activation;
use super::dense;
use super::{check_shape, inputs};
use base::Result;
use engine::{Backward, Op, Tensor};

/// Inputs x (B, n), W (n, d), b (1, d); output (B, d).
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub activation: Activation,
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [x, w, b] = inputs("linear", "x, W, b", x)?;
        check_shape("linear", "W", w, x.cols(), w.cols())?;
        check_shape("linear", "b", b, 1, w.cols())?;
        Ok(vec![dense::affine(x, w, Some(b), self.activation)?])
    }

    fn backward(&self, Backward { x, y, dy, dx }: Backward) -> Result<()> {
        let Some(dy) = dy[0] else { return Ok(()) };
        let dz = dense::activation_backward(dy, y[0], self.activation)?;
        let [dx, dw, db] = dx else { return Ok(()) };
        dense::affine_backward(x[0], x[1], &dz, dx.as_mut(), dw.as_mut(), db.as_mut())
    }
}

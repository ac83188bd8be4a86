//! Tables in 16 bits and back: what gathers of rows read, halved.

use super::inputs;
use base::{Error, Result};
use engine::device::{Grid, kernels};
use engine::{Backward, DType, Element, Op, Tensor, bf16, f16, parallel};

/// The input in another type: from f32 to bf16 or f16, rounded to nearest with ties to even, or from these to f32,
/// exactly. The gradient passes as it is, in f32: rounding counts as the identity.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    to: DType,
}

impl Cast {
    pub fn to(to: DType) -> Cast {
        Cast { to }
    }
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    /// `Error::Shape` for any other pair of types.
    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [x] = inputs("cast", "x", x)?;
        Ok(vec![cast(x, self.to)?])
    }

    fn backward(&self, Backward { dy, dx, .. }: Backward) -> Result<()> {
        match (dy[0], dx[0].as_mut()) {
            (Some(dy), Some(dx)) => *dx = dy.clone(),
            (None, Some(dx)) => dx.fill_zero()?,
            (_, None) => {}
        }
        Ok(())
    }

    fn overwrites(&self) -> bool {
        true
    }

    fn takes_half(&self, _: usize) -> bool {
        true
    }
}

/// `x` in another type; itself where it has that type.
pub(crate) fn cast(x: &Tensor, to: DType) -> Result<Tensor> {
    let from = x.dtype();
    if from == to {
        return Ok(x.clone());
    }
    if !matches!((from, to), (DType::F32, half) | (half, DType::F32) if half.is_half()) {
        return Err(Error::shape("cast", "f32 to bf16 or f16, or back", format!("{from:?} to {to:?}")));
    }
    let mut y = Tensor::empty(&x.device(), to, x.rows(), x.cols())?;
    if y.is_empty() {
        return Ok(y);
    }
    if let Some(gpu) = x.gpu() {
        let kernel = match (from, to) {
            (_, DType::Bf16) => kernels::CAST_TO_BF16,
            (_, DType::F16) => kernels::CAST_TO_F16,
            (DType::Bf16, _) => kernels::CAST_FROM_BF16,
            _ => kernels::CAST_FROM_F16,
        };
        gpu.launch(kernel, Grid::cover(x.len().div_ceil(4), 256))
            .tensor_mut(&mut y)
            .tensor(x)
            .value(x.len() as u64)
            .run()?;
        return Ok(y);
    }
    match (from, to) {
        (_, DType::Bf16) => round::<bf16>(x, &mut y),
        (_, DType::F16) => round::<f16>(x, &mut y),
        (DType::Bf16, _) => widen::<bf16>(x, &mut y),
        _ => widen::<f16>(x, &mut y),
    }
    Ok(y)
}

fn round<S: Element<Acc = f32>>(x: &Tensor, y: &mut Tensor) {
    let x = x.host::<f32>();
    parallel::for_chunks(y.host_mut::<S>(), |at, y| S::round(&x[at..at + y.len()], y));
}

fn widen<S: Element<Acc = f32>>(x: &Tensor, y: &mut Tensor) {
    let x = x.host::<S>();
    parallel::for_chunks(y.host_mut::<f32>(), |at, y| {
        y.iter_mut().zip(&x[at..]).for_each(|(y, x)| *y = x.load());
    });
}

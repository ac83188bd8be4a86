//! Columns side by side, and weighted sums of matrices of one shape: how layers and experts are put together.

use super::check;
use super::launch::launch;
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::{Backward, Op, Tensor, parallel};

/// Inputs (B, d_1), (B, d_2), ...; output (B, d_1 + d_2 + ...). Formula (7).
#[derive(Clone, Copy, Debug, Default)]
pub struct Concat;

/// The parts side by side, on new memory. `parts` is not empty.
pub(crate) fn concat(parts: &[&Tensor]) -> Result<Tensor> {
    let rows = parts[0].rows();
    for part in parts {
        check(part.rows() == rows, "concat", || format!("{rows} rows"), || format!("{}", part.rows()))?;
    }
    let width = parts.iter().map(|p| p.cols()).sum();
    let mut wide = parts[0].empty_like(rows, width)?;
    if wide.is_empty() {
        return Ok(wide);
    }
    if let Some(gpu) = parts[0].gpu() {
        let mut first = 0;
        for part in parts.iter().filter(|p| !p.is_empty()) {
            let (n, grid) = (part.len() as u64, Grid::cover(part.len(), 256));
            launch!(gpu, kernels::CONCAT_FWD, grid; &mut wide, *part, n, part.cols(), width, first)?;
            first += part.cols();
        }
        return Ok(wide);
    }
    dispatch_float!(wide.dtype(), T => {
        let parts: Vec<(&[T], usize)> = parts.iter().map(|p| (p.host::<T>(), p.cols())).collect();
        parallel::for_rows(wide.host_mut::<T>(), width, |row, rows| {
            for (r, to) in rows.chunks_exact_mut(width).enumerate() {
                let mut first = 0;
                for (part, cols) in &parts {
                    let from = (row + r) * cols;
                    to[first..first + cols].copy_from_slice(&part[from..from + cols]);
                    first += cols;
                }
            }
        });
    });
    Ok(wide)
}

/// part += wide[:, first .. first + part.cols()]
pub(crate) fn add_columns(part: &mut Tensor, wide: &Tensor, first: usize) -> Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    let (cols, width) = (part.cols(), wide.cols());
    if let Some(gpu) = wide.gpu() {
        let (n, grid) = (part.len() as u64, Grid::cover(part.len(), 256));
        return launch!(gpu, kernels::CONCAT_BWD, grid; part, wide, n, cols, width, first);
    }
    dispatch_float!(wide.dtype(), T => {
        let wide = wide.host::<T>();
        let (part, fresh) = part.host_overwrite::<T>();
        parallel::for_rows(part, cols, |row, rows| {
            for (r, to) in rows.chunks_exact_mut(cols).enumerate() {
                let from = &wide[(row + r) * width + first..][..cols];
                match fresh {
                    true => to.copy_from_slice(from),
                    false => parallel::axpy(1.0, from, to),
                }
            }
        });
    });
    Ok(())
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        check(!x.is_empty(), "concat", || "at least one input".into(), || "none".into())?;
        Ok(vec![concat(x)?])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let Some(dy) = dy[0] else { return Ok(()) };
        let mut first = 0;
        for (x, dx) in x.iter().zip(dx) {
            if let Some(dx) = dx {
                add_columns(dx, dy, first)?;
            }
            first += x.cols();
        }
        Ok(())
    }
}

/// y = sum_i w_i x_i over inputs of one shape. Also the weighted sum of losses, which are 1 x 1.
#[derive(Clone, Debug)]
pub struct Combine {
    pub weights: Vec<f64>,
}

impl Combine {
    /// The plain sum of `inputs` inputs.
    pub fn sum(inputs: usize) -> Combine {
        Combine { weights: vec![1.0; inputs] }
    }

    /// The mean of `inputs` inputs.
    pub fn mean(inputs: usize) -> Combine {
        Combine { weights: vec![1.0 / inputs as f64; inputs] }
    }
}

impl Op for Combine {
    fn name(&self) -> &'static str {
        "combine"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        check(
            x.len() == self.weights.len(),
            "combine",
            || format!("{} inputs", self.weights.len()),
            || format!("{}", x.len()),
        )?;
        let terms: Vec<(f64, &Tensor)> = self.weights.iter().copied().zip(x.iter().copied()).collect();
        Ok(vec![Tensor::weighted_sum(&terms)?])
    }

    fn backward(&self, Backward { dy, dx, .. }: Backward) -> Result<()> {
        let Some(dy) = dy[0] else { return Ok(()) };
        for (weight, dx) in self.weights.iter().zip(dx) {
            if let Some(dx) = dx.as_mut().filter(|dx| !dx.is_empty()) {
                dx.add_scaled(*weight, dy)?;
            }
        }
        Ok(())
    }
}

//! The differentiable operations: one file each, with shape checks, CPU code, kernel launches and backward.
//!
//! The CPU code is generic over f32 and f64 and written to be read: it is what the kernels are held to.

mod bpr;
mod dense;
mod gather;
mod linear;
mod loss;
mod scatter;
mod softmax_loss;
mod transd;

pub use bpr::Bpr;
pub use dense::Activation;
pub use gather::Gather;
pub use linear::Linear;
pub use softmax_loss::{SoftmaxLoss, SoftmaxOptions};
pub use transd::{Distance, TransDLoss, ProjNorm, TransD, TransDOptions, Triples, transd_score};

pub use crate::graph::Rows;

use crate::engine::Tensor;
use crate::{Error, Result};

/// Fails unless `ok`; `expected` and `got` are only formatted then.
pub(crate) fn check(
    ok: bool,
    op: &'static str,
    expected: impl FnOnce() -> String,
    got: impl FnOnce() -> String,
) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::shape(op, expected(), got())) }
}

/// Fails unless `t` is rows x cols.
pub(crate) fn check_shape(op: &'static str, what: &str, t: &Tensor, rows: usize, cols: usize) -> Result<()> {
    check(
        t.shape() == (rows, cols),
        op,
        || format!("{what} {rows} x {cols}"),
        || format!("{} x {}", t.rows(), t.cols()),
    )
}

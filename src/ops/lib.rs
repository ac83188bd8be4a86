//! The differentiable operations: one file each, with shape checks, CPU code, kernel launches and backward.
//!
//! The CPU code is generic over f32 and f64 and written to be read: it is what the kernels are held to.

mod activation;
mod aggregate;
mod bce;
mod bi_interaction;
mod bpr;
mod cast;
mod concat;
mod cpu;
mod dense;
mod dropout;
mod funnel;
mod gate;
mod gather;
mod grouped_mlp;
mod launch;
mod linear;
mod loss;
mod normalize;
mod orthogonality;
mod pair_features;
mod query;
mod reduce;
mod relation_attention;
mod relation_mix;
mod row_dot;
mod scale_rows;
mod segment_sum;
mod softmax_loss;
mod softmax_mixture;
mod topk;
mod transd;

pub use activation::Activation;
pub use aggregate::{Aggregate, laplacian_weights, symmetric_weights};
pub use bce::BceLoss;
pub use bi_interaction::{Aggregator, BiInteraction};
pub use bpr::Bpr;
pub use cast::Cast;
pub use concat::{Combine, Concat};
pub use dropout::Dropout;
pub use funnel::Funnel;
pub use gate::Gate;
pub use gather::Gather;
pub use grouped_mlp::GroupedMlp;
pub use linear::Linear;
pub use normalize::L2Normalize;
pub use orthogonality::{OrthForm, Orthogonality};
pub use pair_features::PairFeatures;
pub use query::{LogitKind, Query};
pub use reduce::{L1, L2, RowSum};
pub use relation_attention::RelationAttention;
pub use relation_mix::RelationMix;
pub use row_dot::RowDot;
pub use scale_rows::ScaleRows;
pub use softmax_loss::{SoftmaxLoss, SoftmaxOptions};
pub use softmax_mixture::SoftmaxMixture;
pub use topk::{Dot, MAX_K, NO_COURSE, PairHead, Scorer, TopK};
pub use transd::{Distance, ProjNorm, TransD, TransDLoss, TransDOptions, Triples, transd_score};

pub use graph::Rows;

use base::{Error, Result};
use engine::device::Kernel;
use engine::{DType, Tensor};

/// Fails unless `ok`; `expected` and `got` are only formatted then.
pub(crate) fn check(
    ok: bool,
    op: &'static str,
    expected: impl FnOnce() -> String,
    got: impl FnOnce() -> String,
) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::shape(op, expected(), got())) }
}

/// The `N` inputs of an op; `names` lists them for the error.
pub(crate) fn inputs<'a, const N: usize>(op: &'static str, names: &str, x: &[&'a Tensor]) -> Result<[&'a Tensor; N]> {
    x.try_into().map_err(|_| Error::shape(op, format!("inputs {names}"), format!("{} inputs", x.len())))
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

/// The kernel for rows stored as those of `rows`, of three for f32, bf16 and f16.
pub(crate) fn for_rows_of(rows: &Tensor, [single, bf16, f16]: [Kernel; 3]) -> Kernel {
    match rows.dtype() {
        DType::Bf16 => bf16,
        DType::F16 => f16,
        DType::F32 | DType::F64 => single,
    }
}

/// What forward kept for backward.
pub(crate) fn saved<'a, T>(op: &'static str, kept: &'a Option<T>) -> Result<&'a T> {
    kept.as_ref().ok_or_else(|| Error::shape(op, "forward before backward", "no forward"))
}

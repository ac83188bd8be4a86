//! FDN (Zhou et al. 2023): several pairs of shared and specific experts for each task; a task reads its own specific
//! experts and all shared ones, side by side, through one linear layer (`head.tower = []`). Losses: cross-entropies, (14)
//! and (15).
//!
//! The authors' code forms (14) from one sample at a time and so penalises norms, not angles: that is
//! `loss.orth = "fdn_code"`, for comparison. Here it is what (14) says.

use super::waa_ta::WaaTaHead;
use crate::Result;
use crate::config::{Fusion, HeadConfig};
use crate::layers::ParamBuilder;

/// `dim` is D, the width of Z_u and Z_i. The fusion is FDN's whatever `config` says.
pub fn head(b: &mut ParamBuilder, config: &HeadConfig, dim: usize, tasks: usize) -> Result<WaaTaHead> {
    WaaTaHead::new(b, &HeadConfig { fusion: Fusion::FdnConcat, ..config.clone() }, dim, tasks)
}

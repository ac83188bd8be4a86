//! No head: the match score (8) is the judgement. BPR-MF over a table of vectors (Rendle et al. 2009) and LightGCN over
//! the graph of enrolments (He et al. 2020) are this with an encoder of theirs.

use super::head::{Head, HeadOutput};
use crate::Result;
use crate::engine::{Params, Var};
use crate::layers::ForwardCtx;
use crate::ops::{PairHead, RowDot};

pub struct MatchScore;

impl Head for MatchScore {
    fn forward(&self, pass: &mut ForwardCtx, z_u: Var, z_i: Var) -> Result<HeadOutput> {
        Ok(HeadOutput::of(vec![pass.tape.apply(RowDot, &[z_u, z_i])?]))
    }

    fn first_task(&self, _: &Params, _: usize) -> Result<Option<PairHead>> {
        Ok(None)
    }

    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

//! No head: the match score (8) is the judgement. BPR-MF over a table of vectors (Rendle et al. 2009) and LightGCN over
//! the graph of enrolments (He et al. 2020) are this with an encoder of theirs.

use super::head::{Head, HeadCtx, HeadOutput};
use crate::Result;

pub struct MatchScore;

impl Head for MatchScore {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        Ok(HeadOutput::of(vec![c.match_score()?]))
    }

    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

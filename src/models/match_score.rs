//! No head: the match score (8) is the judgement. BPR-MF over a table of vectors (Rendle et al. 2009) and LightGCN over
//! the graph of enrolments (He et al. 2020) are this with an encoder of theirs.

use super::head::{Head, HeadCtx, HeadOutput};
use crate::Result;
use crate::config::HeadConfig;
use crate::layers::ParamBuilder;

pub struct MatchScore;

impl MatchScore {
    pub fn new(_: &mut ParamBuilder, _: &HeadConfig, _dim: usize, _tasks: usize) -> Result<MatchScore> {
        Ok(MatchScore)
    }
}

impl Head for MatchScore {
    fn forward(&self, c: &mut HeadCtx) -> Result<HeadOutput> {
        Ok(HeadOutput::of(vec![c.match_score()?]))
    }

    fn first_logit_is_learned(&self) -> bool {
        false
    }
}

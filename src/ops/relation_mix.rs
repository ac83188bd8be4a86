//! The second term of a projected message. With t_perp = x_t + s_t r_p (formula (1), s_t = p_t . x_t), the sum
//! of projected neighbours is the sum of raw ones (`Aggregate`, `RelationAttention`) plus
//! sum_e alpha_e s_tail(e) r_p[relation(e)], which needs one scalar per (dst, relation) group only.

use std::sync::Arc;

use super::segment_sum::{Terms, add_dots, add_segments};
use super::{check_shape, inputs};
use base::Result;
use engine::{Backward, Op, Tensor};
use graph::Graph;

/// Inputs alpha (edges, 1), s (num_src, 1) and r_p (relations, n); output (num_dst, n).
#[derive(Clone, Debug)]
pub struct RelationMix {
    graph: Arc<Graph>,
    /// (groups, 1) w_g = sum over the edges e of group g of alpha_e s_tail(e).
    weight: Option<Tensor>,
}

impl RelationMix {
    pub fn new(graph: Arc<Graph>) -> RelationMix {
        RelationMix { graph, weight: None }
    }
}

impl Op for RelationMix {
    fn name(&self) -> &'static str {
        "relation_mix"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [alpha, s, r_p] = inputs("relation_mix", "alpha, s, r_p", x)?;
        let g = &*self.graph;
        check_shape("relation_mix", "alpha", alpha, g.edges(), 1)?;
        check_shape("relation_mix", "s", s, g.num_src, 1)?;
        check_shape("relation_mix", "r_p", r_p, g.relations, r_p.cols())?;
        let mut weight = Tensor::zeros(&s.device(), s.dtype(), g.groups.count, 1)?;
        add_segments(&mut weight, &g.groups.splits, Terms::of(s).column(&g.src).weight(alpha))?;
        let mut out = Tensor::zeros(&s.device(), s.dtype(), g.num_dst, r_p.cols())?;
        let terms = Terms::of(r_p).column(&g.groups.relation).weight(&weight);
        add_segments(&mut out, &g.groups.dst_splits, terms)?;
        self.weight = Some(weight);
        Ok(vec![out])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), Some(weight), [d_alpha, d_s, d_r_p]) = (dy[0], &self.weight, dx) else {
            return Ok(());
        };
        let g = &*self.graph;
        if d_alpha.is_some() || d_s.is_some() {
            let mut d_weight = weight.zeros_like()?;
            add_dots(&mut d_weight, (dy, Some(&g.groups.dst)), (x[2], Some(&g.groups.relation)))?;
            if let Some(d_alpha) = d_alpha {
                add_dots(d_alpha, (x[1], Some(&g.src)), (&d_weight, Some(&g.group)))?;
            }
            if let Some(d_s) = d_s {
                let terms = Terms::of(&d_weight).entry(&g.by_src.edge).column(&g.group).weight(x[0]);
                add_segments(d_s, &g.src_splits, terms)?;
            }
        }
        if let Some(d_r_p) = d_r_p {
            let terms = Terms::of(dy).entry(&g.groups.by_relation).column(&g.groups.dst).weight(weight);
            add_segments(d_r_p, &g.groups.relation_splits, terms)?;
        }
        Ok(())
    }
}

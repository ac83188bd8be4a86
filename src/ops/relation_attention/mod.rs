//! Relation attention: logit, softmax over all edges of a destination, and the neighbourhood message in one pass.
//! Formulas (3)-(5), with the projection (1) factored: t_perp . U_g = x_t[..k] . U_g[..k] + s_t c_g, where
//! s_t = p_t . x_t once per source, c_g = r_p . U_g once per group, and k = min(n, m).

mod bipartite;
mod cpu;
mod gpu;
mod inputs;

use std::sync::Arc;

use base::Result;
use engine::{Backward, Op, Tensor};
use graph::Graph;

use super::query::LogitKind;
use super::segment_sum::{Terms, add_dots, add_scaled_rows, add_segments};
use inputs::{Attention, OutputGradients, ProjectionDots, bipartite_edges};

/// pi_e = act(t_perp . U_g + o_g) / temperature + bias[bucket_e]; alpha = softmax of pi over a destination's edges;
/// agg_v = sum of alpha_e x_t.
///
/// Inputs U (groups, m) and o (groups, 1) from `Query`, x (num_src, n), p (num_src, n), r_p (relations, m),
/// bias (buckets, 1). With (0, n) and (0, m) for p and r_p nothing is projected: t_perp = x_t. Outputs agg (num_dst,
/// n), alpha (edges, 1) and log_sum (num_dst, 1), the logarithm of the softmax's denominator sum e^pi_e. A destination
/// without edges gets zeros.
///
/// U, x and p may be stored in bf16 or f16, all three alike: edges then read half the bytes. Sums, outputs and
/// gradients are f32.
#[derive(Clone, Debug)]
pub struct RelationAttention {
    graph: Arc<Graph>,
    /// Slope of the LeakyReLU of `LogitKind::Gat`.
    slope: Option<f32>,
    temperature: f32,
    saved: Option<Saved>,
}

#[derive(Clone, Debug)]
struct Saved {
    dots: ProjectionDots,
    /// Where the pass was a stream over bipartite edges: (row edges, 1) alpha of the inverse of each row's edge.
    inverse_alpha: Option<Tensor>,
}

impl RelationAttention {
    /// `temperature` is positive; the logits are divided by it.
    pub fn new(graph: Arc<Graph>, logit: LogitKind, temperature: f32) -> RelationAttention {
        let slope = match logit {
            LogitKind::Gat { slope } => Some(slope),
            LogitKind::Tanh | LogitKind::Dot => None,
        };
        RelationAttention { graph, slope, temperature, saved: None }
    }

    /// Whether these inputs take the stream over the graph's bipartite edges.
    pub fn is_streamed(&self, x: &[&Tensor]) -> bool {
        bipartite_edges(&self.graph, x[0], x[2]).is_some()
    }
}

impl Op for RelationAttention {
    fn name(&self) -> &'static str {
        "relation attention"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let g = &*self.graph;
        let a = Attention::new(g, self.slope, self.temperature, x)?;
        let (device, dtype) = (a.u.device(), a.u.dtype().compute_dtype());
        let mut dots = ProjectionDots {
            s: Tensor::zeros(&device, dtype, g.num_src, 1)?,
            c: Tensor::zeros(&device, dtype, g.groups.count, 1)?,
        };
        let mut alpha = Tensor::empty(&device, dtype, g.edges(), 1)?;
        // Destinations without edges have no split that would write their value.
        let mut log_sum = Tensor::zeros(&device, dtype, g.num_dst, 1)?;
        if let Some(edges) = a.bipartite() {
            let (agg, inverse_alpha) = bipartite::forward(&a, edges, &mut dots, &mut alpha, &mut log_sum)?;
            self.saved = Some(Saved { dots, inverse_alpha: Some(inverse_alpha) });
            return Ok(vec![agg, alpha, log_sum]);
        }
        if a.projected {
            add_dots(&mut dots.s, (&a.x, None), (&a.p, None))?;
            add_dots(&mut dots.c, (&a.u, None), (&a.r_p, Some(&g.groups.relation)))?;
        }
        let agg = match a.u.gpu() {
            Some(gpu) => gpu::forward(&a, gpu, &dots, &mut alpha, &mut log_sum)?,
            None => cpu::forward(&a, &dots, &mut alpha, &mut log_sum)?,
        };
        self.saved = Some(Saved { dots, inverse_alpha: None });
        Ok(vec![agg, alpha, log_sum])
    }

    fn backward(&self, Backward { x, y, dy, dx }: Backward) -> Result<()> {
        let Some(Saved { dots, inverse_alpha }) = &self.saved else { return Ok(()) };
        let g = &*self.graph;
        let a = Attention::new(g, self.slope, self.temperature, x)?;
        let up = OutputGradients { agg: dy[0], alpha: dy[1], log_sum: dy[2] };
        if let (Some(edges), Some(inverse_alpha)) = (a.bipartite(), inverse_alpha) {
            return bipartite::backward(&a, edges, (dots, inverse_alpha), y, up, dx);
        }
        // (num_dst, 1) the sum over the destination's edges of alpha_e dalpha_e, less the gradient of log_sum. The part
        // through agg is G_v . agg_v, without a sum over edges.
        let mut inner = Tensor::zeros(&a.u.device(), a.u.dtype().compute_dtype(), g.num_dst, 1)?;
        if let Some(d_agg) = up.agg {
            add_dots(&mut inner, (d_agg, None), (y[0], None))?;
        }
        if let Some(d_alpha) = up.alpha {
            add_segments(&mut inner, &g.dst_splits, Terms::of(d_alpha).weight(y[1]))?;
        }
        if let Some(d_log_sum) = up.log_sum {
            // d log_sum / d pi_e = alpha_e
            inner.add_scaled(-1.0, d_log_sum)?;
        }
        let [d_u, d_o, d_x, d_p, d_r_p, d_bias] = dx else { return Ok(()) };
        let grads = match a.u.gpu() {
            Some(gpu) => gpu::group_backward(&a, gpu, y[1], dots, up, &inner, d_u.as_mut())?,
            None => cpu::group_backward(&a, y[1], dots, up, &inner, d_u.as_mut())?,
        };
        if let Some(d_o) = d_o {
            d_o.add_scaled(1.0, &grads.sum)?;
        }
        if let Some(d_r_p) = d_r_p.as_mut().filter(|_| a.projected) {
            let terms = Terms::of(&a.u).entry(&g.groups.by_relation).weight(&grads.sum_s);
            add_segments(d_r_p, &g.groups.relation_splits, terms)?;
        }
        if let Some(d_bias) = d_bias {
            match a.u.gpu() {
                Some(gpu) => gpu::add_bucket_sums(&a, gpu, &grads.d, d_bias)?,
                None => cpu::add_bucket_sums(&a, &grads.d, d_bias),
            }
        }
        if d_x.is_some() || d_p.is_some() {
            let w = match a.u.gpu() {
                Some(gpu) => gpu::src_backward(&a, gpu, y[1], dots, up, &grads.d, d_x.as_mut())?,
                None => cpu::src_backward(&a, y[1], dots, up, &grads.d, d_x.as_mut())?,
            };
            if let Some(d_p) = d_p.as_mut().filter(|_| a.projected) {
                add_scaled_rows(d_p, &w, &a.x)?;
            }
        }
        Ok(())
    }

    fn takes_half(&self, i: usize) -> bool {
        matches!(i, 0 | 2 | 3)
    }
}

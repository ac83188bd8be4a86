//! Neighbourhood sums under given weights: formula (3), for the layers after the one whose attention made the
//! weights, and for weights that are no attention at all.

mod bipartite;

use std::sync::Arc;

use super::cast::cast;
use super::segment_sum::{Terms, add_dots, add_segments};
use super::{check_shape, inputs};
use base::Result;
use engine::dispatch_float;
use engine::{Backward, Op, Tensor};
use graph::Graph;

/// out_v = sum over the edges e of destination v of alpha_e x_src(e).
///
/// Inputs alpha (edges, 1) and x (num_src, n); output (num_dst, n). A destination without edges gets zeros. x may be
/// stored in bf16 or f16; sums, output and gradients are f32 then.
#[derive(Clone, Debug)]
pub struct Aggregate {
    graph: Arc<Graph>,
}

impl Aggregate {
    pub fn new(graph: Arc<Graph>) -> Aggregate {
        Aggregate { graph }
    }
}

impl Op for Aggregate {
    fn name(&self) -> &'static str {
        "aggregate"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [alpha, x] = inputs("aggregate", "alpha, x", x)?;
        let g = &*self.graph;
        check_shape("aggregate", "alpha", alpha, g.edges(), 1)?;
        check_shape("aggregate", "x", x, g.num_src, x.cols())?;
        let mut out = Tensor::zeros(&x.device(), x.dtype().compute_dtype(), g.num_dst, x.cols())?;
        if let Some(pairs) = bipartite::pairs(g, x) {
            // The stream over pairs works on f32.
            let x = &cast(x, x.dtype().compute_dtype())?;
            dispatch_float!(x.dtype(), T => bipartite::forward::<T>(g, pairs, alpha, x, &mut out)?);
            return Ok(vec![out]);
        }
        add_segments(&mut out, &g.dst_splits, Terms::of(x).column(&g.src).weight(alpha))?;
        Ok(vec![out])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), [d_alpha, d_x]) = (dy[0], dx) else { return Ok(()) };
        let g = &*self.graph;
        if let Some(pairs) = bipartite::pairs(g, x[1]) {
            let (d_alpha, d_x) = (d_alpha.as_mut(), d_x.as_mut());
            let rows = &cast(x[1], x[1].dtype().compute_dtype())?;
            return dispatch_float!(dy.dtype(), T => {
                bipartite::backward::<T>(g, pairs, (x[0], rows), dy, d_alpha, d_x)
            });
        }
        if let Some(d_alpha) = d_alpha {
            add_dots(d_alpha, (dy, Some(&g.dst)), (x[1], Some(&g.src)))?;
        }
        if let Some(d_x) = d_x {
            let terms = Terms::of(dy).entry(&g.by_src.edge).column(&g.dst).weight(x[0]);
            add_segments(d_x, &g.src_splits, terms)?;
        }
        Ok(())
    }

    fn takes_half(&self, i: usize) -> bool {
        i == 1
    }
}

/// The fixed weights of KGAT's laplacian, sum_r D_r^-1 A_r: an edge weighs 1 / (edges of the same destination and
/// relation), so a destination's weights sum to the number of relations it has. One value per edge.
pub fn laplacian_weights(graph: &Graph) -> Vec<f32> {
    let offsets = graph.groups.offsets.host();
    (graph.group.host().iter()).map(|&g| 1.0 / (offsets[g as usize + 1] - offsets[g as usize]) as f32).collect()
}

/// 1 / sqrt(edges of the destination times edges to the source): LightGCN's constant weights.
pub fn symmetric_weights(graph: &Graph) -> Vec<f32> {
    let (mut of_dst, mut of_src) = (vec![0u32; graph.num_dst], vec![0u32; graph.num_src]);
    let edges = || graph.dst.host().iter().zip(graph.src.host()).map(|(&v, &t)| (v as usize, t as usize));
    for (v, t) in edges() {
        of_dst[v] += 1;
        of_src[t] += 1;
    }
    edges().map(|(v, t)| 1.0 / (of_dst[v] as f32 * of_src[t] as f32).sqrt()).collect()
}

//! What the passes of relation attention share: the op's inputs by name, and what goes from pass to pass.

use base::{Error, Result};
use engine::Tensor;
use graph::{BipartiteEdges, Graph};

use crate::cast::cast;
use crate::cpu::stream::WIDEST;
use crate::{check, check_shape, inputs};

/// Graph, options and inputs of `RelationAttention`, which documents them.
pub(super) struct Attention<'a> {
    pub graph: &'a Graph,
    pub slope: Option<f32>,
    pub temperature: f32,
    /// Whether there are p and r_p.
    pub projected: bool,
    pub u: Tensor,
    pub o: Tensor,
    pub x: Tensor,
    pub p: Tensor,
    pub r_p: Tensor,
    pub bias: Tensor,
}

/// (num_src, 1) p_t . x_t and (groups, 1) r_p . U_g
#[derive(Clone, Debug)]
pub(super) struct ProjectionDots {
    pub s: Tensor,
    pub c: Tensor,
}

/// Upstream gradients of the three outputs, absent where nothing depends on one.
#[derive(Clone, Copy)]
pub(super) struct OutputGradients<'a> {
    pub agg: Option<&'a Tensor>,
    pub alpha: Option<&'a Tensor>,
    pub log_sum: Option<&'a Tensor>,
}

/// What the pass over groups leaves for the other gradients.
pub(super) struct LogitGradients {
    /// (edges, 1) dpi_e / temperature
    pub d: Tensor,
    /// (groups, 1) sum of dz_e s_t, and sum of dz_e
    pub sum_s: Tensor,
    pub sum: Tensor,
}

impl<'a> Attention<'a> {
    /// `Error::Shape` unless the inputs fit the graph.
    pub fn new(graph: &'a Graph, slope: Option<f32>, temperature: f32, x: &[&Tensor]) -> Result<Attention<'a>> {
        const OP: &str = "relation attention";
        let [u, o, x, p, r_p, bias] = inputs(OP, "U, o, x, p, r_p, bias", x)?;
        let projected = p.rows() > 0 || r_p.rows() > 0;
        check(
            [x, p].iter().all(|t| t.dtype() == u.dtype()),
            OP,
            || "U, x and p of one type".into(),
            || format!("{u:?}, {x:?}, {p:?}"),
        )?;
        check_shape(OP, "U", u, graph.groups.count, u.cols())?;
        check_shape(OP, "o", o, graph.groups.count, 1)?;
        check_shape(OP, "x", x, graph.num_src, x.cols())?;
        if projected {
            check_shape(OP, "p", p, graph.num_src, x.cols())?;
            check_shape(OP, "r_p", r_p, graph.relations, u.cols())?;
        }
        check_shape(OP, "bias", bias, graph.buckets.max(bias.rows()), 1)?;
        if temperature.is_nan() || temperature <= 0.0 {
            return Err(Error::shape(OP, "a positive temperature", format!("{temperature}")));
        }
        // The stream over bipartite edges works on f32.
        let widen = bipartite_edges(graph, u, x).is_some();
        let rows = |t: &Tensor| if widen { cast(t, t.dtype().compute_dtype()) } else { Ok(t.clone()) };
        let (u, x, p) = (rows(u)?, rows(x)?, rows(p)?);
        let (o, r_p, bias) = (o.clone(), r_p.clone(), bias.clone());
        Ok(Attention { graph, slope, temperature, projected, u, o, x, p, r_p, bias })
    }

    /// n and m, the columns of x and of U.
    pub fn widths(&self) -> (usize, usize) {
        (self.x.cols(), self.u.cols())
    }

    /// The edges to stream over, where there are any and the rows are no wider than that takes.
    pub fn bipartite(&self) -> Option<&'a BipartiteEdges> {
        bipartite_edges(self.graph, &self.u, &self.x)
    }
}

pub(super) fn bipartite_edges<'a>(graph: &'a Graph, u: &Tensor, x: &Tensor) -> Option<&'a BipartiteEdges> {
    let streams = u.gpu().is_none() && u.cols().max(x.cols()) <= WIDEST && x.cols() > 0;
    graph.bipartite.as_deref().filter(|_| streams)
}

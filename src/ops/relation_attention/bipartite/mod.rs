//! Relation attention on the CPU where the graph has `BipartiteEdges`: one stream over the rows (learners) for both
//! directions.
//!
//! A row is read once. For each of its edges the column's row, which is in the cache, gives the row's logit and
//! message, and the row gives the logit and message of the inverse edge, which are added to a softmax of the column
//! that is kept for each chunk of rows: a running maximum, a sum and a vector. The chunks are fixed by the graph and
//! merged in order with what the column's other edges give, so the bits do not depend on the number of threads.

mod backward;
mod forward;
mod item_side;
mod merge;

use base::Result;
use engine::parallel::prefetch;
use engine::simd::dot;
use engine::{Real, Tensor, dispatch_float};
use graph::{BipartiteEdges, Graph};

use super::inputs::{Attention, OutputGradients, ProjectionDots};
use crate::cpu::stream::with_row;

/// Upstream gradients and weights in host memory; `inner` (destinations behind the rows) is sum of alpha dalpha less
/// the gradient of log_sum.
struct HostGradients<'a, T> {
    d_agg: Option<&'a [T]>,
    d_alpha: Option<&'a [T]>,
    d_log_sum: Option<&'a [T]>,
    alpha: &'a [T],
    /// (row edges) alpha of the inverse edges
    inverse_alpha: &'a [T],
    inner: Vec<T>,
}

/// Writes alpha, log_sum and `dots`; returns agg and (row edges, 1) alpha of the inverse of each row's edge.
pub(super) fn forward(
    a: &Attention,
    pairs: &BipartiteEdges,
    dots: &mut ProjectionDots,
    alpha: &mut Tensor,
    log_sum: &mut Tensor,
) -> Result<(Tensor, Tensor)> {
    dispatch_float!(a.u.dtype(), T => with_row!(a.widths(), W, FIXED => {
        forward::forward::<T, W, FIXED>(a, pairs, dots, alpha, log_sum)
    }))
}

/// Adds all gradients; `y` and `dx` as the op's backward gets them.
pub(super) fn backward(
    a: &Attention,
    pairs: &BipartiteEdges,
    saved: (&ProjectionDots, &Tensor),
    y: &[&Tensor],
    up: OutputGradients,
    dx: &mut [Option<Tensor>],
) -> Result<()> {
    dispatch_float!(a.u.dtype(), T => with_row!(a.widths(), W, FIXED => {
        backward::backward::<T, W, FIXED>(a, pairs, saved, y, up, dx)
    }))
}

/// Rows between the one that is asked for and the one that is used, of those that the stream reads once.
const ROWS_AHEAD: usize = 4;

/// What both passes read. Rows have `widths` (n, m), where FIXED both W, else at most W.
pub(super) struct Stream<'a, T, const W: usize, const FIXED: bool> {
    pub g: &'a Graph,
    pub pairs: &'a BipartiteEdges,
    pub x: &'a [T],
    pub u: &'a [T],
    pub o: &'a [T],
    /// p and r_p, where the logit is of projected vectors.
    pub projection: Option<(&'a [T], &'a [T])>,
    pub bias: &'a [T],
    /// (columns, n) rows of x, and (columns) s
    pub x_columns: &'a [T],
    pub s_columns: &'a [T],
    /// (inverse groups, m) rows of U, and (inverse groups) c and o: copies side by side
    pub u_inverse: Vec<T>,
    pub c_inverse: Vec<T>,
    pub o_inverse: Vec<T>,
    widths: (usize, usize),
    pub slope: Option<T>,
    pub inverse_temperature: T,
}

impl<'a, T: Real, const W: usize, const FIXED: bool> Stream<'a, T, W, FIXED> {
    /// `s` and `c` hold the values of sources and groups behind the rows'.
    pub fn new(a: &'a Attention, pairs: &'a BipartiteEdges, s: &'a [T], c: &[T]) -> Self {
        let (n, m) = a.widths();
        let (u, o, x) = (a.u.host::<T>(), a.o.host::<T>(), a.x.host::<T>());
        let groups = &pairs.inverse_groups;
        Stream {
            g: a.graph,
            pairs,
            x,
            u,
            o,
            projection: a.projected.then(|| (a.p.host(), a.r_p.host())),
            bias: a.bias.host(),
            x_columns: &x[pairs.columns.start * n..pairs.columns.end * n],
            s_columns: &s[pairs.columns.start - pairs.rows..pairs.columns.end - pairs.rows],
            u_inverse: gathered(u, groups, m),
            c_inverse: groups.iter().map(|&g| c[g as usize - pairs.groups]).collect(),
            o_inverse: groups.iter().map(|&g| o[g as usize]).collect(),
            widths: (n, m),
            slope: a.slope.map(|slope| T::of(slope as f64)),
            inverse_temperature: T::one() / T::of(a.temperature as f64),
        }
    }

    /// n, m and min(n, m)
    #[inline(always)]
    pub fn widths(&self) -> (usize, usize, usize) {
        let (n, m) = if FIXED { (W, W) } else { self.widths };
        (n, m, n.min(m))
    }

    /// Row i of a table of n columns, of m columns.
    #[inline(always)]
    pub fn row_n<'b>(&self, table: &'b [T], i: usize) -> &'b [T] {
        let n = self.widths().0;
        &table[i * n..][..n]
    }

    #[inline(always)]
    pub fn row_m<'b>(&self, table: &'b [T], i: usize) -> &'b [T] {
        let m = self.widths().1;
        &table[i * m..][..m]
    }

    /// The column of a row's edge, and the place of its inverse's group.
    #[inline(always)]
    pub fn column(&self, e: usize) -> (usize, usize) {
        let [column, group] = self.pairs.column[e];
        (column as usize, group as usize)
    }

    /// The biases of a row's edge and of its inverse.
    #[inline(always)]
    fn biases(&self, e: usize) -> (T, T) {
        match self.g.buckets {
            0 | 1 => (self.bias[0], self.bias[0]),
            _ => {
                let bucket = self.g.bucket.host()[e] as usize;
                (self.bias[bucket], self.bias[self.pairs.inverse_bucket[e] as usize])
            }
        }
    }

    /// Asks for what a later row will read of `table`; `group` rows for tables of groups.
    #[inline(always)]
    pub fn prefetch_row(&self, table: &[T], row: usize, width: usize) {
        if FIXED && (row + ROWS_AHEAD + 1) * width <= table.len() {
            prefetch(&table[(row + ROWS_AHEAD) * width..][..width]);
        }
    }

    /// The logit before activation and temperature.
    #[inline(always)]
    pub fn inner<const ISA: u8>(&self, u: &[T], x: &[T], s: T, c: T, o: T) -> T {
        let k = self.widths().2;
        dot::<ISA, T, T>(&u[..k], &x[..k]) + s * c + o
    }

    #[inline(always)]
    fn activate(&self, z: T) -> T {
        let z = match self.slope {
            Some(slope) if z <= T::zero() => slope * z,
            _ => z,
        };
        z * self.inverse_temperature
    }
}

/// Rows of `m` columns side by side.
fn gathered<T: Real>(table: &[T], rows: &[u32], m: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len() * m);
    for &row in rows {
        out.extend_from_slice(&table[row as usize * m..][..m]);
    }
    out
}

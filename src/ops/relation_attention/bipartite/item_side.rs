//! The side of the items (columns): the edges that are no inverses of users' edges, and what goes through the columns'
//! own projections.

use super::HostGradients;
use crate::cpu::rows::{AddScaled, RowWork, for_rows};
use crate::cpu::segment::{self, Outputs};
use crate::relation_attention::cpu::{Edges, GroupBackward, SrcBackward, bucket_sums, put_pairs};
use crate::relation_attention::inputs::{Attention, LogitGradients, OutputGradients, ProjectionDots};
use engine::parallel;
use engine::{Real, Tensor};
use graph::{BipartiteEdges, Graph, UNPAIRED};

/// `y`, and the weights of the rows' inverse edges, as the forward pass made them.
pub(super) fn host_gradients<'a, T: Real>(
    a: &Attention,
    pairs: &BipartiteEdges,
    (y, inverse_alpha): (&[&'a Tensor], &'a Tensor),
    up: OutputGradients<'a>,
) -> HostGradients<'a, T> {
    let mut upstream = HostGradients {
        d_agg: up.agg.map(Tensor::host::<T>),
        d_alpha: up.alpha.map(Tensor::host::<T>),
        d_log_sum: up.log_sum.map(Tensor::host::<T>),
        alpha: y[1].host(),
        inverse_alpha: inverse_alpha.host(),
        inner: vec![],
    };
    let mut inner = vec![T::zero(); a.graph.num_dst - pairs.rows];
    let n = y[0].cols();
    let work = Inner { g: a.graph, rows: pairs.rows, agg: y[0].host(), n, up: &upstream };
    for_rows(&mut inner, 1, 4 * n.max(64), &work);
    upstream.inner = inner;
    upstream
}

/// The groups behind the rows' that are no inverses: adds to dU, writes their sums and d of their edges.
pub(super) fn group_backward<T: Real>(
    a: &Attention,
    pairs: &BipartiteEdges,
    dots: &ProjectionDots,
    up: &HostGradients<'_, T>,
    d_u: Option<&mut Tensor>,
    grads: &mut LogitGradients,
) {
    if pairs.other_groups.count() == 0 {
        return;
    }
    let m = a.u.cols();
    let mut scalars = vec![T::zero(); pairs.other_groups.rows() * 2];
    let work = GroupBackward {
        edges: Edges::<T, 0>::new(a, dots),
        graph: a.graph,
        first: (pairs.groups, pairs.rows),
        r_p: &[],
        alpha: up.alpha,
        d_agg: up.d_agg,
        d_alpha: up.d_alpha,
        inner: &up.inner,
    };
    let width = d_u.as_ref().map_or(0, |_| m);
    let rows = d_u.map_or(&mut [][..], |d_u| &mut d_u.host_mut::<T>()[pairs.groups * m..]);
    let out = Outputs { rows, width, scalars: &mut scalars, count: 2, entries: grads.d.host_mut::<T>() };
    segment::run(&pairs.other_groups, out, &work);
    let (sum_s, sum) = (grads.sum_s.host_mut::<T>(), grads.sum.host_mut::<T>());
    put_pairs(&scalars, &mut sum_s[pairs.groups..], &mut sum[pairs.groups..]);
}

/// The sources behind the rows, over edges that are no pairs: adds to dx, returns w.
pub(super) fn src_backward<T: Real>(
    a: &Attention,
    pairs: &BipartiteEdges,
    dots: &ProjectionDots,
    up: &HostGradients<'_, T>,
    d: &Tensor,
    d_x: Option<&mut Tensor>,
) -> Vec<T> {
    let n = a.x.cols();
    let mut w = vec![T::zero(); a.graph.num_src - pairs.rows];
    if pairs.other_src.count() == 0 {
        return w;
    }
    let work = SrcBackward {
        edges: Edges::<T, 0>::new(a, dots),
        edge: a.graph.by_src.edge.host(),
        dst: a.graph.dst.host(),
        first: pairs.rows,
        p: &[],
        alpha: up.alpha,
        d_agg: up.d_agg,
        d: d.host(),
    };
    let width = d_x.as_ref().map_or(0, |_| n);
    let rows = d_x.map_or(&mut [][..], |d_x| &mut d_x.host_mut::<T>()[pairs.rows * n..]);
    let out = Outputs { rows, width, scalars: &mut w, count: 1, entries: &mut [] };
    segment::run(&pairs.other_src, out, &work);
    w
}

/// What goes through s and c of the columns' side: dU_g += sum_s r_p, dx_t += w p_t, dp_t += w x_t.
pub(super) fn through_projection<T: Real>(
    a: &Attention,
    pairs: &BipartiteEdges,
    grads: &LogitGradients,
    w: &[T],
    [d_u, d_x, d_p]: [Option<&mut Tensor>; 3],
) {
    let (n, m) = a.widths();
    if let Some(d_u) = d_u {
        let by = &grads.sum_s.host::<T>()[pairs.groups..];
        let relation = &a.graph.groups.relation.host()[pairs.groups..];
        let work = AddScaled::<T> { by, along: a.r_p.host(), row: Some(relation), n: m };
        for_rows(&mut d_u.host_mut::<T>()[pairs.groups * m..], m, m, &work);
    }
    let first = pairs.rows * n;
    for (gradient, along) in [(d_x, &a.p), (d_p, &a.x)] {
        let Some(gradient) = gradient else { continue };
        let work = AddScaled::<T> { by: w, along: &along.host()[first..], row: None, n };
        for_rows(&mut gradient.host_mut::<T>()[first..], n, n, &work);
    }
}

/// dr_p: the chunks' parts, and the groups behind the rows'.
pub(super) fn add_relations<T: Real>(
    a: &Attention,
    pairs: &BipartiteEdges,
    sum_s: &[T],
    parts: &[T],
    d_r_p: &mut Tensor,
) {
    let (m, len, u) = (d_r_p.cols(), d_r_p.len(), a.u.host::<T>());
    let relation = a.graph.groups.relation.host();
    let others = parallel::map_chunks(a.graph.groups.count - pairs.groups, 16 * 1024, |range| {
        let mut sums = vec![T::zero(); len];
        for g in range.start + pairs.groups..range.end + pairs.groups {
            let to = &mut sums[relation[g] as usize * m..][..m];
            parallel::axpy(sum_s[g], &u[g * m..(g + 1) * m], to);
        }
        sums
    });
    let d_r_p = d_r_p.host_mut::<T>();
    let others = others.iter().map(Vec::as_slice);
    parts.chunks_exact(len.max(1)).chain(others).for_each(|part| parallel::axpy(T::one(), part, d_r_p));
}

/// dbias[b] += the sum of dpi_e over the edges of bucket b.
pub(super) fn add_bucket_sums<T: Real>(
    a: &Attention,
    pairs: &BipartiteEdges,
    d: &[T],
    d_inverse: &[T],
    d_bias: &mut [T],
) {
    let (bucket, buckets) = (a.graph.bucket.host(), d_bias.len());
    let own = bucket_sums(pairs.edges, buckets, |e| (bucket[e], d[e]));
    let inverse = bucket_sums(pairs.edges, buckets, |e| (pairs.inverse_bucket[e], d_inverse[e]));
    let others = bucket_sums(pairs.row_edge.len(), buckets, |i| match pairs.row_edge[i] {
        UNPAIRED => (bucket[pairs.edges + i], d[pairs.edges + i]),
        _ => (0, T::zero()),
    });
    let temperature = T::of(a.temperature as f64);
    for sums in own.iter().chain(&inverse).chain(&others) {
        parallel::axpy(temperature, sums, d_bias);
    }
}

/// `HostGradients::inner` of the destinations behind the rows.
struct Inner<'a, T> {
    g: &'a Graph,
    rows: usize,
    agg: &'a [T],
    n: usize,
    up: &'a HostGradients<'a, T>,
}

impl<T: Real> RowWork<T> for Inner<'_, T> {
    #[inline(always)]
    fn rows<const ISA: u8>(&self, first: usize, out: &mut [T]) {
        let (n, offsets) = (self.n, self.g.offsets.host());
        for (v, out) in (first + self.rows..).zip(out) {
            let mut inner = T::zero();
            if let Some(d_agg) = self.up.d_agg {
                inner += parallel::dot(&d_agg[v * n..][..n], &self.agg[v * n..][..n]);
            }
            if let Some(d_alpha) = self.up.d_alpha {
                let own = offsets[v] as usize..offsets[v + 1] as usize;
                inner += parallel::dot(&d_alpha[own.clone()], &self.up.alpha[own]);
            }
            if let Some(d) = self.up.d_log_sum {
                inner -= d[v];
            }
            *out = inner;
        }
    }
}

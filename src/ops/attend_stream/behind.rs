//! What goes through the edges that are no pairs, and through the columns' side.

use super::Paired;
use super::backward::{Above, Upstream};
use crate::attend::{HeadSide, RelationAttention, Saved};
use crate::attend_cpu::{HeadBackward, TailBackward};
use crate::segment::{self, Outputs};
use engine::parallel::{self, RowWork};
use engine::{Real, Tensor};
use graph::{BipartiteEdges, Graph, UNPAIRED};

impl RelationAttention {
    pub(super) fn upstream<'a, T: Real>(
        &self,
        pairs: &BipartiteEdges,
        above: &'a Above<'a>,
        paired: &'a Paired,
    ) -> Upstream<'a, T> {
        let host = |t: Option<&'a Tensor>| t.map(Tensor::host::<T>);
        let mut upstream = Upstream {
            d_agg: host(above.d_agg),
            d_alpha: host(above.d_alpha),
            d_log_sum: host(above.d_log_sum),
            alpha: above.y[1].host(),
            paired: paired.alpha.host(),
            inner: vec![],
        };
        let mut inner = vec![T::zero(); self.graph.heads - pairs.rows];
        let work = Inner {
            g: &self.graph,
            rows: pairs.rows,
            agg: above.y[0].host(),
            n: above.y[0].cols(),
            up: &upstream,
        };
        parallel::for_rows_work(&mut inner, 1, 4 * work.n.max(64), &work);
        upstream.inner = inner;
        upstream
    }

    /// The groups behind the rows' that are no inverses: adds to dU, writes their sums and d of their edges.
    pub(super) fn other_groups_backward<T: Real>(
        &self,
        pairs: &BipartiteEdges,
        x: &[&Tensor],
        saved: &Saved,
        up: &Upstream<'_, T>,
        d_u: Option<&mut Tensor>,
        side: &mut HeadSide,
    ) {
        if pairs.other_groups.count() == 0 {
            return;
        }
        let m = x[0].cols();
        let mut scalars = vec![T::zero(); pairs.other_groups.rows() * 2];
        let work = HeadBackward {
            edges: self.edges::<T, 0>(x, saved),
            graph: &self.graph,
            first: (pairs.groups, pairs.rows),
            r_p: &[],
            alpha: up.alpha,
            d_agg: up.d_agg,
            d_alpha: up.d_alpha,
            inner: &up.inner,
        };
        let width = d_u.as_ref().map_or(0, |_| m);
        let rows = d_u.map_or(&mut [][..], |d_u| &mut d_u.host_mut::<T>()[pairs.groups * m..]);
        let out = Outputs { rows, width, scalars: &mut scalars, count: 2, entries: side.d.host_mut::<T>() };
        segment::run(&pairs.other_groups, out, &work);
        let (sum_s, sum) = (side.sum_s.host_mut::<T>(), side.sum.host_mut::<T>());
        let sums = sum_s[pairs.groups..].iter_mut().zip(&mut sum[pairs.groups..]);
        for ((sum_s, sum), both) in sums.zip(scalars.chunks_exact(2)) {
            (*sum_s, *sum) = (both[0], both[1]);
        }
    }

    /// The tails behind the rows, over edges that are no pairs: adds to dx, returns w.
    pub(super) fn other_tails_backward<T: Real>(
        &self,
        pairs: &BipartiteEdges,
        x: &[&Tensor],
        saved: &Saved,
        up: &Upstream<'_, T>,
        d: &Tensor,
        d_x: Option<&mut Tensor>,
    ) -> Vec<T> {
        let n = x[2].cols();
        let mut w = vec![T::zero(); self.graph.tails - pairs.rows];
        if pairs.other_tails.count() == 0 {
            return w;
        }
        let work = TailBackward {
            edges: self.edges::<T, 0>(x, saved),
            edge: self.graph.by_tail.edge.host(),
            head: self.graph.head.host(),
            first: pairs.rows,
            p: &[],
            alpha: up.alpha,
            d_agg: up.d_agg,
            d: d.host(),
        };
        let width = d_x.as_ref().map_or(0, |_| n);
        let rows = d_x.map_or(&mut [][..], |d_x| &mut d_x.host_mut::<T>()[pairs.rows * n..]);
        let out = Outputs { rows, width, scalars: &mut w, count: 1, entries: &mut [] };
        segment::run(&pairs.other_tails, out, &work);
        w
    }

    /// What goes through s and c of the columns' side: dU_g += sum_s r_p, dx_t += w p_t, dp_t += w x_t.
    pub(super) fn through_projection<T: Real>(
        &self,
        pairs: &BipartiteEdges,
        x: &[&Tensor],
        side: &HeadSide,
        w: &[T],
        (d_u, d_x, d_p): (Option<&mut Tensor>, Option<&mut Tensor>, Option<&mut Tensor>),
    ) {
        let (n, m, rows) = (x[2].cols(), x[0].cols(), pairs.rows);
        if let Some(d_u) = d_u {
            let (sum_s, relation) = (side.sum_s.host::<T>(), self.graph.groups.relation.host());
            let work = Along {
                by: &sum_s[pairs.groups..],
                along: x[4].host::<T>(),
                row: Some(&relation[pairs.groups..]),
                n: m,
            };
            parallel::for_rows_work(&mut d_u.host_mut::<T>()[pairs.groups * m..], m, m, &work);
        }
        for (gradient, along) in [(d_x, x[3]), (d_p, x[2])] {
            let Some(gradient) = gradient else { continue };
            let work = Along { by: w, along: &along.host::<T>()[rows * n..], row: None, n };
            parallel::for_rows_work(&mut gradient.host_mut::<T>()[rows * n..], n, n, &work);
        }
    }

    /// dr_p: the chunks' parts, and the groups behind the rows'.
    pub(super) fn add_relations<T: Real>(
        &self,
        pairs: &BipartiteEdges,
        u: &[T],
        sum_s: &[T],
        parts: &[T],
        d_r_p: &mut Tensor,
    ) {
        let (m, len) = (d_r_p.cols(), d_r_p.len());
        let relation = self.graph.groups.relation.host();
        let others = parallel::map_chunks(self.graph.groups.count - pairs.groups, 16 * 1024, |range| {
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
    pub(super) fn add_paired_bucket_sums<T: Real>(
        &self,
        pairs: &BipartiteEdges,
        d: &[T],
        d_inverse: &[T],
        d_bias: &mut [T],
    ) {
        const CHUNK: usize = 32 * 1024;
        let bucket = self.graph.bucket.host();
        let buckets = d_bias.len();
        let sums = |n: usize, of: &(dyn Fn(usize) -> (u32, T) + Sync)| {
            parallel::map_chunks(n, CHUNK, |range| {
                let mut sums = vec![T::zero(); buckets];
                for e in range {
                    let (bucket, d) = of(e);
                    sums[bucket as usize] += d;
                }
                sums
            })
        };
        let own = sums(pairs.edges, &|e| (bucket[e], d[e]));
        let inverse = sums(pairs.edges, &|e| (pairs.inverse_bucket[e], d_inverse[e]));
        let others = sums(pairs.row_edge.len(), &|i| match pairs.row_edge[i] {
            UNPAIRED => (bucket[pairs.edges + i], d[pairs.edges + i]),
            _ => (0, T::zero()),
        });
        let temperature = T::of(self.temperature as f64);
        for sums in own.iter().chain(&inverse).chain(&others) {
            parallel::axpy(temperature, sums, d_bias);
        }
    }
}

/// `Upstream::inner` of the heads behind the rows.
struct Inner<'a, T> {
    g: &'a Graph,
    rows: usize,
    agg: &'a [T],
    n: usize,
    up: &'a Upstream<'a, T>,
}

impl<T: Real> RowWork<T> for Inner<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, out: &mut [T]) {
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

/// out[i] += by[i] along[row[i]], row i itself where absent.
struct Along<'a, T> {
    by: &'a [T],
    along: &'a [T],
    row: Option<&'a [u32]>,
    n: usize,
}

impl<T: Real> RowWork<T> for Along<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, out: &mut [T]) {
        for (i, out) in (first..).zip(out.chunks_exact_mut(self.n)) {
            let row = match self.row {
                Some(row) => row[i] as usize,
                None => i,
            };
            parallel::axpy(self.by[i], &self.along[row * self.n..][..self.n], out);
        }
    }
}

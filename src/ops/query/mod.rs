//! The destination's side of the relation-attention logit, formulas (1) and (4), once per (dst, relation) group.

mod cpu;

use std::sync::Arc;

use super::cpu::rows::{RowWork, for_rows};
use super::segment_sum::{Terms, add_dots, add_scaled_rows, add_segments};
use super::{check, check_shape};
use base::Result;
use cpu::HeadRows;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::parallel::{self, axpy, dot};
use engine::{Backward, Op, Real, Tensor};
use graph::{Graph, RowSplits};

/// How a destination and a relation ask: the logit of an edge is t_perp . U_g + o_g, with h_perp and t_perp from (1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LogitKind {
    /// t_perp . tanh(h_perp + r): formula (4), KGAT's form.
    Tanh,
    /// t_perp . (h_perp + r)
    Dot,
    /// LeakyReLU(a_h . h_perp + a_t . t_perp + a_r . r) of this slope, GAT's form. `RelationAttention` applies the
    /// LeakyReLU.
    Gat { slope: f32 },
}

impl LogitKind {
    /// As the kernel takes it (`enum Logit` of query.cu).
    fn code(self) -> i32 {
        match self {
            LogitKind::Tanh => 0,
            LogitKind::Dot => 1,
            LogitKind::Gat { .. } => 2,
        }
    }
}

/// Code of U = h_perp alone, which backward of `Gat` needs again.
const PROJECTION: i32 = 3;

/// Inputs x_head (num_dst, n), p_head (num_dst, n), r (relations, m), r_p (relations, m), and for `Gat` the rows
/// a_h, a_t, a_r (3, m). Outputs U (groups, m) and o (groups, 1).
#[derive(Clone, Debug)]
pub struct Query {
    graph: Arc<Graph>,
    logit: LogitKind,
    /// (groups, 1) p_v . x_v of the group's destination.
    s: Option<Tensor>,
}

impl Query {
    pub fn new(graph: Arc<Graph>, logit: LogitKind) -> Query {
        Query { graph, logit, s: None }
    }

    /// Whether the CPU's code by destinations applies.
    fn by_heads(&self, x: &[&Tensor]) -> bool {
        !matches!(self.logit, LogitKind::Gat { .. }) && x[0].gpu().is_none() && cpu::takes((x[0].cols(), x[2].cols()))
    }

    fn inputs<'a, T: Real>(&'a self, x: &[&'a Tensor]) -> HeadRows<'a, T> {
        HeadRows {
            g: &self.graph,
            tanh: self.logit == LogitKind::Tanh,
            x: x[0].host(),
            p: x[1].host(),
            r: x[2].host(),
            r_p: x[3].host(),
            widths: (x[0].cols(), x[2].cols()),
        }
    }

    /// U and o of a code of the kernel.
    fn project(&self, code: i32, x: &[&Tensor], s: &Tensor) -> Result<(Tensor, Tensor)> {
        let g = &*self.graph;
        let (n, m) = (x[0].cols(), x[2].cols());
        let a = x.get(4).copied();
        let mut u = x[0].empty_like(g.groups.count, m)?;
        let mut o = Tensor::zeros(&x[0].device(), x[0].dtype(), g.groups.count, 1)?;
        if g.groups.count == 0 {
            return Ok((u, o));
        }
        if let Some(gpu) = x[0].gpu() {
            gpu.launch(kernels::QUERY_FORWARD, Grid::warps(g.groups.count, 256))
                .tensor_mut(&mut u)
                .tensor_mut(&mut o)
                .tensor(x[0])
                .tensor(s)
                .tensor(x[2])
                .tensor(x[3])
                .optional(a)
                .index(&g.groups.dst)
                .index(&g.groups.relation)
                .count(g.groups.count)
                .count(n)
                .count(m)
                .value(code)
                .run()?;
            return Ok((u, o));
        }
        dispatch_float!(x[0].dtype(), T => {
            let a = a.map(Tensor::host::<T>);
            let (x_dst, r, r_p) = (x[0].host::<T>(), x[2].host::<T>(), x[3].host::<T>());
            project(g, code, (n, m), x_dst, s.host(), r, r_p, a, u.host_mut(), o.host_mut());
        });
        Ok((u, o))
    }

    /// dL/d(h_perp + r) (groups, m) of `Tanh`; for `Gat` do_g times row `row` of a: 0 for h_perp, 2 for r.
    fn inner_gradient(&self, dy: &Tensor, y: &Tensor, a: Option<&Tensor>, row: usize) -> Result<Tensor> {
        let (groups, m) = y.shape();
        let mut out = y.empty_like(groups, m)?;
        if out.is_empty() {
            return Ok(out);
        }
        if let Some(gpu) = y.gpu() {
            gpu.launch(kernels::QUERY_BACKWARD, Grid::warps(groups, 256))
                .tensor_mut(&mut out)
                .tensor(dy)
                .tensor(y)
                .optional(a)
                .count(groups)
                .count(m)
                .count(row)
                .run()?;
            return Ok(out);
        }
        dispatch_float!(y.dtype(), T => {
            let (dy, y) = (dy.host::<T>(), y.host::<T>());
            let a = a.map(|a| &a.host::<T>()[row * m..(row + 1) * m]);
            parallel::for_rows(out.host_mut::<T>(), m, |first, rows| match a {
                Some(a) => {
                    for (row, &d) in rows.chunks_exact_mut(m).zip(&dy[first..]) {
                        row.iter_mut().zip(a).for_each(|(out, &a)| *out = d * a);
                    }
                }
                None => {
                    for ((out, &dy), &y) in rows.iter_mut().zip(&dy[first * m..]).zip(&y[first * m..]) {
                        *out = dy * (1.0 - y * y);
                    }
                }
            });
        });
        Ok(out)
    }
}

impl Op for Query {
    fn name(&self) -> &'static str {
        "query"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let gat = matches!(self.logit, LogitKind::Gat { .. });
        check(
            x.len() == 4 + gat as usize,
            "query",
            || "inputs x, p, r, r_p, and a for gat".into(),
            || format!("{}", x.len()),
        )?;
        let g = &*self.graph;
        let (n, m) = (x[0].cols(), x[2].cols());
        check_shape("query", "x_head", x[0], g.num_dst, n)?;
        check_shape("query", "p_head", x[1], g.num_dst, n)?;
        check_shape("query", "r", x[2], g.relations, m)?;
        check_shape("query", "r_p", x[3], g.relations, m)?;
        if gat {
            check_shape("query", "a", x[4], 3, m)?;
        }
        let mut s = Tensor::zeros(&x[0].device(), x[0].dtype(), g.groups.count, 1)?;
        if self.by_heads(x) {
            let mut u = x[0].empty_like(g.groups.count, m)?;
            dispatch_float!(u.dtype(), T => self.inputs::<T>(x).forward(u.host_mut(), s.host_mut()));
            self.s = Some(s);
            return Ok(vec![u, Tensor::zeros(&x[0].device(), x[0].dtype(), g.groups.count, 1)?]);
        }
        add_dots(&mut s, (x[0], Some(&g.groups.dst)), (x[1], Some(&g.groups.dst)))?;
        let (u, o) = self.project(self.logit.code(), x, &s)?;
        self.s = Some(s);
        Ok(vec![u, o])
    }

    fn backward(&self, Backward { x, y, dy, dx }: Backward) -> Result<()> {
        let g = &*self.graph;
        let Some(s) = &self.s else { return Ok(()) };
        if self.by_heads(x) {
            let (Some(du), [d_x, d_p, d_r, d_r_p]) = (dy[0], dx) else { return Ok(()) };
            dispatch_float!(du.dtype(), T => {
                let given = (y[0].host(), du.host(), s.host());
                let sums = self.inputs::<T>(x).backward(given, d_x.as_mut(), d_p.as_mut());
                let (first, second) = sums.split_at(sums.len() / 2);
                for (gradient, sum) in [(d_r, first), (d_r_p, second)] {
                    if let Some(gradient) = gradient {
                        axpy(1.0, sum, gradient.host_mut());
                    }
                }
            });
            return Ok(());
        }
        let inner = match (self.logit, dy[0], dy[1]) {
            (LogitKind::Tanh, Some(du), _) => Some(self.inner_gradient(du, y[0], None, 0)?),
            (LogitKind::Dot, Some(du), _) => Some(du.clone()),
            (LogitKind::Gat { .. }, du, d_o) => {
                if let Some(da) = dx.get_mut(4).and_then(Option::as_mut) {
                    self.gat_weights(x, s, du, d_o, da)?;
                }
                d_o.map(|d_o| self.inner_gradient(d_o, y[0], Some(x[4]), 0)).transpose()?
            }
            _ => None,
        };
        let Some(inner) = inner else { return Ok(()) };
        if dx[0].is_some() || dx[1].is_some() {
            // The gradient of s_v = p_v . x_v is the sum over the destination's groups of r_p . inner_g.
            let mut along = s.zeros_like()?;
            add_dots(&mut along, (&inner, None), (x[3], Some(&g.groups.relation)))?;
            let mut ds = Tensor::zeros(&s.device(), s.dtype(), g.num_dst, 1)?;
            add_segments(&mut ds, &g.groups.dst_splits, Terms::of(&along))?;
            if let Some(d_x) = &mut dx[0] {
                add_segments(d_x, &g.groups.dst_splits, Terms::of(&inner))?;
                add_scaled_rows(d_x, &ds, x[1])?;
            }
            if let Some(d_p) = &mut dx[1] {
                add_scaled_rows(d_p, &ds, x[0])?;
            }
        }
        let entry = &g.groups.by_relation;
        if let Some(d_r_p) = &mut dx[3] {
            add_segments(d_r_p, &g.groups.relation_splits, Terms::of(&inner).entry(entry).weight(s))?;
        }
        if let Some(d_r) = &mut dx[2] {
            let inner = match (self.logit, dy[1]) {
                (LogitKind::Gat { .. }, Some(d_o)) => self.inner_gradient(d_o, y[0], Some(x[4]), 2)?,
                _ => inner,
            };
            add_segments(d_r, &g.groups.relation_splits, Terms::of(&inner).entry(entry))?;
        }
        Ok(())
    }
}

impl Query {
    /// da_h = sum of do_g h_perp_g, da_t = sum of dU_g, da_r = sum of do_g r_g: three rows, each a sum over groups.
    fn gat_weights(
        &self,
        x: &[&Tensor],
        s: &Tensor,
        du: Option<&Tensor>,
        d_o: Option<&Tensor>,
        da: &mut Tensor,
    ) -> Result<()> {
        let groups = &self.graph.groups;
        let device = da.device();
        let only = |row: u64| {
            let offsets: Vec<u64> = (0..=3).map(|i| if i > row { groups.count as u64 } else { 0 }).collect();
            RowSplits::new(&device, &offsets)
        };
        if let Some(d_o) = d_o {
            let (h_perp, _) = self.project(PROJECTION, x, s)?;
            add_segments(da, &only(0)?, Terms::of(&h_perp).weight(d_o))?;
            add_segments(da, &only(2)?, Terms::of(x[2]).column(&groups.relation).weight(d_o))?;
        }
        if let Some(du) = du {
            add_segments(da, &only(1)?, Terms::of(du))?;
        }
        Ok(())
    }
}

#[allow(clippy::too_many_arguments)]
fn project<T: Real>(
    g: &Graph,
    code: i32,
    (n, m): (usize, usize),
    x_dst: &[T],
    s: &[T],
    r: &[T],
    r_p: &[T],
    a: Option<&[T]>,
    u: &mut [T],
    o: &mut [T],
) {
    let relation = g.groups.relation.host();
    let work = Project { dst: g.groups.dst.host(), relation, code, widths: (n, m), x_dst, s, r, r_p };
    for_rows(u, m, m, &work);
    if let (2, Some(a)) = (code, a) {
        let (a_h, a_t, a_r) = (&a[..m], &a[m..2 * m], &a[2 * m..3 * m]);
        parallel::for_rows(o, 1, |first, o| {
            for (o, (g, u)) in o.iter_mut().zip((first..).zip(u[first * m..].chunks_exact(m))) {
                *o = dot(a_h, u) + dot(a_r, &r[relation[g] as usize * m..][..m]);
            }
        });
        parallel::for_rows(u, m, |_, rows| rows.chunks_exact_mut(m).for_each(|u| u.copy_from_slice(a_t)));
    }
}

/// Rows of U, but for `Gat`, where they are h_perp.
struct Project<'a, T> {
    dst: &'a [u32],
    relation: &'a [u32],
    code: i32,
    widths: (usize, usize),
    x_dst: &'a [T],
    s: &'a [T],
    r: &'a [T],
    r_p: &'a [T],
}

impl<T: Real> RowWork<T> for Project<'_, T> {
    #[inline(always)]
    fn rows<const ISA: u8>(&self, first: usize, rows: &mut [T]) {
        let (n, m) = self.widths;
        for (g, u) in (first..).zip(rows.chunks_exact_mut(m)) {
            let q = self.relation[g] as usize;
            let (r, r_p) = (&self.r[q * m..][..m], &self.r_p[q * m..][..m]);
            u.fill(T::zero());
            axpy(self.s[g], r_p, u);
            axpy(T::one(), &self.x_dst[self.dst[g] as usize * n..][..n.min(m)], u);
            if self.code < 2 {
                axpy(T::one(), r, u);
            }
            if self.code == 0 {
                for u in u {
                    *u = u.fast_tanh();
                }
            }
        }
    }
}

//! Relation attention: logit, softmax over all edges of a head, and the neighbourhood message in one pass.
//! Formulas (3)-(5), with the projection (1) factored: t_perp . U_g = x_t[..k] . U_g[..k] + s_t c_g, where
//! s_t = p_t . x_t once per tail, c_g = r_p . U_g once per group, and k = min(n, m).

use std::sync::Arc;

use num_traits::One;

use super::attend_cpu::{Edges, Forward, HeadBackward, TailBackward};
use super::attend_stream::{Above, Paired};
use super::cast::cast;
use super::query::LogitKind;
use super::segment::{self, Outputs};
use super::segment_sum::{Terms, add_dots, add_scaled_rows, add_segments};
use super::stream::{WIDEST, with_row};
use super::{attend_gpu, check, check_shape, inputs};
use base::{Error, Result};
use engine::{Backward, Element, Op, Real, Tensor, parallel};
use engine::{dispatch_dtype, dispatch_float};
use graph::{BipartiteEdges, Graph};

/// pi_e = act(t_perp . U_g + o_g) / temperature + bias[bucket_e]; alpha = softmax of pi over a head's edges;
/// agg_v = sum of alpha_e x_t.
///
/// Inputs U (groups, m) and o (groups, 1) from `Query`, x_tail (tails, n), p_tail (tails, n), r_p (relations, m),
/// bias (buckets, 1). With (0, n) and (0, m) for p_tail and r_p nothing is projected: t_perp = x_t. Outputs agg (heads,
/// n), alpha (edges, 1) and log_sum (heads, 1), the logarithm of the softmax's denominator sum e^pi_e. A head without
/// edges gets zeros.
///
/// U, x_tail and p_tail may be stored in bf16 or f16, all three alike: edges then read half the bytes. Sums, outputs and
/// gradients are f32.
#[derive(Clone, Debug)]
pub struct RelationAttention {
    pub(super) graph: Arc<Graph>,
    /// Slope of the LeakyReLU of `LogitKind::Gat`.
    pub(super) slope: Option<f32>,
    pub(super) temperature: f32,
    saved: Option<Saved>,
}

/// (tails, 1) p_t . x_t and (groups, 1) r_p . U_g
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub s: Tensor,
    pub c: Tensor,
    /// Where the pass was a stream over pairs.
    pub paired: Option<Paired>,
}

/// Gradients on their way from the head's side to the others.
pub(super) struct HeadSide {
    /// (edges, 1) dpi_e / temperature
    pub d: Tensor,
    /// (groups, 1) sum of dz_e s_t, and sum of dz_e
    pub sum_s: Tensor,
    pub sum: Tensor,
}

/// Upstream gradients as backward uses them.
pub(super) struct Upstream<'a> {
    pub agg: Option<&'a Tensor>,
    pub alpha: Option<&'a Tensor>,
    /// (heads, 1) sum over the head's edges of alpha_e dalpha_e, less the gradient of log_sum
    pub inner: Tensor,
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

    /// Whether p and r_p are there.
    pub(super) fn is_projected(x: &[&Tensor]) -> bool {
        x[3].rows() > 0 || x[4].rows() > 0
    }

    /// Whether these inputs take the stream over the graph's pairs.
    pub fn is_streamed(&self, x: &[&Tensor]) -> bool {
        self.pairs(x).is_some()
    }

    /// The pairs to stream over, where the graph has them and the rows are no wider than that takes.
    fn pairs(&self, x: &[&Tensor]) -> Option<&BipartiteEdges> {
        let streams = x[0].gpu().is_none() && x[0].cols().max(x[2].cols()) <= WIDEST && x[2].cols() > 0;
        self.graph.pairs.as_deref().filter(|_| streams)
    }

    /// The inputs as the passes take them: the stream over pairs works on f32.
    fn widened(&self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let widen = self.pairs(x).is_some();
        x.iter().map(|t| if widen { cast(t, t.dtype().compute_dtype()) } else { Ok((*t).clone()) }).collect()
    }

    fn check(&self, x: &[&Tensor]) -> Result<()> {
        let g = &*self.graph;
        let [u, o, x_tail, p_tail, r_p, bias] = inputs("attend", "U, o, x, p, r_p, bias", x)?;
        check(
            [x_tail, p_tail].iter().all(|t| t.dtype() == u.dtype()),
            "attend",
            || "U, x_tail and p_tail of one type".into(),
            || format!("{u:?}, {x_tail:?}, {p_tail:?}"),
        )?;
        check_shape("attend", "U", u, g.groups.count, u.cols())?;
        check_shape("attend", "o", o, g.groups.count, 1)?;
        check_shape("attend", "x_tail", x_tail, g.tails, x_tail.cols())?;
        if RelationAttention::is_projected(x) {
            check_shape("attend", "p_tail", p_tail, g.tails, x_tail.cols())?;
            check_shape("attend", "r_p", r_p, g.relations, u.cols())?;
        }
        check_shape("attend", "bias", bias, bias.rows(), 1)?;
        check(
            bias.rows() >= g.buckets,
            "attend",
            || format!("{} bias values", g.buckets),
            || format!("{}", bias.rows()),
        )?;
        match self.temperature > 0.0 {
            true => Ok(()),
            false => Err(Error::shape("attend", "a positive temperature", format!("{}", self.temperature))),
        }
    }
}

/// Runs `$body` with `$D` standing for the common width of the rows where there is code for it, else 0.
macro_rules! with_width {
    ($widths:expr, $D:ident => $body:expr) => {
        match $widths {
            (64, 64) => {
                const $D: usize = 64;
                $body
            }
            (32, 32) => {
                const $D: usize = 32;
                $body
            }
            _ => {
                const $D: usize = 0;
                $body
            }
        }
    };
}

impl Op for RelationAttention {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        self.check(x)?;
        let g = &*self.graph;
        let widened = self.widened(x)?;
        let x = &widened.iter().collect::<Vec<_>>()[..];
        let (u, x_tail, p_tail, r_p) = (x[0], x[2], x[3], x[4]);
        let (device, float) = (u.device(), u.dtype().compute_dtype());
        let mut s = Tensor::zeros(&device, float, g.tails, 1)?;
        let mut c = Tensor::zeros(&device, float, g.groups.count, 1)?;
        let pairs = self.pairs(x);
        if pairs.is_none() && RelationAttention::is_projected(x) {
            add_dots(&mut s, (x_tail, None), (p_tail, None))?;
            add_dots(&mut c, (u, None), (r_p, Some(&g.groups.relation)))?;
        }
        let mut saved = Saved { s, c, paired: None };
        let mut alpha = Tensor::empty(&device, float, g.edges(), 1)?;
        // Heads without edges have no piece that would write their value.
        let mut log_sum = Tensor::zeros(&device, float, g.heads, 1)?;
        if let Some(pairs) = pairs {
            let (agg, paired) = dispatch_float!(u.dtype(), T => with_row!((x_tail.cols(), u.cols()), W, FIXED => {
                self.stream_forward::<T, W, FIXED>(pairs, x, &mut saved, &mut alpha, &mut log_sum)?
            }));
            saved.paired = Some(paired);
            self.saved = Some(saved);
            return Ok(vec![agg, alpha, log_sum]);
        }
        let agg = match u.gpu() {
            Some(gpu) => attend_gpu::forward(self, gpu, x, &saved, &mut alpha, &mut log_sum)?,
            None => {
                let mut agg = Tensor::empty(&device, float, g.heads, x_tail.cols())?;
                dispatch_dtype!(u.dtype(), S => with_width!((x_tail.cols(), u.cols()), D => {
                    type T = <S as Element>::Acc;
                    let edges = self.edges::<S, D>(x, &saved);
                    let mut scalars = vec![T::of(0.0); g.heads * 2];
                    let out = Outputs {
                        rows: agg.host_mut::<T>(),
                        width: x_tail.cols(),
                        scalars: &mut scalars,
                        count: 2,
                        entries: alpha.host_mut::<T>(),
                    };
                    let work = Forward { edges, bias: x[5].host(), bucket: g.bucket.host() };
                    segment::run(&g.head_pieces, out, &work);
                    for (l, max_sum) in log_sum.host_mut::<T>().iter_mut().zip(scalars.chunks_exact(2)) {
                        if max_sum[1] > 0.0 {
                            *l = max_sum[0] + max_sum[1].ln();
                        }
                    }
                }));
                agg
            }
        };
        self.saved = Some(saved);
        Ok(vec![agg, alpha, log_sum])
    }

    fn backward(&self, Backward { x, y, dy, dx }: Backward) -> Result<()> {
        let (g, Some(saved)) = (&*self.graph, &self.saved) else { return Ok(()) };
        let projected = RelationAttention::is_projected(x);
        let (p_none, r_none);
        let widened = self.widened(x)?;
        let mut x = widened.iter().collect::<Vec<_>>();
        if !projected && x[0].gpu().is_some() {
            // The kernels read them, times sums that are zero.
            p_none = Tensor::zeros(&x[0].device(), x[0].dtype(), g.tails, x[2].cols())?;
            r_none = Tensor::zeros(&x[0].device(), x[0].dtype().compute_dtype(), g.relations, x[0].cols())?;
            (x[3], x[4]) = (&p_none, &r_none);
        }
        let x = &x[..];
        if let (Some(pairs), Some(paired)) = (self.pairs(x), &saved.paired) {
            let above = Above { y, d_agg: dy[0], d_alpha: dy[1], d_log_sum: dy[2] };
            return dispatch_float!(x[0].dtype(), T => with_row!((x[2].cols(), x[0].cols()), W, FIXED => {
                self.stream_backward::<T, W, FIXED>(pairs, x, (saved, paired), &above, dx)
            }));
        }
        // Equal to sum of alpha_e dalpha_e, without the sum over edges for the part through agg.
        let mut inner = Tensor::zeros(&x[0].device(), x[0].dtype().compute_dtype(), g.heads, 1)?;
        if let Some(d_agg) = dy[0] {
            add_dots(&mut inner, (d_agg, None), (y[0], None))?;
        }
        if let Some(d_alpha) = dy[1] {
            let terms = Terms { entry: None, column: None, weight: Some(y[1]), x: d_alpha };
            add_segments(&mut inner, &g.head_pieces, &terms)?;
        }
        if let Some(d_log_sum) = dy[2] {
            // d log_sum / d pi_e = alpha_e
            inner.add_scaled(-1.0, d_log_sum)?;
        }
        let upstream = Upstream { agg: dy[0], alpha: dy[1], inner };
        let [d_u, d_o, d_x, d_p, d_r_p, d_bias] = dx else { return Ok(()) };

        let head_side = match x[0].gpu() {
            Some(gpu) => attend_gpu::head_backward(self, gpu, x, y[1], saved, &upstream, d_u.as_mut())?,
            None => self.head_backward(x, y[1], saved, &upstream, d_u.as_mut())?,
        };
        if let Some(d_o) = d_o {
            d_o.add_scaled(1.0, &head_side.sum)?;
        }
        if let Some(d_r_p) = d_r_p.as_mut().filter(|_| projected) {
            let entry = Some(&g.groups.by_relation);
            let terms = Terms { entry, column: None, weight: Some(&head_side.sum_s), x: x[0] };
            add_segments(d_r_p, &g.groups.relation_pieces, &terms)?;
        }
        if let Some(d_bias) = d_bias {
            match x[0].gpu() {
                Some(gpu) => attend_gpu::add_bucket_sums(self, gpu, &head_side.d, d_bias)?,
                None => self.add_bucket_sums(&head_side.d, d_bias),
            }
        }
        if d_x.is_some() || d_p.is_some() {
            let w = match x[0].gpu() {
                Some(gpu) => attend_gpu::tail_backward(
                    self,
                    gpu,
                    x,
                    y[1],
                    saved,
                    &upstream,
                    &head_side.d,
                    d_x.as_mut(),
                )?,
                None => self.tail_backward(x, y[1], saved, &upstream, &head_side.d, d_x.as_mut())?,
            };
            if let Some(d_p) = d_p.as_mut().filter(|_| projected) {
                add_scaled_rows(d_p, &w, x[2])?;
            }
        }
        Ok(())
    }

    fn takes_half(&self, i: usize) -> bool {
        matches!(i, 0 | 2 | 3)
    }
}

/// The CPU side.
impl RelationAttention {
    pub(super) fn edges<'a, S: Element, const D: usize>(
        &'a self,
        x: &[&'a Tensor],
        saved: &'a Saved,
    ) -> Edges<'a, S, D> {
        Edges {
            tail: self.graph.tail.host(),
            group: self.graph.group.host(),
            x: x[2].host(),
            u: x[0].host(),
            o: x[1].host(),
            s: saved.s.host(),
            c: saved.c.host(),
            widths: (x[2].cols(), x[0].cols()),
            slope: self.slope.map(|slope| S::Acc::of(slope as f64)),
            inverse_temperature: S::Acc::one() / S::Acc::of(self.temperature as f64),
        }
    }

    fn head_backward(
        &self,
        x: &[&Tensor],
        alpha: &Tensor,
        saved: &Saved,
        upstream: &Upstream,
        d_u: Option<&mut Tensor>,
    ) -> Result<HeadSide> {
        let g = &*self.graph;
        let mut d = alpha.empty_like(g.edges(), 1)?;
        let (mut sum_s, mut sum) =
            (alpha.empty_like(g.groups.count, 1)?, alpha.empty_like(g.groups.count, 1)?);
        dispatch_dtype!(x[0].dtype(), S => with_width!((x[2].cols(), x[0].cols()), D => {
            type T = <S as Element>::Acc;
            let width = d_u.as_ref().map_or(0, |d_u| d_u.cols());
            let mut scalars = vec![T::of(0.0); g.groups.count * 2];
            let work = HeadBackward {
                edges: self.edges::<S, D>(x, saved),
                graph: g,
                first: (0, 0),
                r_p: x[4].host(),
                alpha: alpha.host(),
                d_agg: upstream.agg.map(Tensor::host),
                d_alpha: upstream.alpha.map(Tensor::host),
                inner: upstream.inner.host(),
            };
            let rows = d_u.map_or(&mut [][..], |d_u| d_u.host_mut::<T>());
            let out = Outputs { rows, width, scalars: &mut scalars, count: 2, entries: d.host_mut::<T>() };
            segment::run(&g.groups.pieces, out, &work);
            let sums = sum_s.host_mut::<T>().iter_mut().zip(sum.host_mut::<T>());
            for ((sum_s, sum), both) in sums.zip(scalars.chunks_exact(2)) {
                (*sum_s, *sum) = (both[0], both[1]);
            }
        }));
        Ok(HeadSide { d, sum_s, sum })
    }

    /// Adds to dx_tail; returns (tails, 1) w_t, the gradient of s_t.
    fn tail_backward(
        &self,
        x: &[&Tensor],
        alpha: &Tensor,
        saved: &Saved,
        upstream: &Upstream,
        d: &Tensor,
        d_x: Option<&mut Tensor>,
    ) -> Result<Tensor> {
        let g = &*self.graph;
        let mut w = alpha.empty_like(g.tails, 1)?;
        dispatch_dtype!(x[0].dtype(), S => with_width!((x[2].cols(), x[0].cols()), D => {
            type T = <S as Element>::Acc;
            let work = TailBackward {
                edges: self.edges::<S, D>(x, saved),
                edge: g.by_tail.edge.host(),
                head: g.head.host(),
                first: 0,
                p: x[3].host(),
                alpha: alpha.host(),
                d_agg: upstream.agg.map(Tensor::host),
                d: d.host(),
            };
            let width = d_x.as_ref().map_or(0, |d_x| d_x.cols());
            let rows = d_x.map_or(&mut [][..], |d_x| d_x.host_mut::<T>());
            let out = Outputs { rows, width, scalars: w.host_mut::<T>(), count: 1, entries: &mut [] };
            segment::run(&g.tail_pieces, out, &work);
        }));
        Ok(w)
    }

    /// dbias[b] += the sum of dpi_e over the edges of bucket b.
    fn add_bucket_sums(&self, d: &Tensor, d_bias: &mut Tensor) {
        const CHUNK: usize = 32 * 1024;
        let bucket = self.graph.bucket.host();
        dispatch_float!(d.dtype(), T => {
            let d = d.host::<T>();
            let buckets = d_bias.rows();
            let partial = parallel::map_chunks(d.len(), CHUNK, |range| {
                let mut sums = vec![T::of(0.0); buckets];
                for e in range {
                    sums[bucket[e] as usize] += d[e];
                }
                sums
            });
            let temperature = T::of(self.temperature as f64);
            let d_bias = d_bias.host_mut::<T>();
            partial.iter().for_each(|sums| parallel::axpy(temperature, sums, d_bias));
        });
    }
}

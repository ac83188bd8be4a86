//! Relation attention on the CPU: three passes over row splits, each reading a neighbour's row once from memory. S is
//! what the rows are stored in, T what is computed in.

use std::ops::Range;

use base::Result;
use engine::parallel::{self, prefetch};
use engine::simd::{self, LANES, axpy, dot};
use engine::{Element, Real, Tensor, dispatch_dtype, dispatch_float};
use graph::Graph;

use super::inputs::{Attention, LogitGradients, OutputGradients, ProjectionDots};
use crate::cpu::segment::{self, Outputs, Place, Segment, add_rows};

/// Edges between the row that is asked for and the row that is used.
const PREFETCH_DISTANCE: usize = 8;
/// Edges whose logits are computed before their rows are summed: with 64 columns the rows stay in the L1 cache.
const TILE: usize = 64;

/// What all passes read. D is the width n = m of the rows, 0 for any other widths.
pub(super) struct Edges<'a, S: Element, const D: usize> {
    pub src: &'a [u32],
    pub group: &'a [u32],
    pub x: &'a [S],
    pub u: &'a [S],
    pub o: &'a [S::Acc],
    pub s: &'a [S::Acc],
    pub c: &'a [S::Acc],
    pub widths: (usize, usize),
    pub slope: Option<S::Acc>,
    pub inverse_temperature: S::Acc,
}

impl<'a, T: Real, S: Element<Acc = T>, const D: usize> Edges<'a, S, D> {
    pub fn new(a: &'a Attention, dots: &'a ProjectionDots) -> Self {
        Edges {
            src: a.graph.src.host(),
            group: a.graph.group.host(),
            x: a.x.host(),
            u: a.u.host(),
            o: a.o.host(),
            s: dots.s.host(),
            c: dots.c.host(),
            widths: a.widths(),
            slope: a.slope.map(|slope| T::of(slope as f64)),
            inverse_temperature: T::one() / T::of(a.temperature as f64),
        }
    }

    /// n, m and min(n, m)
    #[inline(always)]
    fn widths(&self) -> (usize, usize, usize) {
        let (n, m) = if D > 0 { (D, D) } else { self.widths };
        (n, m, n.min(m))
    }

    #[inline(always)]
    fn row(&self, e: usize) -> &'a [S] {
        let n = self.widths().0;
        &self.x[self.src[e] as usize * n..][..n]
    }

    /// The first min(n, m) elements of U_g.
    #[inline(always)]
    fn query(&self, g: usize) -> &'a [S] {
        let (_, m, k) = self.widths();
        &self.u[g * m..][..k]
    }

    #[inline(always)]
    fn prefetch(&self, e: usize) {
        if D > 0 {
            prefetch(self.row(e.min(self.src.len() - 1)));
        }
    }

    /// The logit before activation and temperature: t_perp . U_g + o_g.
    #[inline(always)]
    fn inner<const ISA: u8>(&self, g: usize, t: usize, row: &[S]) -> T {
        let query = self.query(g);
        dot::<ISA, _, _>(&row[..query.len()], query) + self.s[t] * self.c[g] + self.o[g]
    }

    /// The derivative of the activation at the logit of an edge.
    #[inline(always)]
    fn slope<const ISA: u8>(&self, g: usize, t: usize, row: &[S]) -> T {
        match self.slope {
            Some(slope) if self.inner::<ISA>(g, t, row) <= T::zero() => slope,
            _ => T::one(),
        }
    }

    #[inline(always)]
    fn activate(&self, z: T) -> T {
        match self.slope {
            Some(slope) if z <= T::zero() => slope * z,
            _ => z,
        }
    }
}

/// Destinations: row = agg_v, scalars = (max, sum), entries = alpha.
pub(super) struct Forward<'a, S: Element, const D: usize> {
    pub edges: Edges<'a, S, D>,
    pub bias: &'a [S::Acc],
    pub bucket: &'a [u32],
}

/// e^(x - max) of all `values`, in place.
#[inline(always)]
fn exponentials<T: Real>(values: &mut [T], max: T) {
    for v in values {
        *v = (*v - max).fast_exp();
    }
}

/// Row v of an upstream gradient that may be absent.
#[inline(always)]
fn gradient_row<T>(gradient: Option<&[T]>, v: usize, n: usize) -> Option<&[T]> {
    match gradient {
        Some(gradient) => Some(&gradient[v * n..][..n]),
        None => None,
    }
}

#[inline(always)]
fn scale<T: Real>(by: T, values: &mut [T]) {
    for v in values {
        *v *= by;
    }
}

/// A shift for exponentials: the maximum, or 0 where all logits are -inf, which would give NaN.
#[inline(always)]
pub(super) fn shift<T: Real>(max: T) -> T {
    if max == T::neg_infinity() { T::zero() } else { max }
}

#[inline(always)]
pub(super) fn inverse<T: Real>(sum: T) -> T {
    if sum == T::zero() { T::zero() } else { T::one() / sum }
}

impl<T: Real, S: Element<Acc = T>, const D: usize> Segment<T> for Forward<'_, S, D> {
    #[inline(always)]
    fn empty(&self, _row: usize, place: Place<'_, T>) {
        place.row.fill(T::zero());
    }

    #[inline(always)]
    fn piece<const ISA: u8>(&self, _row: usize, range: Range<usize>, sole: bool, place: Place<'_, T>) {
        let edges = &self.edges;
        let Place { row, scalars, entries } = place;
        let row = &mut row[..edges.widths().0];
        row.fill(T::zero());
        let (mut max, mut sum) = (T::neg_infinity(), T::zero());
        let mut weight = [T::zero(); TILE];
        for (tile, logits) in entries.chunks_mut(TILE).enumerate() {
            let first = range.start + tile * TILE;
            let mut top = max;
            for (i, logit) in logits.iter_mut().enumerate() {
                let e = first + i;
                edges.prefetch(e + PREFETCH_DISTANCE);
                let z = edges.inner::<ISA>(edges.group[e] as usize, edges.src[e] as usize, edges.row(e));
                *logit = edges.activate(z) * edges.inverse_temperature + self.bias[self.bucket[e] as usize];
                top = top.max(*logit);
            }
            if tile > 0 && top > max {
                let by = (max - top).fast_exp();
                sum *= by;
                scale(by, row);
            }
            max = top;
            let by = shift(max);
            for (w, &logit) in weight.iter_mut().zip(&*logits) {
                *w = logit - by;
            }
            simd::exponentials(&mut weight[..logits.len().next_multiple_of(LANES)]);
            for (i, &w) in weight[..logits.len()].iter().enumerate() {
                sum += w;
                axpy::<ISA, _>(w, edges.row(first + i), row);
            }
        }
        scalars.copy_from_slice(&[max, sum]);
        if !sole {
            return;
        }
        let by = inverse(sum);
        scale(by, row);
        match entries.len() {
            0..=TILE => {
                for (alpha, w) in entries.iter_mut().zip(weight) {
                    *alpha = w * by;
                }
            }
            _ => {
                exponentials(entries, shift(max));
                scale(by, entries);
            }
        }
    }

    #[inline(always)]
    fn merge<const ISA: u8>(&self, _row: usize, partial: &[T], partial_scalars: &[T], place: Place<'_, T>) {
        let stats = || partial_scalars.chunks_exact(2);
        let max = shift(stats().fold(T::neg_infinity(), |max, s| max.max(s[0])));
        let sum = stats().fold(T::zero(), |sum, s| sum + s[1] * (s[0] - max).fast_exp());
        let by = inverse(sum);
        place.scalars.copy_from_slice(&[max, sum]);
        place.row.fill(T::zero());
        for (part, s) in partial.chunks_exact(place.row.len().max(1)).zip(stats()) {
            axpy::<ISA, _>((s[0] - max).fast_exp() * by, part, place.row);
        }
        exponentials(place.entries, max);
        scale(by, place.entries);
    }
}

/// Groups: row = dU_g (absent: width 0), scalars = (sum of dz_e s_t, sum of dz_e), entries = dpi_e / temperature.
pub(super) struct GroupBackward<'a, S: Element, const D: usize> {
    pub edges: Edges<'a, S, D>,
    pub graph: &'a Graph,
    /// The group that is segment 0, and the destination that `inner` begins with.
    pub first: (usize, usize),
    /// Empty where nothing goes through the projection here.
    pub r_p: &'a [S::Acc],
    pub alpha: &'a [S::Acc],
    /// (num_dst, n) and (edges): the gradients of both outputs, and (num_dst) sum of alpha dalpha.
    pub d_agg: Option<&'a [S::Acc]>,
    pub d_alpha: Option<&'a [S::Acc]>,
    pub inner: &'a [S::Acc],
}

impl<T: Real, S: Element<Acc = T>, const D: usize> GroupBackward<'_, S, D> {
    /// dU_g += (sum of dz_e s_t) r_p, the part through s_t (r_p . U_g).
    #[inline(always)]
    fn through_projection<const ISA: u8>(&self, group: usize, place: &mut Place<'_, T>) {
        if !place.row.is_empty() && !self.r_p.is_empty() {
            let m = self.edges.widths().1;
            let q = self.graph.groups.relation.host()[group + self.first.0] as usize;
            axpy::<ISA, _>(place.scalars[0], &self.r_p[q * m..][..m], place.row);
        }
    }
}

impl<T: Real, S: Element<Acc = T>, const D: usize> Segment<T> for GroupBackward<'_, S, D> {
    #[inline(always)]
    fn piece<const ISA: u8>(&self, group: usize, range: Range<usize>, sole: bool, mut place: Place<'_, T>) {
        let edges = &self.edges;
        let (n, _, k) = edges.widths();
        let group = group + self.first.0;
        let v = self.graph.groups.dst.host()[group] as usize;
        let inner = self.inner[v - self.first.1];
        let d_agg = gradient_row(self.d_agg, v, n);
        let (mut sum_s, mut sum) = (T::zero(), T::zero());
        let with_row = !place.row.is_empty();
        let row = if with_row { &mut place.row[..k] } else { &mut [] };
        for (e, out) in range.zip(place.entries.iter_mut()) {
            edges.prefetch(e + PREFETCH_DISTANCE);
            let x = edges.row(e);
            let mut d = T::zero();
            if let Some(d_agg) = d_agg {
                d = dot::<ISA, _, _>(d_agg, x);
            }
            if let Some(d_alpha) = self.d_alpha {
                d += d_alpha[e];
            }
            let d = self.alpha[e] * (d - inner) * edges.inverse_temperature;
            *out = d;
            let t = edges.src[e] as usize;
            let d = d * edges.slope::<ISA>(group, t, x);
            sum_s += d * edges.s[t];
            sum += d;
            if with_row {
                axpy::<ISA, _>(d, &x[..k], row);
            }
        }
        place.scalars.copy_from_slice(&[sum_s, sum]);
        if sole {
            self.through_projection::<ISA>(group - self.first.0, &mut place);
        }
    }

    #[inline(always)]
    fn merge<const ISA: u8>(&self, group: usize, partial: &[T], partial_scalars: &[T], mut place: Place<'_, T>) {
        add_rows::<ISA, T>(partial, place.row);
        place.scalars.fill(T::zero());
        add_rows::<ISA, T>(partial_scalars, place.scalars);
        self.through_projection::<ISA>(group, &mut place);
    }
}

/// Sources: row = dx_t (absent: width 0), scalars = w_t = sum of dz_e c_g.
pub(super) struct SrcBackward<'a, S: Element, const D: usize> {
    pub edges: Edges<'a, S, D>,
    pub edge: &'a [u32],
    pub dst: &'a [u32],
    /// The source that is segment 0.
    pub first: usize,
    /// Empty where nothing goes through the projection here.
    pub p: &'a [S],
    pub alpha: &'a [S::Acc],
    pub d_agg: Option<&'a [S::Acc]>,
    /// (edges) dpi_e / temperature
    pub d: &'a [S::Acc],
}

impl<T: Real, S: Element<Acc = T>, const D: usize> SrcBackward<'_, S, D> {
    /// dx_t += w_t p_t, the part through s_t = p_t . x_t.
    #[inline(always)]
    fn through_projection<const ISA: u8>(&self, t: usize, place: &mut Place<'_, T>) {
        if !place.row.is_empty() && !self.p.is_empty() {
            let n = self.edges.widths().0;
            axpy::<ISA, _>(place.scalars[0], &self.p[(t + self.first) * n..][..n], place.row);
        }
    }
}

impl<T: Real, S: Element<Acc = T>, const D: usize> Segment<T> for SrcBackward<'_, S, D> {
    #[inline(always)]
    fn empty(&self, _row: usize, place: Place<'_, T>) {
        place.scalars.fill(T::zero());
    }

    #[inline(always)]
    fn piece<const ISA: u8>(&self, t: usize, range: Range<usize>, sole: bool, mut place: Place<'_, T>) {
        let edges = &self.edges;
        let (n, _, k) = edges.widths();
        let last = self.edge.len() - 1;
        let x = &edges.x[(t + self.first) * n..][..n];
        let with_row = !place.row.is_empty();
        let row = if with_row { &mut place.row[..n] } else { &mut [] };
        let mut w = T::zero();
        for i in range {
            if D > 0 {
                // The edge's scalars first, then the rows that they point to.
                let far = self.edge[(i + 2 * PREFETCH_DISTANCE).min(last)] as usize;
                prefetch(&self.alpha[far..=far]);
                prefetch(&self.d[far..=far]);
                prefetch(&self.dst[far..=far]);
                prefetch(&edges.group[far..=far]);
                let near = self.edge[(i + PREFETCH_DISTANCE).min(last)] as usize;
                prefetch(edges.query(edges.group[near] as usize));
                if let Some(d_agg) = gradient_row(self.d_agg, self.dst[near] as usize, n) {
                    prefetch(d_agg);
                }
            }
            let e = self.edge[i] as usize;
            let g = edges.group[e] as usize;
            let d = self.d[e] * edges.slope::<ISA>(g, t + self.first, x);
            w += d * edges.c[g];
            if with_row {
                axpy::<ISA, _>(d, edges.query(g), &mut row[..k]);
                if let Some(d_agg) = gradient_row(self.d_agg, self.dst[e] as usize, n) {
                    axpy::<ISA, _>(self.alpha[e], d_agg, row);
                }
            }
        }
        place.scalars[0] = w;
        if sole {
            self.through_projection::<ISA>(t, &mut place);
        }
    }

    #[inline(always)]
    fn merge<const ISA: u8>(&self, t: usize, partial: &[T], partial_scalars: &[T], mut place: Place<'_, T>) {
        add_rows::<ISA, T>(partial, place.row);
        place.scalars.fill(T::zero());
        add_rows::<ISA, T>(partial_scalars, place.scalars);
        self.through_projection::<ISA>(t, &mut place);
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

/// Writes alpha and log_sum; returns agg.
pub(super) fn forward(
    a: &Attention,
    dots: &ProjectionDots,
    alpha: &mut Tensor,
    log_sum: &mut Tensor,
) -> Result<Tensor> {
    let g = a.graph;
    let mut agg = alpha.empty_like(g.num_dst, a.x.cols())?;
    dispatch_dtype!(a.u.dtype(), S => with_width!(a.widths(), D => {
        type T = <S as Element>::Acc;
        let mut scalars = vec![T::of(0.0); g.num_dst * 2];
        let out = Outputs {
            rows: agg.host_mut::<T>(),
            width: a.x.cols(),
            scalars: &mut scalars,
            count: 2,
            entries: alpha.host_mut::<T>(),
        };
        let edges = Edges::<S, D>::new(a, dots);
        segment::run(&g.dst_splits, out, &Forward { edges, bias: a.bias.host(), bucket: g.bucket.host() });
        for (l, max_sum) in log_sum.host_mut::<T>().iter_mut().zip(scalars.chunks_exact(2)) {
            if max_sum[1] > 0.0 {
                *l = max_sum[0] + max_sum[1].ln();
            }
        }
    }));
    Ok(agg)
}

/// Adds to dU.
pub(super) fn group_backward(
    a: &Attention,
    alpha: &Tensor,
    dots: &ProjectionDots,
    up: OutputGradients,
    inner: &Tensor,
    d_u: Option<&mut Tensor>,
) -> Result<LogitGradients> {
    let groups = &a.graph.groups;
    let mut d = alpha.empty_like(a.graph.edges(), 1)?;
    let mut sum_s = alpha.empty_like(groups.count, 1)?;
    let mut sum = alpha.empty_like(groups.count, 1)?;
    dispatch_dtype!(a.u.dtype(), S => with_width!(a.widths(), D => {
        type T = <S as Element>::Acc;
        let mut scalars = vec![T::of(0.0); groups.count * 2];
        let work = GroupBackward {
            edges: Edges::<S, D>::new(a, dots),
            graph: a.graph,
            first: (0, 0),
            r_p: a.r_p.host(),
            alpha: alpha.host(),
            d_agg: up.agg.map(Tensor::host),
            d_alpha: up.alpha.map(Tensor::host),
            inner: inner.host(),
        };
        let width = d_u.as_ref().map_or(0, |d_u| d_u.cols());
        let rows = d_u.map_or(&mut [][..], |d_u| d_u.host_mut::<T>());
        let out = Outputs { rows, width, scalars: &mut scalars, count: 2, entries: d.host_mut::<T>() };
        segment::run(&groups.splits, out, &work);
        put_pairs(&scalars, sum_s.host_mut(), sum.host_mut());
    }));
    Ok(LogitGradients { d, sum_s, sum })
}

/// Parts interleaved pairs of scalars.
pub(super) fn put_pairs<T: Copy>(pairs: &[T], first: &mut [T], second: &mut [T]) {
    for ((first, second), pair) in first.iter_mut().zip(second).zip(pairs.chunks_exact(2)) {
        (*first, *second) = (pair[0], pair[1]);
    }
}

/// Adds to dx; returns (num_src, 1) w_t, the gradient of s_t.
pub(super) fn src_backward(
    a: &Attention,
    alpha: &Tensor,
    dots: &ProjectionDots,
    up: OutputGradients,
    d: &Tensor,
    d_x: Option<&mut Tensor>,
) -> Result<Tensor> {
    let g = a.graph;
    let mut w = alpha.empty_like(g.num_src, 1)?;
    dispatch_dtype!(a.u.dtype(), S => with_width!(a.widths(), D => {
        type T = <S as Element>::Acc;
        let work = SrcBackward {
            edges: Edges::<S, D>::new(a, dots),
            edge: g.by_src.edge.host(),
            dst: g.dst.host(),
            first: 0,
            p: a.p.host(),
            alpha: alpha.host(),
            d_agg: up.agg.map(Tensor::host),
            d: d.host(),
        };
        let width = d_x.as_ref().map_or(0, |d_x| d_x.cols());
        let rows = d_x.map_or(&mut [][..], |d_x| d_x.host_mut::<T>());
        let out = Outputs { rows, width, scalars: w.host_mut::<T>(), count: 1, entries: &mut [] };
        segment::run(&g.src_splits, out, &work);
    }));
    Ok(w)
}

/// dbias[b] += the sum of dpi_e over the edges of bucket b.
pub(super) fn add_bucket_sums(a: &Attention, d: &Tensor, d_bias: &mut Tensor) {
    let bucket = a.graph.bucket.host();
    dispatch_float!(d.dtype(), T => {
        let d = d.host::<T>();
        let partial = bucket_sums(d.len(), d_bias.rows(), |e| (bucket[e], d[e]));
        let temperature = T::of(a.temperature as f64);
        let d_bias = d_bias.host_mut::<T>();
        partial.iter().for_each(|sums| parallel::axpy(temperature, sums, d_bias));
    });
}

/// Sums of the values of 0..n by bucket, one list for each chunk.
pub(super) fn bucket_sums<T: Real>(n: usize, buckets: usize, of: impl Fn(usize) -> (u32, T) + Sync) -> Vec<Vec<T>> {
    const CHUNK: usize = 32 * 1024;
    parallel::map_chunks(n, CHUNK, |range| {
        let mut sums = vec![T::zero(); buckets];
        for e in range {
            let (bucket, value) = of(e);
            sums[bucket as usize] += value;
        }
        sums
    })
}

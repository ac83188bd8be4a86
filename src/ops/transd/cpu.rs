use rayon::prelude::*;

use super::{Distance, ProjNorm, Saved, TransDLoss, TransDOptions, Triples};
use crate::Result;
use crate::engine::parallel::{Work, axpy, dot, prefetch, vectorized_work};
use crate::engine::{Real, Tensor};
use crate::ops::scatter::{Scattered, scatter};
use crate::with_real;

/// Rows of the workspace for each triple: head, tail, corrupted entity.
const SLOTS: usize = 3;

/// The four tables on the CPU.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a, T> {
    pub e: &'a [T],
    pub p: &'a [T],
    pub r: &'a [T],
    pub rp: &'a [T],
    pub n: usize,
    pub m: usize,
}

impl<'a, T: Real> Tables<'a, T> {
    pub fn new(x: &[&'a Tensor]) -> Tables<'a, T> {
        let (n, m) = (x[0].cols(), x[2].cols());
        Tables { e: x[0].host(), p: x[1].host(), r: x[2].host(), rp: x[3].host(), n, m }
    }

    #[inline(always)]
    pub fn entity(&self, v: u32) -> (&'a [T], &'a [T]) {
        let at = v as usize * self.n;
        (&self.e[at..at + self.n], &self.p[at..at + self.n])
    }

    #[inline(always)]
    pub fn relation(&self, q: u32) -> (&'a [T], &'a [T]) {
        let at = q as usize * self.m;
        (&self.r[at..at + self.m], &self.rp[at..at + self.m])
    }
}

/// What the gradient of a projection needs beside the projection itself.
#[derive(Clone, Copy)]
pub(super) struct Projection<T> {
    /// p . e
    product: T,
    /// 1 / norm where the projection was scaled to norm 1, else 0.
    scaled: T,
}

/// y = (p . e) r_p + pad_or_cut(e, m), formula (1), then the norm.
#[inline(always)]
pub(super) fn project<T: Real>((e, p): (&[T], &[T]), rp: &[T], norm: ProjNorm, y: &mut [T]) -> Projection<T> {
    let product = dot(p, e);
    let k = e.len().min(y.len());
    for ((y, &e), &rp) in y[..k].iter_mut().zip(&e[..k]).zip(&rp[..k]) {
        *y = e + product * rp;
    }
    for (y, &rp) in y[k..].iter_mut().zip(&rp[k..]) {
        *y = product * rp;
    }
    let mut scaled = T::zero();
    if norm != ProjNorm::None {
        let length = dot(y, y).sqrt();
        if norm == ProjNorm::L2 || length >= T::one() {
            scaled = T::one() / length.max(T::of(1e-12));
            y.iter_mut().for_each(|y| *y *= scaled);
        }
    }
    Projection { product, scaled }
}

#[inline(always)]
pub(super) fn distance<T: Real>(e: &[T], distance: Distance) -> T {
    match distance {
        Distance::L2Squared => dot(e, e),
        Distance::L2 => (dot(e, e) + T::of(1e-12)).sqrt(),
        Distance::L1 => {
            let mut lanes = [T::zero(); 8];
            let chunks = e.chunks_exact(8);
            let tail: T = chunks.remainder().iter().map(|e| e.abs()).sum();
            for e in chunks {
                for i in 0..8 {
                    lanes[i] += e[i].abs();
                }
            }
            lanes.into_iter().sum::<T>() + tail
        }
    }
}

/// Replaces e by c d'(e), given d = distance(e).
#[inline(always)]
fn slope<T: Real>(e: &mut [T], distance: Distance, d: T, c: T) {
    match distance {
        Distance::L2Squared => e.iter_mut().for_each(|e| *e *= c + c),
        Distance::L2 => e.iter_mut().for_each(|e| *e *= c / d),
        // signum(0) is 1; the middle of the subgradients is 0.
        Distance::L1 => {
            e.iter_mut().for_each(|e| *e = if *e == T::zero() { T::zero() } else { c * e.signum() })
        }
    }
}

impl TransDLoss {
    /// Value and derivative at z = d(positive) - d(negative).
    #[inline(always)]
    fn at<T: Real>(self, z: T) -> (T, T) {
        match self {
            TransDLoss::Bpr => (z.softplus(), z.sigmoid()),
            TransDLoss::Margin { gamma } => {
                let z = z + T::of(gamma as f64);
                if z > T::zero() { (z, T::one()) } else { (T::zero(), T::zero()) }
            }
        }
    }
}

/// One piece of triples of one relation: where its results go.
struct Task<'a, T> {
    range: std::ops::Range<usize>,
    relation: u32,
    rows: &'a mut [T],
    dots: &'a mut [T],
    sums: &'a mut [T],
}

pub(super) fn forward(triples: &Triples, options: &TransDOptions, x: &[&Tensor]) -> Result<(Tensor, Saved)> {
    let (count, m) = (triples.len(), x[2].cols());
    let pieces = &triples.by_relation;
    let mut loss = x[0].empty_like(1, 1)?;
    let mut saved = Saved {
        rows: x[0].empty_like(count * SLOTS, m)?,
        dots: x[0].empty_like(count * SLOTS, 1)?,
        relations: x[0].empty_like(pieces.count(), 2 * m)?,
    };
    with_real!(x[0].dtype(), T => {
        let tables = Tables::<T>::new(x);
        let (mut rows, mut dots) = (saved.rows.host_mut::<T>(), saved.dots.host_mut::<T>());
        let sums = saved.relations.host_mut::<T>().chunks_exact_mut(2 * m);
        let mut tasks = Vec::with_capacity(pieces.count());
        for (piece, sums) in sums.enumerate() {
            let range = pieces.range(piece);
            let (rows_here, rows_rest) = rows.split_at_mut(range.len() * SLOTS * m);
            let (dots_here, dots_rest) = dots.split_at_mut(range.len() * SLOTS);
            (rows, dots) = (rows_rest, dots_rest);
            let relation = pieces.row.host()[piece];
            tasks.push(Task { range, relation, rows: rows_here, dots: dots_here, sums });
        }
        let losses: Vec<f64> = tasks
            .into_par_iter()
            .map(|task| {
                let mut total = 0.0;
                vectorized_work(PieceWork { triples, options, x: &tables, task, total: &mut total });
                total
            })
            .collect();
        loss.host_mut::<T>()[0] = T::of(losses.into_iter().sum::<f64>() / count as f64);
    });
    Ok((loss, saved))
}

struct PieceWork<'a, 'b, T> {
    triples: &'a Triples,
    options: &'a TransDOptions,
    x: &'a Tables<'a, T>,
    task: Task<'b, T>,
    total: &'a mut f64,
}

impl<T: Real> Work for PieceWork<'_, '_, T> {
    #[inline(always)]
    fn run(self) {
        *self.total = piece(self.triples, self.options, self.x, self.task);
    }
}

/// Triples between the request for rows and their use.
const AHEAD: usize = 4;

/// Loss and unit gradients of the triples of one piece; returns the sum of the losses.
#[inline(always)]
fn piece<T: Real>(triples: &Triples, options: &TransDOptions, x: &Tables<T>, task: Task<T>) -> f64 {
    let m = x.m;
    let TransDOptions { loss, distance: kind, proj_norm: norm, l2 } = *options;
    let share = T::one() / T::of(triples.len() as f64);
    let decay = T::of(l2 as f64) * share;
    let (r, rp) = x.relation(task.relation);
    // Lengths that the compiler can see are equal, so that the loops below need no bounds checks.
    let (r, rp) = (&r[..m], &rp[..m]);
    let mut scratch = vec![T::zero(); 5 * m];
    let (yh, rest) = scratch.split_at_mut(m);
    let (yt, rest) = rest.split_at_mut(m);
    let (yc, rest) = rest.split_at_mut(m);
    let (positive, negative) = rest.split_at_mut(m);
    let (yh, yt, yc) = (&mut yh[..m], &mut yt[..m], &mut yc[..m]);
    let (positive, negative) = (&mut positive[..m], &mut negative[..m]);
    let (dr, drp) = task.sums.split_at_mut(m);
    let (dr, drp) = (&mut dr[..m], &mut drp[..m]);
    dr.fill(T::zero());
    drp.fill(T::zero());
    let (head, tail) = (triples.head.host(), triples.tail.host());
    let (corrupt, side) = (triples.corrupt.host(), triples.side.host());
    let r_squared = dot(r, r);
    let mut total = 0.0;
    let places = task.rows.chunks_exact_mut(SLOTS * m).zip(task.dots.chunks_exact_mut(SLOTS));
    let end = task.range.end;
    for (i, (rows, dots)) in task.range.zip(places) {
        if i + AHEAD < end {
            for v in [head[i + AHEAD], tail[i + AHEAD], corrupt[i + AHEAD]] {
                let (e, p) = x.entity(v);
                prefetch(e);
                prefetch(p);
            }
        }
        let h = project(x.entity(head[i]), rp, norm, yh);
        let t = project(x.entity(tail[i]), rp, norm, yt);
        let c = project(x.entity(corrupt[i]), rp, norm, yc);
        let head_side = side[i] == 1;
        for j in 0..m {
            positive[j] = yh[j] + r[j] - yt[j];
        }
        let (from, to) = if head_side { (&yc[..m], &yt[..m]) } else { (&yh[..m], &yc[..m]) };
        for j in 0..m {
            negative[j] = from[j] + r[j] - to[j];
        }
        let (near, far) = (distance(positive, kind), distance(negative, kind));
        let (value, weight) = loss.at(near - far);
        total += value.f64();
        if l2 != 0.0 {
            let squares = dot(yh, yh) + r_squared + dot(yt, yt) + dot(yc, yc);
            total += 0.5 * l2 as f64 * squares.f64();
        }
        let (gh, rest) = rows.split_at_mut(m);
        let (gt, gc) = rest.split_at_mut(m);
        let (gh, gt, gc) = (&mut gh[..m], &mut gt[..m], &mut gc[..m]);
        slope(positive, kind, near, weight * share);
        slope(negative, kind, far, -weight * share);
        for j in 0..m {
            let both = positive[j] + negative[j];
            dr[j] += both + decay * r[j];
        }
        // The corrupted entity stands in for the tail, or for the head: it takes that one's share of `negative`.
        let (in_h, in_t, in_c) =
            if head_side { (T::zero(), T::one(), T::one()) } else { (T::one(), T::zero(), -T::one()) };
        for j in 0..m {
            gh[j] = positive[j] + in_h * negative[j] + decay * yh[j];
            gt[j] = decay * yt[j] - positive[j] - in_t * negative[j];
            gc[j] = in_c * negative[j] + decay * yc[j];
        }
        for (slot, (g, y, of)) in [(gh, &*yh, h), (gt, &*yt, t), (gc, &*yc, c)].into_iter().enumerate() {
            if of.scaled != T::zero() {
                // The part of the gradient along y changes the norm alone, which the scaling takes away.
                let along = dot(y, g);
                for (g, &y) in g.iter_mut().zip(y) {
                    *g = (*g - along * y) * of.scaled;
                }
            }
            dots[slot] = dot(rp, g);
            axpy(of.product, g, drp);
        }
    }
    total
}

pub(super) fn backward(
    triples: &Triples,
    saved: &Saved,
    x: &[&Tensor],
    dy: &Tensor,
    dx: &mut [Option<Tensor>],
) -> Result<()> {
    let [de, dp, dr, drp] = dx else { return Ok(()) };
    with_real!(x[0].dtype(), T => {
        let up = dy.host::<T>()[0];
        let tables = Tables::<T>::new(x);
        let (n, m, k) = (tables.n, tables.m, tables.n.min(tables.m));
        let sums = saved.relations.host::<T>();
        for (half, out) in [(0, dr), (1, drp)] {
            let Some(out) = out else { continue };
            for (q, out) in out.host_mut::<T>().chunks_exact_mut(m).enumerate() {
                let mut sum = vec![0.0 as T; m];
                for piece in triples.by_relation.of(q) {
                    axpy(1.0, &sums[(2 * piece + half) * m..][..m], &mut sum);
                }
                axpy(up, &sum, out);
            }
        }
        if de.is_none() && dp.is_none() {
            return Ok(());
        }
        let work = Entities { rows: saved.rows.host::<T>(), dots: saved.dots.host::<T>(), tables, m, k, up };
        scatter(
            &triples.uses,
            k + 1,
            n,
            [de.as_mut().map(|t| t.host_mut::<T>()), dp.as_mut().map(|t| t.host_mut::<T>())],
            &work,
        );
    });
    Ok(())
}

/// The gradients of entities from those of their projections: dh = pad_or_cut(G, n) + (r_p . G) h_p and
/// dh_p = (r_p . G) h. All uses of an entity share h and h_p, so G and r_p . G are summed first; the latter is the
/// last element of the sum.
struct Entities<'a, T> {
    rows: &'a [T],
    dots: &'a [T],
    tables: Tables<'a, T>,
    m: usize,
    k: usize,
    up: T,
}

impl<T: Real> Scattered<T, 2> for Entities<'_, T> {
    #[inline(always)]
    fn add(&self, place: usize, sum: &mut [T]) {
        axpy(T::one(), &self.rows[place * self.m..][..self.k], &mut sum[..self.k]);
        sum[self.k] += self.dots[place];
    }

    #[inline(always)]
    fn prefetch(&self, place: usize) {
        prefetch(&self.rows[place * self.m..][..self.k]);
    }

    #[inline(always)]
    fn finish(&self, v: usize, sum: &[T], [de, dp]: &mut [Option<&mut [T]>; 2]) {
        let (e, p) = self.tables.entity(v as u32);
        let along = self.up * sum[self.k];
        if let Some(de) = de {
            axpy(self.up, &sum[..self.k], &mut de[..self.k]);
            axpy(along, p, de);
        }
        if let Some(dp) = dp {
            axpy(along, e, dp);
        }
    }
}

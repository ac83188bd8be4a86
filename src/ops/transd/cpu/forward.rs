use base::parallel::prelude::*;

use super::super::{ProjNorm, TransDOptions};
use super::*;
use base::Result;
use engine::dispatch_float;
use engine::parallel::{for_chunks, prefetch};
use engine::simd::{self, SimdWork, axpy, dot, fma};

/// Triples between the request for rows and their use.
const PREFETCH_DISTANCE: usize = 8;
/// Entities of one task of products, and between the request for one and its use.
const ENTITIES: usize = 1024;
const ENTITIES_AHEAD: usize = 8;

/// p . e of neighbouring entities of the batch: once, although most are used several times.
struct Products<'a, 'b, T> {
    x: Tables<'a, T>,
    /// All rows of the batch, and which of them are these.
    rows: &'a [u32],
    range: std::ops::Range<usize>,
    /// From the first of these entities to the last.
    out: &'b mut [T],
}

impl<T: Real> SimdWork for Products<'_, '_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let base = self.rows[self.range.start];
        for k in self.range {
            if let Some(&v) = self.rows.get(k + ENTITIES_AHEAD) {
                prefetch(self.x.entity(v));
                prefetch(self.x.projection(v));
            }
            let v = self.rows[k];
            self.out[(v - base) as usize] = dot::<ISA, T, T>(self.x.projection(v), self.x.entity(v));
        }
    }
}

/// p . e of the entities `rows`, each at its own place of `out`, of which nothing else is touched.
fn products<T: Real>(x: Tables<T>, rows: &[u32], mut out: &mut [T]) {
    let (mut tasks, mut base) = (Vec::with_capacity(rows.len().div_ceil(ENTITIES)), 0);
    for first in (0..rows.len()).step_by(ENTITIES) {
        let range = first..(first + ENTITIES).min(rows.len());
        let (begin, end) = (rows[range.start] as usize, rows[range.end - 1] as usize + 1);
        let (mine, rest) = out[begin - base..].split_at_mut(end - begin);
        (out, base) = (rest, end);
        tasks.push(Products { x, rows, range, out: mine });
    }
    tasks.into_par_iter().for_each(simd::simd);
}

pub fn forward(batch: &ByKept, options: &TransDOptions, x: &[&Tensor]) -> Result<(Tensor, TripleGradients)> {
    let (count, n, m) = (batch.len(), x[0].cols(), x[2].cols());
    let (k, width, runs) = (n.min(m), 2 * m * x[2].rows(), batch.run_count());
    let mut loss = x[0].empty_like(1, 1)?;
    let mut product = x[0].empty_like(x[0].rows(), 1)?;
    let mut sums = x[0].empty_like(batch.of_task.len() - 1, width)?;
    let mut saved = TripleGradients {
        records: x[0].empty_like(2 * count, RECORD)?,
        runs: x[0].empty_like(runs, k)?,
        dots: x[0].empty_like(runs, 1)?,
        relations: x[0].empty_like(x[2].rows(), 2 * m)?,
    };
    dispatch_float!(x[0].dtype(), T => {
        let tables = Tables::<T>::new(x);
        products(tables, batch.uses.row.host(), product.host_mut::<T>());
        let all = All { batch, options, x: tables, products: product.host::<T>() };
        let (mut gradients, mut dots) = (saved.runs.host_mut::<T>(), saved.dots.host_mut::<T>());
        let records = saved.records.host_mut::<T>().chunks_mut(batch.task * 2 * RECORD);
        let mut losses = vec![0.0; batch.of_task.len() - 1];
        let own = batch.of_task.windows(2).zip(records).zip(sums.host_mut::<T>().chunks_exact_mut(width));
        let mut tasks = Vec::with_capacity(losses.len());
        for (((own, records), sums), total) in own.zip(&mut losses) {
            let runs = own[0] as usize..own[1] as usize;
            let (gradient, rest) = gradients.split_at_mut(runs.len() * k);
            let (dot, rest_of_dots) = dots.split_at_mut(runs.len());
            (gradients, dots) = (rest, rest_of_dots);
            tasks.push(Task { all: &all, runs, records, gradients: gradient, dots: dot, sums, total });
        }
        tasks.into_par_iter().for_each(simd::simd);
        loss.host_mut::<T>()[0] = T::of(losses.into_iter().sum::<f64>() / count as f64);
        let sums = sums.host::<T>();
        for_chunks(saved.relations.host_mut::<T>(), |first, out| {
            out.fill(0.0);
            for sums in sums.chunks_exact(width) {
                engine::parallel::axpy(1.0, &sums[first..first + out.len()], out);
            }
        });
    });
    Ok((loss, saved))
}

struct All<'a, T> {
    batch: &'a ByKept,
    options: &'a TransDOptions,
    x: Tables<'a, T>,
    /// (entities) p . e of those of the batch
    products: &'a [T],
}

/// The runs of one task, and where their results go.
struct Task<'a, 'b, T> {
    all: &'a All<'a, T>,
    runs: std::ops::Range<usize>,
    records: &'b mut [T],
    /// (runs, k), (runs), (relations, 2 m)
    gradients: &'b mut [T],
    dots: &'b mut [T],
    sums: &'b mut [T],
    /// Sum of the losses.
    total: &'b mut f64,
}

/// Vectors of one triple, m long.
struct Scratch<'a, T> {
    /// The residuals of the triple and of its negative; under L1, their signs.
    positive: &'a mut [T],
    negative: &'a mut [T],
    /// A projected entity, and the gradient there.
    y: &'a mut [T],
    g: &'a mut [T],
}

/// Slopes of a triple: of its residual and of its negative's, with the sign that the kept entity has in both.
#[derive(Clone, Copy)]
struct Slopes<T> {
    positive: T,
    negative: T,
    sign: T,
}

impl<T: Real> SimdWork for Task<'_, '_, T> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let (all, m) = (self.all, self.all.x.m);
        let k = m.min(all.x.n);
        let mut scratch = vec![T::zero(); 4 * m];
        let (positive, rest) = scratch.split_at_mut(m);
        let (negative, rest) = rest.split_at_mut(m);
        let (y, g) = rest.split_at_mut(m);
        let mut scratch = Scratch { positive, negative, y, g };
        self.sums.fill(T::zero());
        let mut total = 0.0;
        let mut records = self.records.chunks_exact_mut(2 * RECORD);
        for ((run, gradient), dot) in self.runs.zip(self.gradients.chunks_exact_mut(k)).zip(self.dots) {
            gradient.fill(T::zero());
            *dot = T::zero();
            let triples = all.batch.runs[run] as usize..all.batch.runs[run + 1] as usize;
            for (i, record) in triples.zip(&mut records) {
                if let Some(ahead) = all.batch.ids.get(i + PREFETCH_DISTANCE) {
                    for &v in &ahead[..3] {
                        prefetch(all.x.entity(v));
                    }
                }
                let relation = (all.batch.ids[i][3] >> 1) as usize;
                let sums = &mut self.sums[relation * 2 * m..][..2 * m];
                total += all.triple::<ISA>(i, &mut scratch, record, (gradient, dot), sums);
            }
        }
        *self.total = total;
    }
}

impl<'a, T: Real> All<'a, T> {
    /// Entity v as its relation sees it.
    #[inline(always)]
    fn view(&self, v: u32, rp: &[T]) -> Projected<'a, T> {
        Projected::new(self.x.entity(v), self.products[v as usize], rp, self.options.proj_norm)
    }

    /// Adds the gradients of triple i to those of its kept entity and of its relation, and notes the others' in
    /// `record`; returns its loss.
    #[inline(always)]
    fn triple<const ISA: u8>(
        &self,
        i: usize,
        scratch: &mut Scratch<T>,
        record: &mut [T],
        kept: (&mut [T], &mut T),
        sums: &mut [T],
    ) -> f64 {
        let TransDOptions { loss, distance: kind, proj_norm: norm, l2 } = *self.options;
        let [own, replaced, replacement, code] = self.batch.ids[i];
        let (r, rp) = self.x.relation(code >> 1);
        let views = [self.view(own, rp), self.view(replaced, rp), self.view(replacement, rp)];
        let sign = if code & 1 == 0 { T::one() } else { -T::one() };
        residuals::<ISA, T>(&views, sign, (r, rp), scratch.positive, scratch.negative);
        let (positive, negative) = (&*scratch.positive, &*scratch.negative);
        let near = distance(positive, dot::<ISA, T, T>(positive, positive), kind);
        let far = distance(negative, dot::<ISA, T, T>(negative, negative), kind);
        let (value, weight) = loss.at(near - far);
        let share = T::one() / T::of(self.batch.len() as f64);
        let slopes =
            Slopes { positive: slope(kind, near, weight * share), negative: slope(kind, far, -weight * share), sign };
        if kind == Distance::L1 {
            for (p, q) in scratch.positive.iter_mut().zip(scratch.negative.iter_mut()) {
                (*p, *q) = (super::sign(*p), super::sign(*q));
            }
        }
        if norm != ProjNorm::None || l2 != 0.0 {
            let squares = self.general::<ISA>(&views, slopes, (r, rp), scratch, record, kept, sums);
            return value.f64() + 0.5 * l2 as f64 * squares.f64();
        }
        if weight == T::zero() {
            record.fill(T::zero());
        } else {
            self.plain::<ISA>(&views, slopes, rp, scratch, record, kept, sums);
        }
        value.f64()
    }

    /// The gradients where entities are projected and no more.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn plain<const ISA: u8>(
        &self,
        views: &[Projected<T>; 3],
        slopes: Slopes<T>,
        rp: &[T],
        scratch: &Scratch<T>,
        record: &mut [T],
        (gradient, kept_dot): (&mut [T], &mut T),
        sums: &mut [T],
    ) {
        let Slopes { positive: a, negative: b, sign } = slopes;
        let (with_positive, with_negative) =
            (sign * a * dot::<ISA, T, T>(rp, scratch.positive), sign * b * dot::<ISA, T, T>(rp, scratch.negative));
        *kept_dot += with_positive + with_negative;
        let (c, d) =
            (sign * a * (views[0].product - views[1].product), sign * b * (views[0].product - views[2].product));
        let m = rp.len();
        let (dr, drp) = sums.split_at_mut(m);
        let (positive, negative, drp) = (&scratch.positive[..m], &scratch.negative[..m], &mut drp[..m]);
        let k = gradient.len();
        for j in 0..k {
            let w = fma::<ISA, T>(a, positive[j], b * negative[j]);
            dr[j] += w;
            gradient[j] = fma::<ISA, T>(sign, w, gradient[j]);
            drp[j] = fma::<ISA, T>(c, positive[j], fma::<ISA, T>(d, negative[j], drp[j]));
        }
        for j in k..m {
            dr[j] += fma::<ISA, T>(a, positive[j], b * negative[j]);
            drp[j] = fma::<ISA, T>(c, positive[j], fma::<ISA, T>(d, negative[j], drp[j]));
        }
        let (first, second) = record.split_at_mut(RECORD);
        let kind = self.options.distance;
        note(first, (&views[0], &views[1]), (sign, a, T::zero()), -with_positive, kind);
        note(second, (&views[0], &views[2]), (sign, b, T::zero()), -with_negative, kind);
    }

    /// The gradients with norms and with the L2 term; the sum of the squares of r and the projections.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn general<const ISA: u8>(
        &self,
        views: &[Projected<T>; 3],
        slopes: Slopes<T>,
        (r, rp): (&[T], &[T]),
        scratch: &mut Scratch<T>,
        record: &mut [T],
        (gradient, kept_dot): (&mut [T], &mut T),
        sums: &mut [T],
    ) -> T {
        let Slopes { positive: a, negative: b, sign } = slopes;
        let decay = T::of(self.options.l2 as f64) / T::of(self.batch.len() as f64);
        let m = r.len();
        let (dr, drp) = sums.split_at_mut(m);
        let (dr, drp) = (&mut dr[..m], &mut drp[..m]);
        let (positive, negative) = (&scratch.positive[..m], &scratch.negative[..m]);
        let (y, g) = (&mut scratch.y[..m], &mut scratch.g[..m]);
        for j in 0..m {
            dr[j] += fma::<ISA, T>(a, positive[j], fma::<ISA, T>(b, negative[j], decay * r[j]));
        }
        let mut squares = dot::<ISA, T, T>(r, r);
        let shares = [(sign * a, sign * b), (-sign * a, T::zero()), (T::zero(), -sign * b)];
        for (slot, (view, (a, b))) in views.iter().zip(shares).enumerate() {
            y.fill(T::zero());
            view.add_to(T::one(), rp, y);
            squares += dot::<ISA, T, T>(y, y);
            for j in 0..m {
                g[j] = fma::<ISA, T>(a, positive[j], fma::<ISA, T>(b, negative[j], decay * y[j]));
            }
            // The part of the gradient along y changes the norm alone, which the scaling takes away.
            let along = if view.scaled { dot::<ISA, T, T>(y, g) } else { T::zero() };
            for j in 0..m {
                g[j] = view.scale * fma::<ISA, T>(-along, y[j], g[j]);
                drp[j] = fma::<ISA, T>(view.product, g[j], drp[j]);
            }
            let with_rp = dot::<ISA, T, T>(rp, g);
            if slot == 0 {
                axpy::<ISA, T>(T::one(), g, gradient);
                *kept_dot += with_rp;
                continue;
            }
            let own = &mut record[(slot - 1) * RECORD..][..RECORD];
            let slope = if slot == 1 { slopes.positive } else { slopes.negative };
            note(own, (&views[0], view), (sign, slope, decay - along), with_rp, self.options.distance);
        }
        squares
    }
}

/// The residuals r + sign (kept - other), with both entities as the relation sees them.
#[inline(always)]
fn residuals<const ISA: u8, T: Real>(
    [kept, replaced, replacement]: &[Projected<T>; 3],
    sign: T,
    (r, rp): (&[T], &[T]),
    positive: &mut [T],
    negative: &mut [T],
) {
    let (m, k) = (r.len(), r.len().min(kept.e.len()));
    let (r, rp, positive, negative) = (&r[..m], &rp[..m], &mut positive[..m], &mut negative[..m]);
    let (e, e_replaced, e_replacement) = (&kept.e[..k], &replaced.e[..k], &replacement.e[..k]);
    let (own, a, b) = (sign * kept.scale, -sign * replaced.scale, -sign * replacement.scale);
    let (along_a, along_b) = (own * kept.product + a * replaced.product, own * kept.product + b * replacement.product);
    for j in 0..k {
        let shared = fma::<ISA, T>(own, e[j], r[j]);
        positive[j] = fma::<ISA, T>(a, e_replaced[j], fma::<ISA, T>(along_a, rp[j], shared));
        negative[j] = fma::<ISA, T>(b, e_replacement[j], fma::<ISA, T>(along_b, rp[j], shared));
    }
    for j in k..m {
        positive[j] = fma::<ISA, T>(along_a, rp[j], r[j]);
        negative[j] = fma::<ISA, T>(along_b, rp[j], r[j]);
    }
}

/// Notes the gradient of the projection of `own`: -sign slope times the direction of the residual, and `decay` times
/// the projection, both scaled.
#[inline(always)]
fn note<T: Real>(
    record: &mut [T],
    (kept, own): (&Projected<T>, &Projected<T>),
    (sign, slope, decay): (T, T, T),
    dot: T,
    kind: Distance,
) {
    let relation = -sign * slope * own.scale;
    // The residual's own coefficients.
    let (of_own, of_kept) = (-sign * own.scale, sign * kept.scale);
    let of_rp = of_kept * kept.product + of_own * own.product;
    let decay = own.scale * own.scale * decay;
    let record = &mut record[..RECORD];
    record[Record::OWN] = decay;
    record[Record::KEPT] = T::zero();
    record[Record::ALONG] = decay * own.product;
    if kind != Distance::L1 {
        record[Record::OWN] += relation * of_own;
        record[Record::KEPT] = relation * of_kept;
        record[Record::ALONG] += relation * of_rp;
    }
    record[Record::RELATION] = relation;
    record[Record::DOT] = dot;
    record[Record::SIGN_OWN] = of_own;
    record[Record::SIGN_KEPT] = of_kept;
    record[Record::SIGN_ALONG] = of_rp;
}

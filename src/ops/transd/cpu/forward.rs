use rayon::prelude::*;

use super::super::{ProjNorm, TransDOptions, Triples};
use super::*;
use crate::Result;
use crate::engine::parallel::{RowWork, Work, for_rows_work, prefetch, vectorized_work};
use crate::with_real;

/// Triples between the request for rows and their use.
const AHEAD: usize = 4;
/// As much for the entities' products.
const ENTITIES_AHEAD: usize = 4;

/// p . e of every entity of the batch: once, although most are used several times, and in the tables' order.
struct Products<'a, T> {
    x: Tables<'a, T>,
    rows: &'a [u32],
}

impl<T: Real> RowWork<T> for Products<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, out: &mut [T]) {
        for (k, out) in out.iter_mut().enumerate() {
            if let Some(&v) = self.rows.get(first + k + ENTITIES_AHEAD) {
                prefetch(self.x.entity(v));
                prefetch(self.x.projection(v));
            }
            let v = self.rows[first + k];
            *out = dot(self.x.projection(v), self.x.entity(v));
        }
    }
}

pub fn forward(triples: &Triples, options: &TransDOptions, x: &[&Tensor]) -> Result<(Tensor, Saved)> {
    let (count, n, m) = (triples.len(), x[0].cols(), x[2].cols());
    let pieces = &triples.by_relation;
    let mut loss = x[0].empty_like(1, 1)?;
    let mut products = x[0].empty_like(triples.uses.count(), 1)?;
    let mut saved = Saved {
        records: x[0].empty_like(count, RECORD)?,
        relations: x[0].empty_like(pieces.count(), 2 * m)?,
    };
    with_real!(x[0].dtype(), T => {
        let tables = Tables::<T>::new(x);
        let rows = triples.uses.row.host();
        for_rows_work(products.host_mut::<T>(), 1, 2 * n, &Products { x: tables, rows });
        let batch = BatchOf { triples, options, x: tables, products: products.host::<T>() };
        let mut records = saved.records.host_mut::<T>();
        let mut tasks = Vec::with_capacity(pieces.count());
        for (piece, sums) in saved.relations.host_mut::<T>().chunks_exact_mut(2 * m).enumerate() {
            let range = pieces.range(piece);
            let (here, rest) = records.split_at_mut(range.len() * RECORD);
            records = rest;
            tasks.push(Task { range, relation: pieces.row.host()[piece], records: here, sums });
        }
        let losses: Vec<f64> = tasks
            .into_par_iter()
            .map(|task| {
                let mut total = 0.0;
                vectorized_work(Piece { batch: &batch, task, total: &mut total });
                total
            })
            .collect();
        loss.host_mut::<T>()[0] = T::of(losses.into_iter().sum::<f64>() / count as f64);
    });
    Ok((loss, saved))
}

struct BatchOf<'a, T> {
    triples: &'a Triples,
    options: &'a TransDOptions,
    x: Tables<'a, T>,
    /// (segments of uses) p . e
    products: &'a [T],
}

/// One piece of triples of one relation: where its results go.
struct Task<'a, T> {
    range: std::ops::Range<usize>,
    relation: u32,
    records: &'a mut [T],
    sums: &'a mut [T],
}

struct Piece<'a, 'b, T> {
    batch: &'a BatchOf<'a, T>,
    task: Task<'b, T>,
    total: &'a mut f64,
}

impl<T: Real> Work for Piece<'_, '_, T> {
    #[inline(always)]
    fn run(self) {
        *self.total = piece(self.batch, self.task);
    }
}

/// Entity `slot` of triple i as its relation sees it, noted in the record, and whether it was scaled.
#[inline(always)]
fn seen<'a, T: Real>(
    batch: &BatchOf<'a, T>,
    i: usize,
    slot: usize,
    rp: &[T],
    record: &mut [T],
) -> (Projected<'a, T>, bool) {
    let Triples { ids, places, .. } = batch.triples;
    let product = batch.products[places.host()[3 * i + slot] as usize];
    let y = Projected { e: batch.x.entity(ids.host()[i][slot]), product, scale: T::one() };
    let (y, scaled) = y.normalised(rp, batch.options.proj_norm);
    record[Record::PRODUCT + slot] = product;
    record[Record::SCALE + slot] = y.scale;
    (y, scaled)
}

/// Records and relation gradients of the triples of one piece; returns the sum of the losses.
#[inline(always)]
fn piece<T: Real>(batch: &BatchOf<T>, task: Task<T>) -> f64 {
    let BatchOf { triples, x, .. } = batch;
    let m = x.m;
    let TransDOptions { loss, distance: kind, proj_norm: norm, l2 } = *batch.options;
    let share = T::one() / T::of(triples.len() as f64);
    let decay = T::of(l2 as f64) * share;
    let plain = norm == ProjNorm::None && l2 == 0.0;
    let (r, rp) = x.relation(task.relation);
    // Lengths that the compiler can see are equal, so that the loops below need no bounds checks.
    let (r, rp) = (&r[..m], &rp[..m]);
    let mut scratch = vec![T::zero(); 4 * m];
    let (positive, rest) = scratch.split_at_mut(m);
    let (negative, rest) = rest.split_at_mut(m);
    let (y, g) = rest.split_at_mut(m);
    let (positive, negative, y, g) = (&mut positive[..m], &mut negative[..m], &mut y[..m], &mut g[..m]);
    let (dr, drp) = task.sums.split_at_mut(m);
    let (dr, drp) = (&mut dr[..m], &mut drp[..m]);
    dr.fill(T::zero());
    drp.fill(T::zero());
    let ids = triples.ids.host();
    let r_squared = dot(r, r);
    let mut total = 0.0;
    for (i, record) in task.range.zip(task.records.chunks_exact_mut(RECORD)) {
        if let Some(ahead) = ids.get(i + AHEAD) {
            for &v in &ahead[..3] {
                prefetch(x.entity(v));
            }
        }
        let head_side = ids[i][3] & 1 == 1;
        record.fill(T::zero());
        let head = seen(batch, i, 0, rp, record);
        let tail = seen(batch, i, 1, rp, record);
        let corrupt = seen(batch, i, 2, rp, record);
        let views = [head.0, tail.0, corrupt.0];
        let scaled = [head.1, tail.1, corrupt.1];
        let (from, to) = ends(head_side);
        residual((&views[0], &views[1]), (r, rp), positive, |out, e| *out = e);
        residual((&views[from], &views[to]), (r, rp), negative, |out, e| *out = e);
        let (near, far) = (distance(positive, kind), distance(negative, kind));
        let (value, weight) = loss.at(near - far);
        total += value.f64();
        let (a, b) = (slope(kind, near, weight * share), slope(kind, far, -weight * share));
        (record[Record::POSITIVE], record[Record::NEGATIVE]) = (a, b);
        if kind == Distance::L1 {
            for j in 0..m {
                (positive[j], negative[j]) = (sign(positive[j]), sign(negative[j]));
            }
        }
        let shares = shares::<T>(head_side);
        if plain {
            let (with_positive, with_negative) = (a * dot(rp, positive), b * dot(rp, negative));
            for (slot, (in_positive, in_negative)) in shares.into_iter().enumerate() {
                record[Record::DOT + slot] = in_positive * with_positive + in_negative * with_negative;
            }
            let q =
                (a * (views[0].product - views[1].product), b * (views[from].product - views[to].product));
            for j in 0..m {
                dr[j] += a * positive[j] + b * negative[j];
                drp[j] += q.0 * positive[j] + q.1 * negative[j];
            }
            continue;
        }
        for j in 0..m {
            dr[j] += a * positive[j] + b * negative[j] + decay * r[j];
        }
        let mut squares = r_squared;
        for (slot, (in_positive, in_negative)) in shares.into_iter().enumerate() {
            let view = &views[slot];
            y.fill(T::zero());
            view.add_to(T::one(), rp, y);
            squares += dot(y, y);
            let (a, b) = (in_positive * a, in_negative * b);
            for j in 0..m {
                g[j] = a * positive[j] + b * negative[j] + decay * y[j];
            }
            // The part of the gradient along y changes the norm alone, which the scaling takes away.
            let along = if scaled[slot] { dot(y, g) } else { T::zero() };
            for j in 0..m {
                g[j] = view.scale * (g[j] - along * y[j]);
                drp[j] += view.product * g[j];
            }
            record[Record::ALONG + slot] = along;
            record[Record::DOT + slot] = dot(rp, g);
        }
        total += 0.5 * l2 as f64 * squares.f64();
    }
    total
}

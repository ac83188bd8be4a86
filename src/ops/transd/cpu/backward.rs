use super::super::{TransDOptions, Triples};
use super::*;
use crate::engine::parallel::{axpy, prefetch};
use crate::ops::scatter::{Layout, Scattered, scatter};
use crate::with_real;

/// Writes the gradients in full; those of E and P as tables, or as the rows of the batch.
pub fn backward(
    triples: &Triples,
    options: &TransDOptions,
    saved: &Saved,
    x: &[&Tensor],
    dy: &Tensor,
    dx: &mut [Option<Tensor>],
) {
    let [de, dp, dr, drp] = dx else { return };
    with_real!(x[0].dtype(), T => {
        let up = dy.host::<T>()[0];
        let x = Tables::<T>::new(x);
        let (n, m, k) = (x.n, x.m, x.n.min(x.m));
        let sums = saved.relations.host::<T>();
        for (half, out) in [(0, dr), (1, drp)] {
            let Some(out) = out else { continue };
            for (q, out) in out.host_mut::<T>().chunks_exact_mut(m).enumerate() {
                out.fill(0.0);
                for piece in triples.by_relation.of(q) {
                    axpy(1.0, &sums[(2 * piece + half) * m..][..m], out);
                }
                out.iter_mut().for_each(|out| *out *= up);
            }
        }
        let Some(rows) = de.as_ref().or(dp.as_ref()).map(Tensor::rows) else { return };
        let layout = if rows == triples.entities { Layout::Write } else { Layout::Compact };
        let decay = T::of(options.l2 as f64 / triples.len() as f64);
        let work = Entities { triples, records: saved.records.host::<T>(), x, kind: options.distance, decay, k, up };
        let outs = [de.as_mut().map(|t| t.host_mut::<T>()), dp.as_mut().map(|t| t.host_mut::<T>())];
        scatter(&triples.uses, k + 1, (layout, n), outs, &work);
    });
}

/// The gradients of entities from those G of their projections: de = pad_or_cut(G, n) + (r_p . G) p and
/// dp = (r_p . G) e. All uses of an entity share e and p, so G and r_p . G are summed first; the latter is the last
/// element of the sum.
struct Entities<'a, T> {
    triples: &'a Triples,
    records: &'a [T],
    x: Tables<'a, T>,
    kind: Distance,
    decay: T,
    k: usize,
    up: T,
}

impl<T: Real> Entities<'_, T> {
    /// Entity `slot` of a triple, as its record says that its relation sees it.
    #[inline(always)]
    fn seen(&self, ids: [u32; 4], record: &[T], slot: usize) -> Projected<'_, T> {
        let (product, scale) = (record[Record::PRODUCT + slot], record[Record::SCALE + slot]);
        Projected { e: self.x.entity(ids[slot]), product, scale }
    }

    /// sum += c direction(from + r - to)
    #[inline(always)]
    fn add_residual(
        &self,
        ends: (&Projected<T>, &Projected<T>),
        relation: (&[T], &[T]),
        c: T,
        sum: &mut [T],
    ) {
        match self.kind {
            Distance::L1 => residual(ends, relation, sum, |sum, e| *sum += c * sign(e)),
            _ => residual(ends, relation, sum, |sum, e| *sum += c * e),
        }
    }
}

impl<T: Real> Scattered<T, 2> for Entities<'_, T> {
    /// G of one use, made from the rows of the entities beside it.
    #[inline(always)]
    fn add(&self, place: usize, sum: &mut [T]) {
        let (i, slot) = (place / 3, place % 3);
        let ids = self.triples.ids.host()[i];
        let record = &self.records[i * RECORD..][..RECORD];
        let (r, rp) = self.x.relation(ids[3] >> 1);
        let head_side = ids[3] & 1 == 1;
        let (in_positive, in_negative) = shares::<T>(head_side)[slot];
        let own = self.seen(ids, record, slot);
        let (sum, last) = sum.split_at_mut(self.k);
        let a = own.scale * in_positive * record[Record::POSITIVE];
        if a != T::zero() {
            let ends = (&self.seen(ids, record, 0), &self.seen(ids, record, 1));
            self.add_residual(ends, (r, rp), a, sum);
        }
        let b = own.scale * in_negative * record[Record::NEGATIVE];
        if b != T::zero() {
            let (from, to) = ends(head_side);
            let ends = (&self.seen(ids, record, from), &self.seen(ids, record, to));
            self.add_residual(ends, (r, rp), b, sum);
        }
        let c = own.scale * (self.decay - record[Record::ALONG + slot]);
        if c != T::zero() {
            own.add_to(c, rp, sum);
        }
        last[0] += record[Record::DOT + slot];
    }

    #[inline(always)]
    fn prefetch(&self, place: usize) {
        let [head, tail, corrupt, kind] = self.triples.ids.host()[place / 3];
        // The positive triple joins head and tail, the negative one what remains and the corrupted entity.
        let kept = if kind & 1 == 1 { tail } else { head };
        match place % 3 {
            2 => prefetch(self.x.entity(kept)),
            slot => {
                let (own, other) = if slot == 0 { (head, tail) } else { (tail, head) };
                prefetch(self.x.entity(other));
                // What is kept takes part in the negative triple, too.
                if own == kept {
                    prefetch(self.x.entity(corrupt));
                }
            }
        }
    }

    /// The ids and the record of a triple, which uses visit in no order.
    #[inline(always)]
    fn prefetch_place(&self, place: usize) {
        let i = place / 3;
        prefetch(&self.triples.ids.host()[i..i + 1]);
        prefetch(&self.records[i * RECORD..][..RECORD]);
    }

    #[inline(always)]
    fn prefetch_row(&self, row: usize) {
        prefetch(self.x.entity(row as u32));
        prefetch(self.x.projection(row as u32));
    }

    #[inline(always)]
    fn finish(&self, v: usize, sum: &[T], [de, dp]: &mut [Option<&mut [T]>; 2]) {
        let (e, p) = (self.x.entity(v as u32), self.x.projection(v as u32));
        let (up, along) = (self.up, self.up * sum[self.k]);
        if let Some(de) = de {
            let k = self.k;
            let (head, tail) = de.split_at_mut(k);
            for ((out, &sum), &p) in head.iter_mut().zip(&sum[..k]).zip(&p[..k]) {
                *out = up * sum + along * p;
            }
            for (out, &p) in tail.iter_mut().zip(&p[k..]) {
                *out = along * p;
            }
        }
        if let Some(dp) = dp {
            for (out, &e) in dp.iter_mut().zip(e) {
                *out = along * e;
            }
        }
    }
}

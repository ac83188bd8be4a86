use super::*;
use crate::cpu::scatter::{Layout, Scattered, scatter};
use engine::dispatch_float;
use engine::parallel::prefetch;
use engine::simd::{self, fma};

/// Gradients of E and P from this many bytes on go past the caches, which could not hold them.
const STREAM: usize = 8 << 20;

/// Writes the gradients in full; those of E and P as tables, or as the rows of the batch.
pub fn backward(
    batch: &ByKept,
    kind: Distance,
    saved: &TripleGradients,
    x: &[&Tensor],
    dy: &Tensor,
    dx: &mut [Option<Tensor>],
) {
    let [de, dp, dr, drp] = dx else { return };
    let entities = x[0].rows();
    dispatch_float!(x[0].dtype(), T => {
        let up = dy.host::<T>()[0];
        let x = Tables::<T>::new(x);
        let (n, m) = (x.n, x.m);
        for (half, out) in [(0, dr), (1, drp)] {
            let Some(out) = out else { continue };
            let sums = saved.relations.host::<T>().chunks_exact(m).skip(half).step_by(2);
            for (out, sum) in out.host_mut::<T>().chunks_exact_mut(m).zip(sums) {
                out.iter_mut().zip(sum).for_each(|(out, &sum)| *out = up * sum);
            }
        }
        let Some(rows) = de.as_ref().or(dp.as_ref()).map(Tensor::rows) else { return };
        let layout = if rows == entities { Layout::Write } else { Layout::Compact };
        let work = Entities {
            batch,
            records: saved.records.host::<T>(),
            runs: saved.runs.host::<T>(),
            dots: saved.dots.host::<T>(),
            x,
            kind,
            k: n.min(m),
            up,
            stream: batch.uses.count() * n * size_of::<T>() >= STREAM,
        };
        let outs = [de.as_mut().map(|t| t.host_mut::<T>()), dp.as_mut().map(|t| t.host_mut::<T>())];
        scatter(&batch.uses, n + 1, (layout, n), outs, &work);
    });
}

/// The gradients of entities from those G of their projections: de = pad_or_cut(G, n) + (r_p . G) p and
/// dp = (r_p . G) e. All uses of an entity share e and p, so G and r_p . G are summed first, padded with zeros to n
/// elements; the latter is the last element of the sum.
struct Entities<'a, T> {
    batch: &'a ByKept,
    records: &'a [T],
    runs: &'a [T],
    dots: &'a [T],
    x: Tables<'a, T>,
    kind: Distance,
    k: usize,
    up: T,
    stream: bool,
}

impl<T: Real> Entities<'_, T> {
    #[inline(always)]
    fn run(&self, run: usize) -> &[T] {
        &self.runs[run * self.k..][..self.k]
    }

    #[inline(always)]
    fn record(&self, use_: usize) -> &[T] {
        &self.records[use_ * RECORD..][..RECORD]
    }
}

impl<T: Real> Scattered<T, 2> for Entities<'_, T> {
    /// G of one use: of a run's triples, or made from the rows of the entity and of its triple's kept one.
    #[inline(always)]
    fn add<const ISA: u8>(&self, place: usize, sum: &mut [T]) {
        let (sum, last) = sum.split_at_mut(self.x.n);
        let sum = &mut sum[..self.k];
        let runs = self.dots.len();
        if place < runs {
            last[0] += self.dots[place];
            return simd::axpy::<ISA, T>(T::one(), self.run(place), sum);
        }
        let record = self.record(place - runs);
        let relation = record[Record::RELATION];
        let own = record[Record::OWN];
        if relation == T::zero() && own == T::zero() {
            return;
        }
        last[0] += record[Record::DOT];
        let ids = &self.batch.ids[(place - runs) / 2];
        let (r, rp) = self.x.relation(ids[3] >> 1);
        let (r, rp) = (&r[..sum.len()], &rp[..sum.len()]);
        let e = &self.x.entity(ids[1 + ((place - runs) & 1)])[..sum.len()];
        let kept = &self.x.entity(ids[0])[..sum.len()];
        let along = record[Record::ALONG];
        if self.kind == Distance::L1 {
            let [c, d, f] = [Record::SIGN_OWN, Record::SIGN_KEPT, Record::SIGN_ALONG].map(|i| record[i]);
            for j in 0..sum.len() {
                let residual = fma::<ISA, T>(d, kept[j], fma::<ISA, T>(c, e[j], fma::<ISA, T>(f, rp[j], r[j])));
                let others = fma::<ISA, T>(own, e[j], fma::<ISA, T>(along, rp[j], sum[j]));
                sum[j] = fma::<ISA, T>(relation, sign(residual), others);
            }
            return;
        }
        let of_kept = record[Record::KEPT];
        for j in 0..sum.len() {
            let of_relation = fma::<ISA, T>(along, rp[j], relation * r[j]);
            sum[j] += fma::<ISA, T>(of_kept, kept[j], fma::<ISA, T>(own, e[j], of_relation));
        }
    }

    #[inline(always)]
    fn prefetch(&self, place: usize) {
        let runs = self.dots.len();
        if place < runs {
            return prefetch(self.run(place));
        }
        // A triple beyond the margin has no gradient and needs no rows.
        if self.record(place - runs)[Record::RELATION] != T::zero() {
            prefetch(self.x.entity(self.batch.ids[(place - runs) / 2][0]));
        }
    }

    /// The ids and the record of a triple, which uses visit in no order.
    #[inline(always)]
    fn prefetch_place(&self, place: usize) {
        let Some(use_) = place.checked_sub(self.dots.len()) else { return };
        prefetch(&self.batch.ids[use_ / 2..use_ / 2 + 1]);
        prefetch(self.record(use_));
    }

    #[inline(always)]
    fn prefetch_row(&self, row: usize) {
        prefetch(self.x.entity(row as u32));
        prefetch(self.x.projection(row as u32));
    }

    #[inline(always)]
    fn finish<const ISA: u8>(&self, v: usize, sum: &mut [T], [de, dp]: &mut [Option<&mut [T]>; 2]) {
        let (sum, last) = sum.split_at_mut(self.x.n);
        let (e, p) = (&self.x.entity(v as u32)[..sum.len()], &self.x.projection(v as u32)[..sum.len()]);
        let (up, along) = (self.up, self.up * last[0]);
        if let Some(de) = de {
            for j in 0..sum.len() {
                sum[j] = fma::<ISA, T>(along, p[j], up * sum[j]);
            }
            self.write::<ISA>(sum, de);
        }
        if let Some(dp) = dp {
            for j in 0..sum.len() {
                sum[j] = along * e[j];
            }
            self.write::<ISA>(sum, dp);
        }
    }

    #[inline(always)]
    fn end(&self) {
        if self.stream {
            simd::fence();
        }
    }
}

impl<T: Real> Entities<'_, T> {
    #[inline(always)]
    fn write<const ISA: u8>(&self, values: &[T], out: &mut [T]) {
        match self.stream {
            true => simd::stream::<ISA, T>(values, out),
            false => out.copy_from_slice(values),
        }
    }
}

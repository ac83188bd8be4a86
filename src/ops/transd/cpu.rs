//! TransD on the CPU: entities as relations see them, and what both passes share.

mod backward;
mod forward;

pub(super) use backward::backward;
pub(super) use forward::forward;

use super::{Distance, ProjNorm, TransDLoss};
use crate::engine::parallel::dot;
use crate::engine::{Real, Tensor};

/// What the forward pass leaves: scalars alone, from which the backward pass makes the vectors again. A row of them
/// costs less to read than to be stored and read back.
pub(super) struct Saved {
    /// (B, RECORD) of each triple; `Record`.
    records: Tensor,
    /// (pieces, 2 m) sums for [r | r_p] over each piece of a relation's triples, for upstream 1.
    relations: Tensor,
}

/// Numbers of a triple's record: one cache line in single precision.
const RECORD: usize = 16;

/// Names the numbers of a record.
struct Record;

impl Record {
    /// What the slope of the positive triple's residual is multiplied by, and the negative's.
    const POSITIVE: usize = 0;
    const NEGATIVE: usize = 1;
    /// Of head, tail and corrupted entity: p . e; the factor of the norm; the part of the projection's gradient along
    /// the projection, which the norm takes away; r_p . the gradient behind the norm.
    const PRODUCT: usize = 2;
    const SCALE: usize = 5;
    const ALONG: usize = 8;
    const DOT: usize = 11;
}

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
    pub fn entity(&self, v: u32) -> &'a [T] {
        &self.e[v as usize * self.n..][..self.n]
    }

    #[inline(always)]
    pub fn projection(&self, v: u32) -> &'a [T] {
        &self.p[v as usize * self.n..][..self.n]
    }

    #[inline(always)]
    pub fn relation(&self, q: u32) -> (&'a [T], &'a [T]) {
        let at = q as usize * self.m;
        (&self.r[at..at + self.m], &self.rp[at..at + self.m])
    }

    /// Entity v as a relation with projection vector `rp` sees it.
    #[inline(always)]
    pub fn projected(&self, v: u32, rp: &[T], norm: ProjNorm) -> Projected<'a, T> {
        let e = self.entity(v);
        Projected { e, product: dot(self.projection(v), e), scale: T::one() }.normalised(rp, norm).0
    }
}

/// y = scale ((p . e) r_p + pad_or_cut(e, m)), formula (1): never stored.
#[derive(Clone, Copy)]
pub(super) struct Projected<'a, T> {
    e: &'a [T],
    /// p . e
    product: T,
    scale: T,
}

impl<T: Real> Projected<'_, T> {
    /// With the scale that `norm` asks for, and whether it asks for one.
    #[inline(always)]
    fn normalised(self, rp: &[T], norm: ProjNorm) -> (Self, bool) {
        if norm == ProjNorm::None {
            return (self, false);
        }
        let k = self.e.len().min(rp.len());
        let mut square = T::zero();
        for (&e, &rp) in self.e[..k].iter().zip(&rp[..k]) {
            let y = e + self.product * rp;
            square += y * y;
        }
        for &rp in &rp[k..] {
            square += self.product * rp * (self.product * rp);
        }
        let length = square.sqrt();
        if norm == ProjNorm::Clamp && length < T::one() {
            return (self, false);
        }
        (Projected { scale: T::one() / length.max(T::of(1e-12)), ..self }, true)
    }

    /// y += c * this, for the columns that `y` has.
    #[inline(always)]
    fn add_to(&self, c: T, rp: &[T], y: &mut [T]) {
        let k = self.e.len().min(y.len());
        let (own, along) = (c * self.scale, c * self.scale * self.product);
        for ((y, &e), &rp) in y[..k].iter_mut().zip(&self.e[..k]).zip(&rp[..k]) {
            *y += own * e + along * rp;
        }
        for (y, &rp) in y[k..].iter_mut().zip(&rp[k..]) {
            *y += along * rp;
        }
    }
}

/// e = from + r - to, the residual of a triple, through `put(place, e)`, for the columns that `out` has.
#[inline(always)]
pub(super) fn residual<T: Real>(
    (from, to): (&Projected<T>, &Projected<T>),
    (r, rp): (&[T], &[T]),
    out: &mut [T],
    put: impl Fn(&mut T, T),
) {
    let k = from.e.len().min(out.len());
    let along = from.scale * from.product - to.scale * to.product;
    let (f, t) = (&from.e[..k], &to.e[..k]);
    let (head, tail) = out.split_at_mut(k);
    let (r_head, r_tail) = r[..k + tail.len()].split_at(k);
    let (rp_head, rp_tail) = rp[..k + tail.len()].split_at(k);
    for j in 0..head.len() {
        put(&mut head[j], from.scale * f[j] - to.scale * t[j] + (along * rp_head[j] + r_head[j]));
    }
    for j in 0..tail.len() {
        put(&mut tail[j], along * rp_tail[j] + r_tail[j]);
    }
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

/// The derivative of c * distance(e), with d = distance(e), is this times `direction(e)`.
#[inline(always)]
fn slope<T: Real>(distance: Distance, d: T, c: T) -> T {
    match distance {
        Distance::L2Squared => c + c,
        Distance::L2 => c / d,
        Distance::L1 => c,
    }
}

/// The sign, and the middle of the subgradients, 0, at 0: for L1.
#[inline(always)]
fn sign<T: Real>(e: T) -> T {
    if e == T::zero() { T::zero() } else { e.signum() }
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

/// Shares of the gradients of the positive and the negative residual in those of the projections of head, tail and
/// corrupted entity. The corrupted entity stands in for the tail, or for the head (`head_side`), in the negative.
#[inline(always)]
fn shares<T: Real>(head_side: bool) -> [(T, T); 3] {
    let (zero, one) = (T::zero(), T::one());
    match head_side {
        true => [(one, zero), (-one, -one), (zero, one)],
        false => [(one, one), (-one, zero), (zero, -one)],
    }
}

/// Which of (head, tail, corrupted) the negative triple leads from and to.
#[inline(always)]
fn ends(head_side: bool) -> (usize, usize) {
    if head_side { (2, 1) } else { (0, 2) }
}

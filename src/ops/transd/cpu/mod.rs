//! TransD on the CPU: entities as relations see them, and what both passes share.

mod backward;
mod forward;
mod order;

pub(super) use backward::backward;
pub(super) use forward::forward;
pub(super) use order::ByKept;

use super::{Distance, ProjNorm, TransDLoss};
use engine::parallel::dot;
use engine::{Real, Tensor};

/// What the forward pass leaves, for upstream 1: the gradient of what it has at hand, and of the other entities the
/// numbers that make it from their rows. A row of them costs less to read than to be stored and read back.
pub(super) struct TripleGradients {
    /// (2 B, RECORD) of the replaced entity of each triple, and of its replacement.
    records: Tensor,
    /// (runs, k) the gradient G of the kept entity's projection, and (runs, 1) its r_p . G.
    runs: Tensor,
    dots: Tensor,
    /// (relations, 2 m) for [r | r_p].
    relations: Tensor,
}

/// Numbers of a record: half a cache line in single precision.
const RECORD: usize = 8;

/// Names the numbers of a record. The gradient of an entity's projection is
/// OWN own + KEPT kept + ALONG r_p + RELATION r, with the rows of E of the entity and of its triple's kept one. Under
/// the distance L1 it is OWN own + ALONG r_p + RELATION sign(SIGN_OWN own + SIGN_KEPT kept + SIGN_ALONG r_p + r).
struct Record;

impl Record {
    const OWN: usize = 0;
    const KEPT: usize = 1;
    const ALONG: usize = 2;
    const RELATION: usize = 3;
    /// r_p . the gradient
    const DOT: usize = 4;
    const SIGN_OWN: usize = 5;
    const SIGN_KEPT: usize = 6;
    const SIGN_ALONG: usize = 7;
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
        Projected::new(e, dot(self.projection(v), e), rp, norm)
    }
}

/// y = scale ((p . e) r_p + pad_or_cut(e, m)), formula (1): never stored.
#[derive(Clone, Copy)]
pub(super) struct Projected<'a, T> {
    e: &'a [T],
    /// p . e
    product: T,
    scale: T,
    /// Whether `norm` asked for a scale.
    scaled: bool,
}

impl<'a, T: Real> Projected<'a, T> {
    #[inline(always)]
    fn new(e: &'a [T], product: T, rp: &[T], norm: ProjNorm) -> Self {
        let plain = Projected { e, product, scale: T::one(), scaled: false };
        if norm == ProjNorm::None {
            return plain;
        }
        let k = e.len().min(rp.len());
        let mut square = T::zero();
        for (&e, &rp) in e[..k].iter().zip(&rp[..k]) {
            let y = e + product * rp;
            square += y * y;
        }
        for &rp in &rp[k..] {
            square += product * rp * (product * rp);
        }
        let length = square.sqrt();
        if norm == ProjNorm::Clamp && length < T::one() {
            return plain;
        }
        Projected { scale: T::one() / length.max(T::of(1e-12)), scaled: true, ..plain }
    }

    /// y += c * this, for the columns that `y` has.
    #[inline(always)]
    pub fn add_to(&self, c: T, rp: &[T], y: &mut [T]) {
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

/// The distance of a residual whose product with itself is `square`.
#[inline(always)]
pub(super) fn distance<T: Real>(e: &[T], square: T, distance: Distance) -> T {
    match distance {
        Distance::L2Squared => square,
        Distance::L2 => (square + T::of(1e-12)).sqrt(),
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

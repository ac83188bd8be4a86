//! The two float types of the CPU code. `f32` is what trains and serves; `f64` runs the same code for gradient
//! checks, where finite differences need the digits.

use std::fmt::Debug;

use half::slice::HalfFloatSliceExt;
pub use half::{bf16, f16};
use num_traits::{Float, NumAssign};
use serde::{Deserialize, Serialize};

use super::gemm::{View, gemm_f32, gemm_plain};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    F32,
    #[serde(skip)]
    F64,
    /// For storage alone: 8 bits of exponent, 7 of mantissa. Computed in f32.
    Bf16,
    /// For storage alone: 5 bits of exponent, 10 of mantissa. Computed in f32.
    F16,
}

impl DType {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 => 4,
            DType::Bf16 | DType::F16 => 2,
        }
    }

    /// Whether values of this type are stored and not computed in.
    pub fn is_half(self) -> bool {
        self.bytes() == 2
    }

    /// What values of this type are computed in, and the type of their gradients.
    pub fn compute_dtype(self) -> DType {
        if self.is_half() { DType::F32 } else { self }
    }
}

/// A type of elements. `f32` and `f64` stand for themselves; `bf16` and `f16` are for storage alone.
pub trait Element: bytemuck::Pod + Default + Debug + Send + Sync {
    const DTYPE: DType;
    const NAN: Self;
    /// What values of this type are computed in.
    type Acc: Real;

    /// The value, exactly.
    fn load(self) -> Self::Acc;

    /// Rounds to nearest, ties to even. Beyond the largest finite value lies infinity; a NaN stays one.
    fn round(values: &[Self::Acc], out: &mut [Self]);
}

macro_rules! identity {
    ($T:ident, $DTYPE:ident) => {
        impl Element for $T {
            const DTYPE: DType = DType::$DTYPE;
            const NAN: $T = $T::NAN;
            type Acc = $T;

            #[inline(always)]
            fn load(self) -> $T {
                self
            }

            fn round(values: &[$T], out: &mut [$T]) {
                out.copy_from_slice(values);
            }
        }
    };
}

identity!(f32, F32);
identity!(f64, F64);

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
    const NAN: bf16 = bf16::NAN;
    type Acc = f32;

    #[inline(always)]
    fn load(self) -> f32 {
        f32::from_bits((self.to_bits() as u32) << 16)
    }

    #[inline(always)]
    fn round(values: &[f32], out: &mut [bf16]) {
        for (out, value) in out.iter_mut().zip(values) {
            let bits = value.to_bits();
            let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
            // Rounding could carry a NaN's payload into the exponent: a quiet NaN instead.
            let nan = (bits >> 16) as u16 | 0x40;
            *out = bf16::from_bits(if value.is_nan() { nan } else { rounded });
        }
    }
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;
    const NAN: f16 = f16::NAN;
    type Acc = f32;

    /// By a shift and a product with 2^112, which compilers vectorize, unlike a test for the conversion instruction at
    /// every element. The product also makes subnormal values normal.
    #[inline(always)]
    fn load(self) -> f32 {
        let bits = self.to_bits() as u32;
        let scaled = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((112 + 127) << 23);
        let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(scaled.to_bits() | special | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn round(values: &[f32], out: &mut [f16]) {
        out.convert_from_f32_slice(values);
    }
}

/// A float type that the CPU code is written for.
pub trait Real: Element<Acc = Self> + Float + NumAssign + std::iter::Sum {
    fn of(x: f64) -> Self;
    fn f64(self) -> f64;

    /// e^x. In f32 a polynomial (below 2 ulp) that compilers vectorize, unlike a call into libm.
    fn fast_exp(self) -> Self;

    /// tanh(x). In f32 a rational function (below 8 ulp) that compilers vectorize.
    fn fast_tanh(self) -> Self;

    /// ln(1 + t) for t in [0, 1]. In f32 a polynomial (below 2 ulp) that compilers vectorize.
    fn fast_ln_1p(self) -> Self;

    /// `c = a b + beta c` on the calling thread; the rows of `c` are `stride` elements apart. Called by `matmul::gemm`,
    /// which has checked that the shapes fit and are not empty.
    fn gemm(a: View<Self>, b: View<Self>, beta: Self, c: &mut [Self], stride: usize);

    /// 1 / (1 + e^-x), exact at both ends.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let e = (-self.abs()).fast_exp();
        let s = Self::one() / (Self::one() + e);
        if self >= Self::zero() { s } else { e * s }
    }

    /// ln(1 + e^x) without overflow.
    #[inline(always)]
    fn softplus(self) -> Self {
        self.max(Self::zero()) + (-self.abs()).fast_exp().fast_ln_1p()
    }
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        self as f64
    }

    #[inline(always)]
    fn fast_exp(self) -> f32 {
        // Cephes' expf: x = n ln 2 + r with ln 2 in two parts, e^r by a polynomial, 2^n through the exponent bits.
        let x = self.clamp(-87.336_54, 88.722_83);
        let n = (x * std::f32::consts::LOG2_E + 0.5).floor();
        let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
        let p = 1.987_569_1e-4;
        let p = p * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_5e-1;
        let p = p * r + 5e-1;
        let y = p * r * r + r + 1.0;
        // 2^n in two halves: n = 128 has no single-precision 2^n, but e^88.72 is finite. The integer is what the sum with
        // 1.5 * 2^23 has in its last bits: `n as i32` also minds what no i32 holds, and compilers do so lane by lane.
        let n = (n + 12_582_912.0).to_bits().wrapping_sub(0x4b40_0000) as i32;
        let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
        let y = y * power(n >> 1) * power(n.wrapping_sub(n >> 1));
        if self < -87.336_54 {
            0.0
        } else if self > 88.722_83 {
            f32::INFINITY
        } else if self.is_nan() {
            self
        } else {
            y
        }
    }

    #[inline(always)]
    fn fast_tanh(self) -> f32 {
        // The rational approximation of degree 13/6 that Eigen uses; beyond 7.9 tanh is 1 in f32.
        let x = self.clamp(-7.905_311, 7.905_311);
        let q = x * x;
        let p = -2.760_768_5e-16;
        let p = p * q + 2.000_188e-13;
        let p = p * q + -8.604_672e-11;
        let p = p * q + 5.122_297e-8;
        let p = p * q + 1.485_722_4e-5;
        let p = p * q + 6.372_619_3e-4;
        let p = p * q + 4.893_524_6e-3;
        let d = 1.198_258_4e-6;
        let d = d * q + 1.185_347e-4;
        let d = d * q + 2.268_434_6e-3;
        let d = d * q + 4.893_525e-3;
        if self.is_nan() { self } else { x * p / d }
    }

    #[inline(always)]
    fn fast_ln_1p(self) -> f32 {
        // Cephes' logf around 1: 1 + t = 2^e (1 + f) with |f| below sqrt(2) - 1. Both ways to f are exact.
        let above = self > std::f32::consts::SQRT_2 - 1.0;
        let f = if above { 0.5 * (self - 1.0) } else { self };
        let e = if above { 1.0 } else { 0.0 };
        let z = f * f;
        let p = 7.037_683_6e-2;
        let p = p * f - 1.151_461e-1;
        let p = p * f + 1.167_699_9e-1;
        let p = p * f - 1.242_014_1e-1;
        let p = p * f + 1.424_932_3e-1;
        let p = p * f - 1.666_805_8e-1;
        let p = p * f + 2.000_071_5e-1;
        let p = p * f - 2.499_999_4e-1;
        let p = p * f + 3.333_333e-1;
        let y = p * f * z - e * 2.121_944_4e-4 - 0.5 * z;
        f + y + e * 0.693_359_4
    }

    fn gemm(a: View<Self>, b: View<Self>, beta: Self, c: &mut [Self], stride: usize) {
        gemm_f32(a, b, beta, c, stride)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn fast_exp(self) -> f64 {
        self.exp()
    }

    #[inline(always)]
    fn fast_tanh(self) -> f64 {
        self.tanh()
    }

    #[inline(always)]
    fn fast_ln_1p(self) -> f64 {
        self.ln_1p()
    }

    fn gemm(a: View<Self>, b: View<Self>, beta: Self, c: &mut [Self], stride: usize) {
        gemm_plain(a, b, beta, c, stride)
    }
}

/// Runs `$body` with `$T` standing for the float type that `$dtype` names.
#[cfg(feature = "f64")]
#[macro_export]
macro_rules! dispatch_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            dtype => $crate::not_computed_in(dtype),
        }
    };
}

/// Runs `$body` with `$T` standing for the float type that `$dtype` names: f32, in a build without the feature `f64`.
#[cfg(not(feature = "f64"))]
#[macro_export]
macro_rules! dispatch_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            dtype => $crate::not_computed_in(dtype),
        }
    };
}

/// As `dispatch_float`, with `$S` standing for any type that rows are stored in.
#[macro_export]
macro_rules! dispatch_dtype {
    ($dtype:expr, $S:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Bf16 => {
                type $S = $crate::bf16;
                $body
            }
            $crate::DType::F16 => {
                type $S = $crate::f16;
                $body
            }
            dtype => $crate::dispatch_float!(dtype, $S => $body),
        }
    };
}

/// Where arithmetic is asked for in a type that this build has none for: ops check their inputs first.
pub fn not_computed_in(dtype: DType) -> ! {
    panic!(
        "no arithmetic in {dtype:?} in this build: half types are for storage, f64 is the feature `f64` of the tests"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error over the range, in units of the last place of the exact value.
    fn worst_ulp(lo: f32, hi: f32, approximate: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let steps = 200_000;
        (0..=steps)
            .map(|i| lo + (hi - lo) * (i as f32 / steps as f32))
            .map(|x| {
                let want = exact(x as f64);
                let ulp = 2f64.powi(((want.abs().max(f32::MIN_POSITIVE as f64)).log2().floor() as i32) - 23);
                (approximate(x) as f64 - want).abs() / ulp
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_and_tanh_are_accurate() {
        assert!(worst_ulp(-87.0, 88.7, f32::fast_exp, f64::exp) < 2.0);
        assert!(worst_ulp(-0.01, 0.01, f32::fast_exp, f64::exp) < 1.0);
        assert!(worst_ulp(-9.0, 9.0, f32::fast_tanh, f64::tanh) < 8.0);
        assert!(worst_ulp(-0.01, 0.01, f32::fast_tanh, f64::tanh) < 8.0);
        assert!(worst_ulp(0.0, 1.0, f32::fast_ln_1p, f64::ln_1p) < 2.0);
        assert!(worst_ulp(0.0, 1e-6, f32::fast_ln_1p, f64::ln_1p) < 2.0);
    }

    #[test]
    fn extremes_are_defined() {
        assert_eq!(f32::fast_exp(-200.0), 0.0);
        assert_eq!(f32::fast_exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(f32::fast_exp(200.0), f32::INFINITY);
        assert!(f32::fast_exp(f32::NAN).is_nan());
        assert!(f32::fast_tanh(f32::NAN).is_nan());
        assert_eq!(Real::sigmoid(-200.0f32), 0.0);
        assert_eq!(Real::sigmoid(200.0f32), 1.0);
        assert_eq!(Real::softplus(-200.0f32), 0.0);
        assert_eq!(Real::softplus(200.0f32), 200.0);
    }
}

//! What rows are stored in. Everything is computed in a `Real`; rows that are gathered may be kept in 16 bits, which
//! halves what crosses the memory bus, and are widened as they are read.

use std::fmt::Debug;

use half::slice::HalfFloatSliceExt;
pub use half::{bf16, f16};

use super::real::{DType, Real};

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

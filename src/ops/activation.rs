//! Element-wise non-linearities.

use engine::Real;
use serde::{Deserialize, Serialize};

/// Element-wise non-linearity. All of them keep the sign of their argument, so that the derivative can be read
/// off the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    #[default]
    #[serde(skip)]
    Identity,
    Relu,
    /// slope * z for z <= 0
    #[serde(skip)]
    LeakyRelu(f32),
    /// e^z - 1 for z <= 0
    Elu,
}

impl Activation {
    /// As the kernels take it (`enum Activation` of activation.cuh).
    pub(crate) fn code(self) -> (i32, f32) {
        match self {
            Activation::Identity => (0, 0.0),
            Activation::Relu => (1, 0.0),
            Activation::LeakyRelu(slope) => (2, slope),
            Activation::Elu => (3, 0.0),
        }
    }

    #[inline(always)]
    pub fn apply<T: Real>(self, z: T) -> T {
        let positive = z > T::zero();
        match self {
            Activation::Relu => z.max(T::zero()),
            Activation::LeakyRelu(slope) if !positive => T::of(slope as f64) * z,
            Activation::Elu if !positive => z.exp_m1(),
            _ => z,
        }
    }

    /// The derivative at z, given y = apply(z). At z = 0 the slope of the left side.
    #[inline(always)]
    pub fn derivative<T: Real>(self, y: T) -> T {
        let positive = y > T::zero();
        match self {
            Activation::Relu if !positive => T::zero(),
            Activation::LeakyRelu(slope) if !positive => T::of(slope as f64),
            Activation::Elu if !positive => y + T::one(),
            _ => T::one(),
        }
    }
}

//! Tensors, devices, the tape and what trains parameters. Knows nothing of courses.

mod bits;
mod buffer;
pub mod device;
mod gemm;
pub mod gradient_weighting;
mod index;
mod matmul;
pub mod memory;
pub mod optim;
pub mod panel;
pub mod parallel;
mod params;
mod real;
mod rows;
pub mod simd;
mod step_random;
mod sum;
mod tape;
mod tensor;

pub use base::{Philox, random, system};
pub use buffer::Buffer;
pub use device::{Device, Gpu, Grid, MathMode};
pub use index::Index;
pub use params::{Owner, Param, ParamId, Params, take_gradient};
pub use real::{DType, Element, Real, bf16, f16, not_computed_in};
pub use rows::{Gradient, RowSet};
pub use step_random::StepRandom;
pub use step_random::split;
pub use sum::Factor;
pub use tape::{Backward, Gradients, Op, Tape, Var};
pub use tensor::Tensor;

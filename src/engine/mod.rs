//! Tensors, devices, the tape and what trains parameters. Knows nothing of courses.

pub mod balance;
mod bits;
mod buffer;
pub mod device;
mod index;
mod mapped;
mod matmul;
pub mod optim;
pub mod panel;
pub mod parallel;
mod params;
pub mod random;
mod real;
mod rows;
pub mod simd;
mod step_random;
mod store;
mod sum;
pub mod system;
mod tape;
mod tensor;

pub(crate) use buffer::Buffer;
pub use device::{Device, Gpu, Grid, MatrixUnit};
pub use index::Index;
pub(crate) use mapped::Mapped;
pub use params::{Owner, Param, ParamId, Params, take_gradient};
pub use random::Philox;
pub use real::{DType, Real};
pub use rows::{Gradient, RowSet};
pub use step_random::StepRandom;
pub(crate) use step_random::split;
pub use store::{Store, bf16, f16};
pub use sum::Factor;
pub use tape::{Gradients, Op, Tape, Var};
pub use tensor::Tensor;

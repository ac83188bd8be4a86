//! Tensors, devices, the tape and what trains parameters. Knows nothing of courses.

pub mod balance;
mod bits;
mod buffer;
pub mod device;
mod index;
pub mod optim;
pub mod parallel;
mod params;
pub mod random;
mod real;
pub mod simd;
mod sum;
mod tape;
mod tensor;

pub use device::{Device, Gpu, Grid};
pub use index::Index;
pub use params::{Owner, Param, ParamId, Params};
pub use random::Philox;
pub use real::{DType, Real};
pub use tape::{Gradients, Op, Tape, Var};
pub use tensor::Tensor;

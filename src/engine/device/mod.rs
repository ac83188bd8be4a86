//! Where tensors live and kernels run.

pub mod driver;
pub mod kernels;

//! Tensors, devices, the tape and what trains parameters. Knows nothing of courses.

pub mod device;
pub mod random;

//! The kernels of kernels/*.cu: one constant each, and the compiled code. Written by build.rs.

use super::driver::Kernel;

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

//! The kernels of this build, one constant each, and their machine code. Written by build.rs from kernels/*.cu.

use super::driver::{Kernel, Kind, Parameter};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

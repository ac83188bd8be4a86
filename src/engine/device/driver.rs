//! The seam below the operations: what a kernel launch is.

/// One kernel of kernels/*.cu; build.rs writes the constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub name: &'static str,
    pub parameters: usize,
    /// Position in `kernels::ALL`.
    pub index: usize,
    /// Position of its fatbin in `kernels::FATBINS`.
    pub module: usize,
}

//! The seam below the ops: what a GPU driver must be able to do, and nothing else.
//!
//! cudarc stands behind it in the product, and the tests put an executor there that runs the same kernel source
//! on the CPU. A launch is what `cuLaunchKernel` takes: a kernel, a grid, and arguments by address.

use base::{Error, Result};

/// A kernel of this build; `kernels::ALL` lists them, one constant each, written by build.rs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub name: &'static str,
    /// The parameters of the C++ function.
    pub parameters: &'static [Parameter],
    /// Position in `kernels::ALL`.
    pub index: usize,
    /// Position of its fatbin, one per .cu file, in `kernels::FATBINS`.
    pub module: usize,
}

/// A parameter of a kernel, as its signature in kernels/*.cu has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pointer to const: memory that the kernel reads.
    Input,
    /// Any other pointer: memory that the kernel writes.
    Output,
    I32,
    U32,
    U64,
    F32,
    /// A plain struct by value.
    Struct,
}

#[derive(Clone, Debug)]
pub struct DeviceInfo {
    pub name: String,
    /// Compute capability, e.g. (9, 0); (0, 0) for the executor of the tests.
    pub capability: (i32, i32),
    pub memory_bytes: u64,
    /// Version of the CUDA API that the driver supports, e.g. 13000.
    pub driver: i32,
}

#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub blocks: [u32; 3],
    pub threads: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
}

impl Grid {
    pub fn new(blocks: u32, threads: u32) -> Self {
        Grid { blocks: [blocks, 1, 1], threads: [threads, 1, 1], shared: 0 }
    }

    /// Enough blocks of `threads` threads for `items` items. Kernels that use this loop by the grid's size, so
    /// the count is capped rather than overflowing.
    pub fn cover(items: usize, threads: u32) -> Self {
        Grid::new(items.div_ceil(threads as usize).clamp(1, 1 << 20) as u32, threads)
    }

    /// Enough blocks of `threads` threads for one warp per item.
    pub fn warps(items: usize, threads: u32) -> Self {
        Grid::cover(items.saturating_mul(32), threads)
    }

    pub fn with_shared(self, bytes: usize) -> Self {
        Grid { shared: bytes as u32, ..self }
    }
}

/// # Safety
/// Addresses that an implementation hands out must stay valid, and be no one else's, until `free`.
pub unsafe trait Driver: Send + Sync {
    fn info(&self) -> &DeviceInfo;

    /// Device memory of at least `bytes` bytes, aligned to 256, content undefined. `bytes` > 0.
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// # Safety
    /// `address` came from `allocate(bytes)` and is not used after.
    unsafe fn free(&self, address: u64, bytes: usize);

    /// # Safety
    /// `to` is valid for `from.len()` bytes.
    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()>;

    /// Waits for all work before it.
    ///
    /// # Safety
    /// `from` is valid for `to.len()` bytes.
    unsafe fn download(&self, to: &mut [u8], from: u64) -> Result<()>;

    /// # Safety
    /// Both ranges are valid and do not overlap.
    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()>;

    /// # Safety
    /// `to` is valid for `bytes` bytes.
    unsafe fn zero(&self, to: u64, bytes: usize) -> Result<()>;

    /// Queues a kernel. Each argument is the bytes of one parameter.
    ///
    /// # Safety
    /// The arguments have the types of the kernel's parameters, and every address among them is valid for what
    /// the kernel does with it.
    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[&[u8]]) -> Result<()>;

    fn synchronize(&self) -> Result<()>;

    /// Milliseconds that the device spent on what `work` queued.
    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f32>;

    /// Free and total memory in bytes.
    fn memory(&self) -> Result<(u64, u64)>;

    /// From here on work is recorded instead of run. Memory may be allocated, not freed; waiting is an error.
    fn begin_capture(&self) -> Result<()> {
        Err(Error::device("this driver does not record work", "use WAATA_DRIVER=cudarc, or run without recordings"))
    }

    /// Ends the recording, also one in which something failed.
    fn end_capture(&self) -> Result<Box<dyn Graph>> {
        Err(Error::device("nothing is recorded", "report this"))
    }
}

/// Recorded work. The recording's owner keeps the memory that it touches.
pub trait Graph: Send + Sync {
    /// Queues the work once.
    fn launch(&self) -> Result<()>;
}

//! The driver of the tests: device memory is host memory, and kernels run through the executor of tests/host.

use std::sync::{Arc, Mutex};

use waata::engine::device::{DeviceInfo, Driver, Grid, Kernel};
use waata::{Error, Result};
pub use waata_host::{Barriers, Order};

pub struct HostDriver {
    info: DeviceInfo,
    order: Order,
    barriers: Option<Arc<Barriers>>,
    /// A kernel, and the one that runs in its place.
    replaced: Option<(&'static str, &'static str)>,
    /// Blocks at each end of a grid that run, and the list of allocations.
    sparse: Option<(u64, Allocations)>,
}

/// Address and bytes, in the order in which they were made; freed ones stay.
pub type Allocations = Arc<Mutex<Vec<(u64, usize)>>>;

impl HostDriver {
    /// `order`: in which order the threads of a block run between barriers.
    pub fn new(order: Order) -> HostDriver {
        let info =
            DeviceInfo { name: "host executor".into(), capability: (0, 0), memory_bytes: 1 << 34, driver: 0 };
        HostDriver { info, order, barriers: None, replaced: None, sparse: None }
    }

    /// Notes the barriers that kernels meet, and leaves one out.
    pub fn with_barriers(self, barriers: Arc<Barriers>) -> HostDriver {
        HostDriver { barriers: Some(barriers), ..self }
    }

    /// For tables beyond the machine's memory: memory is zero at first, and only the first and last `blocks` blocks of
    /// each grid run. Notes every allocation.
    pub fn sparse(self, blocks: u64, allocations: Allocations) -> HostDriver {
        HostDriver { sparse: Some((blocks, allocations)), ..self }
    }

    /// Launches a planted fault where the op asks for a kernel.
    pub fn replacing(self, kernel: &'static str, by: &'static str) -> HostDriver {
        HostDriver { replaced: Some((kernel, by)), ..self }
    }
}

fn failed(why: String) -> Error {
    Error::device(why, "a bug in a kernel or its launch")
}

// SAFETY: addresses are those of live host allocations.
unsafe impl Driver for HostDriver {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let address = waata_host::allocate(bytes).map_err(failed)?;
        if let Some((_, allocations)) = &self.sparse {
            allocations.lock().expect("a test panicked").push((address, bytes));
            // SAFETY: the whole of a new allocation.
            unsafe { self.zero(address, bytes)? };
        }
        Ok(address)
    }

    unsafe fn free(&self, address: u64, _bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { waata_host::free(address) }
    }

    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { waata_host::upload(to, from) }.map_err(failed)
    }

    unsafe fn download(&self, to: &mut [u8], from: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { waata_host::download(to, from) }.map_err(failed)
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { waata_host::copy(to, from, bytes) }.map_err(failed)
    }

    unsafe fn zero(&self, to: u64, bytes: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { waata_host::zero(to, bytes) }.map_err(failed)
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[&[u8]]) -> Result<()> {
        let launch = waata_host::Launch {
            kernel: self.replaced.filter(|(name, _)| *name == kernel.name).map_or(kernel.name, |(_, by)| by),
            grid: grid.blocks,
            block: grid.threads,
            shared_bytes: grid.shared,
            order: self.order,
            host_memory: false,
            barriers: self.barriers.as_deref(),
            end_blocks: self.sparse.as_ref().map(|(blocks, _)| *blocks),
        };
        // SAFETY: the caller's promise; counts and sizes are checked against the C++ signature, accesses against
        // the memory of this driver.
        unsafe { waata_host::launch(&launch, arguments) }.map_err(failed)
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f32> {
        let start = std::time::Instant::now();
        work()?;
        Ok(start.elapsed().as_secs_f32() * 1e3)
    }

    fn memory(&self) -> Result<(u64, u64)> {
        Ok((self.info.memory_bytes, self.info.memory_bytes))
    }
}

//! The driver of the tests: device memory is host memory, and kernels run through the executor of tests/host.

use std::alloc::{Layout, alloc, dealloc};

use waata::engine::device::{DeviceInfo, Driver, Grid, Kernel};
use waata::{Error, Result};
pub use waata_host::Order;

pub struct HostDriver {
    info: DeviceInfo,
    order: Order,
}

impl HostDriver {
    /// `order`: in which order the threads of a block run between barriers.
    pub fn new(order: Order) -> HostDriver {
        let info =
            DeviceInfo { name: "host executor".into(), capability: (0, 0), memory_bytes: 1 << 34, driver: 0 };
        HostDriver { info, order }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 256).expect("a size that fits the address space")
}

// SAFETY: addresses are those of live host allocations.
unsafe impl Driver for HostDriver {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Filled with NaN, so that a kernel that reads what nobody wrote shows.
    fn allocate(&self, bytes: usize) -> Result<u64> {
        // SAFETY: `bytes` is not zero; the block is as long as what is written to it.
        unsafe {
            let block = alloc(layout(bytes));
            assert!(!block.is_null(), "out of memory");
            block.write_bytes(0xFF, bytes);
            Ok(block as u64)
        }
    }

    unsafe fn free(&self, address: u64, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { dealloc(address as *mut u8, layout(bytes)) }
    }

    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    unsafe fn download(&self, to: &mut [u8], from: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    unsafe fn zero(&self, to: u64, bytes: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { (to as *mut u8).write_bytes(0, bytes) };
        Ok(())
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[&[u8]]) -> Result<()> {
        let launch = waata_host::Launch {
            kernel: kernel.name,
            grid: grid.blocks,
            block: grid.threads,
            shared_bytes: grid.shared,
            order: self.order,
        };
        // SAFETY: the caller's promise; counts and sizes are checked against the C++ signature.
        unsafe { waata_host::launch(&launch, arguments) }
            .map_err(|why| Error::device(why, "a bug in a kernel or its launch"))
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

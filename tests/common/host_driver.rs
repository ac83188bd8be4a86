//! The driver of the tests: device memory is host memory, and kernels run through the executor of tests/host.

use std::sync::{Arc, Mutex};

use waata::engine::device::{DeviceInfo, Driver, Graph, Grid, Kernel};
use waata::{Error, Result};
pub use waata_host::{Barriers, Order};

#[derive(Clone)]
pub struct HostDriver {
    info: DeviceInfo,
    order: Order,
    barriers: Option<Arc<Barriers>>,
    /// A kernel, and the one that runs in its place.
    replaced: Option<(&'static str, String)>,
    /// Blocks at each end of a grid that run, and the list of allocations.
    sparse: Option<(u64, Allocations)>,
    /// Kernels that go through their work in strides of the grid, by how their names begin, and their most blocks.
    blocks: Option<(&'static str, u32)>,
    recording: Arc<Mutex<Option<Vec<Work>>>>,
}

/// What a recording holds: everything by value, as a CUDA graph has it.
enum Work {
    Upload(u64, Vec<u8>),
    Copy(u64, u64, usize),
    Zero(u64, usize),
    Launch(Kernel, Grid, Vec<Vec<u8>>),
}

struct Recorded {
    driver: HostDriver,
    work: Vec<Work>,
}

impl Graph for Recorded {
    fn launch(&self) -> Result<()> {
        for work in &self.work {
            // SAFETY: what was promised when it was recorded; the recording's owner keeps the memory.
            unsafe {
                match work {
                    Work::Upload(to, bytes) => self.driver.upload(*to, bytes)?,
                    Work::Copy(to, from, bytes) => self.driver.copy(*to, *from, *bytes)?,
                    Work::Zero(to, bytes) => self.driver.zero(*to, *bytes)?,
                    Work::Launch(kernel, grid, arguments) => {
                        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
                        self.driver.launch(kernel, *grid, &arguments)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Address and bytes, in the order in which they were made; freed ones stay.
pub type Allocations = Arc<Mutex<Vec<(u64, usize)>>>;

impl HostDriver {
    /// `order`: in which order the threads of a block run between barriers.
    pub fn new(order: Order) -> HostDriver {
        let info = DeviceInfo { name: "host executor".into(), capability: (0, 0), memory_bytes: 1 << 34, driver: 0 };
        HostDriver {
            info,
            order,
            barriers: None,
            replaced: None,
            sparse: None,
            blocks: None,
            recording: Arc::default(),
        }
    }

    /// Takes the work into the recording where one goes on.
    fn records(&self, work: impl FnOnce() -> Work) -> bool {
        let mut recording = self.recording.lock().expect("a test panicked");
        recording.as_mut().map(|list| list.push(work())).is_some()
    }

    fn not_recording(&self) -> Result<()> {
        match *self.recording.lock().expect("a test panicked") {
            None => Ok(()),
            Some(_) => Err(failed("waiting for results while work is recorded".into())),
        }
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

    /// Launches so few blocks of the kernels of these names that each takes several of what a block takes at a time.
    pub fn with_blocks(self, kernels: &'static str, most: u32) -> HostDriver {
        HostDriver { blocks: Some((kernels, most)), ..self }
    }

    /// Launches a planted fault where the op asks for a kernel.
    pub fn replacing(self, kernel: &'static str, by: &str) -> HostDriver {
        HostDriver { replaced: Some((kernel, by.into())), ..self }
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
        if self.records(|| Work::Upload(to, from.into())) {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { waata_host::upload(to, from) }.map_err(failed)
    }

    unsafe fn download(&self, to: &mut [u8], from: u64) -> Result<()> {
        self.not_recording()?;
        // SAFETY: the caller's promise.
        unsafe { waata_host::download(to, from) }.map_err(failed)
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        if self.records(|| Work::Copy(to, from, bytes)) {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { waata_host::copy(to, from, bytes) }.map_err(failed)
    }

    unsafe fn zero(&self, to: u64, bytes: usize) -> Result<()> {
        if self.records(|| Work::Zero(to, bytes)) {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { waata_host::zero(to, bytes) }.map_err(failed)
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[&[u8]]) -> Result<()> {
        if self.records(|| Work::Launch(*kernel, grid, arguments.iter().map(|a| a.to_vec()).collect())) {
            return Ok(());
        }
        let replaced = self.replaced.as_ref().filter(|(name, _)| *name == kernel.name);
        let limit = self.blocks.filter(|(begin, _)| kernel.name.starts_with(begin));
        let most = limit.map_or(u32::MAX, |(_, most)| most);
        let launch = waata_host::Launch {
            kernel: replaced.map_or(kernel.name, |(_, by)| by),
            grid: [most.min(grid.blocks[0]), grid.blocks[1], grid.blocks[2]],
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
        self.not_recording()
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f32> {
        let start = std::time::Instant::now();
        work()?;
        Ok(start.elapsed().as_secs_f32() * 1e3)
    }

    fn memory(&self) -> Result<(u64, u64)> {
        Ok((self.info.memory_bytes, self.info.memory_bytes))
    }

    fn begin_capture(&self) -> Result<()> {
        *self.recording.lock().expect("a test panicked") = Some(vec![]);
        Ok(())
    }

    fn end_capture(&self) -> Result<Box<dyn Graph>> {
        let work = self.recording.lock().expect("a test panicked").take().unwrap_or_default();
        let driver = HostDriver { recording: Arc::default(), ..self.clone() };
        Ok(Box::new(Recorded { driver, work }))
    }
}

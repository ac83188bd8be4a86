//! Devices as run-time values: the CPU, or a GPU behind a driver.

mod capture;
mod cuda;
#[cfg(feature = "cust")]
mod cust;
mod driver;
pub mod kernels;
mod launch;
mod pack;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytemuck::Pod;

pub use capture::CapturedGraph;
pub use cuda::{Probe, probe};
pub use driver::{DeviceInfo, Driver, Graph, Grid, Kernel};
pub use launch::Launch;
pub use pack::StagedInputs;

use base::{Error, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq)]
pub enum Device {
    Cpu,
    Gpu(Gpu),
}

/// Wrappers of the CUDA driver in this build; the first is used unless WAATA_DRIVER names another.
pub const DRIVERS: &[&str] = if cfg!(feature = "cust") { &["cudarc", "cust"] } else { &["cudarc"] };

impl Device {
    /// The device that `--device auto|cpu|cuda|cuda:N` names, through the driver that WAATA_DRIVER names.
    pub fn parse(text: &str) -> Result<Device> {
        let driver = std::env::var("WAATA_DRIVER").ok().filter(|name| !name.is_empty());
        let open = |ordinal| Device::open(driver.as_deref().unwrap_or(DRIVERS[0]), ordinal);
        match text {
            "cpu" => Ok(Device::Cpu),
            "auto" => match probe() {
                Probe { usable: true, .. } => open(0),
                _ => Ok(Device::Cpu),
            },
            "cuda" => open(0),
            _ => {
                let ordinal = text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).ok_or_else(|| {
                    Error::config("--device", format!("unknown device `{text}`"), "use auto, cpu, cuda or cuda:N")
                })?;
                open(ordinal)
            }
        }
    }

    /// A CUDA device through one of `DRIVERS`.
    pub fn open(driver: &str, ordinal: usize) -> Result<Device> {
        match driver {
            "cudarc" => Ok(Device::Gpu(Gpu::new(cuda::Cuda::open(ordinal)?))),
            #[cfg(feature = "cust")]
            "cust" => Ok(Device::Gpu(Gpu::new(cust::Cust::open(ordinal)?))),
            _ => Err(Error::config(
                "WAATA_DRIVER",
                format!("this build has no driver `{driver}`"),
                format!("use {}; cust needs `cargo build --features cust`", DRIVERS.join(" or ")),
            )),
        }
    }

    pub fn name(&self) -> String {
        match self {
            Device::Cpu => "cpu".into(),
            Device::Gpu(gpu) => gpu.info().name.clone(),
        }
    }
}

/// What multiplies matrices on a GPU. Sums are float in any case; `Tf32` and `Bf16` round the operands of the dense
/// layers, to 10 and 7 bits of mantissa, for the matrix units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MathMode {
    #[default]
    F32,
    Tf32,
    Bf16,
}

/// A handle on one GPU, shared by everything that lives on it.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

struct Inner {
    driver: Box<dyn Driver>,
    in_use: AtomicU64,
    peak: AtomicU64,
    /// Counts buffers and recordings, so that a buffer is known to be older than a recording.
    serial: AtomicU64,
    captures: Mutex<capture::Captures>,
    packing: Mutex<Option<pack::Packing>>,
    math_mode: AtomicU8,
}

impl PartialEq for Gpu {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.info().name)
    }
}

impl Gpu {
    pub fn new(driver: impl Driver + 'static) -> Gpu {
        Gpu(Arc::new(Inner {
            driver: Box::new(driver),
            in_use: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            math_mode: AtomicU8::new(0),
            serial: AtomicU64::new(1),
            captures: Mutex::default(),
            packing: Mutex::default(),
        }))
    }

    pub fn info(&self) -> &DeviceInfo {
        self.driver().info()
    }

    pub fn driver(&self) -> &dyn Driver {
        &*self.0.driver
    }

    /// Bytes that tensors hold now, and the most they have held.
    pub fn memory_in_use(&self) -> (u64, u64) {
        (self.0.in_use.load(Ordering::Relaxed), self.0.peak.load(Ordering::Relaxed))
    }

    /// What multiplies matrices from now on.
    pub fn set_matrix_unit(&self, unit: MathMode) {
        self.0.math_mode.store(unit as u8, Ordering::Relaxed);
    }

    pub fn math_mode(&self) -> MathMode {
        match self.0.math_mode.load(Ordering::Relaxed) {
            1 => MathMode::Tf32,
            2 => MathMode::Bf16,
            _ => MathMode::F32,
        }
    }

    /// Starts the arguments of a launch: `gpu.launch(kernels::X, grid).tensor(&a).tensor_mut(&mut b).run()`.
    pub fn launch(&self, kernel: Kernel, grid: Grid) -> Launch<'_> {
        Launch::new(self, kernel, grid)
    }

    /// Uninitialized device memory.
    pub fn allocate(&self, bytes: usize) -> Result<GpuBuffer> {
        let (address, pool) = if bytes == 0 { (0, None) } else { self.block(bytes)? };
        let now = self.0.in_use.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        self.0.peak.fetch_max(now, Ordering::Relaxed);
        let serial = self.0.serial.fetch_add(1, Ordering::Relaxed);
        let owner = pool.map_or(Owner::Driver, Owner::Recording);
        Ok(GpuBuffer { gpu: self.clone(), address, bytes, serial, owner })
    }

    /// Device memory with these values.
    pub fn upload<T: Pod>(&self, data: &[T]) -> Result<GpuBuffer> {
        if let Some((block, at)) = self.packed(bytemuck::cast_slice(data))? {
            let (gpu, bytes) = (self.clone(), size_of_val(data));
            let (address, serial) = (block.address + at as u64, block.serial);
            return Ok(GpuBuffer { gpu, address, bytes, serial, owner: Owner::Block(block) });
        }
        let mut buffer = self.allocate(std::mem::size_of_val(data))?;
        buffer.write(data)?;
        Ok(buffer)
    }
}

/// Device memory that is given back when dropped.
pub struct GpuBuffer {
    gpu: Gpu,
    address: u64,
    bytes: usize,
    serial: u64,
    owner: Owner,
}

/// Whom memory is given back to.
enum Owner {
    Driver,
    /// Made while a recording went on: its memory.
    Recording(Arc<capture::Pool>),
    /// A part of a block of gathered uploads.
    Block(#[allow(dead_code)] Arc<GpuBuffer>),
}

impl GpuBuffer {
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub fn address(&self) -> u64 {
        self.address
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Overwrites the buffer; `data` has exactly its size.
    pub fn write<T: Pod>(&mut self, data: &[T]) -> Result<()> {
        let data: &[u8] = bytemuck::cast_slice(data);
        assert_eq!(data.len(), self.bytes, "upload of another size than the buffer's");
        if self.bytes == 0 {
            return Ok(());
        }
        // SAFETY: the buffer is `bytes` long and exclusively borrowed.
        unsafe { self.gpu.driver().upload(self.address, data) }
    }

    pub fn read<T: Pod>(&self) -> Result<Vec<T>> {
        self.gpu.not_packing("a download")?;
        let mut out = vec![T::zeroed(); self.bytes / size_of::<T>()];
        if !out.is_empty() {
            // SAFETY: `out` is no longer than the buffer.
            unsafe { self.gpu.driver().download(bytemuck::cast_slice_mut(&mut out), self.address)? };
        }
        Ok(out)
    }

    pub fn fill_zero(&mut self) -> Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        // SAFETY: the whole of this buffer, exclusively borrowed.
        unsafe { self.gpu.driver().zero(self.address, self.bytes) }
    }

    /// Copies of whole buffers, one after the other.
    pub fn concatenated(gpu: &Gpu, parts: &[&GpuBuffer]) -> Result<GpuBuffer> {
        let all = gpu.allocate(parts.iter().map(|part| part.bytes).sum())?;
        let mut to = all.address;
        for part in parts.iter().filter(|part| part.bytes > 0) {
            // SAFETY: `all` is as long as the parts together.
            unsafe { gpu.driver().copy(to, part.address, part.bytes)? };
            to += part.bytes as u64;
        }
        Ok(all)
    }

    /// Overwrites this buffer with another of its size.
    pub fn copy_from(&mut self, other: &GpuBuffer) -> Result<()> {
        assert_eq!(self.bytes, other.bytes, "a copy of another size");
        if self.bytes > 0 {
            // SAFETY: two buffers of the same size, this one exclusively borrowed.
            unsafe { self.gpu.driver().copy(self.address, other.address, self.bytes)? };
        }
        Ok(())
    }

    pub fn duplicate(&self) -> Result<GpuBuffer> {
        let copy = self.gpu.allocate(self.bytes)?;
        if self.bytes > 0 {
            // SAFETY: two buffers of the same size.
            unsafe { self.gpu.driver().copy(copy.address, self.address, self.bytes)? };
        }
        Ok(copy)
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        if self.bytes > 0 {
            match &self.owner {
                Owner::Driver => self.gpu.give_back(self.address, self.bytes, self.serial),
                Owner::Recording(pool) => pool.release(self.address, self.bytes),
                Owner::Block(_) => return,
            }
            self.gpu.0.in_use.fetch_sub(self.bytes as u64, Ordering::Relaxed);
        }
    }
}

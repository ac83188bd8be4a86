//! A second driver behind the seam, through cust: independent of cudarc, to hold the two against each other on a card.
//!
//! Simpler than the product's: memory is allocated and copied synchronously, and there are no graphs.

mod libcuda;

use std::ffi::c_void;
use std::sync::Mutex;

use cust::context::{Context, CurrentContext};
use cust::device::{Device, DeviceAttribute};
use cust::error::{CudaError, CudaResult};
use cust::event::{Event, EventFlags};
use cust::memory::mem_get_info;
use cust::module::Module;
use cust::stream::{Stream, StreamFlags};
use cust::{CudaApiVersion, CudaFlags, sys};

use super::driver::{DeviceInfo, Driver, Grid, Kernel};
use super::kernels;
use base::{Error, Result};

pub struct Cust {
    info: DeviceInfo,
    // Fields are dropped in this order: the context last.
    stream: Stream,
    modules: Vec<Module>,
    context: Context,
}

/// libcuda is opened once.
static OPENED: Mutex<Option<bool>> = Mutex::new(None);

fn failed(doing: &str, error: CudaError) -> Error {
    Error::device(
        // Not its `Display`, which asks libcuda for the text and fails where there is none.
        format!("{doing} through cust: {error:?}"),
        "see `waata doctor`, or use --device cpu",
    )
}

fn check(doing: &str, code: sys::CUresult) -> Result<()> {
    match code {
        sys::cudaError_enum::CUDA_SUCCESS => Ok(()),
        _ => Err(Error::device(format!("{doing} through cust: {code:?}"), "see `waata doctor`, or use --device cpu")),
    }
}

impl Cust {
    pub fn open(ordinal: usize) -> Result<Cust> {
        {
            let mut opened = OPENED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            opened.get_or_insert_with(libcuda::open);
        }
        cust::init(CudaFlags::empty()).map_err(|e| failed("starting the driver", e))?;
        let Some(fatbins) = kernels::FATBINS else {
            return Err(Error::device(
                "this build has no kernels",
                "run scripts/install-nvcc.sh and build again, or use --device cpu",
            ));
        };
        let device = Device::get_device(ordinal as u32).map_err(|e| failed("opening the device", e))?;
        let info = describe(device).map_err(|e| failed("describing the device", e))?;
        let context = Context::new(device).map_err(|e| failed("opening the device", e))?;
        CurrentContext::set_current(&context).map_err(|e| failed("opening the device", e))?;
        // Ordered with the copies, which go through the default stream.
        let stream = Stream::new(StreamFlags::DEFAULT, None).map_err(|e| failed("creating a stream", e))?;
        let mut modules = vec![];
        for (file, image) in kernels::MODULES.iter().zip(fatbins) {
            let module = Module::from_fatbin(image, &[])
                .map_err(|e| failed(&format!("loading the kernels of {file} for {}", info.name), e))?;
            modules.push(module);
        }
        Ok(Cust { info, stream, modules, context })
    }

    fn bind(&self) -> Result<()> {
        CurrentContext::set_current(&self.context).map_err(|e| failed("binding the device to a thread", e))
    }
}

fn describe(device: Device) -> CudaResult<DeviceInfo> {
    let version = CudaApiVersion::get()?;
    Ok(DeviceInfo {
        name: device.name()?,
        capability: (
            device.get_attribute(DeviceAttribute::ComputeCapabilityMajor)?,
            device.get_attribute(DeviceAttribute::ComputeCapabilityMinor)?,
        ),
        memory_bytes: device.total_memory()? as u64,
        driver: version.major() * 1000 + version.minor() * 10,
    })
}

// SAFETY: addresses come from cuMemAlloc and are freed only in `free`, which waits for the work that uses them.
unsafe impl Driver for Cust {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.bind()?;
        let mut address = 0;
        // SAFETY: the address is written into a local.
        check("allocating memory", unsafe { sys::cuMemAlloc_v2(&mut address, bytes) })?;
        Ok(address)
    }

    unsafe fn free(&self, address: u64, _bytes: usize) {
        if self.bind().is_ok() {
            // SAFETY: the caller's promise. A failure means that the context is lost: nothing is left to free.
            let _ = unsafe { sys::cuMemFree_v2(address) };
        }
    }

    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        check("copying to the device", unsafe { sys::cuMemcpyHtoD_v2(to, from.as_ptr().cast(), from.len()) })
    }

    unsafe fn download(&self, to: &mut [u8], from: u64) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        let code = unsafe { sys::cuMemcpyDtoH_v2(to.as_mut_ptr().cast(), from, to.len()) };
        check("copying from the device", code)
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        check("copying on the device", unsafe { sys::cuMemcpyDtoD_v2(to, from, bytes) })
    }

    unsafe fn zero(&self, to: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        check("clearing memory", unsafe { sys::cuMemsetD8_v2(to, 0, bytes) })
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[&[u8]]) -> Result<()> {
        self.bind()?;
        let function = self.modules[kernel.module].get_function(kernel.name).map_err(|e| failed(kernel.name, e))?;
        let pointers: Vec<*mut c_void> = arguments.iter().map(|a| a.as_ptr() as *mut c_void).collect();
        if grid.shared > 48 * 1024 {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function belongs to a loaded module.
            let code = unsafe { sys::cuFuncSetAttribute(function.to_raw(), most, grid.shared as i32) };
            check(kernel.name, code)?;
        }
        let ([bx, by, bz], [tx, ty, tz]) = (grid.blocks, grid.threads);
        // SAFETY: the caller's promise for types and addresses; the driver copies the arguments before it returns.
        unsafe { self.stream.launch(&function, (bx, by, bz), (tx, ty, tz), grid.shared, &pointers) }
            .map_err(|e| failed(kernel.name, e))
    }

    fn synchronize(&self) -> Result<()> {
        self.bind()?;
        self.stream.synchronize().map_err(|e| failed("running kernels", e))
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f32> {
        self.bind()?;
        let event = || Event::new(EventFlags::DEFAULT).map_err(|e| failed("creating an event", e));
        let record = |event: &Event| event.record(&self.stream).map_err(|e| failed("recording an event", e));
        let (start, end) = (event()?, event()?);
        record(&start)?;
        work()?;
        record(&end)?;
        end.synchronize().map_err(|e| failed("running kernels", e))?;
        end.elapsed_time_f32(&start).map_err(|e| failed("reading a timer", e))
    }

    fn memory(&self) -> Result<(u64, u64)> {
        self.bind()?;
        let (free, total) = mem_get_info().map_err(|e| failed("asking for free memory", e))?;
        Ok((free as u64, total as u64))
    }
}

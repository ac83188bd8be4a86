//! The driver behind the seam in the product: CUDA through cudarc, with libcuda opened at run time.

use std::collections::HashSet;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaGraph, CudaStream, DriverError, result, sys};

use super::driver::{DeviceInfo, Driver, Graph, Grid, Kernel};
use super::kernels;
use base::{Error, Result};

/// What was found on this machine, without claiming a device.
#[derive(Clone, Debug)]
pub struct Probe {
    /// A device could be used by this build, now.
    pub usable: bool,
    /// Why, in one sentence: what is there, or what is missing and how to get it.
    pub why: String,
    pub devices: Vec<DeviceInfo>,
}

const NO_DRIVER: &str = "install the NVIDIA driver (580 or newer for this build), or use --device cpu";
const NO_KERNELS: &str =
    "run scripts/install-nvcc.sh and build again (or set CUDA_HOME to a CUDA 13 toolkit), or use --device cpu";

/// Looks for a driver, devices, and kernels in this build.
pub fn probe() -> Probe {
    let none = |why: String| {
        let kernels = match kernels::FATBINS {
            Some(_) => String::new(),
            None => format!("; and this build has no kernels: {NO_KERNELS}"),
        };
        Probe { usable: false, why: why + &kernels, devices: vec![] }
    };
    // SAFETY: opens and closes the library by its name; nothing is called in it.
    if !unsafe { sys::is_culib_present() } {
        return none(format!("no CUDA driver library (libcuda.so) was found: {NO_DRIVER}"));
    }
    if let Err(error) = result::init() {
        return none(format!("the CUDA driver does not start ({}): {NO_DRIVER}", text(error)));
    }
    let devices: Vec<DeviceInfo> =
        (0..result::device::get_count().unwrap_or(0)).filter_map(|i| describe(i).ok()).collect();
    let Some(first) = devices.first() else {
        return none(format!("the driver sees no device: {NO_DRIVER}"));
    };
    let why = format!("{} (compute capability {}.{})", first.name, first.capability.0, first.capability.1);
    match kernels::FATBINS {
        None => Probe {
            usable: false,
            why: format!("{why} is there, but this build has no kernels: {NO_KERNELS}"),
            devices,
        },
        Some(_) => Probe { usable: true, why, devices },
    }
}

fn describe(ordinal: i32) -> Result<DeviceInfo, DriverError> {
    use sys::CUdevice_attribute::*;
    let device = result::device::get(ordinal)?;
    let mut driver = 0;
    // SAFETY: `device` was just obtained; the version is written into a local.
    unsafe {
        sys::cuDriverGetVersion(&mut driver).result()?;
        Ok(DeviceInfo {
            name: result::device::get_name(device)?,
            capability: (
                result::device::get_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                result::device::get_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            memory_bytes: result::device::total_mem(device)? as u64,
            driver,
        })
    }
}

/// One CUDA device: its primary context, one stream, and the kernels of this build loaded into it.
pub struct Cuda {
    info: DeviceInfo,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// One handle per entry of `kernels::FATBINS`, unloaded with the context.
    modules: Vec<Module>,
    functions: Mutex<Vec<(&'static str, Function)>>,
    /// What was uploaded into the recording that goes on, which reads it in each replay.
    recording: Mutex<Option<Vec<Box<[u8]>>>>,
    /// Blocks made while recording: those are not of the stream's pool.
    outside_pool: Mutex<HashSet<u64>>,
}

/// Handles are plain addresses inside the driver, which may be used from any thread that has the context bound.
struct Module(sys::CUmodule);
#[derive(Clone, Copy)]
struct Function(sys::CUfunction);
// SAFETY: the driver API is thread-safe; every use binds the context to its thread first.
unsafe impl Send for Module {}
unsafe impl Sync for Module {}
unsafe impl Send for Function {}

impl Cuda {
    pub fn open(ordinal: usize) -> Result<Cuda> {
        let found = probe();
        if !found.usable {
            return Err(Error::device(found.why, "or use --device cpu; `waata doctor` has the whole picture"));
        }
        let info = found.devices.get(ordinal).cloned().ok_or_else(|| {
            Error::device(format!("there is no device {ordinal}"), format!("use 0..{}", found.devices.len()))
        })?;
        let context = CudaContext::new(ordinal).map_err(|e| failed("opening the device", e))?;
        // SAFETY: this driver uses one stream, so events between streams are never needed.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|e| failed("creating a stream", e))?;
        keep_freed_memory(&context).map_err(|e| failed("setting up the memory pool", e))?;
        let mut modules = vec![];
        for (file, image) in kernels::MODULES.iter().zip(kernels::FATBINS.unwrap_or_default()) {
            // SAFETY: the image is a fatbin that nvcc wrote when this program was built; the context is current.
            let module = unsafe { result::module::load_data(image.as_ptr() as *const c_void) }
                .map_err(|e| failed(&format!("loading the kernels of {file} for {}", info.name), e))?;
            modules.push(Module(module));
        }
        Ok(Cuda {
            info,
            context,
            stream,
            modules,
            functions: Mutex::default(),
            recording: Mutex::default(),
            outside_pool: Mutex::default(),
        })
    }

    fn bind(&self) -> Result<()> {
        self.context.bind_to_thread().map_err(|e| failed("binding the device to a thread", e))
    }

    fn recording(&self) -> MutexGuard<'_, Option<Vec<Box<[u8]>>>> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outside_pool(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.outside_pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_recording(&self, doing: &str) -> Result<()> {
        match *self.recording() {
            None => Ok(()),
            Some(_) => Err(Error::device(format!("{doing} while work is recorded"), "report this")),
        }
    }

    fn function(&self, kernel: &Kernel) -> Result<Function> {
        let mut functions = self.functions.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, function)) = functions.iter().find(|(name, _)| *name == kernel.name) {
            return Ok(*function);
        }
        let name =
            CString::new(kernel.name).map_err(|_| Error::device("a kernel name with a zero byte", "report this"))?;
        // SAFETY: the module is loaded and stays so as long as `self`.
        let function = unsafe { result::module::get_function(self.modules[kernel.module].0, name) }
            .map_err(|e| failed(kernel.name, e))?;
        functions.push((kernel.name, Function(function)));
        Ok(Function(function))
    }
}

/// Freed memory stays in the stream's pool instead of going back to the system at every synchronization.
fn keep_freed_memory(context: &CudaContext) -> Result<(), DriverError> {
    use sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    let mut threshold = u64::MAX;
    // SAFETY: the pool belongs to this device; the attribute is a 64-bit integer.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        result::mem_pool::set_attribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, (&raw mut threshold).cast())
    }
}

// SAFETY: addresses come from cuMemAllocAsync and are freed only in `free`, in stream order.
unsafe impl Driver for Cuda {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.bind()?;
        let recording = self.recording().is_some();
        // SAFETY: the stream belongs to the bound context. In a recording, memory of the stream's pool would be part of
        // the graph and change its address: such blocks come from the device directly.
        let block = unsafe {
            match recording {
                true => result::malloc_sync(bytes),
                false => result::malloc_async(self.stream.cu_stream(), bytes),
            }
        };
        match block {
            Ok(address) => {
                if recording {
                    self.outside_pool().insert(address);
                }
                Ok(address)
            }
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let (free, total) = self.memory().unwrap_or((0, self.info.memory_bytes));
                Err(Error::Memory {
                    why: format!(
                        "{} more bytes were asked for; {} of {} MiB are free on {}",
                        bytes,
                        free >> 20,
                        total >> 20,
                        self.info.name
                    ),
                    remedy: "lower train.batch_size or model.dim, or use --device cpu".into(),
                })
            }
            Err(error) => Err(failed("allocating memory", error)),
        }
    }

    unsafe fn free(&self, address: u64, _bytes: usize) {
        if self.bind().is_ok() {
            // SAFETY: the caller's promise. A failure here means that the context is lost: nothing left to free.
            let _ = unsafe {
                match self.outside_pool().remove(&address) {
                    true => result::free_sync(address),
                    false => result::free_async(address, self.stream.cu_stream()),
                }
            };
        }
    }

    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        self.bind()?;
        let mut recording = self.recording();
        let from = match &mut *recording {
            Some(kept) => {
                kept.push(from.into());
                &kept[kept.len() - 1]
            }
            None => from,
        };
        // SAFETY: the caller's promise; pageable host memory is staged before the call returns, but in a recording,
        // which keeps its copy.
        unsafe { result::memcpy_htod_async(to, from, self.stream.cu_stream()) }
            .map_err(|e| failed("copying to the device", e))
    }

    unsafe fn download(&self, to: &mut [u8], from: u64) -> Result<()> {
        self.not_recording("waiting for results")?;
        self.bind()?;
        // SAFETY: the caller's promise; the wait below keeps `to` borrowed until the copy is done.
        unsafe { result::memcpy_dtoh_async(to, from, self.stream.cu_stream()) }
            .map_err(|e| failed("copying from the device", e))?;
        self.synchronize()
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
            .map_err(|e| failed("copying on the device", e))
    }

    unsafe fn zero(&self, to: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(to, 0, bytes, self.stream.cu_stream()) }
            .map_err(|e| failed("clearing memory", e))
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[&[u8]]) -> Result<()> {
        self.bind()?;
        let function = self.function(kernel)?;
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(|a| a.as_ptr() as *mut c_void).collect();
        // SAFETY: the caller's promise for types and addresses; the driver copies the arguments before it returns.
        unsafe {
            if grid.shared > 48 * 1024 {
                result::function::set_function_attribute(
                    function.0,
                    sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    grid.shared as i32,
                )
                .map_err(|e| failed(kernel.name, e))?;
            }
            let [bx, by, bz] = grid.blocks;
            let [tx, ty, tz] = grid.threads;
            let stream = self.stream.cu_stream();
            result::launch_kernel(function.0, (bx, by, bz), (tx, ty, tz), grid.shared, stream, &mut pointers)
        }
        .map_err(|e| failed(kernel.name, e))
    }

    fn synchronize(&self) -> Result<()> {
        self.not_recording("waiting for results")?;
        self.stream.synchronize().map_err(|e| failed("running kernels", e))
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f32> {
        self.not_recording("timing")?;
        let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let start = self.stream.record_event(timed).map_err(|e| failed("recording an event", e))?;
        work()?;
        let end = self.stream.record_event(timed).map_err(|e| failed("recording an event", e))?;
        start.elapsed_ms(&end).map_err(|e| failed("reading a timer", e))
    }

    fn memory(&self) -> Result<(u64, u64)> {
        self.bind()?;
        let (free, total) = result::mem_get_info().map_err(|e| failed("asking for free memory", e))?;
        Ok((free as u64, total as u64))
    }

    fn begin_capture(&self) -> Result<()> {
        // Relaxed: memory is allocated while this one stream, on this one thread, is recorded.
        self.stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED)
            .map_err(|e| failed("recording work", e))?;
        *self.recording() = Some(vec![]);
        Ok(())
    }

    fn end_capture(&self) -> Result<Box<dyn Graph>> {
        let uploads = self.recording().take().unwrap_or_default();
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        match graph.map_err(|e| failed("recording work", e))? {
            Some(graph) => Ok(Box::new(Recorded { graph: Mutex::new(graph), _uploads: uploads })),
            None => Err(Error::device("the recording is empty", "report this")),
        }
    }
}

struct Recorded {
    graph: Mutex<CudaGraph>,
    /// Host memory that the graph copies from.
    _uploads: Vec<Box<[u8]>>,
}

// SAFETY: a graph may be used from any thread by one at a time, which the lock sees to; the uploads are only kept.
unsafe impl Send for Recorded {}
unsafe impl Sync for Recorded {}

impl Graph for Recorded {
    fn launch(&self) -> Result<()> {
        let graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        graph.launch().map_err(|e| failed("replaying recorded work", e))
    }
}

fn text(error: DriverError) -> String {
    error.error_string().map(|s| s.to_string_lossy().into_owned()).unwrap_or_else(|_| format!("{error:?}"))
}

fn failed(doing: &str, error: DriverError) -> Error {
    Error::device(format!("{doing}: {}", text(error)), "see `waata doctor`, or use --device cpu")
}

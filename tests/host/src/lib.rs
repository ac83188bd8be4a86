//! Runs waata's CUDA kernels on the CPU, for tests.
//!
//! g++ compiles kernels/*.cu as they stand. Each CUDA thread of a block is a fiber that pauses at barriers and
//! warp collectives; blocks run one after another. A launch fails with a message, instead of hanging or
//! corrupting memory, where
//! * not all threads reach a barrier, or not all lanes of the mask a warp collective (by file and line);
//! * number or size of the arguments, block, grid or shared memory do not fit the kernel;
//! * an access is misaligned or through null, an index leaves a fixed array, an int overflows, a division is by zero;
//! * an access to device memory or to dynamic shared memory is out of bounds, or reads what nobody has written;
//! * two threads access the same word, one of them to write, and no barrier orders them: threads of a block in shared
//!   and device memory, threads of different blocks of a launch in device memory.
//!
//! It does not show: an index beyond one variable of static shared memory through a pointer (the sanitizers do:
//! scripts/check-sanitizers.sh), races between launches, fences, the rounding of fast intrinsics, speed.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// In which order blocks, the warps of a block and the lanes of a warp run. A correct kernel gives the same bits in
/// each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Forward,
    Reverse,
    /// Drawn anew for each block and after each barrier.
    Shuffle(u64),
}

/// Barriers of a block or a warp in the kernels' source, as `file:line`, to prove that each is needed.
#[derive(Debug, Default)]
pub struct Barriers {
    /// Those that launches have met.
    pub met: Mutex<BTreeSet<String>>,
    /// The one that launches leave out.
    pub without: Option<String>,
}

/// What cuLaunchKernel takes, and an order.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    pub kernel: &'a str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    pub order: Order,
    /// The kernel may also access memory that is not of `allocate`, unchecked.
    pub host_memory: bool,
    pub barriers: Option<&'a Barriers>,
    /// Only so many blocks at each end of the grid run, for tables that are too large to be run over.
    pub end_blocks: Option<u64>,
}

#[repr(C)]
struct Entry {
    name: *const c_char,
    call: *const c_void,
    sizes: *const u32,
    parameters: u32,
    max_threads: u32,
    internal: bool,
    shared_begin: *mut u8,
    shared_end: *mut u8,
}

unsafe extern "C" {
    fn waata_host_kernels() -> u32;
    fn waata_host_kernel(index: u32) -> *const Entry;
    fn waata_host_launch(
        kernel: *const Entry,
        grid: *const u32,
        block: *const u32,
        shared_bytes: u32,
        host_memory: bool,
        without: *const c_char,
        end_blocks: u64,
        order: c_int,
        seed: u64,
        arguments: *const *const u8,
        sizes: *const u32,
        count: u32,
        text: *mut c_char,
        capacity: usize,
    ) -> bool;
    fn waata_host_barrier(index: u32, text: *mut c_char, capacity: usize) -> bool;
    fn waata_host_allocate(bytes: usize) -> u64;
    fn waata_host_free(address: u64);
    fn waata_host_holds(address: u64, bytes: usize) -> bool;
    fn waata_host_written(address: u64, bytes: usize);
    fn waata_host_zero(address: u64, bytes: usize);
    fn waata_host_copied(to: u64, from: u64, bytes: usize);
}

/// The executor is one set of global variables: one launch at a time.
static EXECUTOR: Mutex<()> = Mutex::new(());

fn lock() -> MutexGuard<'static, ()> {
    EXECUTOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entries(_locked: &MutexGuard<'static, ()>) -> impl Iterator<Item = &'static Entry> {
    // SAFETY: the registry is filled on the first call and never changes; calls are serialized by the lock.
    let count = unsafe { waata_host_kernels() };
    // SAFETY: index below count; entries live as long as the program.
    (0..count).map(|index| unsafe { &*waata_host_kernel(index) })
}

fn name(entry: &Entry) -> &'static str {
    // SAFETY: a string literal of the generated C++.
    unsafe { CStr::from_ptr(entry.name) }.to_str().unwrap_or_default()
}

/// Names of all kernels of kernels/*.cu, sorted.
pub fn kernels() -> Vec<&'static str> {
    let mut names: Vec<_> = entries(&lock()).filter(|entry| !entry.internal).map(name).collect();
    names.sort_unstable();
    names
}

/// Size in bytes of each parameter of a kernel.
pub fn parameters(kernel: &str) -> Option<Vec<usize>> {
    let locked = lock();
    let entry = entries(&locked).find(|entry| name(entry) == kernel)?;
    // SAFETY: the generated array has one more element than parameters.
    let sizes = unsafe { std::slice::from_raw_parts(entry.sizes, entry.parameters as usize) };
    Some(sizes.iter().map(|&size| size as usize).collect())
}

/// Runs a kernel to its end. `arguments` holds the bytes of each parameter, a pointer's too.
///
/// # Errors
/// A text that says what was wrong and where. Memory that the kernel has written by then stays written.
///
/// # Safety
/// The kernel reads and writes through the pointers among `arguments`: for this grid and these sizes they must be
/// valid for every access that it makes, and nothing else may use that memory meanwhile.
pub unsafe fn launch(launch: &Launch, arguments: &[&[u8]]) -> Result<(), String> {
    let locked = lock();
    let Some(entry) = entries(&locked).find(|entry| name(entry) == launch.kernel) else {
        return Err(format!("there is no kernel `{}`", launch.kernel));
    };
    let (order, seed) = match launch.order {
        Order::Forward => (0, 0),
        Order::Reverse => (1, 0),
        Order::Shuffle(seed) => (2, seed),
    };
    let pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    let sizes: Vec<_> = arguments.iter().map(|argument| argument.len() as u32).collect();
    let without = launch.barriers.and_then(|barriers| barriers.without.as_deref());
    let without = without.map(|site| CString::new(site).map_err(|e| e.to_string())).transpose()?;
    let mut text = [0u8; 4096];
    // SAFETY: the arrays have the lengths given and outlive the call; the caller vouches for the kernel's pointers.
    let succeeded = unsafe {
        waata_host_launch(
            entry,
            launch.grid.as_ptr(),
            launch.block.as_ptr(),
            launch.shared_bytes,
            launch.host_memory,
            without.as_ref().map_or(std::ptr::null(), |site| site.as_ptr()),
            launch.end_blocks.unwrap_or(u64::MAX),
            order,
            seed,
            pointers.as_ptr(),
            sizes.as_ptr(),
            sizes.len() as u32,
            text.as_mut_ptr().cast(),
            text.len(),
        )
    };
    if let Some(barriers) = launch.barriers {
        let mut met = barriers.met.lock().unwrap_or_else(PoisonError::into_inner);
        let mut site = [0u8; 512];
        let mut index = 0;
        // SAFETY: the buffer has the length given; the lock is still held.
        while unsafe { waata_host_barrier(index, site.as_mut_ptr().cast(), site.len()) } {
            index += 1;
            met.extend(CStr::from_bytes_until_nul(&site).map(|site| site.to_string_lossy().into_owned()));
        }
    }
    if succeeded {
        return Ok(());
    }
    let message = CStr::from_bytes_until_nul(&text).map(|text| text.to_string_lossy().into_owned());
    Err(message.unwrap_or_else(|_| format!("kernel `{}` failed", launch.kernel)))
}

/// Device memory: NaN at first, and every access of a kernel to it is checked. Pages exist once they are touched, so
/// more may be asked for than the machine has.
///
/// # Errors
/// Where the system gives no address space.
pub fn allocate(bytes: usize) -> Result<u64, String> {
    let _locked = lock();
    // SAFETY: calls are serialized by the lock.
    match unsafe { waata_host_allocate(bytes.max(1)) } {
        0 => Err(format!("no address space for {bytes} bytes of device memory")),
        address => Ok(address),
    }
}

/// # Safety
/// `address` came from `allocate` and is not used after.
pub unsafe fn free(address: u64) {
    let _locked = lock();
    // SAFETY: the caller's promise.
    unsafe { waata_host_free(address) }
}

fn held(address: u64, bytes: usize) -> Result<(), String> {
    // SAFETY: reads the table of allocations; calls are serialized by the caller's lock.
    match unsafe { waata_host_holds(address, bytes) } {
        true => Ok(()),
        false => Err(format!("{bytes} bytes at {address:#x} are not inside one allocation")),
    }
}

/// Copies to device memory.
///
/// # Errors
/// Where the range is not inside one allocation.
///
/// # Safety
/// `to` is an address of `allocate`, or inside its memory.
pub unsafe fn upload(to: u64, from: &[u8]) -> Result<(), String> {
    let _locked = lock();
    held(to, from.len())?;
    // SAFETY: the range is inside a live allocation.
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len());
        waata_host_written(to, from.len());
    }
    Ok(())
}

/// Copies from device memory.
///
/// # Errors
/// Where the range is not inside one allocation.
///
/// # Safety
/// As `upload`.
pub unsafe fn download(to: &mut [u8], from: u64) -> Result<(), String> {
    let _locked = lock();
    held(from, to.len())?;
    // SAFETY: the range is inside a live allocation.
    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
    Ok(())
}

/// Copies within device memory.
///
/// # Errors
/// Where a range is not inside one allocation.
///
/// # Safety
/// As `upload`, and the ranges do not overlap.
pub unsafe fn copy(to: u64, from: u64, bytes: usize) -> Result<(), String> {
    let _locked = lock();
    held(to, bytes)?;
    held(from, bytes)?;
    // SAFETY: both ranges are inside live allocations.
    unsafe {
        std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes);
        waata_host_copied(to, from, bytes);
    }
    Ok(())
}

/// Sets device memory to zero.
///
/// # Errors
/// Where the range is not inside one allocation.
///
/// # Safety
/// As `upload`.
pub unsafe fn zero(to: u64, bytes: usize) -> Result<(), String> {
    let _locked = lock();
    held(to, bytes)?;
    // SAFETY: the range is inside a live allocation.
    unsafe { waata_host_zero(to, bytes) };
    Ok(())
}

//! Runs waata's CUDA kernels on the CPU, for tests.
//!
//! g++ compiles kernels/*.cu as they stand. Each CUDA thread of a block is a fiber that pauses at barriers and
//! warp collectives; blocks run one after another. A launch fails with a message, instead of hanging or
//! corrupting memory, where
//! * not all threads reach a barrier, or not all lanes of the mask a warp collective (by file and line);
//! * number or size of the arguments, block, grid or shared memory do not fit the kernel;
//! * an access is misaligned or through null, an index leaves a fixed array, an int overflows, a division is by
//!   zero, or a write lands behind dynamic shared memory.
//!
//! Shared memory is NaN before each block, so a missing barrier shows as NaN or as results that differ between
//! orders of the threads. It does not show: global memory out of bounds, races between blocks, memory ordering,
//! the rounding of fast intrinsics, speed.

use std::ffi::{CStr, c_char, c_int, c_void};
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

/// What cuLaunchKernel takes, and an order.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    pub kernel: &'a str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    pub order: Order,
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
        order: c_int,
        seed: u64,
        arguments: *const *const u8,
        sizes: *const u32,
        count: u32,
        text: *mut c_char,
        capacity: usize,
    ) -> bool;
}

/// The executor is one set of global variables: one launch at a time.
static EXECUTOR: Mutex<()> = Mutex::new(());

fn lock() -> MutexGuard<'static, ()> {
    EXECUTOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entries(_locked: &MutexGuard<'static, ()>) -> impl Iterator<Item = &'static Entry> {
    // SAFETY: the registry is filled on the first call and never changes; calls are serialised by the lock.
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
    let mut text = [0u8; 4096];
    // SAFETY: the arrays have the lengths given and outlive the call; the caller vouches for the kernel's pointers.
    let succeeded = unsafe {
        waata_host_launch(
            entry,
            launch.grid.as_ptr(),
            launch.block.as_ptr(),
            launch.shared_bytes,
            order,
            seed,
            pointers.as_ptr(),
            sizes.as_ptr(),
            sizes.len() as u32,
            text.as_mut_ptr().cast(),
            text.len(),
        )
    };
    if succeeded {
        return Ok(());
    }
    let message = CStr::from_bytes_until_nul(&text).map(|text| text.to_string_lossy().into_owned());
    Err(message.unwrap_or_else(|_| format!("kernel `{}` failed", launch.kernel)))
}

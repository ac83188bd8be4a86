//! The functions of libcuda that cust calls, as jumps into the library that is opened at run time.
//!
//! cust links against libcuda, so a program with it would not start on a machine without a driver. The linker finds an
//! empty library instead (.cargo/cust) and these symbols: each jumps through a slot, which `open` fills. Until then, and
//! where the library has no such function, a call returns CUDA_ERROR_NO_DEVICE.

use std::arch::global_asm;
use std::ffi::{c_char, c_int, c_void};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the feature `cust` is for Linux on x86-64: build without it");

global_asm!(
    ".text",
    "waata_cuda_absent:",
    // CUDA_ERROR_NO_DEVICE
    "mov eax, 100",
    "ret",
    ".data",
    ".p2align 3",
    "waata_cuda_slots:",
    ".text",
);

/// A name and its slot; a null name ends the list.
#[repr(C)]
struct Slot {
    name: *const c_char,
    function: *const c_void,
}

macro_rules! jumps {
    ($($name:ident)*) => {
        $(global_asm!(
            concat!(".section .rodata\nwaata_cuda_name_", stringify!($name), ": .asciz \"", stringify!($name), "\""),
            concat!(".data\n.quad waata_cuda_name_", stringify!($name)),
            concat!("waata_cuda_slot_", stringify!($name), ": .quad waata_cuda_absent"),
            concat!(".text\n.globl ", stringify!($name), "\n.type ", stringify!($name), ", @function"),
            concat!(stringify!($name), ": jmp qword ptr [rip + waata_cuda_slot_", stringify!($name), "]"),
        );)*
        global_asm!(".data", ".quad 0, 0", ".text");
    };
}

jumps! {
    cuArray3DCreate_v2 cuArray3DGetDescriptor_v2 cuArrayDestroy cuCtxCreate_v2 cuCtxDestroy_v2
    cuCtxGetApiVersion cuCtxGetCacheConfig cuCtxGetCurrent cuCtxGetDevice cuCtxGetFlags cuCtxGetLimit
    cuCtxGetSharedMemConfig cuCtxGetStreamPriorityRange cuCtxPopCurrent_v2 cuCtxSetCacheConfig cuCtxSetCurrent
    cuCtxSetLimit cuCtxSetSharedMemConfig cuCtxSynchronize cuDestroyExternalMemory cuDeviceGet
    cuDeviceGetAttribute cuDeviceGetCount cuDeviceGetName cuDevicePrimaryCtxRelease_v2
    cuDevicePrimaryCtxReset_v2 cuDevicePrimaryCtxRetain cuDevicePrimaryCtxSetFlags_v2 cuDeviceTotalMem_v2
    cuDriverGetVersion cuEventCreate cuEventDestroy_v2 cuEventElapsedTime cuEventQuery cuEventRecord
    cuEventSynchronize cuFuncGetAttribute cuFuncSetAttribute cuFuncSetCacheConfig cuFuncSetSharedMemConfig
    cuGetErrorString cuGraphDestroy cuImportExternalMemory cuInit cuLaunchKernel cuLinkComplete
    cuLinkCreate_v2 cuLinkDestroy cuMemAlloc_v2 cuMemFree_v2 cuMemGetInfo_v2 cuMemcpyDtoD_v2 cuMemcpyDtoH_v2
    cuMemcpyHtoD_v2 cuMemsetD8_v2 cuModuleGetFunction cuModuleLoadData cuModuleLoadDataEx cuModuleUnload
    cuOccupancyAvailableDynamicSMemPerBlock cuOccupancyMaxActiveBlocksPerMultiprocessor
    cuOccupancyMaxPotentialBlockSize cuStreamCreateWithPriority cuStreamDestroy_v2 cuStreamGetFlags
    cuStreamGetPriority cuStreamSynchronize cuStreamWaitEvent cuSurfObjectCreate cuSurfObjectDestroy
    cuSurfObjectGetResourceDesc cuTexObjectCreate cuTexObjectDestroy cuTexObjectGetResourceDesc
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_NOW: c_int = 2;

/// Fills the slots; false where there is no libcuda. The library stays open to the end of the program.
pub(super) fn open() -> bool {
    // SAFETY: libcuda may be opened by any program; its constructors run once.
    let library = unsafe { dlopen(c"libcuda.so.1".as_ptr(), RTLD_NOW) };
    if library.is_null() {
        return false;
    }
    let mut slot: *mut Slot;
    // SAFETY: the address of the list above.
    unsafe { std::arch::asm!("lea {}, [rip + waata_cuda_slots]", out(reg) slot) };
    // SAFETY: the list ends with a null name; `Cust::open` calls this under a lock, and no cu* function runs meanwhile.
    unsafe {
        while !(*slot).name.is_null() {
            let function = dlsym(library, (*slot).name);
            if !function.is_null() {
                (*slot).function = function;
            }
            slot = slot.add(1);
        }
    }
    true
}

//! One kernel launch, argument by argument.

use bytemuck::Pod;

use super::{Gpu, GpuBuffer, Grid, Kernel};
use crate::{Index, Tensor};
use base::{Error, Result};

/// Bytes of the largest parameter: a plain struct of sizes and options.
const ARGUMENT: usize = 64;

/// Collects the arguments of a kernel in the order of its parameters.
///
/// The types are the caller's duty, as they are in CUDA: `value` must be given exactly the parameter's type. The
/// tests launch every kernel through an executor that checks count and sizes against the C++ signature.
pub struct Launch<'a> {
    gpu: &'a Gpu,
    kernel: Kernel,
    grid: Grid,
    arguments: Vec<([u8; ARGUMENT], usize)>,
}

impl<'a> Launch<'a> {
    pub(super) fn new(gpu: &'a Gpu, kernel: Kernel, grid: Grid) -> Self {
        Launch { gpu, kernel, grid, arguments: Vec::with_capacity(kernel.parameters) }
    }

    /// A scalar or plain struct by value.
    pub fn value<T: Pod>(mut self, value: T) -> Self {
        let bytes = bytemuck::bytes_of(&value);
        let mut argument = [0; ARGUMENT];
        argument[..bytes.len()].copy_from_slice(bytes);
        self.arguments.push((argument, bytes.len()));
        self
    }

    /// A count as the kernels take them: 32 bits, checked. Offsets and products of sizes go through `value(x as u64)`.
    pub fn count(self, n: usize) -> Self {
        assert!(n <= i32::MAX as usize, "{}: {n} is too many for one launch", self.kernel.name);
        self.value(n as i32)
    }

    /// A tensor that the kernel only reads.
    pub fn tensor(self, tensor: &Tensor) -> Self {
        let address = tensor.address();
        self.value(address)
    }

    /// A tensor that the kernel writes.
    pub fn tensor_mut(self, tensor: &mut Tensor) -> Self {
        let address = tensor.address_mut();
        self.value(address)
    }

    /// A tensor that may be absent: the kernel gets a null pointer then.
    pub fn optional(self, tensor: Option<&Tensor>) -> Self {
        self.value(tensor.map_or(0, Tensor::address))
    }

    pub fn optional_mut(self, tensor: Option<&mut Tensor>) -> Self {
        self.value(tensor.map_or(0, Tensor::address_mut))
    }

    pub fn index<T: Pod + Send + Sync>(self, index: &Index<T>) -> Self {
        let address = index.address();
        self.value(address)
    }

    pub fn buffer(self, buffer: &mut GpuBuffer) -> Self {
        let address = buffer.address();
        self.value(address)
    }

    pub fn run(self) -> Result<()> {
        let Launch { gpu, kernel, grid, arguments } = self;
        if arguments.len() != kernel.parameters {
            return Err(Error::shape(
                kernel.name,
                format!("{} arguments", kernel.parameters),
                format!("{}", arguments.len()),
            ));
        }
        gpu.not_packing(kernel.name)?;
        let arguments: Vec<&[u8]> = arguments.iter().map(|(bytes, len)| &bytes[..*len]).collect();
        // SAFETY: addresses come from live tensors of this device (they are borrowed while the launch is queued,
        // and memory is freed in stream order); the op that wrote this launch gives the kernel's own types and
        // sizes, which the parity tests check for every kernel.
        unsafe { gpu.driver().launch(&kernel, grid, &arguments) }
    }
}

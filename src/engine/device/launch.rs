//! One kernel launch, argument by argument.

use std::any::TypeId;

use bytemuck::Pod;

use super::driver::Kind;
use super::{Gpu, GpuBuffer, Grid, Kernel};
use crate::{Index, Tensor};
use base::{Error, Result};

/// Collects the arguments of a kernel in the order of its parameters.
///
/// `run` compares number and kinds of the arguments (inputs, outputs, 32- and 64-bit numbers, structs) with the kernel's
/// signature. What a struct holds and the element type behind a pointer are the caller's duty, as they are in CUDA; the
/// tests launch every kernel through an executor that checks sizes, too.
pub struct Launch<'a> {
    gpu: &'a Gpu,
    kernel: Kernel,
    grid: Grid,
    arguments: Vec<Argument>,
}

struct Argument {
    bytes: Vec<u8>,
    kind: Kind,
}

/// The kind of a parameter that takes a `T` by value.
fn kind_of<T: 'static>() -> Kind {
    let kinds = [
        (TypeId::of::<i32>(), Kind::I32),
        (TypeId::of::<u32>(), Kind::U32),
        (TypeId::of::<u64>(), Kind::U64),
        (TypeId::of::<f32>(), Kind::F32),
    ];
    kinds.iter().find(|(id, _)| *id == TypeId::of::<T>()).map_or(Kind::Struct, |(_, kind)| *kind)
}

impl<'a> Launch<'a> {
    pub(super) fn new(gpu: &'a Gpu, kernel: Kernel, grid: Grid) -> Self {
        Launch { gpu, kernel, grid, arguments: Vec::with_capacity(kernel.parameters.len()) }
    }

    fn push(mut self, value: &[u8], kind: Kind) -> Self {
        self.arguments.push(Argument { bytes: value.to_vec(), kind });
        self
    }

    fn address(self, address: u64, kind: Kind) -> Self {
        self.push(&address.to_ne_bytes(), kind)
    }

    /// A scalar or plain struct by value.
    pub fn value<T: Pod>(self, value: T) -> Self {
        self.push(bytemuck::bytes_of(&value), kind_of::<T>())
    }

    /// A count as the kernels take them: 32 bits, checked. Offsets and products of sizes go through `value(x as u64)`.
    pub fn count(self, n: usize) -> Self {
        assert!(n <= i32::MAX as usize, "{}: {n} is too many for one launch", self.kernel.name);
        self.value(n as i32)
    }

    /// A tensor that the kernel only reads.
    pub fn tensor(self, tensor: &Tensor) -> Self {
        self.address(tensor.address(), Kind::Input)
    }

    pub fn tensors<const N: usize>(self, tensors: [&Tensor; N]) -> Self {
        tensors.into_iter().fold(self, Launch::tensor)
    }

    /// A tensor that the kernel writes.
    pub fn tensor_mut(self, tensor: &mut Tensor) -> Self {
        self.address(tensor.address_mut(), Kind::Output)
    }

    /// A tensor that may be absent: the kernel gets a null pointer then.
    pub fn optional(self, tensor: Option<&Tensor>) -> Self {
        self.address(tensor.map_or(0, Tensor::address), Kind::Input)
    }

    pub fn optional_mut(self, tensor: Option<&mut Tensor>) -> Self {
        self.address(tensor.map_or(0, Tensor::address_mut), Kind::Output)
    }

    pub fn index<T: Pod + Send + Sync>(self, index: &Index<T>) -> Self {
        self.address(index.address(), Kind::Input)
    }

    pub fn indices<T: Pod + Send + Sync, const N: usize>(self, indices: [&Index<T>; N]) -> Self {
        indices.into_iter().fold(self, Launch::index)
    }

    pub fn optional_index<T: Pod + Send + Sync>(self, index: Option<&Index<T>>) -> Self {
        self.address(index.map_or(0, Index::address), Kind::Input)
    }

    /// Memory that the kernel only reads, from byte `offset` on.
    pub fn input(self, buffer: &GpuBuffer, offset: usize) -> Self {
        self.address(buffer.address() + offset as u64, Kind::Input)
    }

    /// Memory that the kernel writes.
    pub fn buffer(self, buffer: &mut GpuBuffer) -> Self {
        self.address(buffer.address(), Kind::Output)
    }

    /// Fails with `Error::Shape` where the arguments are not those of the kernel's signature.
    pub fn run(self) -> Result<()> {
        let Launch { gpu, kernel, grid, arguments } = self;
        let (expected, got) = (kernel.parameters.len(), arguments.len());
        if expected != got {
            return Err(Error::shape(kernel.name, format!("{expected} arguments"), format!("{got}")));
        }
        for (parameter, argument) in kernel.parameters.iter().zip(&arguments) {
            if parameter.kind != argument.kind {
                let expected = format!("`{}` as {:?}", parameter.name, parameter.kind);
                return Err(Error::shape(kernel.name, expected, format!("{:?}", argument.kind)));
            }
        }
        gpu.not_packing(kernel.name)?;
        let arguments: Vec<&[u8]> = arguments.iter().map(|a| &a.bytes[..]).collect();
        // SAFETY: addresses come from live tensors of this device (they are borrowed while the launch is queued,
        // and memory is freed in stream order); the kinds are the kernel's own (checked above), the sizes of structs
        // those that the parity tests check for every kernel.
        unsafe { gpu.driver().launch(&kernel, grid, &arguments) }
    }
}

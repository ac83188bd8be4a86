//! Matrices of floats on a device.
//!
//! Elements are f32 (f64 on the CPU for checks), or 16 bits in tables that are only read: bf16 and f16 are for storage.
//!
//! Everything is a row-major matrix: a vector is one column or one row, a scalar is 1 x 1. Clones share memory;
//! writing to a shared tensor copies it first.

use std::sync::Arc;

use super::buffer::Buffer;
use super::device::{Device, Gpu, GpuBuffer};
use super::parallel;
use super::real::{DType, Real};
use super::real::{Element, bf16, f16};
use crate::dispatch_float;
use base::{Error, Result};

#[derive(Clone)]
pub struct Tensor {
    data: Arc<Data>,
    rows: usize,
    cols: usize,
}

enum Data {
    F32(Buffer<f32>),
    F64(Buffer<f64>),
    Bf16(Buffer<bf16>),
    F16(Buffer<f16>),
    Gpu(GpuBuffer, DType),
}

/// Runs `$body` with `$v` standing for the buffer in host memory, or `$gpu` for one on a GPU.
macro_rules! with_data {
    ($data:expr, $v:ident => $body:expr, $gpu:pat => $other:expr) => {
        match $data {
            Data::F32($v) => $body,
            Data::F64($v) => $body,
            Data::Bf16($v) => $body,
            Data::F16($v) => $body,
            $gpu => $other,
        }
    };
}

/// The buffer as one of `T`; the caller has compared the types.
macro_rules! host_slice {
    ($data:expr, $T:ident, $v:ident => $body:expr, $($else:tt)*) => {
        match ($data, $T::DTYPE) {
            (Data::F32($v), DType::F32) => $body,
            (Data::F64($v), DType::F64) => $body,
            (Data::Bf16($v), DType::Bf16) => $body,
            (Data::F16($v), DType::F16) => $body,
            _ => $($else)*,
        }
    };
}

impl Tensor {
    /// A matrix whose content is whatever was there. For outputs that are written in full.
    pub fn empty(device: &Device, dtype: DType, rows: usize, cols: usize) -> Result<Tensor> {
        let len = rows * cols;
        let data = match (device, dtype) {
            (Device::Cpu, DType::F32) => Data::F32(Buffer::stale(len)),
            (Device::Cpu, DType::F64) => Data::F64(Buffer::stale(len)),
            (Device::Cpu, DType::Bf16) => Data::Bf16(Buffer::stale(len)),
            (Device::Cpu, DType::F16) => Data::F16(Buffer::stale(len)),
            (Device::Gpu(_), DType::F64) => {
                return Err(Error::shape("tensor", "f32, bf16 or f16 on a GPU", "f64"));
            }
            (Device::Gpu(gpu), _) => Data::Gpu(gpu.allocate(len * dtype.bytes())?, dtype),
        };
        Ok(Tensor { data: Arc::new(data), rows, cols })
    }

    pub fn zeros(device: &Device, dtype: DType, rows: usize, cols: usize) -> Result<Tensor> {
        let len = rows * cols;
        let data = match (device, dtype) {
            (Device::Cpu, DType::F32) => Data::F32(Buffer::zeros(len)),
            (Device::Cpu, DType::F64) => Data::F64(Buffer::zeros(len)),
            (Device::Cpu, DType::Bf16) => Data::Bf16(Buffer::zeros(len)),
            (Device::Cpu, DType::F16) => Data::F16(Buffer::zeros(len)),
            (Device::Gpu(_), _) => {
                let mut t = Tensor::empty(device, dtype, rows, cols)?;
                t.fill_zero()?;
                return Ok(t);
            }
        };
        Ok(Tensor { data: Arc::new(data), rows, cols })
    }

    /// `values` in row-major order, as f32.
    pub fn new(device: &Device, rows: usize, cols: usize, values: &[f32]) -> Result<Tensor> {
        Self::check_len(rows, cols, values.len())?;
        let data = match device {
            Device::Cpu => Data::F32(Buffer::from_slice(values)),
            Device::Gpu(gpu) => Data::Gpu(gpu.upload(values)?, DType::F32),
        };
        Ok(Tensor { data: Arc::new(data), rows, cols })
    }

    /// As `new`, rounded to `dtype`; for 16 bits to f32 first.
    pub fn from_f64(
        device: &Device,
        dtype: DType,
        rows: usize,
        cols: usize,
        values: &[f64],
    ) -> Result<Tensor> {
        Self::check_len(rows, cols, values.len())?;
        let singles = || values.iter().map(|&x| x as f32).collect::<Vec<_>>();
        match dtype {
            DType::F32 => Tensor::new(device, rows, cols, &singles()),
            DType::F64 => {
                let mut t = Tensor::empty(device, dtype, rows, cols)?;
                t.host_mut::<f64>().copy_from_slice(values);
                Ok(t)
            }
            DType::Bf16 | DType::F16 => {
                let mut t = Tensor::empty(device, dtype, rows, cols)?;
                t.write(&singles())?;
                Ok(t)
            }
        }
    }

    /// `value(i)` for each place i in row-major order, rounded as `from_f64` rounds. Values go where they stay: a large
    /// table is not held twice.
    pub fn from_fn(
        device: &Device,
        dtype: DType,
        rows: usize,
        cols: usize,
        value: impl Fn(usize) -> f64 + Sync,
    ) -> Result<Tensor> {
        if *device != Device::Cpu || dtype.is_half() {
            let values: Vec<f64> = (0..rows * cols).map(value).collect();
            return Tensor::from_f64(device, dtype, rows, cols, &values);
        }
        let mut t = Tensor::empty(device, dtype, rows, cols)?;
        dispatch_float!(dtype, T => parallel::for_chunks(t.host_mut::<T>(), |at, values| {
            values.iter_mut().enumerate().for_each(|(i, x)| *x = T::of(value(at + i)));
        }));
        Ok(t)
    }

    fn check_len(rows: usize, cols: usize, len: usize) -> Result<()> {
        match rows * cols == len {
            true => Ok(()),
            false => Err(Error::shape("tensor", format!("{rows} x {cols} values"), format!("{len}"))),
        }
    }

    pub fn zeros_like(&self) -> Result<Tensor> {
        Tensor::zeros(&self.device(), self.dtype(), self.rows, self.cols)
    }

    /// An uninitialized matrix of another shape, beside this one and of its type.
    pub fn empty_like(&self, rows: usize, cols: usize) -> Result<Tensor> {
        Tensor::empty(&self.device(), self.dtype(), rows, cols)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dtype(&self) -> DType {
        match &*self.data {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::Bf16(_) => DType::Bf16,
            Data::F16(_) => DType::F16,
            Data::Gpu(_, dtype) => *dtype,
        }
    }

    pub fn device(&self) -> Device {
        match &*self.data {
            Data::Gpu(buffer, _) => Device::Gpu(buffer.gpu().clone()),
            _ => Device::Cpu,
        }
    }

    pub fn gpu(&self) -> Option<&Gpu> {
        match &*self.data {
            Data::Gpu(buffer, _) => Some(buffer.gpu()),
            _ => None,
        }
    }

    /// The same values under another shape of the same size.
    pub fn reshape(&self, rows: usize, cols: usize) -> Result<Tensor> {
        Self::check_len(rows, cols, self.len())?;
        Ok(Tensor { data: self.data.clone(), rows, cols })
    }

    /// The values in host memory. The op has matched device and dtype before it asks.
    pub fn host<T: Element>(&self) -> &[T] {
        host_slice!(&*self.data, T, v => bytemuck::cast_slice(v.as_slice()), {
            panic!("host() with another type or device than the tensor's: the op mixed them")
        })
    }

    pub fn host_mut<T: Element>(&mut self) -> &mut [T] {
        self.unshare_host();
        let Some(data) = Arc::get_mut(&mut self.data) else { unreachable!("unshared above") };
        host_slice!(data, T, v => bytemuck::cast_slice_mut(v.as_mut_slice()), {
            panic!("host_mut() with another type or device than the tensor's")
        })
    }

    /// As `host_mut`, for who can write instead of adding: true says that the tensor is zero and that its values are
    /// undefined here, so that all of them must be written.
    pub fn host_overwrite<T: Element>(&mut self) -> (&mut [T], bool) {
        self.unshare_host();
        let Some(data) = Arc::get_mut(&mut self.data) else { unreachable!("unshared above") };
        host_slice!(data, T, v => {
            let (values, fresh) = v.overwrite();
            (bytemuck::cast_slice_mut(values), fresh)
        }, panic!("host_overwrite() with another type or device than the tensor's"))
    }

    /// Whether these are zeros in host memory that nobody has written or looked at. False says nothing.
    pub fn is_untouched(&self) -> bool {
        with_data!(&*self.data, v => v.is_zero(), Data::Gpu(..) => false)
    }

    fn unshare_host(&mut self) {
        if Arc::get_mut(&mut self.data).is_none() {
            let (is_zero, len) = (self.is_untouched(), self.len());
            let copy = match &*self.data {
                Data::F32(v) => Data::F32(copied(v, is_zero, len)),
                Data::F64(v) => Data::F64(copied(v, is_zero, len)),
                Data::Bf16(v) => Data::Bf16(copied(v, is_zero, len)),
                Data::F16(v) => Data::F16(copied(v, is_zero, len)),
                Data::Gpu(..) => return,
            };
            self.data = Arc::new(copy);
        }
    }

    pub fn address(&self) -> u64 {
        match &*self.data {
            Data::Gpu(buffer, _) => buffer.address(),
            _ => panic!("address() of a tensor on the CPU: the op mixed devices"),
        }
    }

    /// The memory of a tensor on a GPU.
    pub fn buffer(&self) -> Option<&GpuBuffer> {
        match &*self.data {
            Data::Gpu(buffer, _) => Some(buffer),
            _ => None,
        }
    }

    pub fn address_mut(&mut self) -> u64 {
        assert!(Arc::get_mut(&mut self.data).is_some(), "a kernel would write to a shared tensor");
        self.address()
    }

    /// Makes this tensor the only owner of its memory, so that a kernel may write to it.
    pub fn make_unique(&mut self) -> Result<()> {
        self.unshare_host();
        if Arc::get_mut(&mut self.data).is_none()
            && let Data::Gpu(buffer, dtype) = &*self.data
        {
            self.data = Arc::new(Data::Gpu(buffer.duplicate()?, *dtype));
        }
        Ok(())
    }

    /// A copy in host memory as f32.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        Ok(match &*self.data {
            Data::F32(v) => v.as_slice().to_vec(),
            Data::F64(v) => v.as_slice().iter().map(|&x| x as f32).collect(),
            Data::Bf16(v) => v.as_slice().iter().map(|x| x.load()).collect(),
            Data::F16(v) => v.as_slice().iter().map(|x| x.load()).collect(),
            Data::Gpu(buffer, DType::Bf16) => buffer.read::<bf16>()?.iter().map(|x| x.load()).collect(),
            Data::Gpu(buffer, DType::F16) => buffer.read::<f16>()?.iter().map(|x| x.load()).collect(),
            Data::Gpu(buffer, _) => buffer.read()?,
        })
    }

    pub fn to_f64(&self) -> Result<Vec<f64>> {
        Ok(match &*self.data {
            Data::F64(v) => v.as_slice().to_vec(),
            _ => self.to_vec()?.into_iter().map(f64::from).collect(),
        })
    }

    /// The values of several tensors of one device, f32 on a GPU, in one transfer: a GPU finishes all its work before
    /// each.
    pub fn read_all(tensors: &[&Tensor]) -> Result<Vec<Vec<f64>>> {
        let Some(gpu) = tensors.first().and_then(|t| t.gpu()) else {
            return tensors.iter().map(|t| t.to_f64()).collect();
        };
        let mut parts = vec![];
        for t in tensors {
            match &*t.data {
                Data::Gpu(buffer, DType::F32) => parts.push(buffer),
                _ => return Err(Error::shape("read", "tensors of f32 on one GPU", format!("{t:?}"))),
            }
        }
        let all: Vec<f32> = GpuBuffer::concatenated(gpu, &parts)?.read()?;
        let mut rest = &all[..];
        let cut = |t: &&Tensor| {
            let (values, after) = rest.split_at(t.len());
            rest = after;
            values.iter().map(|&x| f64::from(x)).collect()
        };
        Ok(tensors.iter().map(cut).collect())
    }

    /// The value of a 1 x 1 tensor.
    pub fn scalar(&self) -> Result<f64> {
        Self::check_len(1, 1, self.len())?;
        Ok(self.to_f64()?[0])
    }

    pub fn to_device(&self, device: &Device) -> Result<Tensor> {
        if self.device() == *device {
            return Ok(self.clone());
        }
        let dtype = if self.dtype().is_half() { self.dtype() } else { DType::F32 };
        let mut t = Tensor::empty(device, dtype, self.rows, self.cols)?;
        t.write(&self.to_vec()?)?;
        Ok(t)
    }

    /// Writes all values, in row-major order and rounded from f32 to the tensor's type, where they are: the memory
    /// stays, for recorded work that reads it. A shared tensor gets memory of its own first.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        Self::check_len(self.rows, self.cols, values.len())?;
        self.make_unique()?;
        match Arc::get_mut(&mut self.data) {
            Some(Data::F32(v)) => v.as_mut_slice().copy_from_slice(values),
            Some(Data::F64(v)) => {
                v.as_mut_slice().iter_mut().zip(values).for_each(|(v, x)| *v = f64::from(*x));
            }
            Some(Data::Bf16(v)) => Element::round(values, v.as_mut_slice()),
            Some(Data::F16(v)) => Element::round(values, v.as_mut_slice()),
            Some(Data::Gpu(buffer, DType::Bf16)) => buffer.write(&rounded::<bf16>(values))?,
            Some(Data::Gpu(buffer, DType::F16)) => buffer.write(&rounded::<f16>(values))?,
            Some(Data::Gpu(buffer, _)) => buffer.write(values)?,
            None => unreachable!("unshared above"),
        }
        Ok(())
    }

    /// Takes another tensor's values. On a GPU they are copied to where this one's are: the memory stays, for recorded
    /// work that reads it. A shared tensor gets memory of its own first.
    pub fn assign(&mut self, other: &Tensor) -> Result<()> {
        if self.shape() != other.shape() || self.dtype() != other.dtype() {
            return Err(Error::shape("assign", format!("{self:?}"), format!("{other:?}")));
        }
        if let Data::Gpu(from, _) = &*other.data {
            self.make_unique()?;
            return match Arc::get_mut(&mut self.data) {
                Some(Data::Gpu(to, _)) => to.copy_from(from),
                _ => Err(Error::shape("assign", "tensors of one device", "of two")),
            };
        }
        *self = other.clone();
        Ok(())
    }

    pub fn fill_zero(&mut self) -> Result<()> {
        if self.gpu().is_none() {
            *self = self.zeros_like()?;
            return Ok(());
        }
        self.make_unique()?;
        match Arc::get_mut(&mut self.data) {
            Some(Data::Gpu(buffer, _)) => buffer.fill_zero(),
            _ => Ok(()),
        }
    }

    /// self += alpha * other, element by element.
    pub fn add_scaled(&mut self, alpha: f64, other: &Tensor) -> Result<()> {
        if self.len() != other.len() {
            return Err(Error::shape("add", format!("{:?}", self.shape()), format!("{:?}", other.shape())));
        }
        if self.dtype().is_half() || other.dtype().is_half() {
            return Err(Error::shape("add", "f32 or f64", format!("{self:?} and {other:?}")));
        }
        if alpha == 1.0 && self.is_untouched() && self.dtype() == other.dtype() {
            *self = other.reshape(self.rows, self.cols)?;
            return Ok(());
        }
        self.make_unique()?;
        if let Some(gpu) = self.gpu().cloned() {
            let n = self.len() as u64;
            return gpu
                .launch(super::device::kernels::AXPY, super::device::Grid::cover(self.len(), 256))
                .tensor_mut(self)
                .tensor(other)
                .value(alpha as f32)
                .value(n)
                .run();
        }
        dispatch_float!(self.dtype(), T => {
            let x = other.host::<T>();
            parallel::for_chunks(self.host_mut::<T>(), |at, y| parallel::axpy(T::of(alpha), &x[at..at + y.len()], y));
        });
        Ok(())
    }
}

/// A buffer of its own with the values of `v`; zeros stay unwritten.
fn copied<T: Element>(v: &Buffer<T>, is_zero: bool, len: usize) -> Buffer<T> {
    if is_zero { Buffer::zeros(len) } else { Buffer::from_slice(v.as_slice()) }
}

fn rounded<T: Element<Acc = f32>>(values: &[f32]) -> Vec<T> {
    let mut out = vec![T::default(); values.len()];
    T::round(values, &mut out);
    out
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} x {}, {:?})", self.rows, self.cols, self.dtype())
    }
}

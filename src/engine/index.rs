//! Integer vectors beside the tensors: row ids, offsets, labels of edges.

use std::sync::Arc;

use bytemuck::Pod;

use super::device::{Device, GpuBuffer};
use super::memory::Allocation;
use base::Result;

/// An immutable vector of integers. The host copy is always there (schedules are built from it); on a GPU a
/// device copy stands beside it.
#[derive(Clone)]
pub struct Index<T> {
    host: Arc<(Vec<T>, Allocation)>,
    gpu: Option<Arc<GpuBuffer>>,
}

impl<T: Pod + Send + Sync> Index<T> {
    pub fn new(device: &Device, values: Vec<T>) -> Result<Self> {
        let gpu = match device {
            Device::Cpu => None,
            Device::Gpu(gpu) => Some(Arc::new(gpu.upload(&values)?)),
        };
        let held = Allocation::lists(size_of_val(&values[..]));
        Ok(Index { host: Arc::new((values, held)), gpu })
    }

    pub fn host(&self) -> &[T] {
        &self.host.0
    }

    pub fn len(&self) -> usize {
        self.host.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.host.0.is_empty()
    }

    pub fn address(&self) -> u64 {
        self.gpu.as_ref().expect("an index of the CPU in a launch: the op mixed devices").address()
    }
}

impl<T> std::fmt::Debug for Index<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({})", self.host.0.len())
    }
}

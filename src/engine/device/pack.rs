//! Uploads gathered: what a step sends to a GPU goes in one transfer, and in the steps after it to the same addresses.
//!
//! Work that is recorded once and replayed reads its inputs where the first step had put them. So the inputs of a step
//! are made in one place, `Gpu::pack`; made again by `Gpu::restage`, they overwrite those of the step before, if they
//! have the same sizes.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Gpu, GpuBuffer};
use base::{Error, Result};

/// Least bytes of a block.
const BLOCK: usize = 1 << 20;
/// As `Driver::allocate` aligns.
const ALIGN: usize = 256;

/// Device memory that uploads share, and their sizes in order.
pub struct StagedInputs {
    blocks: Vec<Arc<GpuBuffer>>,
    sizes: Vec<usize>,
}

impl StagedInputs {
    /// Whether the uploads had the sizes of another's.
    pub fn same_sizes(&self, other: &StagedInputs) -> bool {
        self.sizes == other.sizes
    }
}

/// Uploads that are being gathered.
pub(super) struct Packing {
    /// Device memory with what goes there.
    blocks: Vec<(Arc<GpuBuffer>, Vec<u8>)>,
    sizes: Vec<usize>,
    /// Blocks of before, in which the uploads must fit again.
    into: Option<Vec<Arc<GpuBuffer>>>,
}

impl Packing {
    /// Takes an upload in; returns its block and its place there.
    fn place(&mut self, gpu: &Gpu, data: &[u8]) -> Result<(Arc<GpuBuffer>, usize)> {
        let fits = |(buffer, bytes): &(Arc<GpuBuffer>, Vec<u8>)| {
            bytes.len().next_multiple_of(ALIGN) + data.len() <= buffer.bytes()
        };
        if !self.blocks.last().is_some_and(fits) {
            let given = self.into.as_ref().and_then(|into| into.get(self.blocks.len()));
            let buffer = match given.filter(|buffer| data.len() <= buffer.bytes()) {
                Some(buffer) => buffer.clone(),
                None => Arc::new(gpu.allocate(data.len().max(BLOCK))?),
            };
            self.blocks.push((buffer, vec![]));
        }
        let last = self.blocks.len() - 1;
        let (buffer, bytes) = &mut self.blocks[last];
        let at = bytes.len().next_multiple_of(ALIGN);
        bytes.resize(at, 0);
        bytes.extend_from_slice(data);
        self.sizes.push(data.len());
        Ok((buffer.clone(), at))
    }

    fn send(&self, gpu: &Gpu) -> Result<()> {
        for (buffer, bytes) in self.blocks.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            // SAFETY: a block holds at least the bytes that were placed in it, and it is written by nobody else: its
            // other owners only read.
            unsafe { gpu.driver().upload(buffer.address(), bytes)? };
        }
        Ok(())
    }
}

impl Gpu {
    fn packing(&self) -> MutexGuard<'_, Option<Packing>> {
        self.0.packing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gathers the uploads that `work` makes, in their order, and sends them when it is done. `work` uses this GPU from
    /// one thread, with nobody else, and only to upload: a launch or a download is `Error::Device`.
    pub fn pack<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, StagedInputs)> {
        let (value, packing) = self.gather(None, work)?;
        packing.send(self)?;
        let blocks = packing.blocks.into_iter().map(|(buffer, _)| buffer).collect();
        Ok((value, StagedInputs { blocks, sizes: packing.sizes }))
    }

    /// As `pack`, to the places of an earlier one. `None`, with nothing sent, where the uploads have other sizes than
    /// they had then.
    pub fn restage<T>(&self, packed: &StagedInputs, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        let (value, packing) = self.gather(Some(packed.blocks.clone()), work)?;
        if packing.sizes != packed.sizes {
            return Ok(None);
        }
        packing.send(self)?;
        Ok(Some(value))
    }

    fn gather<T>(&self, into: Option<Vec<Arc<GpuBuffer>>>, work: impl FnOnce() -> Result<T>) -> Result<(T, Packing)> {
        {
            let mut packing = self.packing();
            if packing.is_some() {
                return Err(Error::device("uploads gathered within a gathering", "end the first one"));
            }
            *packing = Some(Packing { blocks: vec![], sizes: vec![], into });
        }
        let outcome = work();
        let packing = self.packing().take();
        match (outcome, packing) {
            (Ok(value), Some(packing)) => Ok((value, packing)),
            (Err(error), _) => Err(error),
            (Ok(_), None) => Err(Error::device("gathered uploads were lost", "report this")),
        }
    }

    /// Where an upload lies that is gathered; `None` where none are.
    pub(super) fn packed(&self, data: &[u8]) -> Result<Option<(Arc<GpuBuffer>, usize)>> {
        // Taken out meanwhile: placing may allocate, which must not meet this lock.
        let Some(mut packing) = self.packing().take() else { return Ok(None) };
        let place = packing.place(self, data);
        *self.packing() = Some(packing);
        place.map(Some)
    }

    /// Fails while uploads are gathered: what reads memory now would miss them.
    pub(super) fn not_packing(&self, doing: &str) -> Result<()> {
        match *self.packing() {
            None => Ok(()),
            Some(_) => Err(Error::device(format!("{doing} while uploads are gathered"), "report this")),
        }
    }
}

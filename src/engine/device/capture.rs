//! Work recorded once and replayed: a CUDA graph, with the memory that it touches held for it.
//!
//! A replay runs the same kernels with the same arguments on the same addresses. So
//! * memory allocated while recording belongs to the recording, and a block freed there is used again there alone:
//!   work goes in order, in each replay as in the first;
//! * memory that was there before, and may be read by the recording, is not given back while the recording lives;
//! * what is uploaded while recording is kept, and is the same in each replay. What shall differ is written from
//!   outside, into a tensor that was there before (`Tensor::write`).
//!
//! Numbers that go into a launch as values are recorded, too: those that change from step to step must stand in memory
//! (`Gpu::pack` sends them). Training steps are recorded so by `train::TrainStep`.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Gpu, driver::Graph};
use base::{Error, Result};

/// Recorded work and its memory. Dropped, it gives back what nobody else holds.
pub struct CapturedGraph {
    graph: Box<dyn Graph>,
    gpu: Gpu,
    /// Keeps the recording's memory, with the buffers that came out of it.
    _pool: Arc<Pool>,
    began: u64,
}

impl CapturedGraph {
    /// Queues the recorded work once more.
    pub fn replay(&self) -> Result<()> {
        self.graph.launch()
    }
}

impl Drop for CapturedGraph {
    fn drop(&mut self) {
        let mut state = self.gpu.captures();
        if let Some(at) = state.living.iter().position(|began| *began == self.began) {
            state.living.swap_remove(at);
        }
        let last = state.living.iter().copied().max().unwrap_or(0);
        let (keep, free): (Vec<Kept>, Vec<Kept>) =
            std::mem::take(&mut state.kept).into_iter().partition(|kept| kept.serial < last);
        state.kept = keep;
        drop(state);
        for kept in free {
            // SAFETY: allocated by this driver; its buffer was dropped before, and no recording is left that reads it.
            unsafe { self.gpu.driver().free(kept.address, kept.bytes) };
        }
    }
}

/// What a GPU knows of recordings.
#[derive(Default)]
pub(super) struct Captures {
    /// Of the recording that goes on now.
    pool: Option<Arc<Pool>>,
    /// When each recording that lives began, in serial numbers of buffers.
    living: Vec<u64>,
    /// Dropped buffers that a recording may read.
    kept: Vec<Kept>,
}

struct Kept {
    address: u64,
    bytes: usize,
    serial: u64,
}

/// The memory of one recording.
pub(super) struct Pool {
    gpu: Gpu,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    all: Vec<(u64, usize)>,
    /// Freed while recording, by size.
    free: HashMap<usize, Vec<u64>>,
    recording: bool,
}

impl Pool {
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let mut blocks = self.blocks();
        if let Some(address) = blocks.free.get_mut(&bytes).and_then(Vec::pop) {
            return Ok(address);
        }
        let address = self.gpu.driver().allocate(bytes)?;
        blocks.all.push((address, bytes));
        Ok(address)
    }

    /// A buffer of the recording was dropped: its block is free for the rest of the recording, and after it stays as
    /// it is.
    pub(super) fn release(&self, address: u64, bytes: usize) {
        let mut blocks = self.blocks();
        if blocks.recording {
            blocks.free.entry(bytes).or_default().push(address);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (address, bytes) in std::mem::take(&mut self.blocks().all) {
            // SAFETY: allocated by this driver; every buffer and the recording held this pool, so none is left.
            unsafe { self.gpu.driver().free(address, bytes) };
        }
    }
}

impl Gpu {
    fn captures(&self) -> MutexGuard<'_, Captures> {
        self.0.captures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what `work` queues, without running it: tensors that come out of it hold values after the first
    /// `replay`. Run the same work once before, so that its kernels are loaded. `work` must use this GPU from one
    /// thread, with nobody else, and may not wait for results. `Error::Device` where it does, where the driver cannot
    /// record, or within another recording; nothing is recorded then.
    pub fn capture<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, CapturedGraph)> {
        let pool =
            Arc::new(Pool { gpu: self.clone(), blocks: Mutex::new(Blocks { recording: true, ..Default::default() }) });
        let began = self.0.serial.fetch_add(1, Ordering::Relaxed);
        {
            let mut state = self.captures();
            if state.pool.is_some() {
                return Err(Error::device("a recording within a recording", "end the first one"));
            }
            self.driver().begin_capture()?;
            state.pool = Some(pool.clone());
            state.living.push(began);
        }
        let outcome = work();
        let graph = self.driver().end_capture();
        self.captures().pool = None;
        pool.blocks().recording = false;
        let discard = |error| {
            self.captures().living.retain(|other| *other != began);
            error
        };
        match (outcome, graph) {
            (Ok(value), Ok(graph)) => Ok((value, CapturedGraph { graph, gpu: self.clone(), _pool: pool, began })),
            (Err(error), _) | (_, Err(error)) => Err(discard(error)),
        }
    }

    /// An address for a new buffer, and the pool that owns it where a recording goes on.
    pub(super) fn block(&self, bytes: usize) -> Result<(u64, Option<Arc<Pool>>)> {
        // Cloned: the pool asks the driver without this lock.
        let pool = self.captures().pool.clone();
        match pool {
            Some(pool) => Ok((pool.allocate(bytes)?, Some(pool))),
            None => Ok((self.driver().allocate(bytes)?, None)),
        }
    }

    /// Gives back the memory of a buffer that is dropped, or keeps it for the recordings that began after it was made.
    pub(super) fn give_back(&self, address: u64, bytes: usize, serial: u64) {
        let mut state = self.captures();
        if state.living.iter().any(|began| serial < *began) {
            state.kept.push(Kept { address, bytes, serial });
            return;
        }
        drop(state);
        // SAFETY: allocated by this driver with this size; nobody else has the address after this.
        unsafe { self.driver().free(address, bytes) };
    }
}

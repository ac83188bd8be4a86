//! Host memory of tensors, used again from step to step.
//!
//! A training step asks for the same sizes as the one before. Fresh memory would cost a page fault every 4 KiB,
//! several times the arithmetic; so freed blocks wait here for the next request of their size class. Large blocks
//! ask the kernel for huge pages, without which gathers of random rows miss the TLB at every row.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, OnceLock};

use memmap2::MmapMut;

use super::real::{DType, Real};

/// Blocks below this many elements come from the ordinary allocator.
const SMALL: usize = 4096;
/// Bytes from which a block is a mapping of its own: the size of a huge page.
const LARGE: usize = 2 << 20;
/// Most bytes that wait unused, unless as much was in use at some time.
const KEEP: usize = 512 << 20;

enum Block<T> {
    Heap(Vec<T>),
    Map(MmapMut),
}

impl<T: Real> Block<T> {
    fn new(len: usize) -> Block<T> {
        if len * size_of::<T>() >= LARGE
            && let Ok(map) = MmapMut::map_anon(len * size_of::<T>())
        {
            // A hint: without huge pages the memory is as good, but slower.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Block::Map(map);
        }
        Block::Heap(vec![T::zero(); len])
    }

    fn as_slice(&self) -> &[T] {
        match self {
            Block::Heap(values) => values,
            Block::Map(map) => bytemuck::cast_slice(map),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Block::Heap(values) => values,
            Block::Map(map) => bytemuck::cast_slice_mut(map),
        }
    }

    /// The same memory for another type of the same size.
    fn cast<U: Real>(self) -> Block<U> {
        match self {
            Block::Heap(values) => Block::Heap(bytemuck::allocation::cast_vec(values)),
            Block::Map(map) => Block::Map(map),
        }
    }
}

#[derive(Default)]
struct Pool {
    blocks: HashMap<usize, Vec<Block<f32>>>,
    /// Bytes that wait, bytes in use, and the most that were in use.
    waiting: usize,
    used: usize,
    peak: usize,
}

impl Pool {
    /// A block of `size` elements that was used before.
    fn take(&mut self, size: usize) -> Option<Block<f32>> {
        self.used += size * 4;
        self.peak = self.peak.max(self.used);
        let block = self.blocks.get_mut(&size)?.pop();
        if block.is_some() {
            self.waiting -= size * 4;
        } else {
            // Sizes changed: what waits must not add to what is used beyond what was ever needed.
            self.shrink(size);
        }
        block
    }

    fn give(&mut self, size: usize, block: Block<f32>) {
        self.used = self.used.saturating_sub(size * 4);
        self.waiting += size * 4;
        self.blocks.entry(size).or_default().push(block);
        self.shrink(size);
    }

    /// Frees blocks of other sizes, then of this one, until what waits is within bounds.
    fn shrink(&mut self, size: usize) {
        let bound = KEEP.max(self.peak.saturating_sub(self.used));
        while self.waiting > bound {
            let others = self.blocks.iter().filter(|(s, blocks)| **s != size && !blocks.is_empty());
            let from = others.map(|(s, _)| *s).max().unwrap_or(size);
            let Some(_) = self.blocks.get_mut(&from).and_then(Vec::pop) else { return };
            self.waiting -= from * 4;
        }
    }
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(|| {
    keep_freed_memory();
    Mutex::default()
});

/// Has the C library keep what vectors free. glibc takes blocks from the kernel, and gives them back, from a size on
/// that follows the largest such block that was freed, up to 32 MiB; until then the ids of every batch, several megabytes,
/// cost page faults again. The block here is never touched and so costs nothing.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity((32 << 20) - (64 << 10))));
}

/// `len` elements. A buffer of zeros has no memory until it is looked at.
pub struct Buffer<T: Real> {
    /// At least `len` elements, all initialised.
    block: OnceLock<Block<T>>,
    len: usize,
}

impl<T: Real> Buffer<T> {
    /// `len` elements of undefined value (initialised memory, but not by the caller). In debug builds they are
    /// NaN, so that an output that is not written in full shows.
    pub fn stale(len: usize) -> Self {
        Buffer { block: OnceLock::from(stale_block(len)), len }
    }

    /// Zeros, written when they are first asked for: who overwrites them all (`overwrite`) saves that.
    pub fn zeros(len: usize) -> Self {
        Buffer { block: OnceLock::new(), len }
    }

    pub fn from_slice(values: &[T]) -> Self {
        let mut buffer = Self::stale(values.len());
        buffer.as_mut_slice().copy_from_slice(values);
        buffer
    }

    fn block(&self) -> &Block<T> {
        self.block.get_or_init(|| {
            let mut block = stale_block(self.len);
            block.as_mut_slice()[..self.len].fill(T::zero());
            block
        })
    }

    pub fn as_slice(&self) -> &[T] {
        &self.block().as_slice()[..self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.block();
        self.overwrite().0
    }

    /// The elements, and whether they are zeros that were never written: then their values are undefined here, and
    /// the caller writes them all.
    pub fn overwrite(&mut self) -> (&mut [T], bool) {
        let fresh = self.block.get().is_none();
        self.block.get_or_init(|| stale_block(self.len));
        let block = self.block.get_mut().map_or(&mut [][..], Block::as_mut_slice);
        (&mut block[..self.len], fresh)
    }

    /// Whether these are zeros that were never written.
    pub fn is_zero(&self) -> bool {
        self.block.get().is_none()
    }
}

fn stale_block<T: Real>(len: usize) -> Block<T> {
    let size = if len >= SMALL { class(len) } else { len };
    let old = match T::DTYPE {
        DType::F32 if len >= SMALL => POOL.lock().ok().and_then(|mut pool| pool.take(size)),
        _ => None,
    };
    let mut block = old.map_or_else(|| Block::new(size), Block::cast);
    if cfg!(debug_assertions) {
        block.as_mut_slice().fill(T::nan());
    }
    block
}

/// Sizes are rounded up to an eighth of a power of two: at most 12.5 % is wasted, and sizes that vary a little
/// from step to step (edges of a batch) share a class.
fn class(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 16).max(1))
}

impl<T: Real> Drop for Buffer<T> {
    fn drop(&mut self) {
        if T::DTYPE != DType::F32 || self.len < SMALL {
            return;
        }
        let Some(block) = self.block.take() else { return };
        if let Ok(mut pool) = POOL.lock() {
            pool.give(class(self.len), block.cast());
        }
    }
}

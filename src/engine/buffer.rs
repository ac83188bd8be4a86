//! Host memory of tensors, used again from step to step.
//!
//! A training step asks for the same sizes as the one before. Fresh memory would cost a page fault every 4 KiB,
//! several times the arithmetic; so freed blocks wait here for the next request of their size class. Large blocks
//! ask the kernel for huge pages, without which gathers of random rows miss the TLB at every row.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{LazyLock, Mutex, OnceLock};

use memmap2::MmapMut;

use super::memory::Usage;
use super::real::Element;

/// Blocks are made of words of this many bytes: what the widest elements need to be aligned.
const WORD: usize = size_of::<u64>();
/// Blocks below this many words come from the ordinary allocator.
const SMALL: usize = 2048;
/// Bytes from which a block is a mapping of its own: the size of a huge page.
const LARGE: usize = 2 << 20;
/// Most bytes that wait unused, unless what waits and what is used are within half again of the most that was in use at
/// some time. That much is for sizes that are not all in use at once: a training step over a whole graph, whose layers
/// have other sizes on the way back, spent a seventh of its time on pages that it had freed itself.
const KEEP: usize = 512 << 20;

enum Block {
    Heap(Vec<u64>),
    Map(MmapMut),
}

impl Block {
    fn new(words: usize) -> Block {
        if words * WORD >= LARGE
            && let Ok(map) = MmapMut::map_anon(words * WORD)
        {
            // A hint: without huge pages the memory is as good, but slower.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Block::Map(map);
        }
        Block::Heap(vec![0; words])
    }

    fn as_slice<T: Element>(&self) -> &[T] {
        match self {
            Block::Heap(words) => bytemuck::cast_slice(words),
            Block::Map(map) => bytemuck::cast_slice(map),
        }
    }

    fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        match self {
            Block::Heap(words) => bytemuck::cast_slice_mut(words),
            Block::Map(map) => bytemuck::cast_slice_mut(map),
        }
    }
}

/// Freed blocks, and how much is in use.
#[derive(Default)]
struct Pool {
    /// By words.
    blocks: HashMap<usize, Vec<Block>>,
    /// Bytes that wait, bytes in use, the most that were in use, and the most of both together.
    cached: usize,
    used: usize,
    peak: usize,
    peak_reserved: usize,
}

impl Pool {
    /// A block of `size` words that was used before; what is given back with it is to be freed.
    fn take(&mut self, size: usize) -> (Option<Block>, Vec<Block>) {
        self.used += size * WORD;
        self.peak = self.peak.max(self.used);
        let block = self.blocks.get_mut(&size).and_then(Vec::pop);
        let mut freed = vec![];
        if block.is_some() {
            self.cached -= size * WORD;
        } else {
            // Sizes changed: what waits of others is not kept beside it for ever.
            freed = self.shrink(size);
        }
        self.peak_reserved = self.peak_reserved.max(self.used + self.cached);
        (block, freed)
    }

    /// Gives all that waits, to be freed.
    fn empty_cache(&mut self) -> Vec<Block> {
        self.cached = 0;
        std::mem::take(&mut self.blocks).into_values().flatten().collect()
    }

    /// Takes a block back; what it gives is to be freed.
    fn give(&mut self, size: usize, block: Block) -> Vec<Block> {
        self.used = self.used.saturating_sub(size * WORD);
        self.cached += size * WORD;
        self.blocks.entry(size).or_default().push(block);
        self.shrink(size)
    }

    /// Takes out blocks of other sizes, then of this one, until what waits is within bounds.
    fn shrink(&mut self, size: usize) -> Vec<Block> {
        let bound = most_blocks(self.used, self.peak) - self.used;
        let mut freed = vec![];
        while self.cached > bound {
            let others = self.blocks.iter().filter(|(s, blocks)| **s != size && !blocks.is_empty());
            let from = others.map(|(s, _)| *s).max().unwrap_or(size);
            let Some(block) = self.blocks.get_mut(&from).and_then(Vec::pop) else { break };
            self.cached -= from * WORD;
            freed.push(block);
        }
        freed
    }
}

/// The most bytes of blocks, in use or cached, where `used` bytes are in use and the most that were is `peak`.
pub(super) fn most_blocks(used: usize, peak: usize) -> usize {
    (used + KEEP).max(peak + peak / 2)
}

/// Bytes of the block of a tensor of `bytes` bytes.
pub(super) fn block_bytes(bytes: usize) -> usize {
    words_of(bytes) * WORD
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

/// What the blocks of this process hold.
pub(super) fn usage() -> Usage {
    let pool = POOL.lock();
    let [tensors, tensors_peak, cached, peak_reserved] = pool.map_or([0; 4], |pool| {
        [pool.used, pool.peak, pool.cached, pool.peak_reserved].map(|bytes| bytes as u64)
    });
    Usage { tensors, tensors_peak, cached, peak_reserved, lists: 0, lists_peak: 0 }
}

/// Frees the blocks that wait: what comes next asks for other sizes.
pub(super) fn empty_cache() {
    // Freed after the lock, for it takes a while.
    let freed = POOL.lock().map(|mut pool| pool.empty_cache());
    drop(freed);
}

/// As `empty_cache`, and counts the most anew.
pub(super) fn reset_peak_stats() {
    let freed = POOL.lock().map(|mut pool| {
        let freed = pool.empty_cache();
        (pool.peak, pool.peak_reserved) = (pool.used, pool.used);
        freed
    });
    drop(freed);
}

/// `len` elements. A buffer of zeros has no memory until it is looked at.
pub struct Buffer<T: Element> {
    /// At least `len` elements, all initialized.
    block: OnceLock<Block>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// `len` elements of undefined value (initialized memory, but not by the caller). In debug builds they are
    /// NaN, so that an output that is not written in full shows.
    pub fn stale(len: usize) -> Self {
        let buffer = Self::zeros(len);
        buffer.block.get_or_init(|| buffer.stale_block().0);
        buffer
    }

    /// Zeros, written when they are first asked for: who overwrites them all (`overwrite`) saves that.
    pub fn zeros(len: usize) -> Self {
        Buffer { block: OnceLock::new(), len, of: PhantomData }
    }

    pub fn from_slice(values: &[T]) -> Self {
        let mut buffer = Self::stale(values.len());
        buffer.as_mut_slice().copy_from_slice(values);
        buffer
    }

    fn block(&self) -> &Block {
        self.block.get_or_init(|| {
            let (mut block, zero) = self.stale_block();
            if !zero {
                block.as_mut_slice::<T>()[..self.len].fill(T::zeroed());
            }
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
        self.block.get_or_init(|| self.stale_block().0);
        let block = self.block.get_mut().map_or(&mut [][..], Block::as_mut_slice);
        (&mut block[..self.len], fresh)
    }

    /// Whether these are zeros that were never written.
    pub fn is_zero(&self) -> bool {
        self.block.get().is_none()
    }

    /// A block, and whether it is known to be all zeros: one from the system is. It has no memory before it is written,
    /// which threads then do for the parts that they work on, instead of one thread for gigabytes.
    fn stale_block(&self) -> (Block, bool) {
        let words = words::<T>(self.len);
        let (old, freed) = match words < SMALL {
            true => (None, vec![]),
            false => POOL.lock().map(|mut pool| pool.take(words)).unwrap_or_default(),
        };
        drop(freed);
        let fresh = old.is_none();
        let mut block = old.unwrap_or_else(|| Block::new(words));
        if cfg!(debug_assertions) {
            block.as_mut_slice().fill(T::NAN);
        }
        (block, fresh && !cfg!(debug_assertions))
    }
}

/// Words of a block for `len` elements. Sizes are rounded up to an eighth of a power of two: at most 12.5 % is wasted,
/// and sizes that vary a little from step to step (edges of a batch) share a class.
fn words<T: Element>(len: usize) -> usize {
    words_of(len * size_of::<T>())
}

fn words_of(bytes: usize) -> usize {
    let words = bytes.div_ceil(WORD);
    if words < SMALL { words } else { words.next_multiple_of((words.next_power_of_two() / 16).max(1)) }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        let words = words::<T>(self.len);
        if words < SMALL {
            return;
        }
        let Some(block) = self.block.take() else { return };
        let freed = POOL.lock().map(|mut pool| pool.give(words, block));
        drop(freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a training step does: some blocks of one size, then others of another in the place of half of them. Nobody
    /// touches the memory, so it costs address space alone.
    #[test]
    fn blocks_of_a_cycle_of_sizes_stay() {
        let mut pool = Pool::default();
        let [a, b] = [100 << 20, 99 << 20].map(|bytes| bytes / WORD);
        let fresh = |pool: &mut Pool, size: usize, count: usize| -> (Vec<Block>, usize) {
            let taken: Vec<Option<Block>> = (0..count).map(|_| pool.take(size).0).collect();
            let missing = taken.iter().filter(|block| block.is_none()).count();
            (taken.into_iter().map(|block| block.unwrap_or_else(|| Block::new(size))).collect(), missing)
        };
        let mut misses = vec![];
        for _ in 0..4 {
            let (mut first, one) = fresh(&mut pool, a, 8);
            first.drain(4..).for_each(|block| drop(pool.give(a, block)));
            let (second, two) = fresh(&mut pool, b, 4);
            first.into_iter().for_each(|block| drop(pool.give(a, block)));
            second.into_iter().for_each(|block| drop(pool.give(b, block)));
            misses.push(one + two);
        }
        assert_eq!(misses, [12, 0, 0, 0]);
        assert!(pool.cached <= pool.peak + pool.peak / 2);
    }

    #[test]
    fn blocks_beyond_what_was_in_use_are_freed() {
        let mut pool = Pool::default();
        let size = |i: usize| ((100 + i) << 20) / WORD;
        for i in 0..20 {
            let block = pool.take(size(i)).0.unwrap_or_else(|| Block::new(size(i)));
            pool.give(size(i), block);
        }
        assert!(pool.cached <= KEEP, "{} MiB wait", pool.cached >> 20);
    }
}

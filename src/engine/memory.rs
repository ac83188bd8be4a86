//! Bytes in host memory: in use, cached, and the most that there were.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of lists in host memory, and the most there were.
static LISTS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// A list in host memory, for the account: made beside it, and dropped with it.
#[derive(Debug)]
pub struct Allocation {
    bytes: usize,
}

impl Allocation {
    /// Lists of these many bytes.
    pub fn lists(bytes: usize) -> Allocation {
        let now = LISTS[0].fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        LISTS[1].fetch_max(now, Ordering::Relaxed);
        Allocation { bytes }
    }
}

impl Clone for Allocation {
    fn clone(&self) -> Allocation {
        Allocation::lists(self.bytes)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        LISTS[0].fetch_sub(self.bytes as u64, Ordering::Relaxed);
    }
}

/// Bytes in host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Of tensors, now, and the most there were.
    pub tensors: u64,
    pub tensors_peak: u64,
    /// Of freed tensors' blocks that wait for the next request, now, and the most of both together.
    pub cached: u64,
    pub peak_reserved: u64,
    /// Of lists: graphs, schedules, ids.
    pub lists: u64,
    pub lists_peak: u64,
}

/// Frees the cached blocks: between phases that have no sizes in common.
pub fn empty_cache() {
    super::buffer::empty_cache();
}

/// Frees the cached blocks, and counts all peaks anew.
pub fn reset_peak_stats() {
    super::buffer::reset_peak_stats();
    LISTS[1].store(LISTS[0].load(Ordering::Relaxed), Ordering::Relaxed);
}

/// What tensors and lists of this process hold in host memory.
pub fn usage() -> Usage {
    let [lists, lists_peak] = [0, 1].map(|i: usize| LISTS[i].load(Ordering::Relaxed));
    let [tensors, tensors_peak, cached, peak_reserved] = super::buffer::usage();
    Usage { tensors, tensors_peak, cached, peak_reserved, lists, lists_peak }
}

/// Bytes of the block that holds a tensor of `bytes` bytes on the CPU.
pub fn block_bytes(bytes: usize) -> usize {
    super::buffer::block_bytes(bytes)
}

/// The most bytes that tensors and cached blocks may hold together on the CPU, where tensors hold `used` and the most that
/// they held is `peak`.
pub fn most_blocks(used: usize, peak: usize) -> usize {
    super::buffer::most_blocks(used, peak)
}

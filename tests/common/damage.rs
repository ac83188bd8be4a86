//! Files as they come out of a bad copy, and the memory that reading one may take.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a byte is changed to, of all that it could be: what means something in some format.
pub const TELLING: [u8; 8] = [0, b'9', b'"', b'\n', b'-', b',', b'\t', 0xff];

/// Every truncation, and every byte changed to each of `values` that it is not.
pub fn damaged<'a>(good: &'a [u8], values: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + 'a {
    let cut = (0..good.len()).map(|length| good[..length].to_vec());
    let changed = (0..good.len()).flat_map(move |at| {
        values.iter().filter(move |value| **value != good[at]).map(move |&value| {
            let mut bad = good.to_vec();
            bad[at] = value;
            bad
        })
    });
    cut.chain(changed)
}

/// Writes a file in the place of another. A new one: to cut one off and fill it again, as `fs::write` does, has some file
/// systems wait for the disk.
pub fn put(path: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

/// All values, for the tests that take minutes: cargo test --release -- --ignored every_value
pub fn every_value() -> Vec<u8> {
    (0..=255).collect()
}

/// No file, however it is damaged, has a reader ask for more than twice its size and 64 MiB at once. Files of tests are
/// small, so this holds for all that a test program ever asked for. Call it when the damaged files have been read.
pub fn nothing_large_was_asked_for() {
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest > 0 && largest <= 64 << 20, "a block of {largest} bytes was asked for");
}

/// The system's allocator, which notes the largest block.
struct Noting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Noting = Noting;

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

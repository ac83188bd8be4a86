//! Host memory of tensors, used again from step to step.
//!
//! A training step asks for the same sizes as the one before. Fresh memory would cost a page fault every 4 KiB,
//! several times the arithmetic; so freed blocks wait here for the next request of their size class.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use super::real::{DType, Real};

/// Blocks below this many elements come from the ordinary allocator.
const SMALL: usize = 4096;
/// Most bytes that wait unused.
const KEEP: usize = 512 << 20;

#[derive(Default)]
struct Pool {
    blocks: HashMap<usize, Vec<Vec<f32>>>,
    bytes: usize,
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

pub struct Buffer<T: Real> {
    /// At least `len` elements, all initialised.
    block: Vec<T>,
    len: usize,
}

impl<T: Real> Buffer<T> {
    /// `len` elements of undefined value (initialised memory, but not by the caller). In debug builds they are
    /// NaN, so that an output that is not written in full shows.
    pub fn stale(len: usize) -> Self {
        let block = match T::DTYPE {
            DType::F32 if len >= SMALL => recycled(class(len)).map(bytemuck::allocation::cast_vec),
            _ => None,
        };
        let size = if len >= SMALL { class(len) } else { len };
        let mut buffer = Buffer { block: block.unwrap_or_else(|| vec![T::zero(); size]), len };
        if cfg!(debug_assertions) {
            buffer.as_mut_slice().fill(T::nan());
        }
        buffer
    }

    pub fn from_slice(values: &[T]) -> Self {
        let mut buffer = Self::stale(values.len());
        buffer.as_mut_slice().copy_from_slice(values);
        buffer
    }

    pub fn as_slice(&self) -> &[T] {
        &self.block[..self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.block[..self.len]
    }
}

/// Sizes are rounded up to an eighth of a power of two: at most 12.5 % is wasted, and sizes that vary a little
/// from step to step (edges of a batch) share a class.
fn class(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 16).max(1))
}

fn recycled(size: usize) -> Option<Vec<f32>> {
    let mut pool = POOL.lock().ok()?;
    let block = pool.blocks.get_mut(&size)?.pop()?;
    pool.bytes -= size * 4;
    Some(block)
}

impl<T: Real> Drop for Buffer<T> {
    fn drop(&mut self) {
        let size = self.block.len();
        if T::DTYPE != DType::F32 || size < SMALL {
            return;
        }
        let Ok(mut pool) = POOL.lock() else { return };
        if pool.bytes + size * 4 <= KEEP {
            pool.bytes += size * 4;
            let block = bytemuck::allocation::cast_vec(std::mem::take(&mut self.block));
            pool.blocks.entry(size).or_default().push(block);
        }
    }
}

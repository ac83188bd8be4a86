//! What several ops share on the CPU.

pub(crate) mod dense;
pub(crate) mod rows;
pub(crate) mod scatter;
pub(crate) mod segment;
pub(crate) mod stream;

use engine::{Real, Tensor};

/// Rows of some tensors, or of none: a chunk of rows of each.
pub(crate) type RowChunk<'a, T> = Vec<Option<&'a mut [T]>>;

/// `count` chunks of `rows` rows each of all the tensors; `None` for a tensor that is absent.
pub(crate) fn row_chunks<'a, T: Real>(
    tensors: impl IntoIterator<Item = Option<&'a mut Tensor>>,
    rows: usize,
    count: usize,
) -> Vec<RowChunk<'a, T>> {
    let mut chunks: Vec<RowChunk<T>> = vec![];
    chunks.resize_with(count, Vec::new);
    for tensor in tensors {
        let mut parts = tensor.map(|t| {
            let cols = t.cols();
            t.host_mut::<T>().chunks_mut((rows * cols).max(1))
        });
        let part = |parts: &mut Option<std::slice::ChunksMut<'a, T>>| {
            parts.as_mut().map(|parts| parts.next().unwrap_or_default())
        };
        chunks.iter_mut().for_each(|chunk| chunk.push(part(&mut parts)));
    }
    chunks
}

/// The values of tensors on the CPU.
pub(crate) fn hosts<'a, T: Real>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<&'a [T]> {
    tensors.into_iter().map(Tensor::host).collect()
}

//! Relation attention on a GPU: the launches of attend.cu and attend_backward.cu, or for rows of 16 bits attend_half.cu.

use super::attend::{HeadSide, RelationAttention, Saved, Upstream};
use super::for_rows_of;
use base::Result;
use engine::device::{Grid, Kernel, Launch, kernels};
use engine::{Gpu, Index, Tensor};
use graph::RowSplits;

const THREADS: u32 = 128;

/// The kernel for the type and the width of the rows: for 64 columns where that fits, else for any.
fn choose(x: &[&Tensor], rows_of_64: [Kernel; 3], any: [Kernel; 3]) -> Kernel {
    for_rows_of(x[2], if (x[2].cols(), x[0].cols()) == (64, 64) { rows_of_64 } else { any })
}

impl RelationAttention {
    fn pieces<'a>(&self, launch: Launch<'a>, pieces: &RowSplits, x: &[&Tensor]) -> Launch<'a> {
        pieces
            .arguments(launch)
            .count(x[2].cols())
            .count(x[0].cols())
            .value(self.slope.is_some() as i32)
            .value(self.slope.unwrap_or(0.0))
    }
}

/// Writes alpha and log_sum; returns agg.
pub(super) fn forward(
    op: &RelationAttention,
    gpu: &Gpu,
    x: &[&Tensor],
    saved: &Saved,
    alpha: &mut Tensor,
    log_sum: &mut Tensor,
) -> Result<Tensor> {
    let (g, n) = (&*op.graph, x[2].cols());
    // Heads without edges have no piece that would write their row.
    let mut agg = Tensor::zeros(&alpha.device(), alpha.dtype(), g.heads, n)?;
    let pieces = &g.head_pieces;
    if pieces.count() == 0 {
        return Ok(agg);
    }
    let slots = pieces.split.len();
    let (mut partial, mut stats) = (agg.empty_like(slots, n)?, agg.empty_like(slots, 2)?);
    let kernel = choose(
        x,
        [kernels::ATTEND_FORWARD_64, kernels::ATTEND_FORWARD_64_BF16, kernels::ATTEND_FORWARD_64_F16],
        [kernels::ATTEND_FORWARD_ANY, kernels::ATTEND_FORWARD_ANY_BF16, kernels::ATTEND_FORWARD_ANY_F16],
    );
    let launch = gpu
        .launch(kernel, Grid::warps(pieces.count(), THREADS))
        .tensor_mut(&mut agg)
        .tensor_mut(alpha)
        .tensor_mut(log_sum)
        .tensor_mut(&mut partial)
        .tensor_mut(&mut stats)
        .tensor(x[2])
        .tensor(x[0])
        .tensor(x[1])
        .tensor(&saved.s)
        .tensor(&saved.c)
        .tensor(x[5])
        .index(&g.tail)
        .index(&g.group)
        .index(&g.bucket);
    op.pieces(launch, pieces, x).value(1.0 / op.temperature).run()?;
    if slots > 0 {
        gpu.launch(kernels::ATTEND_FORWARD_MERGE, Grid::new(pieces.split_rows.len() as u32, THREADS))
            .tensor_mut(&mut agg)
            .tensor_mut(log_sum)
            .tensor_mut(&mut stats)
            .tensor(&partial)
            .index(&pieces.split_rows)
            .index(&pieces.of_row)
            .index(&pieces.slot)
            .count(n)
            .run()?;
        gpu.launch(kernels::ATTEND_WEIGHTS, Grid::warps(slots, THREADS))
            .tensor_mut(alpha)
            .tensor(&stats)
            .index(&pieces.split)
            .index(&pieces.begin)
            .index(&pieces.end)
            .count(slots)
            .run()?;
    }
    Ok(agg)
}

/// Adds to dU.
pub(super) fn head_backward(
    op: &RelationAttention,
    gpu: &Gpu,
    x: &[&Tensor],
    alpha: &Tensor,
    saved: &Saved,
    upstream: &Upstream,
    mut d_u: Option<&mut Tensor>,
) -> Result<HeadSide> {
    let (g, groups) = (&*op.graph, &op.graph.groups);
    let mut side = HeadSide {
        d: alpha.empty_like(g.edges(), 1)?,
        sum_s: alpha.empty_like(groups.count, 1)?,
        sum: alpha.empty_like(groups.count, 1)?,
    };
    let pieces = &groups.pieces;
    if pieces.count() == 0 {
        return Ok(side);
    }
    let k = x[0].cols().min(x[2].cols());
    let mut partial = alpha.empty_like(pieces.split.len(), k + 2)?;
    let kernel = choose(
        x,
        [
            kernels::ATTEND_HEAD_BACKWARD_64,
            kernels::ATTEND_HEAD_BACKWARD_64_BF16,
            kernels::ATTEND_HEAD_BACKWARD_64_F16,
        ],
        [
            kernels::ATTEND_HEAD_BACKWARD_ANY,
            kernels::ATTEND_HEAD_BACKWARD_ANY_BF16,
            kernels::ATTEND_HEAD_BACKWARD_ANY_F16,
        ],
    );
    let launch = gpu
        .launch(kernel, Grid::warps(pieces.count(), THREADS))
        .optional_mut(d_u.as_deref_mut())
        .tensor_mut(&mut side.d)
        .tensor_mut(&mut side.sum_s)
        .tensor_mut(&mut side.sum)
        .tensor_mut(&mut partial)
        .optional(upstream.agg)
        .optional(upstream.alpha)
        .tensor(alpha)
        .tensor(&upstream.inner)
        .tensor(x[2])
        .tensor(x[0])
        .tensor(x[1])
        .tensor(&saved.s)
        .tensor(&saved.c)
        .tensor(x[4])
        .index(&g.tail)
        .index(&groups.head)
        .index(&groups.relation);
    op.pieces(launch, pieces, x).value(1.0 / op.temperature).run()?;
    let along = (x[4], Some(&groups.relation));
    merge(gpu, pieces, d_u, &mut side.sum_s, Some(&mut side.sum), &partial, along, k)?;
    Ok(side)
}

/// Adds to dx_tail; returns (tails, 1) w_t, the gradient of s_t.
#[allow(clippy::too_many_arguments)]
pub(super) fn tail_backward(
    op: &RelationAttention,
    gpu: &Gpu,
    x: &[&Tensor],
    alpha: &Tensor,
    saved: &Saved,
    upstream: &Upstream,
    d: &Tensor,
    mut d_x: Option<&mut Tensor>,
) -> Result<Tensor> {
    let (g, n) = (&*op.graph, x[2].cols());
    let mut w = Tensor::zeros(&alpha.device(), alpha.dtype(), g.tails, 1)?;
    let pieces = &g.tail_pieces;
    if pieces.count() == 0 {
        return Ok(w);
    }
    let mut partial = alpha.empty_like(pieces.split.len(), n + 1)?;
    let kernel = choose(
        x,
        [
            kernels::ATTEND_TAIL_BACKWARD_64,
            kernels::ATTEND_TAIL_BACKWARD_64_BF16,
            kernels::ATTEND_TAIL_BACKWARD_64_F16,
        ],
        [
            kernels::ATTEND_TAIL_BACKWARD_ANY,
            kernels::ATTEND_TAIL_BACKWARD_ANY_BF16,
            kernels::ATTEND_TAIL_BACKWARD_ANY_F16,
        ],
    );
    let launch = gpu
        .launch(kernel, Grid::warps(pieces.count(), THREADS))
        .optional_mut(d_x.as_deref_mut())
        .tensor_mut(&mut w)
        .tensor_mut(&mut partial)
        .optional(upstream.agg)
        .tensor(alpha)
        .tensor(d)
        .tensor(x[2])
        .tensor(x[3])
        .tensor(x[0])
        .tensor(x[1])
        .tensor(&saved.s)
        .tensor(&saved.c)
        .index(&g.by_tail.edge)
        .index(&g.head)
        .index(&g.group);
    op.pieces(launch, pieces, x).run()?;
    merge(gpu, pieces, d_x, &mut w, None, &partial, (x[3], None), n)?;
    Ok(w)
}

/// Adds the partial rows of split rows, `k` columns and one or two scalars wide.
#[allow(clippy::too_many_arguments)]
fn merge(
    gpu: &Gpu,
    pieces: &RowSplits,
    out: Option<&mut Tensor>,
    first_sum: &mut Tensor,
    second_sum: Option<&mut Tensor>,
    partial: &Tensor,
    (along, along_row): (&Tensor, Option<&Index<u32>>),
    k: usize,
) -> Result<()> {
    if pieces.split_rows.is_empty() {
        return Ok(());
    }
    let kernel = for_rows_of(
        along,
        [
            kernels::ATTEND_BACKWARD_MERGE,
            kernels::ATTEND_BACKWARD_MERGE_BF16,
            kernels::ATTEND_BACKWARD_MERGE_F16,
        ],
    );
    gpu.launch(kernel, Grid::new(pieces.split_rows.len() as u32, THREADS))
        .optional_mut(out)
        .tensor_mut(first_sum)
        .optional_mut(second_sum)
        .tensor(partial)
        .tensor(along)
        .value(along_row.map_or(0, Index::address))
        .index(&pieces.split_rows)
        .index(&pieces.of_row)
        .index(&pieces.slot)
        .count(k)
        .count(along.cols())
        .run()
}

/// dbias[b] += the sum of dpi_e over the edges of bucket b.
pub(super) fn add_bucket_sums(
    op: &RelationAttention,
    gpu: &Gpu,
    d: &Tensor,
    d_bias: &mut Tensor,
) -> Result<()> {
    const CHUNK: usize = 4096;
    let (edges, buckets) = (d.rows(), d_bias.rows());
    let chunks = edges.div_ceil(CHUNK);
    if chunks == 0 || buckets == 0 {
        return Ok(());
    }
    let mut partial = d.empty_like(chunks, buckets)?;
    gpu.launch(kernels::ATTEND_BUCKET_SUMS, Grid::new(chunks as u32, 256))
        .tensor_mut(&mut partial)
        .tensor(d)
        .index(&op.graph.bucket)
        .value(edges as u64)
        .count(buckets)
        .count(CHUNK)
        .value(op.temperature)
        .run()?;
    gpu.launch(kernels::COLUMN_SUMS_MERGE, Grid::new(buckets.div_ceil(128) as u32, 128))
        .tensor_mut(d_bias)
        .tensor(&partial)
        .count(chunks)
        .count(buckets)
        .run()
}

//! Relation attention on a GPU: the launches of relation_attention.cu and relation_attention_backward.cu.

use super::inputs::{Attention, LogitGradients, OutputGradients, ProjectionDots};
use crate::for_rows_of;
use base::Result;
use engine::device::{Grid, Kernel, Launch, kernels::*};
use engine::{Gpu, Index, Tensor};
use graph::RowSplits;

const THREADS: u32 = 128;

impl Attention<'_> {
    /// A launch of the kernel for the type and the width of the rows: for 64 columns where that fits, else for any.
    fn launch<'g>(&self, gpu: &'g Gpu, splits: &RowSplits, of_64: [Kernel; 3], any: [Kernel; 3]) -> Launch<'g> {
        let kernel = for_rows_of(&self.x, if self.widths() == (64, 64) { of_64 } else { any });
        gpu.launch(kernel, Grid::warps(splits.count(), THREADS))
    }

    /// Adds the arguments that all passes have last.
    fn arguments<'g>(&self, launch: Launch<'g>, splits: &RowSplits) -> Launch<'g> {
        let (n, m) = self.widths();
        let launch = splits.arguments(launch).count(n).count(m);
        launch.value(self.slope.is_some() as i32).value(self.slope.unwrap_or(0.0))
    }

    /// `along` for the kernels of the backward pass, which read it, times sums that are zero, where nothing is
    /// projected.
    fn along(&self, along: &Tensor, rows: usize, like: &Tensor) -> Result<Tensor> {
        match self.projected {
            true => Ok(along.clone()),
            false => Tensor::zeros(&like.device(), along.dtype(), rows, like.cols()),
        }
    }
}

/// Writes alpha and log_sum; returns agg.
pub(super) fn forward(
    a: &Attention,
    gpu: &Gpu,
    dots: &ProjectionDots,
    alpha: &mut Tensor,
    log_sum: &mut Tensor,
) -> Result<Tensor> {
    let (g, n) = (a.graph, a.x.cols());
    // Destinations without edges have no split that would write their row.
    let mut agg = Tensor::zeros(&alpha.device(), alpha.dtype(), g.num_dst, n)?;
    let splits = &g.dst_splits;
    if splits.count() == 0 {
        return Ok(agg);
    }
    let slots = splits.split.len();
    let (mut partial, mut stats) = (agg.empty_like(slots, n)?, agg.empty_like(slots, 2)?);
    let launch = a
        .launch(gpu, splits, RELATION_ATTENTION_FWD_64_STORED, RELATION_ATTENTION_FWD_ANY_STORED)
        .tensor_mut(&mut agg)
        .tensor_mut(alpha)
        .tensor_mut(log_sum)
        .tensor_mut(&mut partial)
        .tensor_mut(&mut stats)
        .tensors([&a.x, &a.u, &a.o, &dots.s, &dots.c, &a.bias])
        .indices([&g.src, &g.group, &g.bucket]);
    a.arguments(launch, splits).value(1.0 / a.temperature).run()?;
    if slots > 0 {
        let launch = gpu
            .launch(RELATION_ATTENTION_FWD_MERGE, Grid::new(splits.split_rows.len() as u32, THREADS))
            .tensor_mut(&mut agg)
            .tensor_mut(log_sum)
            .tensor_mut(&mut stats)
            .tensor(&partial);
        splits.merge_arguments(launch).count(n).run()?;
        gpu.launch(RELATION_ATTENTION_WEIGHTS, Grid::warps(slots, THREADS))
            .tensor_mut(alpha)
            .tensor(&stats)
            .index(&splits.split)
            .index(&splits.begin)
            .index(&splits.end)
            .count(slots)
            .run()?;
    }
    Ok(agg)
}

/// Adds to dU.
pub(super) fn group_backward(
    a: &Attention,
    gpu: &Gpu,
    alpha: &Tensor,
    dots: &ProjectionDots,
    up: OutputGradients,
    inner: &Tensor,
    mut d_u: Option<&mut Tensor>,
) -> Result<LogitGradients> {
    let (g, groups) = (a.graph, &a.graph.groups);
    let mut grads = LogitGradients {
        d: alpha.empty_like(g.edges(), 1)?,
        sum_s: alpha.empty_like(groups.count, 1)?,
        sum: alpha.empty_like(groups.count, 1)?,
    };
    let splits = &groups.splits;
    if splits.count() == 0 {
        return Ok(grads);
    }
    let (n, m) = a.widths();
    let r_p = a.along(&a.r_p, g.relations, &a.u)?;
    let mut partial = alpha.empty_like(splits.split.len(), n.min(m) + 2)?;
    let launch = a
        .launch(gpu, splits, RELATION_ATTENTION_GROUP_BWD_64_STORED, RELATION_ATTENTION_GROUP_BWD_ANY_STORED)
        .optional_mut(d_u.as_deref_mut())
        .tensor_mut(&mut grads.d)
        .tensor_mut(&mut grads.sum_s)
        .tensor_mut(&mut grads.sum)
        .tensor_mut(&mut partial)
        .optional(up.agg)
        .optional(up.alpha)
        .tensors([alpha, inner, &a.x, &a.u, &a.o, &dots.s, &dots.c, &r_p])
        .indices([&g.src, &groups.dst, &groups.relation]);
    a.arguments(launch, splits).value(1.0 / a.temperature).run()?;
    let sums = (&mut grads.sum_s, Some(&mut grads.sum));
    merge(gpu, splits, d_u, sums, &partial, (&r_p, Some(&groups.relation)), n.min(m))?;
    Ok(grads)
}

/// Adds to dx; returns (num_src, 1) w_t, the gradient of s_t.
pub(super) fn src_backward(
    a: &Attention,
    gpu: &Gpu,
    alpha: &Tensor,
    dots: &ProjectionDots,
    up: OutputGradients,
    d: &Tensor,
    mut d_x: Option<&mut Tensor>,
) -> Result<Tensor> {
    let (g, n) = (a.graph, a.x.cols());
    let mut w = Tensor::zeros(&alpha.device(), alpha.dtype(), g.num_src, 1)?;
    let splits = &g.src_splits;
    if splits.count() == 0 {
        return Ok(w);
    }
    let p = a.along(&a.p, g.num_src, &a.x)?;
    let mut partial = alpha.empty_like(splits.split.len(), n + 1)?;
    let launch = a
        .launch(gpu, splits, RELATION_ATTENTION_SRC_BWD_64_STORED, RELATION_ATTENTION_SRC_BWD_ANY_STORED)
        .optional_mut(d_x.as_deref_mut())
        .tensor_mut(&mut w)
        .tensor_mut(&mut partial)
        .optional(up.agg)
        .tensors([alpha, d, &a.x, &p, &a.u, &a.o, &dots.s, &dots.c])
        .indices([&g.by_src.edge, &g.dst, &g.group]);
    a.arguments(launch, splits).run()?;
    merge(gpu, splits, d_x, (&mut w, None), &partial, (&p, None), n)?;
    Ok(w)
}

/// Adds the partial rows of split rows, `k` columns and one or two scalars wide.
fn merge(
    gpu: &Gpu,
    splits: &RowSplits,
    out: Option<&mut Tensor>,
    (first_sum, second_sum): (&mut Tensor, Option<&mut Tensor>),
    partial: &Tensor,
    (along, along_row): (&Tensor, Option<&Index<u32>>),
    k: usize,
) -> Result<()> {
    if splits.split_rows.is_empty() {
        return Ok(());
    }
    let kernel = for_rows_of(along, RELATION_ATTENTION_BWD_MERGE_STORED);
    let launch = gpu
        .launch(kernel, Grid::new(splits.split_rows.len() as u32, THREADS))
        .optional_mut(out)
        .tensor_mut(first_sum)
        .optional_mut(second_sum)
        .tensor(partial)
        .tensor(along)
        .optional_index(along_row);
    splits.merge_arguments(launch).count(k).count(along.cols()).run()
}

/// dbias[b] += the sum of dpi_e over the edges of bucket b.
pub(super) fn add_bucket_sums(a: &Attention, gpu: &Gpu, d: &Tensor, d_bias: &mut Tensor) -> Result<()> {
    const CHUNK: usize = 4096;
    let (edges, buckets) = (d.rows(), d_bias.rows());
    let chunks = edges.div_ceil(CHUNK);
    if chunks == 0 || buckets == 0 {
        return Ok(());
    }
    let mut partial = d.empty_like(chunks, buckets)?;
    gpu.launch(RELATION_ATTENTION_BUCKET_SUMS, Grid::new(chunks as u32, 256))
        .tensor_mut(&mut partial)
        .tensor(d)
        .index(&a.graph.bucket)
        .value(edges as u64)
        .count(buckets)
        .count(CHUNK)
        .value(a.temperature)
        .run()?;
    gpu.launch(COLUMN_SUMS_MERGE, Grid::new(buckets.div_ceil(128) as u32, 128))
        .tensor_mut(d_bias)
        .tensor(&partial)
        .count(chunks)
        .count(buckets)
        .run()
}

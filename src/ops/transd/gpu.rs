use super::triples::ByRelation;
use super::{Distance, ProjNorm, TransDLoss, TransDOptions};
use crate::loss::mean;
use base::Result;
use engine::device::{Grid, kernels};
use engine::{Gpu, Tensor};

/// Rows of the workspace for each triple: head, tail, corrupted entity, relation.
const SLOTS: usize = 4;

/// The gradient for upstream 1, as far as the forward pass takes it.
pub(super) struct RowGradients {
    /// (B * 4, m) gradient of each projected entity before normalization, and of r.
    rows: Tensor,
    /// (B * 3, 1) r_p . row
    dots: Tensor,
    /// (pieces, 2 m) sums for [r | r_p] over each piece of a relation's triples.
    relations: Tensor,
}

impl Distance {
    /// `enum Distance` of transd.cu.
    pub(super) fn code(self) -> i32 {
        match self {
            Distance::L2Squared => 0,
            Distance::L2 => 1,
            Distance::L1 => 2,
        }
    }
}

impl ProjNorm {
    /// `enum ProjNorm` of transd.cu.
    pub(super) fn code(self) -> i32 {
        match self {
            ProjNorm::None => 0,
            ProjNorm::Clamp => 1,
            ProjNorm::L2 => 2,
        }
    }
}

pub(super) fn forward(
    gpu: &Gpu,
    triples: &ByRelation,
    options: &TransDOptions,
    x: &[&Tensor],
) -> Result<(Tensor, RowGradients)> {
    let (count, n, m) = (triples.len(), x[0].cols(), x[2].cols());
    let pieces = &triples.by_relation;
    let mut losses = x[0].empty_like(count, 1)?;
    let mut products = x[0].empty_like(count * 3, 1)?;
    let mut saved = RowGradients {
        rows: x[0].empty_like(count * SLOTS, m)?,
        dots: x[0].empty_like(count * 3, 1)?,
        relations: x[0].empty_like(pieces.count(), 2 * m)?,
    };
    let (loss, gamma) = match options.loss {
        TransDLoss::Bpr => (0, 0.0),
        TransDLoss::Margin { gamma } => (1, gamma),
    };
    gpu.launch(kernels::TRANSD_FWD, Grid::warps(count, 256))
        .tensors([x[0], x[1], x[2], x[3]])
        .index(&triples.ids)
        .tensor_mut(&mut saved.rows)
        .tensor_mut(&mut saved.dots)
        .tensor_mut(&mut products)
        .tensor_mut(&mut losses)
        .count(count)
        .count(n)
        .count(m)
        .value(loss)
        .value(gamma)
        .value(options.distance.code())
        .value(options.proj_norm.code())
        .value(options.l2)
        .run()?;
    gpu.launch(kernels::TRANSD_RELATION_PIECES, Grid::cover(pieces.count() * 128, 128))
        .tensor_mut(&mut saved.relations)
        .tensor(&saved.rows)
        .tensor(&products)
        .index(&pieces.begin)
        .index(&pieces.end)
        .count(pieces.count())
        .count(m)
        .run()?;
    Ok((mean(&losses)?, saved))
}

pub(super) fn backward(
    triples: &ByRelation,
    saved: &RowGradients,
    x: &[&Tensor],
    dy: &Tensor,
    dx: &mut [Option<Tensor>],
) -> Result<()> {
    let ([de, dp, dr, drp], Some(gpu)) = (dx, x[0].gpu()) else { return Ok(()) };
    let (n, m) = (x[0].cols(), x[2].cols());
    if dr.is_some() || drp.is_some() {
        gpu.launch(kernels::TRANSD_RELATIONS, Grid::warps(triples.relations, 256))
            .optional_mut(dr.as_mut())
            .optional_mut(drp.as_mut())
            .tensor(&saved.relations)
            .index(&triples.by_relation.of_row)
            .tensor(dy)
            .count(triples.relations)
            .count(m)
            .run()?;
    }
    let Some(rows) = de.as_ref().or(dp.as_ref()).map(Tensor::rows) else { return Ok(()) };
    let compact = rows != triples.entities;
    if !compact {
        // Of entities without uses.
        de.iter_mut().chain(dp.iter_mut()).try_for_each(Tensor::fill_zero)?;
    }
    let uses = &triples.uses;
    let pieces = uses.piece_begin.len();
    let mut partial = x[0].empty_like(pieces, n.min(m) + 1)?;
    if pieces > 0 {
        gpu.launch(kernels::TRANSD_ENTITY_PIECES, Grid::warps(pieces, 256))
            .tensor_mut(&mut partial)
            .tensor(&saved.rows)
            .tensor(&saved.dots)
            .index(&uses.position)
            .index(&uses.piece_begin)
            .index(&uses.piece_end)
            .count(pieces)
            .count(n)
            .count(m)
            .run()?;
    }
    gpu.launch(kernels::TRANSD_ENTITIES, Grid::warps(uses.count(), 256))
        .optional_mut(de.as_mut())
        .optional_mut(dp.as_mut())
        .tensors([x[0], x[1], &saved.rows, &saved.dots, &partial])
        .index(&uses.row)
        .index(&uses.position)
        .index(&uses.offsets)
        .index(&uses.pieces)
        .tensor(dy)
        .value(compact as i32)
        .count(uses.count())
        .count(n)
        .count(m)
        .run()
}

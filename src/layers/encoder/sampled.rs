//! Propagation over sampled neighbourhoods: the layers of the whole graph, each on the block of one hop.
//!
//! The tables of entities stand on the tape as the rows of the innermost level. Layer l + 1 of the nodes of a hop is
//! made from layer l of the next: the first layer runs on the outermost hop's block, the last on the batch's own.

use super::{AttentionOutput, Encoder, States};
use crate::Result;
use crate::config::{AttentionMode, Message};
use crate::engine::{Device, Philox, Tensor, Var};
use crate::graph::{Block, Blocks};
use crate::layers::ForwardCtx;
use crate::ops::{Gather, Rows};

impl Encoder {
    /// Whether training steps sample neighbourhoods.
    pub fn samples(&self) -> bool {
        !self.model.fan_out.is_empty()
    }

    /// Whether propagation reads the projection vectors of the nodes.
    pub fn reads_projections(&self) -> bool {
        self.attention.mode == AttentionMode::Differentiated || self.attention.message == Message::Projected
    }

    /// Neighbourhoods of some nodes, a hop per layer; `extra` nodes join the last level without edges to them.
    pub fn sample(&self, device: &Device, nodes: &[u32], extra: &[u32], random: Philox) -> Result<Blocks> {
        Blocks::sample(&self.graph, device, nodes, extra, &self.model.fan_out, random)
    }

    /// The rows of some nodes alone, without neighbourhoods.
    pub fn rows_of(&self, device: &Device, nodes: &[u32]) -> Result<Blocks> {
        Blocks::sample(&self.graph, device, nodes, &[], &[], Philox::new(0, 0))
    }

    /// Layer states of the batch's own nodes (level 0), (nodes, d_l) each. E and P stand on the tape as the rows of
    /// `blocks.nodes()`.
    pub fn sampled_nodes(&self, ctx: &mut ForwardCtx, blocks: &Blocks) -> Result<States> {
        let hops = blocks.blocks.len();
        let down = (0..hops)
            .map(|h| {
                let (heads, tails) = (&blocks.levels[h], &blocks.levels[h + 1]);
                Rows::new(ctx.device, tails.places(heads.ids()), tails.len())
            })
            .collect::<Result<Vec<_>>>()?;
        let e = descend(ctx, &down, ctx.param(self.entity))?;
        let p = match self.reads_projections() {
            true => descend(ctx, &down, self.projections(ctx))?,
            // Nobody reads them: any rows do.
            false => e.clone(),
        };
        let (mut states, mut x) = (vec![e[0]], e.clone());
        for l in 0..hops {
            let h = hops - 1 - l;
            let block = &blocks.blocks[h];
            let attention = self.attend_block(ctx, block, (e[h], p[h]), (e[h + 1], p[h + 1]))?;
            let a = self.messages(ctx, &block.graph, &attention, l, (x[h + 1], p[h + 1]), None)?;
            let y = self.layer(ctx, l, x[h], a, 0)?;
            x = descend(ctx, &down[..h], y)?;
            states.push(x[0]);
        }
        Ok(states)
    }

    /// Attention over a block: the softmax over its edges where it is differentiated. A constant attention is that of
    /// the whole graph, each edge weighing for those that it stands for.
    fn attend_block(
        &self,
        ctx: &mut ForwardCtx,
        block: &Block,
        head: (Var, Var),
        tail: (Var, Var),
    ) -> Result<AttentionOutput> {
        if self.fixed.is_none() {
            return self.attend(ctx, &block.graph, head, tail);
        }
        let heads = block.graph.dst.host().iter().map(|&v| block.stands_for[v as usize]);
        let weights = block.edge.iter().zip(heads).map(|(&e, n)| self.fixed_values[e as usize] * n);
        let weights: Vec<f64> = weights.map(f64::from).collect();
        let alpha = Tensor::from_f64(ctx.device, ctx.dtype, weights.len(), 1, &weights)?;
        Ok(AttentionOutput::constant(ctx.tape.constant(alpha)))
    }
}

/// Rows of `x`, which are those of level `down.len()`, for that level and every one below, the batch's own first.
fn descend(ctx: &mut ForwardCtx, down: &[Rows], x: Var) -> Result<Vec<Var>> {
    let mut levels = vec![x];
    for rows in down.iter().rev() {
        let last = levels[levels.len() - 1];
        levels.push(ctx.tape.apply(Gather::new(rows.clone()), &[last])?);
    }
    levels.reverse();
    Ok(levels)
}

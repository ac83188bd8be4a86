//! Grouped MLPs on a GPU: kernels/grouped_mlp.cu, up to eight members a launch.

use super::Shape;
use crate::activation::Activation;
use crate::dense::{for_unit, splits, tiles};
use crate::launch::{POINTERS, launch, pointers};
use base::Result;
use engine::device::{Grid, Kernel, kernels};
use engine::{Gpu, Tensor};

const FWD: [Kernel; 3] = [kernels::GROUPED_MLP_FWD, kernels::GROUPED_MLP_FWD_TF32, kernels::GROUPED_MLP_FWD_BF16];
const BWD_WEIGHTS: [Kernel; 3] =
    [kernels::GROUPED_MLP_BWD_WEIGHTS, kernels::GROUPED_MLP_BWD_WEIGHTS_TF32, kernels::GROUPED_MLP_BWD_WEIGHTS_BF16];
const BWD_INPUTS: [Kernel; 3] =
    [kernels::GROUPED_MLP_BWD_INPUTS, kernels::GROUPED_MLP_BWD_INPUTS_TF32, kernels::GROUPED_MLP_BWD_INPUTS_BF16];

/// One address for each of `members`.
fn of_each(members: &[usize], of: impl FnMut(usize) -> u64) -> [u64; POINTERS] {
    pointers(members.iter().copied().map(of))
}

/// Addresses of blocks of `cols` columns, one for each member, from the block of member 0.
fn blocks(base: u64, cols: usize) -> impl Fn(usize) -> u64 {
    move |e| base + 4 * (e * cols) as u64
}

/// Of the inputs of a layer: the members' addresses, and the length of a row.
fn layer_inputs(
    s: &Shape,
    x: &[&Tensor],
    hidden: &[Tensor],
    layer: usize,
    members: &[usize],
) -> ([u64; POINTERS], usize) {
    let k = s.widths[layer];
    match layer {
        0 => (of_each(members, |e| x[s.source(e)].address()), k),
        _ => (of_each(members, blocks(hidden[layer - 1].address(), k)), s.members * k),
    }
}

pub(super) fn forward(gpu: &Gpu, s: &Shape, x: &[&Tensor], hidden: &mut [Tensor], y: &mut [Tensor]) -> Result<()> {
    let members: Vec<usize> = (0..s.members).collect();
    for layer in (0..s.layers()).filter(|layer| s.widths[layer + 1] > 0) {
        let (k, n) = (s.widths[layer], s.widths[layer + 1]);
        for members in members.chunks(POINTERS) {
            let (from, ld_from) = layer_inputs(s, x, hidden, layer, members);
            let [w, b] = [0, 1].map(|part| of_each(members, |e| x[s.weight(e, layer) + part].address()));
            let (to, ld_to) = match hidden.get_mut(layer) {
                Some(hidden) => (of_each(members, blocks(hidden.address_mut(), n)), s.members * n),
                None => (of_each(members, |e| y[e].address_mut()), n),
            };
            let (code, slope) = s.activation(layer).code();
            launch!(gpu, for_unit(gpu, FWD), tiles(s.rows, n, members.len());
                from, ld_from, w, b, to, ld_to, s.rows, k, n, code, slope)?;
        }
    }
    Ok(())
}

pub(super) fn backward(
    gpu: &Gpu,
    s: &Shape,
    x: &[&Tensor],
    hidden: &[Tensor],
    y: &[&Tensor],
    dy: &[Option<&Tensor>],
    dx: &mut [Option<Tensor>],
) -> Result<()> {
    let active: Vec<usize> = (0..s.members).filter(|&e| dy[e].is_some()).collect();
    // dL/dz of the layer's output, members side by side; above the last layer there are the members' own dy.
    let mut above: Option<Tensor> = None;
    for layer in (0..s.layers()).rev() {
        let (k, n) = (s.widths[layer], s.widths[layer + 1]);
        // Members' gradients below this layer lie as their outputs there do.
        let mut below = match layer {
            0 => None,
            _ => Some(x[0].empty_like(s.rows, s.members * k)?),
        };
        for members in active.chunks(POINTERS) {
            let (upstream, ld) = match &above {
                Some(dz) => (of_each(members, blocks(dz.address(), n)), s.members * n),
                None => (of_each(members, |e| dy[e].filter(|_| n > 0).map_or(0, Tensor::address)), n),
            };
            // The slope of the last layer; the others' went into dz as it was written.
            let (outputs, act) = match above {
                None if s.last != Activation::Identity => (of_each(members, |e| y[e].address()), s.last),
                _ => ([0; POINTERS], Activation::Identity),
            };
            let layer = Layer { gpu, s, x, hidden, layer, k, n, members, upstream, outputs, ld, act };
            if n > 0 {
                layer.parameters(dx)?;
            }
            layer.inputs(below.as_mut(), dx)?;
        }
        above = below;
    }
    Ok(())
}

/// The backward pass of one layer of up to eight members.
struct Layer<'a> {
    gpu: &'a Gpu,
    s: &'a Shape,
    x: &'a [&'a Tensor],
    hidden: &'a [Tensor],
    layer: usize,
    /// Its input's and its output's width.
    k: usize,
    n: usize,
    members: &'a [usize],
    upstream: [u64; POINTERS],
    outputs: [u64; POINTERS],
    /// Length of a row behind `upstream` and `outputs`.
    ld: usize,
    act: Activation,
}

impl Layer<'_> {
    fn parameters(&self, dx: &mut [Option<Tensor>]) -> Result<()> {
        let Layer { gpu, s, k, n, members, upstream, outputs, ld, .. } = *self;
        let place = |e: usize| s.weight(e, self.layer);
        if members.iter().all(|&e| dx[place(e)].is_none() && dx[place(e) + 1].is_none()) {
            return Ok(());
        }
        let (from, ld_from) = layer_inputs(s, self.x, self.hidden, self.layer, members);
        let splits = splits(s.rows, k, n, members.len(), 512);
        let mut partial = self.x[0].empty_like(splits * members.len() * (k + 1), n)?;
        let (code, slope) = self.act.code();
        launch!(gpu, for_unit(gpu, BWD_WEIGHTS), tiles(k.max(1), n, members.len() * splits);
            &mut partial, from, ld_from, upstream, outputs, ld, s.rows, k, n, splits, code, slope)?;
        let mut to = |part: usize| of_each(members, |e| dx[place(e) + part].as_mut().map_or(0, Tensor::address_mut));
        let (dw, db) = (to(0), to(1));
        let grid = Grid::cover(members.len() * (k + 1) * n, 256);
        launch!(gpu, kernels::GROUPED_MLP_MERGE, grid; dw, db, &partial, splits, members.len(), k, n)
    }

    fn inputs(&self, below: Option<&mut Tensor>, dx: &mut [Option<Tensor>]) -> Result<()> {
        let Layer { gpu, s, k, n, members, upstream, outputs, ld, .. } = *self;
        let ((code, slope), (hidden_code, hidden_slope)) = (self.act.code(), s.hidden.code());
        let is_inner = below.is_some();
        // Members with one input add their gradients up in one tile.
        let together = if !is_inner && s.shared { members.len() } else { 0 };
        let mut of_source = |e: usize| dx[e].as_mut().map_or(0, Tensor::address_mut);
        let to = match below {
            Some(below) => of_each(members, blocks(below.address_mut(), k)),
            None if s.shared => pointers([of_source(0)]),
            None => of_each(members, of_source),
        };
        if k == 0 || to == [0; POINTERS] {
            return Ok(());
        }
        let (slopes, ld_to) = match is_inner {
            true => layer_inputs(s, self.x, self.hidden, self.layer, members),
            false => ([0; POINTERS], k),
        };
        let (w, beta) = (of_each(members, |e| self.x[s.weight(e, self.layer)].address()), !is_inner);
        let grid = tiles(s.rows, k, if together > 0 { 1 } else { members.len() });
        launch!(gpu, for_unit(gpu, BWD_INPUTS), grid;
            to, slopes, ld_to, upstream, outputs, ld, w, s.rows, k, n, together, beta as i32 as f32, code,
            slope, hidden_code, hidden_slope)
    }
}

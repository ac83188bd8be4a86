//! The bank on a GPU: kernels/bank.cu, up to eight members a launch.

use super::Shape;
use crate::dense::{Activation, products};
use base::Result;
use engine::device::{Grid, kernels};
use engine::{Gpu, Tensor};

/// Members of one launch (`Pointers` of common.cuh).
const POINTERS: usize = 8;
/// Edge of the kernels' tiles (`TILE` of tile.cuh).
const TILE: usize = 64;

type Pointers = [u64; POINTERS];

/// One address for each of `members`, 0 where there is none.
fn pointers(members: &[usize], mut of: impl FnMut(usize, usize) -> u64) -> Pointers {
    let mut all = [0; POINTERS];
    members.iter().enumerate().for_each(|(i, &e)| all[i] = of(i, e));
    all
}

/// A block per tile of rows x cols, for each of `layers`.
fn tiles(rows: usize, cols: usize, layers: usize) -> Grid {
    let blocks = [(rows.div_ceil(TILE) * cols.div_ceil(TILE)) as u32, 1, layers as u32];
    Grid { blocks, threads: [256, 1, 1], shared: 0 }
}

/// Address of column `col` of the first row.
fn column(t: &Tensor, col: usize) -> u64 {
    t.address() + 4 * col as u64
}

pub(super) fn forward(
    gpu: &Gpu,
    s: &Shape,
    x: &[&Tensor],
    hidden: &mut [Tensor],
    y: &mut [Tensor],
) -> Result<()> {
    let members: Vec<usize> = (0..s.members).collect();
    for layer in 0..s.layers() {
        let (k, n) = (s.widths[layer], s.widths[layer + 1]);
        let is_last = layer + 1 == s.layers();
        for members in members.chunks(POINTERS) {
            if n == 0 {
                continue;
            }
            let input = |e: usize| match layer {
                0 => x[s.source(e)].address(),
                _ => column(&hidden[layer - 1], e * k),
            };
            let from = pointers(members, |_, e| input(e));
            let to = match is_last {
                true => pointers(members, |_, e| y[e].address_mut()),
                false => {
                    let base = hidden[layer].address_mut();
                    pointers(members, |_, e| base + 4 * (e * n) as u64)
                }
            };
            let (code, slope) = s.activation(layer).code();
            gpu.launch(products(gpu).bank_forward, tiles(s.rows, n, members.len()))
                .value(from)
                .count(if layer == 0 { k } else { s.members * k })
                .value(pointers(members, |_, e| x[s.weight(e, layer)].address()))
                .value(pointers(members, |_, e| x[s.weight(e, layer) + 1].address()))
                .value(to)
                .count(if is_last { n } else { s.members * n })
                .count(s.rows)
                .count(k)
                .count(n)
                .value(code)
                .value(slope)
                .run()?;
        }
    }
    Ok(())
}

/// dL/dy of a layer: one tensor for each member, or blocks of one.
enum Upstream<'a> {
    Outputs(&'a [Option<&'a Tensor>]),
    Hidden(Tensor),
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
    let mut up = Upstream::Outputs(dy);
    for layer in (0..s.layers()).rev() {
        let (k, n) = (s.widths[layer], s.widths[layer + 1]);
        // Members' gradients below this layer lie as their outputs there do.
        let mut below = match layer {
            0 => None,
            _ => Some(x[0].empty_like(s.rows, s.members * k)?),
        };
        for members in active.chunks(POINTERS) {
            let upstream = match &up {
                Upstream::Outputs(dy) => {
                    pointers(members, |_, e| dy[e].map_or(0, |dy| if n == 0 { 0 } else { dy.address() }))
                }
                Upstream::Hidden(dz) => pointers(members, |_, e| column(dz, e * n)),
            };
            // The slope of the last layer; the others' went into dz as it was written.
            let (outputs, act) = match &up {
                Upstream::Outputs(_) if s.last != Activation::Identity => {
                    (pointers(members, |_, e| y[e].address()), s.last)
                }
                _ => ([0; POINTERS], Activation::Identity),
            };
            let ld = if matches!(up, Upstream::Outputs(_)) { n } else { s.members * n };
            let layer = Layer { gpu, s, x, layer, k, n, members, upstream, outputs, ld, act };
            if n > 0 {
                layer.parameters(hidden, dx)?;
            }
            layer.inputs(hidden, below.as_mut(), dx)?;
        }
        if let Some(dz) = below {
            up = Upstream::Hidden(dz);
        }
    }
    Ok(())
}

/// The backward pass of one layer of up to eight members.
struct Layer<'a> {
    gpu: &'a Gpu,
    s: &'a Shape,
    x: &'a [&'a Tensor],
    layer: usize,
    /// Its input's and its output's width.
    k: usize,
    n: usize,
    members: &'a [usize],
    upstream: Pointers,
    outputs: Pointers,
    /// Length of a row behind `upstream` and `outputs`.
    ld: usize,
    act: Activation,
}

impl Layer<'_> {
    /// Length of a row of the layer's input.
    fn input_row(&self) -> usize {
        if self.layer == 0 { self.k } else { self.s.members * self.k }
    }

    fn parameters(&self, hidden: &[Tensor], dx: &mut [Option<Tensor>]) -> Result<()> {
        let Layer { gpu, s, k, n, members, .. } = *self;
        let place = |e: usize| s.weight(e, self.layer);
        if members.iter().all(|&e| dx[place(e)].is_none() && dx[place(e) + 1].is_none()) {
            return Ok(());
        }
        let source = |e: usize| match self.layer {
            0 => self.x[s.source(e)].address(),
            _ => column(&hidden[self.layer - 1], e * k),
        };
        // Cut along the batch by sizes alone: the same cut on every card.
        let count = k.div_ceil(TILE).max(1) * n.div_ceil(TILE) * members.len();
        let splits = (s.rows / 256).min(512 / count).max(1);
        let mut partial = self.x[0].empty_like(splits * members.len() * (k + 1), n)?;
        let (code, slope) = self.act.code();
        gpu.launch(products(gpu).bank_weights, tiles(k.max(1), n, members.len() * splits))
            .tensor_mut(&mut partial)
            .value(pointers(members, |_, e| source(e)))
            .count(self.input_row())
            .value(self.upstream)
            .value(self.outputs)
            .count(self.ld)
            .count(s.rows)
            .count(k)
            .count(n)
            .count(splits)
            .value(code)
            .value(slope)
            .run()?;
        let dw = pointers(members, |_, e| dx[place(e)].as_mut().map_or(0, Tensor::address_mut));
        let db = pointers(members, |_, e| dx[place(e) + 1].as_mut().map_or(0, Tensor::address_mut));
        gpu.launch(kernels::BANK_MERGE, Grid::cover(members.len() * (k + 1) * n, 256))
            .value(dw)
            .value(db)
            .tensor(&partial)
            .count(splits)
            .count(members.len())
            .count(k)
            .count(n)
            .run()
    }

    fn inputs(&self, hidden: &[Tensor], below: Option<&mut Tensor>, dx: &mut [Option<Tensor>]) -> Result<()> {
        let Layer { gpu, s, k, n, members, .. } = *self;
        let is_inner = below.is_some();
        let together = !is_inner && s.shared;
        let to = match below {
            Some(below) => {
                let base = below.address_mut();
                pointers(members, |_, e| base + 4 * (e * k) as u64)
            }
            None if s.shared => {
                let mut first = [0; POINTERS];
                first[0] = dx[0].as_mut().map_or(0, Tensor::address_mut);
                first
            }
            None => pointers(members, |_, e| dx[e].as_mut().map_or(0, Tensor::address_mut)),
        };
        if k == 0 || to.iter().all(|&address| address == 0) {
            return Ok(());
        }
        let slopes = match is_inner {
            true => pointers(members, |_, e| column(&hidden[self.layer - 1], e * k)),
            false => [0; POINTERS],
        };
        let ((code, slope), (hidden_code, hidden_slope)) = (self.act.code(), s.hidden.code());
        gpu.launch(products(gpu).bank_inputs, tiles(s.rows, k, if together { 1 } else { members.len() }))
            .value(to)
            .value(slopes)
            .count(self.input_row())
            .value(self.upstream)
            .value(self.outputs)
            .count(self.ld)
            .value(pointers(members, |_, e| self.x[s.weight(e, self.layer)].address()))
            .count(s.rows)
            .count(k)
            .count(n)
            .count(if together { members.len() } else { 0 })
            .value(if is_inner { 0.0f32 } else { 1.0 })
            .value(code)
            .value(slope)
            .value(hidden_code)
            .value(hidden_slope)
            .run()
    }
}

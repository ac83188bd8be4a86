//! The bank on the CPU: tiles of rows that stay in the second-level cache from the first layer to the last.

use std::ops::Range;

use base::parallel::prelude::*;

use super::Shape;
use crate::dense_cpu::{Columns, Finish, Slope};
use engine::parallel::{self, RowWork, View, axpy, gemm, vectorized_work};
use engine::{Buffer, Real, Tensor};

/// Rows of a tile. Measured on two Zen 4 cores: 64 are slower by a tenth, 256 no faster, and less work to share.
const TILE: usize = 128;
/// Chunks of the backward pass at most: each has its own sums of all weights' gradients.
const CHUNKS: usize = 32;

/// Adds a block of columns of every chunk's sums, in chunk order.
struct Merge<'a, T: Real> {
    parts: &'a [Buffer<T>],
    /// First element of the block, and elements from a row to the next.
    first: usize,
    stride: usize,
    cols: usize,
}

impl<T: Real> RowWork<T> for Merge<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, rows: &mut [T]) {
        for (r, row) in rows.chunks_exact_mut(self.cols).enumerate() {
            for part in self.parts {
                axpy(T::one(), &part.as_slice()[self.first + (first + r) * self.stride..][..self.cols], row);
            }
        }
    }
}

/// First-layer weights or biases (rows x d each) of some members side by side.
fn side_by_side<T: Real>(parts: &[&[T]], d: usize) -> Vec<T> {
    let rows = parts[0].len() / d.max(1);
    let mut wide = Vec::with_capacity(rows * d * parts.len());
    for row in 0..rows {
        parts.iter().for_each(|part| wide.extend_from_slice(&part[row * d..][..d]));
    }
    wide
}

/// Parameters of some members, layer by layer.
struct Weights<'a, T> {
    w: Vec<Vec<&'a [T]>>,
    b: Vec<Vec<&'a [T]>>,
    /// Of the first layer, side by side, where the input is shared.
    first: Vec<T>,
}

/// The same weights with rows and columns changed places: the gradient of a layer's input is then a product of two
/// matrices whose rows lie in memory as they are read, which the library does in two thirds of the time.
struct Transposed<T> {
    w: Vec<Vec<Vec<T>>>,
    first: Vec<T>,
}

/// (k, d) into (d, k).
fn transposed<T: Real>(w: &[T], d: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(w.len());
    for column in 0..d {
        out.extend(w.iter().skip(column).step_by(d).copied());
    }
    out
}

impl<T: Real> Transposed<T> {
    fn new(s: &Shape, weights: &Weights<T>) -> Self {
        let layer = |(l, w): (usize, &Vec<&[T]>)| match l {
            0 if s.shared => vec![],
            _ => w.iter().map(|w| transposed(w, s.widths[l + 1])).collect(),
        };
        let wide = weights.w[0].len() * s.widths[1];
        Transposed {
            w: weights.w.iter().enumerate().map(layer).collect(),
            first: transposed(&weights.first, wide),
        }
    }
}

impl<'a, T: Real> Weights<'a, T> {
    fn new(s: &Shape, x: &[&'a Tensor], members: &[usize]) -> Self {
        let all = |layer: usize, bias: usize| -> Vec<&'a [T]> {
            members.iter().map(|&e| x[s.weight(e, layer) + bias].host::<T>()).collect()
        };
        let w: Vec<_> = (0..s.layers()).map(|l| all(l, 0)).collect();
        let b = (0..s.layers()).map(|l| all(l, 1)).collect();
        let first = if s.shared { side_by_side(&w[0], s.widths[1]) } else { vec![] };
        Weights { w, b, first }
    }
}

/// What a tile writes.
#[derive(Default)]
struct Tile<'a, T> {
    hidden: Vec<&'a mut [T]>,
    y: Vec<&'a mut [T]>,
}

pub(super) fn forward<T: Real>(s: &Shape, x: &[&Tensor], hidden: &mut [Tensor], y: &mut [Tensor]) {
    let members: Vec<usize> = (0..s.members).collect();
    let weights = Weights::<T>::new(s, x, &members);
    let first_bias = side_by_side(&weights.b[0], s.widths[1]);
    let mut tiles: Vec<Tile<T>> = vec![];
    tiles.resize_with(s.rows.div_ceil(TILE), || Tile { hidden: vec![], y: vec![] });
    for t in hidden {
        let cols = t.cols();
        tiles.iter_mut().zip(t.host_mut().chunks_mut(TILE * cols)).for_each(|(tile, h)| tile.hidden.push(h));
    }
    for t in y {
        let cols = t.cols();
        tiles.iter_mut().zip(t.host_mut().chunks_mut(TILE * cols)).for_each(|(tile, y)| tile.y.push(y));
    }
    let sources: Vec<&[T]> = x[..s.sources()].iter().map(|x| x.host()).collect();
    tiles.into_par_iter().enumerate().for_each(|(i, tile)| {
        forward_tile(s, &weights, &first_bias, &sources, i * TILE..s.rows.min((i + 1) * TILE), tile)
    });
}

fn forward_tile<T: Real>(
    s: &Shape,
    weights: &Weights<T>,
    first_bias: &[T],
    x: &[&[T]],
    range: Range<usize>,
    tile: Tile<T>,
) {
    let Tile { mut hidden, mut y } = tile;
    let (row, rows) = (range.start, range.len());
    for layer in 0..s.layers() {
        let (k, d, act) = (s.widths[layer], s.widths[layer + 1], s.activation(layer));
        let (wide, is_last) = (s.members * d, layer + 1 == s.layers());
        if layer == 0 && s.shared {
            let x = View::new(&x[0][row * k..], rows, k, k);
            let w = View::new(&weights.first, k, wide, wide);
            let mut scratch = Buffer::stale(if is_last { rows * wide } else { 0 });
            let z = if is_last { scratch.as_mut_slice() } else { &mut hidden[0][..] };
            gemm(x, w, T::zero(), z, wide);
            vectorized_work(Finish(z, wide, first_bias, act));
            for (e, y) in y.iter_mut().enumerate().filter(|_| is_last) {
                let part = scratch.as_slice().chunks_exact(wide).map(|row| &row[e * d..(e + 1) * d]);
                y.chunks_exact_mut(d).zip(part).for_each(|(y, part)| y.copy_from_slice(part));
            }
            continue;
        }
        let (before, after) = hidden.split_at_mut(layer);
        for e in 0..s.members {
            let input = match before.last() {
                None => View::new(&x[e][row * k..], rows, k, k),
                Some(h) => View::new(h, rows, s.members * k, s.members * k).cols(e * k, k),
            };
            let (z, stride) = if is_last { (&mut y[e][..], d) } else { (&mut after[0][e * d..], wide) };
            gemm(input, View::new(weights.w[layer][e], k, d, d), T::zero(), z, stride);
            vectorized_work(Finish(z, stride, weights.b[layer][e], act));
        }
    }
}

/// The members with a gradient, and where a chunk's sums keep those of their parameters.
struct Active<'a, T> {
    members: Vec<usize>,
    weights: Transposed<T>,
    /// Of each layer: first element of the weights' gradients and of the biases'.
    places: Vec<(usize, usize)>,
    sums: usize,
    x: Vec<&'a [T]>,
    hidden: Vec<&'a [T]>,
    y: Vec<&'a [T]>,
    dy: Vec<&'a [T]>,
    /// Whether any parameter of the layer wants a gradient.
    wanted: Vec<bool>,
}

pub(super) fn backward<T: Real>(
    s: &Shape,
    x: &[&Tensor],
    hidden: &[Tensor],
    y: &[&Tensor],
    dy: &[Option<&Tensor>],
    dx: &mut [Option<Tensor>],
) {
    let members: Vec<usize> = (0..s.members).filter(|&e| dy[e].is_some()).collect();
    let (mut places, mut sums, mut wanted) = (vec![], 0, vec![]);
    for layer in 0..s.layers() {
        let (k, d) = (s.widths[layer], s.widths[layer + 1]);
        places.push((sums, sums + members.len() * k * d));
        sums += members.len() * (k + 1) * d;
        let asked = |&e: &usize| {
            let at = s.weight(e, layer);
            dx[at].is_some() || dx[at + 1].is_some()
        };
        wanted.push(members.iter().any(asked));
    }
    let active = Active {
        weights: Transposed::new(s, &Weights::<T>::new(s, x, &members)),
        places,
        sums,
        x: members.iter().map(|&e| x[s.source(e)].host()).collect(),
        hidden: hidden.iter().map(|h| h.host()).collect(),
        y: members.iter().map(|&e| y[e].host()).collect(),
        dy: members.iter().filter_map(|&e| dy[e]).map(|dy| dy.host()).collect(),
        wanted,
        members,
    };
    let rows = s.rows.div_ceil(CHUNKS).next_multiple_of(TILE);
    let mut chunks: Vec<Vec<Option<&mut [T]>>> = vec![];
    chunks.resize_with(s.rows.div_ceil(rows), Vec::new);
    let (sources, parameters) = dx.split_at_mut(s.sources());
    for (source, dx) in sources.iter_mut().enumerate() {
        let is_active = s.shared || active.members.contains(&source);
        match dx {
            _ if !is_active => {}
            None => chunks.iter_mut().for_each(|chunk| chunk.push(None)),
            Some(dx) => {
                let parts = dx.host_mut::<T>().chunks_mut(rows * s.widths[0]);
                chunks.iter_mut().zip(parts).for_each(|(chunk, part)| chunk.push(Some(part)));
            }
        }
    }
    let parts: Vec<Buffer<T>> = chunks
        .into_par_iter()
        .enumerate()
        .map(|(i, dx)| backward_chunk(s, &active, i * rows..s.rows.min((i + 1) * rows), dx))
        .collect();
    merge(s, &active, &parts, parameters);
}

/// Adds the gradients of x over some rows, and returns their sums of the parameters' gradients.
fn backward_chunk<T: Real>(
    s: &Shape,
    active: &Active<T>,
    rows: Range<usize>,
    mut dx: Vec<Option<&mut [T]>>,
) -> Buffer<T> {
    let (count, layers) = (active.members.len(), s.layers());
    let mut buffer = Buffer::stale(if active.wanted.contains(&true) { active.sums } else { 0 });
    let sums = buffer.as_mut_slice();
    // dL/dz of each layer for a tile, active members side by side.
    let mut dz: Vec<Buffer<T>> = s.widths[1..].iter().map(|d| Buffer::stale(TILE * count * d)).collect();
    for row in rows.clone().step_by(TILE) {
        let n = TILE.min(rows.end - row);
        // The first tile writes the sums, the others add.
        let beta = if row == rows.start { T::zero() } else { T::one() };
        let d = s.widths[layers];
        for a in 0..count {
            vectorized_work(Slope {
                dz: (&mut dz[layers - 1].as_mut_slice()[a * d..(n - 1) * count * d + (a + 1) * d], count * d),
                dy: Some((&active.dy[a][row * d..], d)),
                y: (&active.y[a][row * d..], d),
                width: d,
                act: s.last,
            });
        }
        for layer in (0..layers).rev() {
            let (k, d) = (s.widths[layer], s.widths[layer + 1]);
            let wide = count * d;
            let (lower, upper) = dz.split_at_mut(layer);
            let upper = upper[0].as_slice();
            let dz = View::new(upper, n, wide, wide);
            let (w_at, b_at) = active.places[layer];
            if active.wanted[layer] {
                let biases = &mut sums[b_at..b_at + wide];
                if row == rows.start {
                    biases.fill(T::zero());
                }
                vectorized_work(Columns(&upper[..n * wide], biases));
            }
            if layer == 0 && s.shared {
                let x = View::new(&active.x[0][row * k..], n, k, k);
                if active.wanted[0] {
                    gemm(x.t(), dz, beta, &mut sums[w_at..w_at + k * wide], wide);
                }
                if let Some(dx) = &mut dx[0] {
                    let w = View::new(&active.weights.first, wide, k, k);
                    gemm(dz, w, T::one(), &mut dx[(row - rows.start) * k..][..n * k], k);
                }
                continue;
            }
            for (a, &e) in active.members.iter().enumerate() {
                let (dz, w) = (dz.cols(a * d, d), View::new(&active.weights.w[layer][a], d, k, k));
                let input = match layer {
                    0 => View::new(&active.x[a][row * k..], n, k, k),
                    _ => {
                        let stride = s.members * k;
                        View::new(&active.hidden[layer - 1][row * stride..], n, stride, stride).cols(e * k, k)
                    }
                };
                if active.wanted[layer] {
                    gemm(input.t(), dz, beta, &mut sums[w_at + a * k * d..][..k * d], d);
                }
                if let Some(below) = lower.last_mut() {
                    let below = &mut below.as_mut_slice()[a * k..(n - 1) * count * k + (a + 1) * k];
                    gemm(dz, w, T::zero(), below, count * k);
                    let stride = s.members * k;
                    vectorized_work(Slope {
                        dz: (below, count * k),
                        dy: None,
                        y: (&active.hidden[layer - 1][row * stride + e * k..], stride),
                        width: k,
                        act: s.hidden,
                    });
                } else if let Some(dx) = &mut dx[a] {
                    gemm(dz, w, T::one(), &mut dx[(row - rows.start) * k..][..n * k], k);
                }
            }
        }
    }
    buffer
}

/// Adds the chunks' sums to the parameters' gradients.
fn merge<T: Real>(s: &Shape, active: &Active<T>, parts: &[Buffer<T>], parameters: &mut [Option<Tensor>]) {
    for layer in 0..s.layers() {
        let (k, d) = (s.widths[layer], s.widths[layer + 1]);
        let (w_at, b_at) = active.places[layer];
        for (a, &e) in active.members.iter().enumerate() {
            let at = s.weight(e, layer) - s.sources();
            let beside = layer == 0 && s.shared;
            if let Some(dw) = &mut parameters[at] {
                let (first, stride) =
                    if beside { (w_at + a * d, active.members.len() * d) } else { (w_at + a * k * d, d) };
                let work = Merge { parts, first, stride, cols: d };
                parallel::for_rows_work(dw.host_mut::<T>(), d, d * parts.len(), &work);
            }
            if let Some(db) = &mut parameters[at + 1] {
                let work = Merge { parts, first: b_at + a * d, stride: d, cols: d };
                parallel::for_rows_work(db.host_mut::<T>(), d, d, &work);
            }
        }
    }
}

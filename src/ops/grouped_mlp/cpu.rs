//! Grouped MLPs on the CPU: tiles of rows that stay in the second-level cache from the first layer to the last.

use std::ops::Range;

use base::parallel::prelude::*;

use super::Shape;
use crate::cpu::dense::{ActivationGradient, add_bias_and_activate, sum_columns};
use crate::cpu::{RowChunk, hosts, row_chunks};
use engine::parallel::{self, View, axpy, gemm};
use engine::simd::simd;
use engine::{Buffer, Real, Tensor};

/// Rows of a tile. Measured on two Zen 4 cores: 64 are slower by a tenth, 256 no faster, and less work to share.
const TILE: usize = 128;
/// Chunks of the backward pass at most: each has its own sums of all weights' gradients.
const CHUNKS: usize = 32;

/// Matrices (rows x d each) of all members side by side.
fn side_by_side<T: Real>(parts: &[&[T]], d: usize) -> Vec<T> {
    let rows = parts[0].len() / d.max(1);
    let mut wide = Vec::with_capacity(rows * d * parts.len());
    // Whole rows, not element by element: this runs on one thread before every forward pass.
    for row in 0..rows {
        parts.iter().for_each(|part| wide.extend_from_slice(&part[row * d..][..d]));
    }
    wide
}

/// (k, d) into (d, k): the gradient of a layer's input is then a product of two matrices whose rows lie in memory as they
/// are read, which the library does in two thirds of the time.
fn transposed<T: Real>(w: &[T], d: usize) -> impl Iterator<Item = T> {
    (0..d).flat_map(move |column| w.iter().skip(column).step_by(d).copied())
}

pub(super) fn forward<T: Real>(s: &Shape, x: &[&Tensor], hidden: &mut [Tensor], y: &mut [Tensor]) {
    let first_layer = |part: usize| {
        let parts: Vec<&[T]> = (0..s.members).map(|e| x[s.weight(e, 0) + part].host()).collect();
        if s.shared { side_by_side(&parts, s.widths[1]) } else { vec![] }
    };
    let (w, b) = (first_layer(0), first_layer(1));
    let tiles = s.rows.div_ceil(TILE);
    let hidden = row_chunks::<T>(hidden.iter_mut().map(Some), TILE, tiles);
    let y = row_chunks::<T>(y.iter_mut().map(Some), TILE, tiles);
    hidden.into_par_iter().zip(y).enumerate().for_each(|(i, (hidden, y))| {
        let rows = i * TILE..s.rows.min((i + 1) * TILE);
        forward_tile(s, (x, &w, &b), rows, hidden.into_iter().flatten().collect(), y.into_iter().flatten().collect());
    });
}

/// The outputs of all layers for some rows; w and b are those of all members' first layers.
fn forward_tile<T: Real>(
    s: &Shape,
    (x, w, b): (&[&Tensor], &[T], &[T]),
    range: Range<usize>,
    mut hidden: Vec<&mut [T]>,
    mut y: Vec<&mut [T]>,
) {
    let (row, rows) = (range.start, range.len());
    for layer in 0..s.layers() {
        let (k, d, act) = (s.widths[layer], s.widths[layer + 1], s.activation(layer));
        let (wide, is_last) = (s.members * d, layer + 1 == s.layers());
        if layer == 0 && s.shared {
            let x = View::new(&x[0].host::<T>()[row * k..], rows, k, k);
            let mut scratch = Buffer::stale(if is_last { rows * wide } else { 0 });
            let z = if is_last { scratch.as_mut_slice() } else { &mut hidden[0][..] };
            gemm(x, View::new(w, k, wide, wide), T::zero(), z, wide);
            add_bias_and_activate(z, wide, b, act);
            for (e, y) in y.iter_mut().enumerate().filter(|_| is_last) {
                let part = scratch.as_slice().chunks_exact(wide).map(|row| &row[e * d..(e + 1) * d]);
                y.chunks_exact_mut(d).zip(part).for_each(|(y, part)| y.copy_from_slice(part));
            }
            continue;
        }
        let (before, after) = hidden.split_at_mut(layer);
        for e in 0..s.members {
            let input = match before.last() {
                None => View::new(&x[e].host::<T>()[row * k..], rows, k, k),
                Some(h) => View::new(h, rows, s.members * k, s.members * k).cols(e * k, k),
            };
            let (z, stride) = if is_last { (&mut y[e][..], d) } else { (&mut after[0][e * d..], wide) };
            let [w, b] = [0, 1].map(|part| x[s.weight(e, layer) + part].host::<T>());
            gemm(input, View::new(w, k, d, d), T::zero(), z, stride);
            add_bias_and_activate(z, stride, b, act);
        }
    }
}

/// The members with a gradient, and where a chunk's sums keep those of their parameters.
struct Active<'a, T> {
    members: Vec<usize>,
    /// Of each layer, member by member: the transposes of W.
    weights: Vec<Vec<T>>,
    /// Of each layer: first element of the weights' gradients and of the biases'.
    places: Vec<(usize, usize)>,
    sums: usize,
    x: Vec<&'a [T]>,
    hidden: Vec<&'a [T]>,
    y: Vec<&'a [T]>,
    dy: Vec<&'a [T]>,
    /// Whether any parameter of the layer requires a gradient.
    requires_grad: Vec<bool>,
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
    let mut active = Active::<T> {
        x: hosts(members.iter().map(|&e| x[s.source(e)])),
        hidden: hosts(hidden),
        y: hosts(members.iter().map(|&e| y[e])),
        dy: hosts(dy.iter().copied().flatten()),
        members,
        weights: vec![],
        places: vec![],
        sums: 0,
        requires_grad: vec![],
    };
    for layer in 0..s.layers() {
        let (k, d, count) = (s.widths[layer], s.widths[layer + 1], active.members.len());
        let weights = active.members.iter().flat_map(|&e| transposed(x[s.weight(e, layer)].host::<T>(), d));
        active.weights.push(weights.collect());
        active.places.push((active.sums, active.sums + count * k * d));
        active.sums += count * (k + 1) * d;
        let of = |&e: &usize| dx[s.weight(e, layer)..][..2].iter().any(Option::is_some);
        active.requires_grad.push(active.members.iter().any(of));
    }
    let rows = s.rows.div_ceil(CHUNKS).next_multiple_of(TILE);
    let (sources, parameters) = dx.split_at_mut(s.sources());
    let is_active = |source: &usize| s.shared || active.members.contains(source);
    let sources = sources.iter_mut().enumerate().filter(|(source, _)| is_active(source));
    let chunks = row_chunks::<T>(sources.map(|(_, dx)| dx.as_mut()), rows, s.rows.div_ceil(rows));
    let parts: Vec<Buffer<T>> = chunks
        .into_par_iter()
        .enumerate()
        .map(|(i, dx)| backward_chunk(s, &active, i * rows..s.rows.min((i + 1) * rows), dx))
        .collect();
    merge(s, &active, &parts, parameters);
}

/// Adds the gradients of x over some rows, and returns their sums of the parameters' gradients.
fn backward_chunk<T: Real>(s: &Shape, active: &Active<T>, rows: Range<usize>, mut dx: RowChunk<T>) -> Buffer<T> {
    let (count, layers) = (active.members.len(), s.layers());
    let mut buffer = Buffer::stale(if active.requires_grad.contains(&true) { active.sums } else { 0 });
    let sums = buffer.as_mut_slice();
    // dL/dz of each layer for a tile, active members side by side.
    let mut dz: Vec<Buffer<T>> = s.widths[1..].iter().map(|d| Buffer::stale(TILE * count * d)).collect();
    for row in rows.clone().step_by(TILE) {
        let n = TILE.min(rows.end - row);
        // The first tile writes the sums, the others add.
        let beta = if row == rows.start { T::zero() } else { T::one() };
        // Block `a` of n rows of `count` blocks of d columns.
        let block = |a: usize, d: usize| a * d..(n - 1) * count * d + (a + 1) * d;
        let d = s.widths[layers];
        for a in 0..count {
            simd(ActivationGradient {
                dz: (&mut dz[layers - 1].as_mut_slice()[block(a, d)], count * d),
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
            let requires_grad = active.requires_grad[layer];
            if requires_grad {
                let biases = &mut sums[b_at..b_at + wide];
                if row == rows.start {
                    biases.fill(T::zero());
                }
                sum_columns(&upper[..n * wide], biases);
            }
            let weights = View::new(&active.weights[layer], wide, k, k);
            if layer == 0 && s.shared {
                let x = View::new(&active.x[0][row * k..], n, k, k);
                if requires_grad {
                    gemm(x.t(), dz, beta, &mut sums[w_at..w_at + k * wide], wide);
                }
                if let Some(dx) = &mut dx[0] {
                    gemm(dz, weights, T::one(), &mut dx[(row - rows.start) * k..][..n * k], k);
                }
                continue;
            }
            let stride = s.members * k;
            for (a, &e) in active.members.iter().enumerate() {
                let (dz, w) = (dz.cols(a * d, d), weights.rows(a * d, d));
                let input = match layer {
                    0 => View::new(&active.x[a][row * k..], n, k, k),
                    _ => View::new(&active.hidden[layer - 1][row * stride..], n, stride, stride).cols(e * k, k),
                };
                if requires_grad {
                    gemm(input.t(), dz, beta, &mut sums[w_at + a * k * d..][..k * d], d);
                }
                if let Some(below) = lower.last_mut() {
                    let below = &mut below.as_mut_slice()[block(a, k)];
                    gemm(dz, w, T::zero(), below, count * k);
                    let y = &active.hidden[layer - 1][row * stride + e * k..];
                    let (dz, y) = ((below, count * k), (y, stride));
                    simd(ActivationGradient { dz, dy: None, y, width: k, act: s.hidden });
                } else if let Some(dx) = &mut dx[a] {
                    gemm(dz, w, T::one(), &mut dx[(row - rows.start) * k..][..n * k], k);
                }
            }
        }
    }
    buffer
}

/// Adds the chunks' sums to the parameters' gradients, in chunk order.
fn merge<T: Real>(s: &Shape, active: &Active<T>, parts: &[Buffer<T>], parameters: &mut [Option<Tensor>]) {
    // dx += a block of `cols` columns of the sums: its first element, and elements from a row to the next.
    let add = |dx: &mut Option<Tensor>, cols: usize, first: usize, stride: usize| {
        let Some(dx) = dx else { return };
        parallel::for_rows(dx.host_mut::<T>(), cols, |row, rows| {
            for (r, dx) in rows.chunks_exact_mut(cols).enumerate() {
                let at = first + (row + r) * stride;
                parts.iter().for_each(|part| axpy(T::one(), &part.as_slice()[at..at + cols], dx));
            }
        });
    };
    for layer in 0..s.layers() {
        let (k, d) = (s.widths[layer], s.widths[layer + 1]);
        let (w_at, b_at) = active.places[layer];
        for (a, &e) in active.members.iter().enumerate() {
            let at = s.weight(e, layer) - s.sources();
            let (first, stride) = match layer == 0 && s.shared {
                true => (w_at + a * d, active.members.len() * d),
                false => (w_at + a * k * d, d),
            };
            add(&mut parameters[at], d, first, stride);
            add(&mut parameters[at + 1], d, b_at + a * d, d);
        }
    }
}

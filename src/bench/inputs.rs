//! Inputs that depend on the sizes alone: a graph with the degrees of a course platform, and random tables.

use std::cell::OnceCell;
use std::path::Path;

use rayon::prelude::*;

use super::Sizes;
use crate::engine::{Device, Philox, Tensor, parallel};
use crate::graph::{Edge, Graph, block_rows};
use crate::{Error, Result};

const SEED: u64 = 20;
/// Streams of random numbers; tables take the numbers from `TABLE` on.
const DEGREE: u64 = 1;
const COURSE: u64 = 2;
const POPULARITY: u64 = 3;
const KEPT: u64 = 4;
const IDS: u64 = 5;
const TABLE: u64 = 1000;

/// Most courses of one learner, duplicates included.
const MOST: f64 = 1000.0;

/// What the cases are made from. The graph is generated when the first case asks for it.
pub struct Inputs {
    pub device: Device,
    pub sizes: Sizes,
    enrolments: OnceCell<Vec<(u32, u32)>>,
}

impl Inputs {
    pub fn new(device: &Device, sizes: &Sizes) -> Inputs {
        Inputs { device: device.clone(), sizes: sizes.clone(), enrolments: OnceCell::new() }
    }

    /// Nodes of the graph: learners, then courses.
    pub fn nodes(&self) -> usize {
        self.sizes.learners + self.sizes.courses
    }

    /// Distinct pairs (learner, course), ascending.
    pub fn enrolments(&self) -> &[(u32, u32)] {
        self.enrolments.get_or_init(|| enrolments(&self.sizes))
    }

    /// Enrolments in both directions; `relations` 1 gives both the same relation, 2 each its own.
    pub fn edges(&self, relations: u32) -> Vec<Edge> {
        let back = relations - 1;
        let edge = |head, relation, tail| Edge { dst: head, relation, src: tail, bucket: 0 };
        let course = |c: u32| self.sizes.learners as u32 + c;
        let pairs = self.enrolments().iter();
        pairs.flat_map(|&(u, c)| [edge(u, 0, course(c)), edge(course(c), back, u)]).collect()
    }

    pub fn graph(&self, relations: u32) -> Result<Graph> {
        let nodes = self.nodes();
        let graph = Graph::new(&self.device, nodes, nodes, relations as usize, &self.edges(relations))?
            .streamed(&self.device)?;
        graph.with_blocks(&self.device, block_rows(self.sizes.dim))
    }

    /// Uniform numbers of the given standard deviation. `table` tells tables of one case apart.
    pub fn random(&self, rows: usize, cols: usize, std: f32, table: u64) -> Result<Tensor> {
        let draw = Philox::new(SEED, TABLE + table);
        let mut values = vec![0.0; rows * cols];
        let scale = 12f32.sqrt() * std;
        parallel::for_chunks(&mut values, |first, part| {
            for (i, four) in part.chunks_mut(4).enumerate() {
                let bits = draw.block((first / 4 + i) as u64);
                for (value, bits) in four.iter_mut().zip(bits) {
                    *value = scale * (crate::engine::random::to_unit(bits) - 0.5);
                }
            }
        });
        Tensor::new(&self.device, rows, cols, &values)
    }

    /// `count` ids below `below`. `list` tells lists of one case apart.
    pub fn ids(&self, count: usize, below: usize, list: u64) -> Vec<u32> {
        let draw = Philox::new(SEED, IDS + (list << 32));
        (0..count as u64).map(|i| draw.below_at(i, below as u32)).collect()
    }

    /// `count` distinct ids below `below`, ascending; all where `count` is more.
    pub fn distinct(&self, count: usize, below: usize, list: u64) -> Vec<u32> {
        let mut all: Vec<u32> = (0..below as u32).collect();
        Philox::new(SEED, IDS + (list << 32)).shuffle(&mut all);
        all.truncate(count);
        all.sort_unstable();
        all
    }
}

/// Writes what other programs need to do the same work, as .npy files of u32: `enrolments` (E, 2) learner and course,
/// `triples` (B, 4) head, relation, tail and corrupted tail, `triplets` (1024, 3) learner, course taken and course not
/// taken. Tables are not written: their values do not matter to the time.
pub fn save(sizes: &Sizes, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(Error::io(dir, "creating the folder"))?;
    let inputs = Inputs::new(&Device::Cpu, sizes);
    let pairs: Vec<u32> = inputs.enrolments().iter().flat_map(|&(u, c)| [u, c]).collect();
    npy(&dir.join("enrolments.npy"), 2, &pairs)?;
    npy(&dir.join("triples.npy"), 4, &columns(&super::transd::ids(&inputs)))?;
    npy(&dir.join("triplets.npy"), 3, &columns(&super::step::triplets(&inputs)))
}

/// Columns of equal length, row by row.
fn columns(columns: &[Vec<u32>]) -> Vec<u32> {
    (0..columns[0].len()).flat_map(|i| columns.iter().map(move |column| column[i])).collect()
}

/// A matrix of u32 in NumPy's format 1.0.
fn npy(path: &Path, cols: usize, values: &[u32]) -> Result<()> {
    let shape = format!("{{'descr': '<u4', 'fortran_order': False, 'shape': ({}, {cols})}}", values.len() / cols);
    // Magic, version, length, text: a multiple of 64 bytes with the line's end.
    let padding = (64 - (10 + shape.len() + 1) % 64) % 64;
    let header = format!("{shape}{}\n", " ".repeat(padding));
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    std::fs::write(path, bytes).map_err(Error::io(path, "writing"))
}

/// Degrees of learners are log-normal (sigma 1.1) with at least one course each, courses are drawn by a Zipf-like law
/// (weight (rank + 10)^-0.9), duplicates go, and so do random pairs beyond the number wanted. There may be fewer.
fn enrolments(sizes: &Sizes) -> Vec<(u32, u32)> {
    let (learners, courses, wanted) = (sizes.learners, sizes.courses, sizes.enrolments as f64);
    let (degree, course) = (Philox::new(SEED, DEGREE), Philox::new(SEED, COURSE));
    let middle = (wanted / learners as f64).ln() - 0.6;
    let drawn = |u: usize| (middle + 1.1 * degree.normal_at(u as u64)).exp().floor().clamp(1.0, MOST);
    let mut degrees: Vec<f64> = (0..learners).map(drawn).collect();
    // An eighth too many, for the duplicates.
    let scale = 1.12 * wanted / degrees.iter().sum::<f64>();
    degrees.iter_mut().for_each(|d| *d = (*d * scale).floor().max(1.0));

    let mut by_rank: Vec<u32> = (0..courses as u32).collect();
    Philox::new(SEED, POPULARITY).shuffle(&mut by_rank);
    let mut total = 0.0;
    let cumulative: Vec<f64> = (0..courses)
        .map(|rank| {
            total += (rank as f64 + 10.0).powf(-0.9);
            total
        })
        .collect();
    let mut pairs: Vec<(u32, u32)> = (0..learners)
        .into_par_iter()
        .flat_map_iter(|u| {
            let draw = |i: u64| {
                let at = course.uniform_at((u as u64) << 20 | i) as f64 * total;
                by_rank[cumulative.partition_point(|&c| c < at).min(courses - 1)]
            };
            let mut own: Vec<u32> = (0..degrees[u] as u64).map(draw).collect();
            own.sort_unstable();
            own.dedup();
            own.into_iter().map(move |c| (u as u32, c))
        })
        .collect();
    if pairs.len() > sizes.enrolments {
        Philox::new(SEED, KEPT).shuffle(&mut pairs);
        pairs.truncate(sizes.enrolments);
        pairs.sort_unstable();
    }
    pairs
}

//! Ranking on the CPU: a tile of learners by a tile of courses at a time, in cache.

use rayon::prelude::*;

use super::head::{Logits, Packed};
use super::select::Best;
use super::tile::{self, Avx2, COLUMNS, Group, Panel, Portable, Unit};
use super::{Dot, PairHead, Scorer, TopK};
use crate::dense::{self, Activation};
use base::Result;
use engine::parallel::{Work, vectorized_work};
use engine::{DType, Device, Tensor};
use graph::IdSets;

/// Learners of a tile under the match score: two groups. With `TILE_COURSES` the scores take at most a quarter of a
/// second-level cache of 1 MB.
const TILE: usize = 12;
/// Learners of a tile under a head, whose work per pair is many times that of a match score: one group.
const HEAD_TILE: usize = 6;
/// Courses of a tile.
const TILE_COURSES: usize = 5_120;

/// Courses in panels.
pub(super) struct Courses {
    /// D for each panel.
    panels: Vec<Panel>,
    /// One for each panel; none without biases.
    bias: Vec<Panel>,
    /// `hidden` for each panel: the courses' part of the head's first layer.
    of_course: Vec<Panel>,
}

impl Courses {
    pub fn new(courses: &Tensor, dot: Option<&Dot>, head: Option<&PairHead>) -> Result<Courses> {
        let bias = dot.and_then(|dot| dot.bias.as_ref());
        let of_course = match head.and_then(|head| Some((head.hidden, head.of_course.as_ref()?))) {
            Some((hidden, w)) => {
                let w = Tensor::new(&Device::Cpu, courses.cols(), hidden, w)?;
                let product = dense::affine(courses, &w, None, Activation::Identity)?;
                tile::panels(product.host(), hidden)
            }
            None => vec![],
        };
        Ok(Courses {
            panels: tile::panels(courses.host(), courses.cols()),
            bias: bias.map_or(vec![], |bias| tile::panels(bias.host(), 1)),
            of_course,
        })
    }

    /// Fills `top`; the first row that has a NaN.
    pub fn rank(
        &self,
        scorer: &Scorer,
        learners: &Tensor,
        of_learner: Option<&Tensor>,
        seen: &IdSets,
        top: &mut TopK,
    ) -> Option<usize> {
        let k = top.k;
        let packed = scorer.head.as_ref().map(Packed::new);
        let tiles = Tiles {
            courses: self,
            scorer,
            learners: learners.host(),
            of_learner: of_learner.map_or(&[], Tensor::host),
            packed: packed.as_ref(),
            seen,
        };
        let rows = if packed.is_some() { HEAD_TILE } else { TILE };
        let (ids, scores) = (top.ids.par_chunks_mut(rows * k), top.scores.par_chunks_mut(rows * k));
        ids.zip(scores)
            .enumerate()
            .map_init(
                || Scratch::new(scorer, rows),
                |scratch, (i, (ids, scores))| tiles.rank(i * rows, k, ids, scores, scratch),
            )
            .flatten_iter()
            .min()
    }
}

/// Memory of one worker.
struct Scratch {
    scores: Option<Tensor>,
    /// Columns of `scores`.
    stride: usize,
    groups: Vec<Group>,
    scaled: Vec<Group>,
    slab: Vec<Panel>,
    best: Vec<Best>,
    maxima: Vec<f32>,
}

impl Scratch {
    fn new(scorer: &Scorer, rows: usize) -> Scratch {
        let stride = scorer.courses().next_multiple_of(COLUMNS).min(TILE_COURSES);
        // One line more, so that rows do not fall on the same cache sets.
        let stride = stride + COLUMNS;
        Scratch {
            // Recycled host memory; there is no device that could refuse it.
            scores: Tensor::empty(&Device::Cpu, DType::F32, rows, stride).ok(),
            stride,
            groups: vec![],
            scaled: vec![],
            slab: vec![[0.0; COLUMNS]; scorer.head.as_ref().map_or(0, |head| head.rows)],
            best: (0..rows).map(|_| Best::new()).collect(),
            maxima: vec![],
        }
    }
}

/// What every tile reads.
struct Tiles<'a> {
    courses: &'a Courses,
    scorer: &'a Scorer,
    learners: &'a [f32],
    of_learner: &'a [f32],
    packed: Option<&'a Packed<'a>>,
    seen: &'a IdSets,
}

impl Tiles<'_> {
    /// The learners from row `first`, as many as `ids` has room for. The first row with a NaN.
    fn rank(
        &self,
        first: usize,
        k: usize,
        ids: &mut [u32],
        scores: &mut [f32],
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let (count, dim) = self.scorer.courses.shape();
        let rows = ids.len() / k;
        let Scratch { scores: values, stride, groups, scaled, slab, best, maxima } = scratch;
        let stride = *stride;
        let values = values.as_mut()?.host_mut::<f32>();
        let learners = &self.learners[first * dim..(first + rows) * dim];
        if let Some(dot) = &self.scorer.dot {
            tile::groups(rows, dim, |row, at| dot.scale * learners[row * dim + at], groups);
        }
        best.iter_mut().for_each(Best::clear);
        for from in (0..count).step_by(TILE_COURSES) {
            let columns = (count - from).min(TILE_COURSES);
            let panels = from / COLUMNS..(from + columns).div_ceil(COLUMNS);
            let courses = &self.courses.panels[panels.start * dim..panels.end * dim];
            if self.scorer.dot.is_some() {
                let bias = match self.courses.bias.is_empty() {
                    true => &[],
                    false => &self.courses.bias[panels.clone()],
                };
                vectorized_work(Products { rows, groups, courses, dim, bias, out: values, stride });
            }
            if let Some(packed) = self.packed {
                for row in 0..rows {
                    packed.scale(&learners[row * dim..(row + 1) * dim], scaled);
                    self.logits(
                        packed,
                        first + row,
                        panels.clone(),
                        scaled,
                        slab,
                        &mut values[row * stride..],
                    );
                }
            }
            for (row, best) in best[..rows].iter_mut().enumerate() {
                let scores = &mut values[row * stride..][..columns];
                best.offer(scores, from as u32, self.seen.row(first + row), k, maxima);
            }
        }
        let lists = ids.chunks_exact_mut(k).zip(scores.chunks_exact_mut(k));
        best.iter_mut().zip(lists).for_each(|(best, (ids, scores))| best.finish(ids, scores));
        best[..rows].iter().position(|best| !best.valid).map(|row| first + row)
    }

    fn logits(
        &self,
        packed: &Packed,
        row: usize,
        panels: std::ops::Range<usize>,
        scaled: &[Group],
        slab: &mut [Panel],
        out: &mut [f32],
    ) {
        let dim = self.scorer.courses.cols();
        let hidden = packed.hidden();
        let of_course = match self.courses.of_course.is_empty() {
            true => &[],
            false => &self.courses.of_course[panels.start * hidden..panels.end * hidden],
        };
        vectorized_work(Logits {
            packed,
            scaled,
            of_learner: &self.of_learner[row * hidden..(row + 1) * hidden],
            of_course,
            courses: &self.courses.panels[panels.start * dim..panels.end * dim],
            slab,
            out: &mut out[..panels.len() * COLUMNS],
            add: self.scorer.dot.is_some(),
        });
    }
}

/// The match scores of a tile.
struct Products<'a> {
    rows: usize,
    groups: &'a [Group],
    courses: &'a [Panel],
    dim: usize,
    bias: &'a [Panel],
    out: &'a mut [f32],
    stride: usize,
}

impl Work for Products<'_> {
    #[inline(always)]
    fn run(self) {
        match Avx2::found() {
            Some(unit) => self.with(unit),
            None => self.with(Portable),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn with(self, unit: impl Unit) {
        for (p, panel) in self.courses.chunks_exact(self.dim).enumerate() {
            let mut sums = [self.bias.get(p).copied().unwrap_or([0.0; COLUMNS]); TILE];
            tile::multiply(unit, self.groups, panel, &mut sums[..self.rows]);
            for (row, sums) in sums[..self.rows].iter().enumerate() {
                self.out[row * self.stride + p * COLUMNS..][..COLUMNS].copy_from_slice(sums);
            }
        }
    }
}

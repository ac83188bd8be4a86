//! Ranking on the CPU: a tile of learners by a tile of courses at a time, in cache.

use rayon::prelude::*;

use super::head::{HeadLogits, PackedHead};
use super::select::Best;
use super::tile::{self, COLUMNS, Group, Panel};
use super::{Dot, PairHead, Scorer, TopK};
use crate::activation::Activation;
use crate::dense;
use base::Result;
use engine::simd::{SimdWork, simd};
use engine::{Buffer, Device, Tensor};
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
        let (k, head) = (top.k, scorer.head.as_ref().map(PackedHead::new));
        let rows = if head.is_some() { HEAD_TILE } else { TILE };
        let tiles = Tiles {
            courses: self,
            scorer,
            learners: learners.host(),
            of_learner: of_learner.map_or(&[], Tensor::host),
            head: head.as_ref(),
            seen,
        };
        let lists = top.ids.par_chunks_mut(rows * k).zip(top.scores.par_chunks_mut(rows * k));
        lists
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
    scores: Buffer<f32>,
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
        // One line more, so that rows do not fall on the same cache sets.
        let stride = scorer.courses().next_multiple_of(COLUMNS).min(TILE_COURSES) + COLUMNS;
        Scratch {
            scores: Buffer::stale(rows * stride),
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
    head: Option<&'a PackedHead<'a>>,
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
        let (values, stride) = (values.as_mut_slice(), *stride);
        let learners = &self.learners[first * dim..(first + rows) * dim];
        let add = self.scorer.dot.is_some();
        if let Some(dot) = &self.scorer.dot {
            tile::groups(rows, dim, |row, at| dot.scale * learners[row * dim + at], groups);
        }
        best.iter_mut().for_each(Best::clear);
        for from in (0..count).step_by(TILE_COURSES) {
            let columns = (count - from).min(TILE_COURSES);
            let panels = from / COLUMNS..(from + columns).div_ceil(COLUMNS);
            let courses = &self.courses.panels[panels.start * dim..panels.end * dim];
            if add {
                let bias = self.courses.bias.get(panels.clone()).unwrap_or_default();
                simd(MatchScores { rows, groups, courses, dim, bias, out: values, stride });
            }
            if let Some(packed) = self.head {
                let hidden = packed.hidden();
                let of_course = panels.start * hidden..panels.end * hidden;
                let of_course = self.courses.of_course.get(of_course).unwrap_or_default();
                for row in 0..rows {
                    packed.scale(&learners[row * dim..(row + 1) * dim], scaled);
                    let of_learner = &self.of_learner[(first + row) * hidden..][..hidden];
                    let (out, slab) = (&mut values[row * stride..][..panels.len() * COLUMNS], &mut slab[..]);
                    simd(HeadLogits { packed, scaled, of_learner, of_course, courses, slab, out, add });
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
}

/// The match scores of a tile.
struct MatchScores<'a> {
    rows: usize,
    groups: &'a [Group],
    courses: &'a [Panel],
    dim: usize,
    bias: &'a [Panel],
    out: &'a mut [f32],
    stride: usize,
}

impl SimdWork for MatchScores<'_> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        for (p, panel) in self.courses.chunks_exact(self.dim).enumerate() {
            let mut sums = [self.bias.get(p).copied().unwrap_or([0.0; COLUMNS]); TILE];
            tile::multiply::<ISA>(self.groups, panel, &mut sums[..self.rows]);
            for (row, sums) in sums[..self.rows].iter().enumerate() {
                self.out[row * self.stride + p * COLUMNS..][..COLUMNS].copy_from_slice(sums);
            }
        }
    }
}

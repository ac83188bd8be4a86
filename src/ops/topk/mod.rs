//! The K best courses of each learner, scored and selected tile by tile: no matrix of learners by courses exists.

mod cpu;
mod gpu;
mod head;
mod select;
mod tile;

use super::activation::Activation;
use super::dense;
use super::{check, check_shape};
use base::{Error, Result};
use engine::{DType, Device, Tensor};
use graph::IdSets;

pub use head::PairHead;

/// Largest K.
pub const MAX_K: usize = 128;
/// Fills a list that has fewer than K courses.
pub const NO_COURSE: u32 = u32::MAX;

/// Lists of at most K courses, best first; equal scores by ascending id.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    pub k: usize,
    /// (rows * k) course ids, `NO_COURSE` past the end of a short list.
    pub ids: Vec<u32>,
    /// (rows * k) their scores, -inf past the end.
    pub scores: Vec<f32>,
}

impl TopK {
    pub fn rows(&self) -> usize {
        self.ids.len() / self.k
    }

    /// The courses of row `b`, best first.
    pub fn row(&self, b: usize) -> &[u32] {
        let ids = &self.ids[b * self.k..(b + 1) * self.k];
        &ids[..ids.iter().position(|&id| id == NO_COURSE).unwrap_or(self.k)]
    }

    /// The scores of row `b`, in the order of `row`.
    pub fn row_scores(&self, b: usize) -> &[f32] {
        &self.scores[b * self.k..][..self.row(b).len()]
    }
}

/// The match score (8): scale <u, i> + bias_i.
#[derive(Clone, Debug)]
pub struct Dot {
    pub scale: f32,
    /// (1, courses)
    pub bias: Option<Tensor>,
}

/// All courses, made ready to be scored for any learner: by the match score, a head, or the sum of both.
pub struct Scorer {
    /// (courses, D)
    courses: Tensor,
    dot: Option<Dot>,
    head: Option<PairHead>,
    side: Side,
}

/// What is computed of the courses once.
enum Side {
    Cpu(cpu::Courses),
    Gpu(gpu::Courses),
}

impl Scorer {
    /// `courses` (C, D), f32. `Error::Shape` where nothing scores and where sizes do not fit.
    pub fn new(courses: Tensor, dot: Option<Dot>, head: Option<PairHead>) -> Result<Scorer> {
        let (count, dim) = courses.shape();
        let fits = courses.dtype() == DType::F32 && dim > 0 && count < i32::MAX as usize;
        check(fits, "topk", || "f32 vectors of fewer than 2^31 courses".into(), || format!("{courses:?}"))?;
        check(dot.is_some() || head.is_some(), "topk", || "a way to score".into(), || "none".into())?;
        if let Some(bias) = dot.as_ref().and_then(|dot| dot.bias.as_ref()) {
            check_shape("topk", "bias", bias, 1, count)?;
        }
        if let Some(head) = &head {
            check(head.dim == dim, "topk", || format!("a head on {} columns", head.dim), || format!("{dim}"))?;
        }
        let side = match courses.device() {
            Device::Cpu => Side::Cpu(cpu::Courses::new(&courses, dot.as_ref(), head.as_ref())?),
            Device::Gpu(_) => Side::Gpu(gpu::Courses::new(&courses, head.as_ref())?),
        };
        Ok(Scorer { courses, dot, head, side })
    }

    /// By the match score <u, i> alone.
    pub fn match_score(courses: Tensor) -> Result<Scorer> {
        Scorer::new(courses, Some(Dot { scale: 1.0, bias: None }), None)
    }

    pub fn courses(&self) -> usize {
        self.courses.rows()
    }

    /// The match score, where it has part in the score.
    pub fn dot(&self) -> Option<&Dot> {
        self.dot.as_ref()
    }

    /// Whether a head has part in the score.
    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Floating-point operations for one pair of a learner and a course.
    pub fn operations(&self) -> usize {
        let dot = if self.dot.is_some() { self.courses.cols() } else { 0 };
        2 * (dot + self.head.as_ref().map_or(0, PairHead::multiply_adds))
    }

    /// The `k` best courses for each row of `learners` (B, D), in the order (-score, id), without those in its set of
    /// `seen`.
    ///
    /// `Error::Shape` for k outside 1..=128 and sizes that do not fit; `Error::Diverged`, naming the first row, where a
    /// score is NaN.
    pub fn rank(&self, learners: &Tensor, seen: &IdSets, k: usize) -> Result<TopK> {
        let (rows, courses) = (learners.rows(), self.courses());
        check((1..=MAX_K).contains(&k), "topk", || format!("k in 1..={MAX_K}"), || format!("{k}"))?;
        check_shape("topk", "learners", learners, rows, self.courses.cols())?;
        let fits = learners.dtype() == DType::F32 && learners.device() == self.courses.device();
        check(fits, "topk", || "learners beside the courses".into(), || format!("{learners:?}"))?;
        check(
            seen.rows() == rows && seen.below <= courses,
            "topk",
            || format!("{rows} seen sets of ids below {courses}"),
            || format!("{} sets of ids below {}", seen.rows(), seen.below),
        )?;
        let mut top = TopK { k, ids: vec![NO_COURSE; rows * k], scores: vec![f32::NEG_INFINITY; rows * k] };
        if rows == 0 || courses == 0 {
            return Ok(top);
        }
        let of_learner = match &self.head {
            Some(head) => Some(self.of_learner(head, learners)?),
            None => None,
        };
        let invalid = match &self.side {
            Side::Cpu(side) => side.rank(self, learners, of_learner.as_ref(), seen, &mut top),
            Side::Gpu(side) => side.rank(self, learners, of_learner.as_ref(), seen, &mut top)?,
        };
        match invalid {
            None => Ok(top),
            Some(row) => Err(Error::Diverged {
                what: format!("a score in row {row} of the ranking"),
                step: 0,
                remedy: "the model that scores has parameters that are not finite: train it again with a lower \
                         learning rate, or rank with an earlier checkpoint"
                    .into(),
            }),
        }
    }

    /// (B, hidden) W_u u + b.
    fn of_learner(&self, head: &PairHead, learners: &Tensor) -> Result<Tensor> {
        let device = learners.device();
        let bias = Tensor::new(&device, 1, head.hidden, &head.bias)?;
        match &head.of_learner {
            Some(w) => {
                let w = Tensor::new(&device, head.dim, head.hidden, w)?;
                dense::affine(learners, &w, Some(&bias), Activation::Identity)
            }
            None => {
                let rows = head.bias.repeat(learners.rows());
                Tensor::new(&device, learners.rows(), head.hidden, &rows)
            }
        }
    }
}

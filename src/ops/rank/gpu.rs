//! Launches of rank.cu and rank_head.cu.

use super::head::Step;
use super::{PairHead, Scorer, TopK};
use crate::dense;
use base::{Error, Result};
use engine::device::{Grid, kernels};
use engine::parallel::Trans;
use engine::{Index, Tensor};
use graph::IdSets;

/// `ROOM` of rank.cuh: keys of one learner.
const ROOM: usize = 256;
/// `LEARNERS` of rank.cu: learners of a block.
const LEARNERS: usize = 32;
/// Shared memory that every supported card gives a block, less what the kernel has beside its own.
const SHARED: usize = 96 * 1024;

/// What is on the device of courses and head.
pub(super) struct Courses {
    head: Option<Program>,
}

struct Program {
    /// (hidden, courses) W_i i.
    of_course: Option<Tensor>,
    /// (D, hidden)
    product: Option<Tensor>,
    /// Weights and biases of all dense steps, each from a multiple of 4.
    weights: Tensor,
    /// `Step` of rank_head.cu, ten each.
    steps: Index<i32>,
}

impl Courses {
    pub fn new(courses: &Tensor, head: Option<&PairHead>) -> Result<Courses> {
        let head = head.map(|head| Program::new(courses, head)).transpose()?;
        Ok(Courses { head })
    }

    /// Fills `top`; the first row that has a NaN.
    pub fn rank(
        &self,
        scorer: &Scorer,
        learners: &Tensor,
        of_learner: Option<&Tensor>,
        seen: &IdSets,
        top: &mut TopK,
    ) -> Result<Option<usize>> {
        let Some(gpu) = learners.gpu() else { return Ok(None) };
        let ((rows, dim), k) = (learners.shape(), top.k);
        let bias = scorer.dot.as_ref().and_then(|dot| dot.bias.as_ref());
        let scale = scorer.dot.as_ref().map_or(0.0, |dot| dot.scale);
        let (mut ids, mut invalid) = (gpu.allocate(rows * k * 4)?, gpu.allocate(rows * 4)?);
        let mut values = learners.empty_like(rows, k)?;
        match (&self.head, &scorer.head, of_learner) {
            (Some(program), Some(head), Some(of_learner)) => {
                let pairs = head.of_product.is_some() || scorer.dot.is_some();
                let tile = tile(head.rows + if pairs { dim } else { 0 })?;
                let shared = ROOM * 8 + (head.rows + if pairs { dim } else { 0 }) * tile * 4;
                let (code, slope) = head.activation.code();
                gpu.launch(kernels::RANK_HEAD, Grid::new(rows.min(1 << 20) as u32, 256).with_shared(shared))
                    .tensor(learners)
                    .tensor(&scorer.courses)
                    .tensor(of_learner)
                    .optional(program.of_course.as_ref())
                    .optional(program.product.as_ref())
                    .tensor(&program.weights)
                    .index(&program.steps)
                    .optional(bias)
                    .index(&seen.offsets)
                    .index(&seen.ids)
                    .buffer(&mut ids)
                    .tensor_mut(&mut values)
                    .buffer(&mut invalid)
                    .count(rows)
                    .count(scorer.courses())
                    .count(dim)
                    .count(head.hidden)
                    .count(head.steps.len())
                    .count(head.rows)
                    .count(tile)
                    .count(head.active)
                    .value(code)
                    .value(slope)
                    .value(scorer.dot.is_some() as i32)
                    .value(scale)
                    .count(k)
                    .run()?;
            }
            _ => {
                let blocks = rows.div_ceil(LEARNERS).min(1 << 20) as u32;
                gpu.launch(kernels::RANK_MATCH, Grid::new(blocks, 256).with_shared(LEARNERS * ROOM * 8))
                    .tensor(learners)
                    .tensor(&scorer.courses)
                    .optional(bias)
                    .index(&seen.offsets)
                    .index(&seen.ids)
                    .buffer(&mut ids)
                    .tensor_mut(&mut values)
                    .buffer(&mut invalid)
                    .count(rows)
                    .count(scorer.courses())
                    .count(dim)
                    .count(k)
                    .value(scale)
                    .run()?;
            }
        }
        top.ids = ids.read()?;
        top.scores = values.to_vec()?;
        Ok(invalid.read::<u32>()?.iter().position(|&flag| flag != 0))
    }
}

/// The most courses, a power of two, whose slabs of `rows` rows fit the shared memory.
fn tile(rows: usize) -> Result<usize> {
    let fits = |tile: &usize| ROOM * 8 + rows * tile * 4 <= SHARED;
    [64, 32, 16, 8, 4, 2, 1].into_iter().find(fits).ok_or_else(|| Error::Memory {
        why: format!("the head has {rows} values for each pair, more than a block's shared memory"),
        remedy: "rank on the CPU (--device cpu), or by the match score (--set eval.rank_by=inner)".into(),
    })
}

impl Program {
    fn new(courses: &Tensor, head: &PairHead) -> Result<Program> {
        let device = courses.device();
        let of_course = match &head.of_course {
            Some(w) => {
                let transposed: Vec<f32> =
                    (0..head.hidden).flat_map(|h| w.iter().skip(h).step_by(head.hidden)).copied().collect();
                let w = Tensor::new(&device, head.hidden, head.dim, &transposed)?;
                let mut product = courses.empty_like(head.hidden, courses.rows())?;
                dense::matmul(&w, Trans::No, courses, Trans::Yes, 0.0, &mut product)?;
                Some(product)
            }
            None => None,
        };
        let product = match &head.of_product {
            Some(w) => Some(Tensor::new(&device, head.dim, head.hidden, w)?),
            None => None,
        };
        let (mut weights, mut steps) = (vec![0.0; 4], vec![]);
        for step in &head.steps {
            let (kind, from, inputs, to, outputs, parts, logits, at, act) = match step {
                Step::Dense { from, inputs, to, outputs, w, b, act } => {
                    let at = weights.len();
                    for values in [w, b] {
                        weights.extend(values);
                        weights.resize(weights.len().next_multiple_of(4), 0.0);
                    }
                    (0, *from, *inputs, *to, *outputs, 0, 0, at, *act)
                }
                Step::Mean { from, parts, width, to } => {
                    (1, *from, 0, *to, *width, *parts, 0, 0, dense::Activation::Identity)
                }
                Step::Gate { from, width, logits, gates, to } => {
                    (2, *from, *gates, *to, *width, 0, *logits, 0, dense::Activation::Identity)
                }
                Step::Softmax { from, parts, width, logits, to } => {
                    (3, *from, 0, *to, *width, *parts, *logits, 0, dense::Activation::Identity)
                }
            };
            let (code, slope) = act.code();
            let sizes = [from, inputs, to, outputs, parts, logits, at].map(|n| n as i32);
            steps.push(kind);
            steps.extend(sizes);
            steps.extend([code, slope.to_bits() as i32]);
        }
        let weights = Tensor::new(&device, 1, weights.len(), &weights)?;
        Ok(Program { of_course, product, weights, steps: Index::new(&device, steps)? })
    }
}

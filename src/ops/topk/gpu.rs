//! Launches of topk.cu and topk_head.cu.

use super::{PairHead, Scorer, TopK};
use crate::dense;
use crate::launch::launch;
use base::{Error, Result};
use engine::device::{Grid, kernels};
use engine::parallel::Trans;
use engine::{Index, Tensor};
use graph::IdSets;

/// `ROOM` of topk.cuh: keys of one learner.
const ROOM: usize = 256;
/// `LEARNERS` of topk.cu: learners of a block.
const LEARNERS: usize = 32;
/// Shared memory that every supported card gives a block, less what the kernel has beside its own.
const SHARED: usize = 96 * 1024;
/// More blocks than any card runs at once; each takes several learners where there are more.
const BLOCKS: usize = 1 << 20;

/// What is on the device of courses and head.
pub(super) struct Courses {
    head: Option<DeviceHead>,
}

struct DeviceHead {
    /// (hidden, courses) W_i i.
    of_course: Option<Tensor>,
    /// (D, hidden)
    product: Option<Tensor>,
    /// Weights and biases of all dense steps.
    weights: Tensor,
    /// `Step` of topk_head.cu, ten each.
    steps: Index<i32>,
}

impl Courses {
    pub fn new(courses: &Tensor, head: Option<&PairHead>) -> Result<Courses> {
        let head = head.map(|head| DeviceHead::new(courses, head)).transpose()?;
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
        let ((rows, dim), count, k) = (learners.shape(), scorer.courses(), top.k);
        let (courses, dot) = (&scorer.courses, scorer.dot.as_ref());
        let (bias, scale) = (dot.and_then(|dot| dot.bias.as_ref()), dot.map_or(0.0, |dot| dot.scale));
        let (mut ids, mut invalid) = (gpu.allocate(rows * k * 4)?, gpu.allocate(rows * 4)?);
        let mut values = learners.empty_like(rows, k)?;
        match (&self.head, &scorer.head, of_learner) {
            (Some(device), Some(head), Some(of_learner)) => {
                let pairs = head.of_product.is_some() || dot.is_some();
                let slab = head.rows + if pairs { dim } else { 0 };
                let tile = tile(slab)?;
                let (code, slope) = head.activation.code();
                let grid = Grid::new(rows.min(BLOCKS) as u32, 256).with_shared(ROOM * 8 + slab * tile * 4);
                launch!(gpu, kernels::TOPK_HEAD, grid;
                    learners, courses, of_learner, device.of_course.as_ref(), device.product.as_ref(),
                    &device.weights, &device.steps, bias, &seen.offsets, &seen.ids,
                    &mut ids, &mut values, &mut invalid,
                    rows, count, dim, head.hidden, head.steps.len(), head.rows, tile, head.active,
                    code, slope, dot.is_some() as i32, scale, k)?;
            }
            _ => {
                let blocks = rows.div_ceil(LEARNERS).min(BLOCKS) as u32;
                let grid = Grid::new(blocks, 256).with_shared(LEARNERS * ROOM * 8);
                launch!(gpu, kernels::TOPK_DOT, grid;
                    learners, courses, bias, &seen.offsets, &seen.ids, &mut ids, &mut values, &mut invalid,
                    rows, count, dim, k, scale)?;
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

impl DeviceHead {
    fn new(courses: &Tensor, head: &PairHead) -> Result<DeviceHead> {
        let device = courses.device();
        let of_course = match &head.of_course {
            Some(w) => {
                let column = |h| w.iter().skip(h).step_by(head.hidden).copied();
                let transposed: Vec<f32> = (0..head.hidden).flat_map(column).collect();
                let w = Tensor::new(&device, head.hidden, head.dim, &transposed)?;
                let mut product = courses.empty_like(head.hidden, courses.rows())?;
                dense::matmul(&w, Trans::No, courses, Trans::Yes, 0.0, &mut product)?;
                Some(product)
            }
            None => None,
        };
        let product = head.of_product.as_ref().map(|w| Tensor::new(&device, head.dim, head.hidden, w));
        let mut steps = vec![];
        for step in &head.steps {
            let (code, slope) = step.act.code();
            let sizes = [step.from, step.inputs, step.to, step.outputs, step.parts, step.logits, step.weights];
            steps.push(step.kind as i32);
            steps.extend(sizes.map(|n| n as i32));
            steps.extend([code, slope.to_bits() as i32]);
        }
        let weights = Tensor::new(&device, 1, head.weights.len(), &head.weights)?;
        let steps = Index::new(&device, steps)?;
        Ok(DeviceHead { of_course, product: product.transpose()?, weights, steps })
    }
}

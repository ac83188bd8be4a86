//! What a training step reads, and the representations that it makes of it.

use std::sync::Arc;

use super::Neural;
use crate::Result;
use crate::config::{Propagation, Ranking};
use crate::engine::{ParamId, Philox, RowSet, Tensor, Var};
use crate::graph::Blocks;
use crate::layers::ForwardCtx;
use crate::models::{Batch, BatchLearners, DeviceBatch, StepInputs, TripleBatch};
use crate::ops::{Rows, SoftmaxLoss, SoftmaxOptions, Triples};

/// Stream of sampled neighbourhoods where a step gives no random numbers.
const SAMPLE_STREAM: u64 = 0x7361_6D70;

/// Z of a step's learners, (rows, D), and of courses.
pub(super) struct Represented {
    pub z_u: Var,
    pub z_courses: Var,
}

impl Neural {
    /// Z of a batch's learners, and of all courses or, over sampled neighbourhoods, of its candidates.
    pub(super) fn represent(
        &self,
        pass: &mut ForwardCtx,
        inputs: &StepInputs,
        batch: &DeviceBatch,
    ) -> Result<Represented> {
        let nodes = match &inputs.blocks {
            Some(blocks) => self.encoder.sampled_nodes(pass, blocks)?,
            None => self.encoder.nodes(pass)?,
        };
        let z_u = match &batch.learners {
            BatchLearners::Nodes(rows) => self.encoder.rows(pass, &nodes, rows)?,
            BatchLearners::Histories(learners) => {
                let states = self.encoder.encode_history(pass, &nodes, &learners.id, &learners.histories)?;
                self.encoder.stack(pass, &states)?
            }
        };
        let z_courses = match &batch.courses {
            Some(rows) => self.encoder.targets(pass, &nodes, rows)?,
            None => self.encoder.course_targets(pass, &nodes)?,
        };
        Ok(Represented { z_u, z_courses })
    }

    /// A batch on the device, for a step on these rows and neighbourhoods.
    pub(super) fn device_batch(&self, batch: &Batch, inputs: &StepInputs) -> Result<DeviceBatch> {
        let (config, learners) = (&self.config.loss, &batch.learners);
        let rows = |ids: Vec<u32>, of: usize| Rows::new(&self.device, ids, of);
        let (own, courses) = match (&inputs.blocks, self.config.model.propagation) {
            (Some(blocks), _) => {
                let level = &blocks.levels[0];
                let courses = self.candidates(batch);
                let nodes: Vec<u32> = courses.iter().map(|&c| self.encoder.course_node(c)).collect();
                let places = rows(level.places(&nodes), level.len())?;
                let own = rows(level.places(&learners.id), level.len())?;
                (BatchLearners::Nodes(own), Some((courses, places)))
            }
            (None, Propagation::Full) => {
                (BatchLearners::Nodes(rows(learners.id.clone(), self.encoder.graph().num_dst)?), None)
            }
            (None, Propagation::History) => (BatchLearners::Histories(learners.clone()), None),
        };
        let (candidates, courses) = courses.unzip();
        let among = candidates.as_ref().map_or(self.courses, Vec::len);
        let of_courses = |courses: &[u32]| {
            let places = match &candidates {
                None => courses.to_vec(),
                Some(all) => courses.iter().map(|c| all.partition_point(|x| x < c) as u32).collect(),
            };
            rows(places, among)
        };
        let triplets = match config.ranking {
            Ranking::Bpr => Some((of_courses(&batch.positive)?, of_courses(&batch.negative)?)),
            _ => None,
        };
        let labels = |tasks: &[usize]| -> Result<(Tensor, Option<Tensor>)> {
            let mask = batch.mask.as_ref().map(|mask| self.columns(mask, tasks)).transpose()?;
            Ok((self.columns(&batch.labels, tasks)?, mask))
        };
        let learned: Vec<usize> = self.learned.iter().map(|&(_, task)| task).collect();
        let auxiliary = match config.aux_weight != 0.0 {
            true => self.head.auxiliary(),
            false => vec![],
        };
        Ok(DeviceBatch {
            learners: own,
            courses,
            triplets,
            softmax: (config.ranking == Ranking::Softmax).then(|| self.softmax(batch)).transpose()?,
            pair_row: rows(batch.pair_row.clone(), learners.rows())?,
            pair_course: of_courses(&batch.pair_course)?,
            labels: labels(&learned)?,
            auxiliary: (!auxiliary.is_empty()).then(|| labels(&auxiliary)).transpose()?,
        })
    }

    /// Labels or masks (pairs x K) of some tasks, as a tensor (pairs, tasks).
    fn columns(&self, values: &[f32], tasks: &[usize]) -> Result<Tensor> {
        let k = self.tasks.len();
        let rows = values.chunks_exact(k);
        let chosen: Vec<f64> = rows.flat_map(|row| tasks.iter().map(|&task| row[task] as f64)).collect();
        Tensor::from_f64(&self.device, self.dtype, values.len() / k, tasks.len(), &chosen)
    }

    fn softmax(&self, batch: &Batch) -> Result<SoftmaxLoss> {
        let loss = &self.config.loss;
        let options = SoftmaxOptions { scale: loss.softmax_scale as f32, label_smoothing: loss.label_smoothing as f32 };
        let seen = &batch.learners.histories;
        let seen = loss.softmax_mask_seen.then_some((&seen.offsets[..], &seen.course[..]));
        SoftmaxLoss::new(&self.device, batch.positive.clone(), self.courses, seen, options)
    }

    /// Triples of a batch on the device, in places of the tables as they are on the tape of a step with these inputs.
    pub(super) fn device_triples(&self, batch: &TripleBatch, inputs: &StepInputs) -> Result<Triples> {
        let [entity, _, relation, _] = self.encoder.transd()?;
        let rows = |id: ParamId| match inputs.rows.get(id.0) {
            Some(Some(rows)) => rows.len(),
            _ => self.params.get(id).value.rows(),
        };
        Triples::new(
            &self.device,
            (rows(entity), rows(relation)),
            (&inputs.nodes(&batch.head), &batch.relation, &inputs.nodes(&batch.tail)),
            (&inputs.nodes(&batch.negative_head), &inputs.nodes(&batch.negative_tail)),
        )
    }

    /// The courses whose Z a batch's losses read, ascending.
    pub(super) fn candidates(&self, batch: &Batch) -> Vec<u32> {
        if self.config.loss.ranking == Ranking::Softmax {
            return (0..self.courses as u32).collect();
        }
        let mut courses = batch.pair_course.clone();
        if self.config.loss.ranking == Ranking::Bpr {
            courses.extend(batch.positive.iter().chain(&batch.negative));
        }
        courses.sort_unstable();
        courses.dedup();
        courses
    }

    /// Sampled neighbourhoods of a batch, and the rows of the tables that they read.
    pub(super) fn sample(&self, batch: &Batch, random: Option<Philox>) -> Result<StepInputs> {
        let courses = self.candidates(batch);
        let nodes = courses.iter().map(|&c| self.encoder.course_node(c)).chain(batch.learners.id.iter().copied());
        let triples = batch.triples.as_ref().map(TripleBatch::nodes).unwrap_or_default();
        let random = random.unwrap_or(Philox::new(self.config.seed, SAMPLE_STREAM));
        let blocks = self.encoder.sample(&self.device, &nodes.collect::<Vec<_>>(), &triples, random)?;
        let mut inputs = self.inputs_of(blocks, self.encoder.reads_projections() || batch.triples.is_some())?;
        if let Some(output) = self.encoder.course_output() {
            inputs.rows[output.0] = Some(Arc::new(RowSet::new(&self.device, courses, self.courses)?));
        }
        Ok(inputs)
    }

    /// The inputs of a step that reads these rows of the entities' tables.
    pub(super) fn inputs_of(&self, blocks: Blocks, projections: bool) -> Result<StepInputs> {
        let [entity, entity_proj, ..] = self.encoder.transd()?;
        let table = self.params.get(entity).value.rows();
        let set = Arc::new(RowSet::new(&self.device, blocks.nodes().ids().to_vec(), table)?);
        let mut rows = vec![None; self.params.len()];
        rows[entity_proj.0] = projections.then(|| set.clone());
        rows[entity.0] = Some(set);
        Ok(StepInputs { rows, blocks: Some(blocks), ..StepInputs::default() })
    }
}

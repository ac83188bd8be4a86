//! What a training step reads, and the representations that it makes of it.

use std::sync::Arc;

use super::Neural;
use crate::Result;
use crate::config::{Propagation, Ranking};
use crate::engine::{RowSet, Var};
use crate::graph::Blocks;
use crate::layers::Pass;
use crate::models::{Batch, Plan};

/// Z of a step's learners, (rows, D), and of courses.
pub(super) struct Represented {
    pub z_u: Var,
    pub z_courses: Var,
    /// The courses, ascending, where not all of them stand there.
    courses: Option<Vec<u32>>,
}

impl Represented {
    /// Rows of `z_courses`.
    pub fn places(&self, courses: &[u32]) -> Vec<u32> {
        match &self.courses {
            None => courses.to_vec(),
            Some(all) => courses.iter().map(|c| all.partition_point(|x| x < c) as u32).collect(),
        }
    }
}

impl Neural {
    /// Z of a batch's learners, and of all courses or, over sampled neighbourhoods, of those that it asks about.
    pub(super) fn represent(&self, pass: &mut Pass, batch: &Batch, plan: &Plan) -> Result<Represented> {
        let learners = &batch.learners;
        if let Some(blocks) = &plan.blocks {
            let states = self.encoder.sampled_nodes(pass, blocks)?;
            let z = self.encoder.stack(pass, &states)?;
            let z_u = self.gather(pass, z, &blocks.levels[0].places(&learners.id))?;
            let courses = self.asked(batch);
            let nodes: Vec<u32> = courses.iter().map(|&c| self.encoder.course_node(c)).collect();
            let z_courses = self.encoder.targets(pass, &states, blocks.levels[0].places(&nodes))?;
            return Ok(Represented { z_u, z_courses, courses: Some(courses) });
        }
        let nodes = self.encoder.nodes(pass)?;
        let z_u = match self.config.model.propagation {
            Propagation::Full => {
                let z = self.encoder.stack(pass, &nodes)?;
                self.gather(pass, z, &learners.id)?
            }
            Propagation::History => {
                let states = self.encoder.listeners(pass, &nodes, &learners.id, &learners.histories)?;
                self.encoder.stack(pass, &states)?
            }
        };
        Ok(Represented { z_u, z_courses: self.encoder.course_targets(pass, &nodes)?, courses: None })
    }

    /// The courses whose Z a batch's losses read, ascending.
    pub(super) fn asked(&self, batch: &Batch) -> Vec<u32> {
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

    /// The plan of a step that reads these rows of the entities' tables.
    pub(super) fn plan_of(&self, blocks: Blocks, projections: bool) -> Result<Plan> {
        let [entity, entity_proj, ..] = self.encoder.transd()?;
        let table = self.params.get(entity).value.rows();
        let set = Arc::new(RowSet::new(&self.device, blocks.nodes().ids().to_vec(), table)?);
        let mut rows = vec![None; self.params.len()];
        rows[entity_proj.0] = projections.then(|| set.clone());
        rows[entity.0] = Some(set);
        Ok(Plan { rows, blocks: Some(blocks) })
    }
}

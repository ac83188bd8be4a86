//! Rankers with a solution in closed form: a vector for each course, and learners that are the courses they took.

use super::{ENROLLED, Encoded, Learners, Recommender};
use crate::config::Config;
use crate::data::{Dataset, Split};
use crate::engine::{DType, Device, Owner, Params, Tensor};
use crate::ops::Scorer;
use crate::{Error, Result};

/// What a model file solves: the courses' vectors, from what each learner took.
pub type Solve = fn(&Config, &CourseSets) -> Result<Solution>;

/// The courses that learners took, each once.
pub struct CourseSets {
    pub courses: usize,
    /// Course ids of each learner, ascending.
    pub lists: Vec<Vec<u32>>,
}

pub enum Solution {
    /// (courses): the same score for everybody.
    Scores(Vec<f32>),
    /// (courses x courses), row-major: row i holds what each course taken adds to the score of course i.
    Weights(Vec<f32>),
}

pub struct ClosedForm {
    name: &'static str,
    solve: Solve,
    config: Config,
    tasks: Vec<String>,
    params: Params,
    courses: usize,
    device: Device,
}

/// Whether a table holds scores that do not depend on the learner.
fn constant(table: &Tensor) -> bool {
    table.cols() == 1
}

impl ClosedForm {
    pub fn new(
        (name, solve): (&'static str, Solve),
        config: &Config,
        data: &Dataset,
        device: &Device,
    ) -> Result<ClosedForm> {
        let mut params = Params::default();
        // One column until it is solved: nobody has a score.
        params.add("courses", Owner::Shared, Tensor::zeros(device, DType::F32, data.courses, 1)?);
        Ok(ClosedForm {
            name,
            solve,
            config: config.clone(),
            tasks: vec![ENROLLED.to_string()],
            params,
            courses: data.courses,
            device: device.clone(),
        })
    }

    /// Solves for the enrolments of `splits`.
    pub fn fit(&mut self, data: &Dataset, splits: &[Split]) -> Result<()> {
        let lists = data.course_lists(splits);
        let list = |u: usize| {
            let mut list = lists.of(u).to_vec();
            list.sort_unstable();
            list.dedup();
            list
        };
        let sets = CourseSets { courses: data.courses, lists: (0..data.learners()).map(list).collect() };
        let (cols, values) = match (self.solve)(&self.config, &sets)? {
            Solution::Scores(values) => (1, values),
            Solution::Weights(values) => (self.courses, values),
        };
        let table = Tensor::new(&self.device, self.courses, cols, &values)?;
        self.params.iter_mut().for_each(|p| p.value = table.clone());
        Ok(())
    }

    /// The solution that a checkpoint holds: (courses, 1) or (courses, courses).
    pub fn set_table(&mut self, table: Tensor) -> Result<()> {
        if table.rows() != self.courses || (table.cols() != 1 && table.cols() != self.courses) {
            let (want, got) = (format!("{} rows", self.courses), format!("{table:?}"));
            return Err(Error::shape("closed form", want, got));
        }
        self.params.iter_mut().for_each(|p| p.value = table.clone());
        Ok(())
    }

    fn table(&self) -> &Tensor {
        // There is one parameter.
        &self.params.get(crate::engine::ParamId(0)).value
    }
}

impl Recommender for ClosedForm {
    fn name(&self) -> &str {
        self.name
    }

    fn tasks(&self) -> &[String] {
        &self.tasks
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    fn encode(&self) -> Result<Encoded> {
        Ok(Encoded { nodes: vec![], z_courses: self.table().clone() })
    }

    fn scorer(&self, encoded: &Encoded) -> Result<Scorer> {
        Scorer::match_score(encoded.z_courses.clone())
    }

    /// 1 for each course that was taken, or a 1 for everybody.
    fn represent_learners(&self, encoded: &Encoded, learners: &Learners) -> Result<Tensor> {
        let (rows, cols) = (learners.rows(), encoded.z_courses.cols());
        let mut values = vec![0.0; rows * cols];
        for (row, values) in values.chunks_exact_mut(cols).enumerate() {
            match constant(&encoded.z_courses) {
                true => values[0] = 1.0,
                false => learners.histories.row(row).iter().for_each(|&c| values[c as usize] = 1.0),
            }
        }
        Tensor::new(&self.device, rows, cols, &values)
    }

    fn logits(&self, encoded: &Encoded, learners: &Learners, pairs: &[(u32, u32)]) -> Result<Tensor> {
        let cols = encoded.z_courses.cols();
        let table = encoded.z_courses.to_vec()?;
        let score = |&(row, course): &(u32, u32)| -> f32 {
            let weights = &table[course as usize * cols..][..cols];
            let mut history = learners.histories.row(row as usize).to_vec();
            history.sort_unstable();
            history.dedup();
            match constant(&encoded.z_courses) {
                true => weights[0],
                false => history.iter().map(|&c| weights[c as usize]).sum(),
            }
        };
        let scores: Vec<f32> = pairs.iter().map(score).collect();
        Tensor::new(&self.device, pairs.len(), 1, &scores)
    }
}

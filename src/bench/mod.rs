//! Measurements: the kernel families and a whole training step, against what the machine can do.
//!
//! A case does the work that docs/benchmarks.md says, on inputs that depend on the sizes alone. Its bytes are the
//! compulsory ones: what has to cross the memory bus once if every cache were perfect. Its operations are those of the
//! formulas, recomputation not counted. Both over the limits measured in the same run give the least time that the
//! machine could take, and that over the measured time is the share of the limit.

mod adam;
mod attention;
mod head;
mod inputs;
mod limits;
mod measure;
mod ranking;
mod report;
mod sampled;
mod step;
mod transd;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::{DType, Device, Tape, Tensor, Var};
use crate::{Error, Result};

pub use inputs::{Inputs, save};
pub use limits::Limits;
pub use measure::Timing;
pub use report::{CaseReport, Change, DeviceFacts, Report, compare, heading, row, title};

/// What the cases work on. The defaults are those of docs/benchmarks.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    pub learners: usize,
    pub courses: usize,
    pub enrolments: usize,
    /// d, width of the vectors.
    pub dim: usize,
    /// Batches of the multi-task head.
    pub batches: Vec<usize>,
    /// Triples of one TransD batch, each with one corrupted tail.
    pub triples: usize,
    /// Learners that are ranked.
    pub ranked: usize,
    /// Rows that a row-sparse optimizer step touches.
    pub rows: Vec<usize>,
    /// What edges of the attention read rows in.
    #[serde(default = "single")]
    pub storage: String,
}

fn single() -> String {
    "f32".into()
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes {
            learners: 300_000,
            courses: 4_216,
            enrolments: 2_100_000,
            dim: 64,
            batches: vec![1024, 65_536],
            triples: 65_536,
            ranked: 24_000,
            rows: vec![10_000, 100_000],
            storage: single(),
        }
    }
}

impl Sizes {
    /// The type that `storage` names.
    fn stored(&self) -> Result<DType> {
        match self.storage.as_str() {
            "f32" => Ok(DType::F32),
            "bf16" => Ok(DType::Bf16),
            "f16" => Ok(DType::F16),
            other => {
                Err(Error::config("--storage", format!("unknown type `{other}`"), "use f32, bf16 or f16"))
            }
        }
    }

    fn check(&self) -> Result<()> {
        self.stored()?;
        let mut all = vec![
            ("--learners", self.learners),
            ("--courses", self.courses),
            ("--enrolments", self.enrolments),
            ("--dim", self.dim),
            ("--triples", self.triples),
            ("--ranked", self.ranked),
        ];
        all.extend(self.batches.iter().map(|&b| ("--batch", b)));
        all.extend(self.rows.iter().map(|&r| ("--rows", r)));
        match all.iter().find(|(_, n)| *n == 0 || *n >= i32::MAX as usize) {
            None => Ok(()),
            Some((key, n)) => Err(Error::config(
                *key,
                format!("{n} is out of range"),
                format!("choose 1 to {}", i32::MAX - 1),
            )),
        }
    }
}

/// A group of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Attention,
    TransD,
    Head,
    Step,
    Ranking,
    Adam,
}

impl Family {
    pub const ALL: [Family; 6] =
        [Family::Attention, Family::TransD, Family::Head, Family::Step, Family::Ranking, Family::Adam];

    pub fn cases(self, inputs: &Inputs) -> Result<Vec<Case>> {
        match self {
            Family::Attention => attention::cases(inputs),
            Family::TransD => transd::cases(inputs),
            Family::Head => head::cases(inputs),
            Family::Step => {
                Ok([step::cases(inputs)?, sampled::cases(inputs)?].into_iter().flatten().collect())
            }
            Family::Ranking => ranking::cases(inputs),
            Family::Adam => adam::cases(inputs),
        }
    }
}

/// What a case cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes that cross the memory bus at least once.
    pub bytes: f64,
    /// Floating-point operations; a fused multiply-add is two.
    pub flops: f64,
}

/// Something to measure.
pub struct Case {
    pub name: String,
    pub cost: Cost,
    pub work: Box<dyn FnMut() -> Result<()>>,
}

impl Case {
    fn new(name: impl Into<String>, cost: Cost, work: impl FnMut() -> Result<()> + 'static) -> Case {
        Case { name: name.into(), cost, work: Box::new(work) }
    }
}

/// A case that builds a value on a tape that cannot go backwards.
fn forward(name: impl Into<String>, cost: Cost, build: impl Fn(&mut Tape) -> Result<Var> + 'static) -> Case {
    Case::new(name, cost, move || build(&mut Tape::inference()).map(drop))
}

/// A case that builds a value and computes the gradients of its parameters, `seed` being the value's own.
fn gradients(
    name: impl Into<String>,
    cost: Cost,
    seed: Tensor,
    build: impl Fn(&mut Tape) -> Result<Var> + 'static,
) -> Case {
    Case::new(name, cost, move || {
        let mut tape = Tape::new();
        let value = build(&mut tape)?;
        tape.backward(&[(value, seed.clone())]).map(drop)
    })
}

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    pub families: Vec<Family>,
    /// Only cases whose name has this in it.
    pub only: Option<String>,
    pub sizes: Sizes,
    /// Time for the repetitions of one case; at least three are made.
    pub budget: Duration,
}

/// Measures the limits of the device, then every case; `done` hears of each as it ends.
pub fn run(
    device: &Device,
    options: &Options,
    done: &mut dyn FnMut(&Limits, &CaseReport) -> Result<()>,
) -> Result<Report> {
    options.sizes.check()?;
    let limits = Limits::measure(device, options.budget)?;
    let inputs = Inputs::new(device, &options.sizes);
    let mut cases = vec![];
    for family in &options.families {
        for mut case in family.cases(&inputs)? {
            if options.only.as_ref().is_some_and(|part| !case.name.contains(part.as_str())) {
                continue;
            }
            let timing = measure::measure(device, options.budget, &mut *case.work)?;
            let report = CaseReport::new(case.name, case.cost, timing, &limits);
            done(&limits, &report)?;
            cases.push(report);
        }
    }
    Ok(Report::new(device, options.sizes.clone(), limits, cases))
}

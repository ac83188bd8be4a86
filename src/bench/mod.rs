//! `waata bench`: kernels and training steps against the limits of the device.
//!
//! docs/benchmarks.md describes every case. Its bytes are the compulsory ones: what has to cross the memory bus once if
//! every cache were perfect. Its operations are those of the formulas, without recomputation. Both over the limits
//! measured in the same run give the least time the machine could take; that over the measured time is the share of the
//! limit.

mod adam;
mod attention;
mod head;
mod inputs;
mod limits;
mod measure;
mod ranking;
mod report;
mod step;
mod transd;

use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use serde::{Deserialize, Serialize};

use crate::engine::{DType, Device, Tape, Tensor, Var};
use crate::{Error, Result};

pub use inputs::{Inputs, save};
pub use limits::Limits;
pub use measure::{Timing, measure};
pub use report::{CaseReport, Change, DeviceFacts, Report, compare, heading, row, title};

/// What the cases work on. The defaults are those of docs/benchmarks.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Sizes {
    /// Learners of the graph
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = count())]
    pub learners: usize,
    /// Courses of the graph
    #[arg(long, value_name = "N", default_value_t = 4_216, value_parser = count())]
    pub courses: usize,
    /// Enrolments of the graph
    #[arg(long, value_name = "N", default_value_t = 2_100_000, value_parser = count())]
    pub enrolments: usize,
    /// Width of the embeddings
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count())]
    pub dim: usize,
    /// Batch sizes of the multi-task head, separated by commas
    #[arg(long = "batch", value_name = "N", value_delimiter = ',', default_values_t = [1024, 65_536], value_parser = count())]
    pub batches: Vec<usize>,
    /// Triples of a TransD batch, each with one corrupted tail
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = count())]
    pub triples: usize,
    /// Learners to rank
    #[arg(long, value_name = "N", default_value_t = 24_000, value_parser = count())]
    pub ranked: usize,
    /// Rows of a row-sparse Adam step, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10_000, 100_000], value_parser = count())]
    pub rows: Vec<usize>,
    /// Type in which the attention's edges read rows
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = ["f32", "bf16", "f16"])]
    #[serde(default = "single")]
    pub storage: String,
}

fn single() -> String {
    "f32".into()
}

fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..i32::MAX as u64)
}

impl Default for Sizes {
    /// The defaults of the flags.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            sizes: Sizes,
        }
        Flags::parse_from([""]).sizes
    }
}

impl Sizes {
    /// The type that `storage` names.
    fn stored(&self) -> Result<DType> {
        match self.storage.as_str() {
            "f32" => Ok(DType::F32),
            "bf16" => Ok(DType::Bf16),
            "f16" => Ok(DType::F16),
            other => Err(Error::config("--storage", format!("unknown type `{other}`"), "use f32, bf16 or f16")),
        }
    }
}

/// Makes the cases of a family.
pub type MakeCases = fn(&Inputs) -> Result<Vec<Case>>;

/// Groups of cases by name.
pub const FAMILIES: [(&str, MakeCases); 6] = [
    ("attention", attention::cases),
    ("transd", transd::cases),
    ("head", head::cases),
    ("step", step::cases),
    ("ranking", ranking::cases),
    ("adam", adam::cases),
];

/// What a case cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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

/// A case that computes a value without gradients.
fn forward(name: impl Into<String>, cost: Cost, build: impl Fn(&mut Tape) -> Result<Var> + 'static) -> Case {
    Case::new(name, cost, move || build(&mut Tape::inference()).map(drop))
}

/// A case that computes a value and the gradients of its parameters; `seed` is the value's own gradient.
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
    /// Names of `FAMILIES`, or `all`.
    pub families: Vec<String>,
    /// Only cases whose name contains this.
    pub only: Option<String>,
    pub sizes: Sizes,
    /// Git revision of the program, for the report.
    pub revision: Option<String>,
    /// Time for the repetitions of one case; at least three are made.
    pub budget: Duration,
}

/// Measures the limits of the device, then every case. `done` is called after each.
pub fn run(
    device: &Device,
    options: &Options,
    done: &mut dyn FnMut(&Limits, &CaseReport) -> Result<()>,
) -> Result<Report> {
    options.sizes.stored()?;
    let limits = Limits::measure(device, options.budget)?;
    let inputs = Inputs::new(device, &options.sizes);
    let chosen = |name: &str| options.families.iter().any(|family| family == name || family == "all");
    let mut cases = vec![];
    for (_, family) in FAMILIES.iter().filter(|(name, _)| chosen(name)) {
        for mut case in family(&inputs)? {
            if options.only.as_ref().is_some_and(|part| !case.name.contains(part.as_str())) {
                continue;
            }
            let timing = measure(device, options.budget, &mut *case.work)?;
            let report = CaseReport::new(case.name, case.cost, timing, &limits);
            done(&limits, &report)?;
            cases.push(report);
        }
    }
    Ok(Report::new(device, options, limits, cases))
}

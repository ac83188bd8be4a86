//! Which enrolments are trained on, validated on and tested on.

use super::dataset::{Dataset, Split};
use base::random::Philox;
use base::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

const STREAM: u64 = 0x7370_6C69_7400_0000;

/// Shares of train, valid and test; they sum to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratios {
    pub train: f64,
    pub valid: f64,
    pub test: f64,
}

impl Default for Ratios {
    /// 60/20/20, as in the paper.
    fn default() -> Self {
        Ratios { train: 0.6, valid: 0.2, test: 0.2 }
    }
}

impl Ratios {
    /// From any three weights, such as (60, 20, 20) or (0.6, 0.2, 0.2). Errors: `Error::Config` for a weight that
    /// is negative, for a sum that is not finite, and for train without weight.
    pub fn new(train: f64, valid: f64, test: f64) -> Result<Ratios> {
        let sum = train + valid + test;
        if [train, valid, test].iter().any(|w| *w < 0.0) || !sum.is_finite() || train <= 0.0 {
            return Err(Error::config(
                "ratios",
                format!("{train}/{valid}/{test} are no shares"),
                "give three numbers, the first above 0, for instance 60/20/20",
            ));
        }
        Ok(Ratios { train: train / sum, valid: valid / sum, test: test / sum })
    }

    /// How many of n rows are train, valid and test: to the nearest whole, together exactly n.
    pub fn counts(&self, n: usize) -> [usize; 3] {
        let train = ((n as f64 * self.train).round() as usize).min(n);
        let upto_valid = ((n as f64 * (self.train + self.valid)).round() as usize).clamp(train, n);
        [train, upto_valid - train, n - upto_valid]
    }
}

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let round = |v: f64| (v * 1e4).round() / 1e4;
        write!(f, "{}/{}/{}", round(self.train), round(self.valid), round(self.test))
    }
}

impl std::str::FromStr for Ratios {
    type Err = Error;

    /// Three numbers separated by `/` or `,`.
    fn from_str(text: &str) -> Result<Ratios> {
        let parts: Option<Vec<f64>> = text.split(['/', ',']).map(|p| p.trim().parse().ok()).collect();
        match parts.as_deref() {
            Some(&[train, valid, test]) => Ratios::new(train, valid, test),
            _ => Err(Error::config(
                "ratios",
                format!("'{text}' is not three numbers"),
                "write train/valid/test, for instance 60/20/20",
            )),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitPolicy {
    /// As the source says.
    Given,
    /// Uniformly at random over all enrolments, or over those of each learner.
    Random { ratios: Ratios, per_learner: bool },
    /// The first of each learner's enrolments in time are train, the next valid, the last test.
    Chronological { ratios: Ratios },
    /// The last enrolment of each learner is test and the one before valid; learners with fewer than 3 are train.
    Last,
}

impl fmt::Display for SplitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            SplitPolicy::Given => write!(f, "given"),
            SplitPolicy::Random { ratios, per_learner: false } => write!(f, "random {ratios}"),
            SplitPolicy::Random { ratios, per_learner: true } => write!(f, "random {ratios} per learner"),
            SplitPolicy::Chronological { ratios } => write!(f, "chronological {ratios}"),
            SplitPolicy::Last => write!(f, "last"),
        }
    }
}

/// Assigns every enrolment to a split. `has_given` says whether the source came with one. Errors: `Error::Config`
/// for a policy that needs a time order or a given split that the source does not have.
pub fn assign(data: &mut Dataset, policy: SplitPolicy, has_given: bool, seed: u64) -> Result<()> {
    let needs_time = matches!(policy, SplitPolicy::Chronological { .. } | SplitPolicy::Last);
    if needs_time && !data.interactions.has_time {
        let why = format!("the source has no times, and the policy '{policy}' orders by time");
        return Err(Error::config("split", why, "use --split random, or add a time column to the source"));
    }
    let random = Philox::new(seed, STREAM);
    let n = data.enrolments();
    match policy {
        SplitPolicy::Given if has_given => {}
        SplitPolicy::Given => {
            let why = "the source does not say what is train, valid and test";
            return Err(Error::config("split", why, "use --split random, chronological or last"));
        }
        SplitPolicy::Random { ratios, per_learner: false } => {
            let mut split = labels(ratios.counts(n));
            random.shuffle(&mut split);
            data.interactions.split = split.into();
        }
        SplitPolicy::Random { ratios, per_learner: true } => {
            // Each learner's own stream, so that a learner's split does not depend on who else is in the data.
            per_learner(data, |u, rows| {
                let mut split = labels(at_least_one_train(ratios.counts(rows)));
                Philox::new(seed, STREAM ^ (u as u64 + 1)).shuffle(&mut split);
                split
            });
        }
        SplitPolicy::Chronological { ratios } => {
            per_learner(data, |_, rows| labels(at_least_one_train(ratios.counts(rows))));
        }
        SplitPolicy::Last => {
            per_learner(data, |_, rows| labels(if rows < 3 { [rows, 0, 0] } else { [rows - 2, 1, 1] }))
        }
    }
    Ok(())
}

/// The three splits in order, each as often as counted.
fn labels(counts: [usize; 3]) -> Vec<Split> {
    Split::ALL.iter().zip(counts).flat_map(|(&split, count)| std::iter::repeat_n(split, count)).collect()
}

/// A learner with no train row cannot be ranked for: rounding must not take the only one.
fn at_least_one_train([train, valid, test]: [usize; 3]) -> [usize; 3] {
    match (train, valid, test) {
        (0, 0, 0) => [0, 0, 0],
        (0, 0, test) => [1, 0, test - 1],
        (0, valid, test) => [1, valid - 1, test],
        counts => counts.into(),
    }
}

fn per_learner(data: &mut Dataset, assign: impl Fn(usize, usize) -> Vec<Split>) {
    let mut split = Vec::with_capacity(data.enrolments());
    for u in 0..data.learners() {
        split.extend(assign(u, data.rows(u).len()));
    }
    data.interactions.split = split.into();
}

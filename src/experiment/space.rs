//! Search spaces: declared ranges of settings, and points sampled from them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Value;

use super::plan::varies;
use crate::engine::Philox;
use crate::{Error, Result};

/// data/search.toml, for `waata search` without `--space`.
const DEFAULT: &str = include_str!("../../data/search.toml");

/// The range of one setting, including its ends.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// Uniform in the logarithm, rounded to three digits.
    Log([f64; 2]),
    /// Rounded to three digits.
    Uniform([f64; 2]),
    Integer([i64; 2]),
    Choice(Vec<Value>),
    /// Settings that are sampled together under a name of the user's choice, such as an objective and what it ranks by.
    Together(Vec<BTreeMap<String, Value>>),
}

/// The settings of a search by their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    pub ranges: BTreeMap<String, Range>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// For every model that is trained by an optimizer.
    #[serde(default)]
    trained: BTreeMap<String, Range>,
    /// For single models, in addition or instead.
    #[serde(default)]
    models: BTreeMap<String, BTreeMap<String, Range>>,
}

impl Space {
    /// The ranges of `model` in the text of a file, or in data/search.toml.
    pub fn of(model: &str, file: Option<(&str, &str)>) -> Result<Space> {
        let (text, source) = file.unwrap_or((DEFAULT, "data/search.toml"));
        let file: File = toml::from_str(text)
            .map_err(|e| Error::config(source, e.message(), "docs/compare.md shows how ranges are declared"))?;
        let mut ranges = if varies(model).optimizer { file.trained } else { BTreeMap::new() };
        ranges.extend(file.models.get(model).cloned().unwrap_or_default());
        for (key, range) in &ranges {
            let sound = match range {
                Range::Log([low, high]) => 0.0 < *low && low <= high && high.is_finite(),
                Range::Uniform([low, high]) => low.is_finite() && low <= high && high.is_finite(),
                Range::Integer([low, high]) => low <= high,
                Range::Choice(values) => !values.is_empty(),
                Range::Together(points) => points.iter().any(|point| !point.is_empty()),
            };
            if !sound {
                let why = format!("{source}: the range {range:?} is empty or invalid");
                return Err(Error::config(key, why, "put the lower end first; log needs ends above 0"));
            }
        }
        Ok(Space { ranges })
    }

    /// Without the settings that are fixed by `key=value`.
    pub fn without(mut self, settings: &[String]) -> Space {
        let set = |key: &String| settings.iter().any(|s| s.split_once('=').is_some_and(|(k, _)| k.trim() == key));
        self.ranges.retain(|key, range| match range {
            // Fixing one of them leaves no valid combination.
            Range::Together(points) => !points.iter().flat_map(BTreeMap::keys).any(set),
            _ => !set(key),
        });
        self
    }

    /// The settings of a point, ascending.
    pub fn keys(&self) -> BTreeSet<String> {
        let keys = self.ranges.iter().flat_map(|(key, range)| match range {
            Range::Together(points) => points.iter().flat_map(BTreeMap::keys).cloned().collect(),
            _ => vec![key.clone()],
        });
        keys.collect()
    }

    /// Samples a point. Each setting depends on (seed, trial, attempt) and its own key alone, so adding or removing a
    /// range does not change the others.
    pub fn sample(&self, seed: u64, trial: u64, attempt: u64) -> BTreeMap<String, Value> {
        let draw = |key: &String, range: &Range| -> Vec<(String, Value)> {
            let hash = Sha256::digest(key);
            let stream = hash.iter().take(8).fold(0u64, |all, byte| all << 8 | *byte as u64);
            let at = trial << 16 | attempt;
            let random = Philox::new(seed, stream);
            let [a, b, ..] = random.block(at);
            let unit = ((a as u64) << 21 | b as u64 >> 11) as f64 / (1u64 << 53) as f64;
            let value = match range {
                Range::Log([low, high]) => {
                    let value = (low.ln() + unit * (high / low).ln()).exp();
                    Value::Float(three_digits(value).clamp(*low, *high))
                }
                Range::Uniform([low, high]) => Value::Float(three_digits(low + unit * (high - low)).clamp(*low, *high)),
                Range::Integer([low, high]) => {
                    let size = (*high as i128 - *low as i128 + 1) as f64;
                    Value::Integer((*low + (unit * size) as i64).min(*high))
                }
                Range::Choice(values) => values[(unit * values.len() as f64) as usize].clone(),
                Range::Together(points) => {
                    return points[(unit * points.len() as f64) as usize].clone().into_iter().collect();
                }
            };
            vec![(key.clone(), value)]
        };
        self.ranges.iter().flat_map(|(key, range)| draw(key, range)).collect()
    }
}

fn three_digits(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

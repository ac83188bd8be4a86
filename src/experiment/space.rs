//! Declared ranges of settings, and points drawn from them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Value;

use super::plan::varies;
use crate::engine::Philox;
use crate::{Error, Result};

/// data/search.toml, for `waata search` without `--space`.
const DEFAULT: &str = include_str!("../../data/search.toml");

/// Where one setting may lie; ends belong to it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// Uniform in the logarithm, rounded to three digits.
    Log([f64; 2]),
    /// Rounded to three digits.
    Uniform([f64; 2]),
    Integer([i64; 2]),
    Choice(Vec<Value>),
    /// Settings that are drawn together, under a name that is no setting: an objective, and what it ranks by.
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
    /// For every model that is trained by steps.
    #[serde(default)]
    trained: BTreeMap<String, Range>,
    /// For one model, in addition or instead.
    #[serde(default)]
    models: BTreeMap<String, BTreeMap<String, Range>>,
}

impl Space {
    /// The ranges of `model` in the text of a file, or in data/search.toml.
    pub fn of(model: &str, file: Option<(&str, &str)>) -> Result<Space> {
        let (text, source) = file.unwrap_or((DEFAULT, "data/search.toml"));
        let file: File = toml::from_str(text).map_err(|e| {
            Error::config(source, e.message(), "docs/compare.md shows how ranges are declared")
        })?;
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
                let why = format!("{source}: the range {range:?} is empty or not a range");
                return Err(Error::config(key, why, "write the lower end first; log needs ends above 0"));
            }
        }
        Ok(Space { ranges })
    }

    /// Without the settings that are given as `key=value`: those are decided.
    pub fn without(mut self, settings: &[String]) -> Space {
        let set =
            |key: &String| settings.iter().any(|s| s.split_once('=').is_some_and(|(k, _)| k.trim() == key));
        self.ranges.retain(|key, range| match range {
            // One of them decided leaves nothing that fits together.
            Range::Together(points) => !points.iter().flat_map(BTreeMap::keys).any(set),
            _ => !set(key),
        });
        self
    }

    /// The settings that a point has, ascending.
    pub fn keys(&self) -> BTreeSet<String> {
        let keys = self.ranges.iter().flat_map(|(key, range)| match range {
            Range::Together(points) => points.iter().flat_map(BTreeMap::keys).cloned().collect(),
            _ => vec![key.clone()],
        });
        keys.collect()
    }

    /// A point of the space. Each setting depends on (seed, trial, attempt) and its own key alone, so that another
    /// setting more or less leaves it as it is.
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
                Range::Uniform([low, high]) => {
                    Value::Float(three_digits(low + unit * (high - low)).clamp(*low, *high))
                }
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

#[cfg(test)]
mod tests {
    use toml::Table;

    use super::super::model_names;
    use super::*;
    use crate::config::{Base, Config};

    const TEXT: &str = r#"
        [trained]
        "train.lr" = { log = [1e-4, 1e-1] }
        "model.dim" = { choice = [16, 32] }
        [models.waa-ta]
        "head.pairs" = { integer = [1, 3] }
        "model.message_dropout" = { uniform = [0.0, 0.5] }
        [models.ease]
        "ease.l2" = { log = [10.0, 1e4] }
    "#;

    #[test]
    fn models_have_ranges_of_their_own() {
        let keys = |model| -> Vec<String> {
            Space::of(model, Some((TEXT, "text"))).unwrap().ranges.into_keys().collect()
        };
        assert_eq!(keys("waa-ta"), ["head.pairs", "model.dim", "model.message_dropout", "train.lr"]);
        assert_eq!(keys("mmoe"), ["model.dim", "train.lr"]);
        assert_eq!(keys("ease"), ["ease.l2"], "not trained by steps");
        for bad in
            ["[trained]\nx = {log = [0.0, 1.0]}", "[trained]\nx = {choice = []}", "[trained]\nx = 3", "[all]"]
        {
            assert_eq!(Space::of("waa-ta", Some((bad, "text"))).unwrap_err().exit_code(), 2, "{bad}");
        }
        let decided = Space::of("waa-ta", Some((TEXT, "text"))).unwrap().without(&["train.lr = 0.5".into()]);
        assert_eq!(decided.ranges.len(), 3);
    }

    #[test]
    fn draws_fill_the_ranges_and_nothing_else() {
        let space = Space::of("waa-ta", Some((TEXT, "text"))).unwrap();
        let (mut decades, mut pairs, mut dims) = ([0; 3], [0; 4], 0);
        for trial in 0..300 {
            let point = space.sample(1, trial, 0);
            let lr = point["train.lr"].as_float().unwrap();
            assert!((1e-4..=1e-1).contains(&lr));
            decades[((lr.log10() + 4.0) as usize).min(2)] += 1;
            pairs[point["head.pairs"].as_integer().unwrap() as usize] += 1;
            dims += (point["model.dim"].as_integer() == Some(16)) as usize;
            assert!((0.0..=0.5).contains(&point["model.message_dropout"].as_float().unwrap()));
        }
        // 100 each, standard deviation 8; of the dimension 150 and 9.
        assert!(decades.iter().chain(&pairs[1..]).all(|n| (60..=140).contains(n)), "{decades:?} {pairs:?}");
        assert!((105..=195).contains(&dims), "{dims}");
        assert_eq!(space.sample(1, 5, 0), space.sample(1, 5, 0));
        for (seed, trial, attempt) in [(2, 5, 0), (1, 6, 0), (1, 5, 1)] {
            assert_ne!(space.sample(1, 5, 0), space.sample(seed, trial, attempt));
        }
        let alone = space.clone().without(&["head.pairs=1".into()]);
        assert_eq!(space.sample(1, 5, 0)["train.lr"], alone.sample(1, 5, 0)["train.lr"]);
    }

    #[test]
    fn settings_are_drawn_together_or_decided_together() {
        let text = r#"
            [trained]
            "train.lr" = { log = [1e-4, 1e-1] }
            objective = { together = [
                { "loss.ranking" = "bce", "eval.rank_by" = "head" },
                { "loss.ranking" = "softmax", "eval.rank_by" = "inner" },
            ] }
        "#;
        let space = Space::of("mmoe", Some((text, "text"))).unwrap();
        assert_eq!(Vec::from_iter(space.keys()), ["eval.rank_by", "loss.ranking", "train.lr"]);
        let mut softmax = 0;
        for trial in 0..100 {
            let point = space.sample(1, trial, 0);
            assert_eq!(point.len(), 3);
            let of = |key: &str| point[key].as_str().unwrap();
            assert_eq!(of("loss.ranking") == "softmax", of("eval.rank_by") == "inner");
            softmax += (of("loss.ranking") == "softmax") as usize;
        }
        assert!((30..=70).contains(&softmax), "{softmax}");
        let decided = space.without(&["loss.ranking=\"bpr\"".into()]);
        assert_eq!(Vec::from_iter(decided.keys()), ["train.lr"]);
        let empty = "[trained]\nobjective = { together = [{}] }";
        assert_eq!(Space::of("mmoe", Some((empty, "text"))).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_declared_ranges_are_settings_that_models_take() {
        let files = [
            ("tasks", DEFAULT),
            ("tasks", include_str!("../../data/search-tasks.toml")),
            ("history", include_str!("../../data/search-history.toml")),
        ];
        for (preset, text) in files {
            are_settings_that_models_take(preset, text);
        }
    }

    fn are_settings_that_models_take(preset: &str, text: &str) {
        let resolve = |model: &str, point: &BTreeMap<String, Value>| {
            let mut settings: Vec<String> =
                point.iter().map(|(key, value)| format!("{key}={value}")).collect();
            settings.push(format!("model.name=\"{model}\""));
            Config::resolve(Base::Preset(preset.into()), &settings)
        };
        for model in model_names() {
            let space = Space::of(&model, Some((text, "text"))).unwrap();
            let mut taken = 0;
            for trial in 0..40 {
                match resolve(&model, &space.sample(1, trial, 0)) {
                    Ok(_) => taken += 1,
                    Err(error) => assert!(!error.to_string().contains("no such setting"), "{model}: {error}"),
                }
            }
            assert!(taken > 4, "{preset}, {model}: {taken} of 40 points can be used");
        }
        let keys: Table = text.parse().unwrap();
        for model in keys["models"].as_table().unwrap().keys() {
            assert!(model_names().contains(model), "there is no model {model}");
        }
    }

    #[test]
    fn three_digits_of_a_number() {
        assert_eq!(three_digits(0.0031416), 0.00314);
        assert_eq!((three_digits(0.0), three_digits(1234.0)), (0.0, 1230.0));
    }
}

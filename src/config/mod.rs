//! run.toml: every choice of a run, with its default; unknown keys are refused.

/// An enumeration whose variants are the words of a setting.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
    };
}

mod check;
mod definitions;
mod graph;
mod keys;
mod objective;
mod rankers;
mod run;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use definitions::{DEFINITIONS, Definition};
pub use graph::*;
pub use objective::*;
pub use rankers::*;
pub use run::*;

/// What settings start from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Base {
    #[default]
    Defaults,
    /// One of `PRESETS`.
    Preset(String),
    /// A run.toml.
    File(PathBuf),
}

/// Settings that belong together, by name (data/presets).
pub const PRESETS: &[(&str, &str)] = &[
    ("paper", include_str!("../../data/presets/paper.toml")),
    ("paper-mooccubex", include_str!("../../data/presets/paper-mooccubex.toml")),
    ("paper-edx", include_str!("../../data/presets/paper-edx.toml")),
    ("history", include_str!("../../data/presets/history.toml")),
    ("tasks", include_str!("../../data/presets/tasks.toml")),
];

/// The text of a preset.
pub fn preset(name: &str) -> Result<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).ok_or_else(|| {
        let known: Vec<&str> = PRESETS.iter().map(|(known, _)| *known).collect();
        Error::config(
            "--preset",
            format!("there is no preset `{name}`"),
            format!("presets: {}", known.join(", ")),
        )
    })
}

/// A whole run. Precedence: flag, then `--set key=value`, then run.toml, then these defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seed of every random number of the run.
    pub seed: u64,
    pub model: ModelConfig,
    pub kg: KgConfig,
    pub attention: AttentionConfig,
    pub head: HeadConfig,
    pub loss: LossConfig,
    pub weighting: WeightingConfig,
    pub rankers: RankersConfig,
    pub train: TrainConfig,
    pub eval: EvalConfig,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            seed: 1,
            model: Default::default(),
            kg: Default::default(),
            attention: Default::default(),
            head: Default::default(),
            loss: Default::default(),
            weighting: Default::default(),
            rankers: Default::default(),
            train: Default::default(),
            eval: Default::default(),
        }
    }
}

impl Config {
    /// The defaults, changed by a base (a preset or a run.toml), by what the model that is named is (`DEFINITIONS`), and
    /// then by `--set key=value` pairs, and checked.
    pub fn resolve(base: Base, settings: &[String]) -> Result<Config> {
        let mut tree = keys::defaults();
        match base {
            Base::Defaults => {}
            Base::Preset(name) => keys::merge_text(&mut tree, preset(&name)?, &name)?,
            Base::File(path) => {
                let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "reading"))?;
                keys::merge_text(&mut tree, &text, &path.display().to_string())?;
            }
        }
        definitions::define(&mut tree, settings)?;
        for setting in settings {
            keys::set(&mut tree, setting)?;
        }
        let config = keys::into_config(tree)?;
        config.check()?;
        Ok(config)
    }

    /// The settings that a run was saved with.
    pub fn parse(text: &str, source: &str) -> Result<Config> {
        let mut tree = keys::defaults();
        keys::merge_text(&mut tree, text, source)?;
        keys::into_config(tree)
    }

    /// These settings with some changed by `--set`.
    pub fn with(&self, settings: &[String]) -> Result<Config> {
        let mut tree = keys::defaults();
        keys::merge_text(&mut tree, &self.to_toml(), "run.toml")?;
        settings.iter().try_for_each(|setting| keys::set(&mut tree, setting))?;
        let config = keys::into_config(tree)?;
        config.check()?;
        Ok(config)
    }

    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# {error}\n"))
    }

    pub fn relation_dim(&self) -> usize {
        if self.model.relation_dim == 0 { self.model.dim } else { self.model.relation_dim }
    }
}

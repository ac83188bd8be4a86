//! run.toml: every choice of a run, declared once with its default, range and meaning (`sections.rs`); unknown keys are
//! refused.

mod check;
mod keys;
mod sections;
mod setting;

use std::path::PathBuf;

use toml::{Table, Value};

use crate::{Error, Result};

pub use keys::nearest;
pub(crate) use keys::no_such;
pub use sections::*;
pub use setting::Setting;

/// What settings start from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Base {
    #[default]
    Defaults,
    /// The name of one of `presets()`.
    Preset(String),
    /// A run.toml.
    File(PathBuf),
}

/// Settings that belong together (data/presets).
#[derive(Debug)]
pub struct Preset {
    pub name: &'static str,
    pub about: &'static str,
    /// As a run.toml.
    pub text: &'static str,
}

macro_rules! presets {
    ($($name:literal: $about:literal;)+) => {
        &[$(Preset { name: $name, about: $about, text: include_str!(concat!("../../data/presets/", $name, ".toml")) }),+]
    };
}

/// Every preset.
pub fn presets() -> &'static [Preset] {
    presets! {
        "paper": "the defaults: WAA-TA as model.md reads the paper";
        "paper-mooccubex": "the paper's settings for MOOCCubeX, written out: Adam, 2e-4, batches of 1024, 20 epochs, \
            experts of width 32, the tasks `enrolled` and `completed`";
        "paper-edx": "the same for edX: the tasks `enrolled` and `certified`, and cut-offs for few courses besides the \
            paper's";
        "history": "ranking where the order of enrolments is known: a learner is the courses taken so far";
        "tasks": "several labels per enrolment, ranked by the head";
    }
}

/// The text of a preset.
pub fn preset(name: &str) -> Result<&'static str> {
    presets().iter().find(|preset| preset.name == name).map(|preset| preset.text).ok_or_else(|| {
        let known: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
        keys::no_such("--preset", "preset", name, &known)
    })
}

/// What a table of vectors in place of propagation implies. Vectors begin near 0, as in torch-rechub and DeepCTR-Torch
/// (1e-4): a learner has few enrolments, so a random vector of length 1 would outweigh all that is learned of him or her.
const TABLE: &[&str] = &[
    "model.encoder=table",
    "model.init_std=0.0001",
    "model.propagation=full",
    "model.learner=free",
    "model.course_output=tied",
    "model.layers=[]",
    "model.fan_out=[]",
    "attention.mode=laplacian",
    "attention.edge_bias=none",
    "attention.norm_power=1.0",
    "attention.message=raw",
    "attention.self_loop=false",
    "kg.phase=off",
    "kg.propagate=false",
];

impl Config {
    /// The defaults, changed by a base, by what the model that is named implies (`implied` of its name, `key=value`
    /// each), and then by `--set key=value` pairs, and checked.
    pub(crate) fn layered(
        base: Base,
        settings: &[String],
        implied: impl FnOnce(&str) -> Result<Vec<&'static str>>,
    ) -> Result<Config> {
        let mut tree = keys::defaults();
        match base {
            Base::Defaults => {}
            Base::Preset(name) => keys::merge_text(&mut tree, preset(&name)?, &name)?,
            Base::File(path) => {
                let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "reading"))?;
                keys::merge_text(&mut tree, &text, &path.display().to_string())?;
            }
        }
        let word = |tree: &Table, key| -> Result<String> {
            let mut given = tree.clone();
            keys::set_all(&mut given, settings)?;
            let word = given.get("model").and_then(|model| model.get(key)).and_then(Value::as_str);
            Ok(word.unwrap_or_default().to_string())
        };
        let implied = implied(&word(&tree, "name")?)?;
        keys::set_all(&mut tree, &implied)?;
        if word(&tree, "encoder")? == "table" {
            keys::set_all(&mut tree, TABLE)?;
        }
        keys::set_all(&mut tree, settings)?;
        keys::into_config(tree)?.checked()
    }

    /// The settings that a run was saved with.
    pub fn parse(text: &str, source: &str) -> Result<Config> {
        let mut tree = keys::defaults();
        keys::merge_text(&mut tree, text, source)?;
        keys::into_config(tree)
    }

    /// These settings with some changed by `--set`.
    pub fn with(&self, settings: &[String]) -> Result<Config> {
        let mut tree = keys::tree(self);
        keys::set_all(&mut tree, settings)?;
        keys::into_config(tree)?.checked()
    }

    fn checked(self) -> Result<Config> {
        setting::check(&self)?;
        self.check()?;
        Ok(self)
    }

    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# {error}\n"))
    }

    pub fn relation_dim(&self) -> usize {
        if self.model.relation_dim == 0 { self.model.dim } else { self.model.relation_dim }
    }
}

impl KgConfig {
    /// Whether a model of this many tasks learns triples in the steps on interactions.
    pub fn is_joint(&self, tasks: usize) -> bool {
        match self.phase {
            KgPhase::Joint => true,
            KgPhase::Auto => tasks == 1,
            KgPhase::Separate | KgPhase::Off => false,
        }
    }
}

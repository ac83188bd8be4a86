//! The runs of a comparison.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::{Base, Config};
use crate::models::{self, Kind, Make};
use crate::train::TrainStep;
use crate::{Error, Result};

/// What a comparison asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Names of models, or `all`.
    pub models: Vec<String>,
    /// Optimizers to compare; empty for that of each model's settings.
    pub optimizers: Vec<String>,
    /// Values of `weighting.combine`; empty for that of each model's settings.
    pub weightings: Vec<String>,
    /// Number of seeds, counting up from that of the settings.
    pub seeds: usize,
    /// The settings that all models start from.
    pub base: Base,
    /// Settings of single models as `key=value`; `settings` override them.
    pub settings_for: BTreeMap<String, Vec<String>>,
    /// `--set key=value`, for all models.
    pub settings: Vec<String>,
}

/// One run to do.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSpec {
    pub model: String,
    /// `none` if it makes no difference to the model; so is `weighting`.
    pub optimizer: String,
    pub weighting: String,
    pub seed: u64,
    pub config: Config,
}

/// In place of an optimizer or a weighting that makes no difference.
const NONE: &str = "none";

impl RunSpec {
    /// Name of the run and of its folder.
    pub fn name(&self) -> String {
        format!("{}-{}-{}-{}", self.model, self.optimizer, self.weighting, self.seed)
    }
}

/// Runs in order: seed by seed, so that the first results compare all models.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparePlan {
    pub runs: Vec<RunSpec>,
    /// For the user: what is left out because it would repeat a run.
    pub notes: Vec<String>,
}

/// Which choices affect a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Varies {
    pub optimizer: bool,
    pub weighting: bool,
    pub seed: bool,
}

/// All models but these are trained by an optimizer on several tasks.
pub(super) fn varies(model: &str) -> Varies {
    let closed_form = models::find(model).is_ok_and(|model| matches!(model.make, Make::ClosedForm(_)));
    match model {
        // Computed from counts, nothing is drawn or trained.
        _ if closed_form => Varies { optimizer: false, weighting: false, seed: false },
        // One loss, or, in waa-ta1, a weighting that is the model's definition.
        "bpr-mf" | "lightgcn" | "ctcvr" | "single-task" | "waa-ta1" => {
            Varies { optimizer: true, weighting: false, seed: true }
        }
        _ => Varies { optimizer: true, weighting: true, seed: true },
    }
}

/// All models, as in `--models all`.
pub fn model_names() -> Vec<String> {
    models::models().iter().map(|model| model.name.to_string()).collect()
}

impl ComparePlan {
    /// Every combination. `Error::Config` for unknown names and invalid settings.
    pub fn new(request: &Request) -> Result<ComparePlan> {
        let models = chosen(&request.models)?;
        if request.seeds == 0 {
            return Err(Error::config("--seeds", "must be at least 1", "try --seeds 3"));
        }
        if let Some(model) = request.settings_for.keys().find(|m| !models.contains(m)) {
            let why = format!("`{model}` is not among the models");
            return Err(Error::config("--settings-for", why, format!("models: {}", models.join(", "))));
        }
        request.settings_for.iter().try_for_each(|(model, settings)| keeps_ablation(model, settings))?;
        let mut runs = vec![];
        for model in &models {
            let varies = varies(model);
            let each = |varies: bool, names: &[String]| -> Vec<Option<String>> {
                match varies && !names.is_empty() {
                    true => names.iter().cloned().map(Some).collect(),
                    false => vec![None],
                }
            };
            let seeds = if varies.seed { request.seeds } else { 1 };
            for optimizer in each(varies.optimizer, &request.optimizers) {
                for weighting in each(varies.weighting, &request.weightings) {
                    let config = resolve(request, model, &optimizer, &weighting)?;
                    for i in 0..seeds as u64 {
                        let config = Config { seed: config.seed + i, ..config.clone() };
                        let name = |used: bool, name: String| if used { name } else { NONE.to_string() };
                        let spec = RunSpec {
                            model: model.clone(),
                            optimizer: name(varies.optimizer, config.train.optimizer.clone()),
                            weighting: name(
                                varies.weighting || model == "waa-ta1",
                                word(&config.weighting.combine),
                            ),
                            seed: config.seed,
                            config,
                        };
                        runs.push((i, spec));
                    }
                }
            }
        }
        runs.sort_by_key(|(i, _)| *i);
        let mut seen = BTreeSet::new();
        let runs: Vec<RunSpec> =
            runs.into_iter().map(|(_, run)| run).filter(|run| seen.insert(run.name())).collect();
        Ok(ComparePlan { runs, notes: notes(request, &models) })
    }
}

/// The requested models, each once.
fn chosen(models: &[String]) -> Result<Vec<String>> {
    let known = model_names();
    let mut chosen: Vec<String> = vec![];
    for name in models {
        let more = if name == "all" { known.clone() } else { vec![name.clone()] };
        if let Some(odd) = more.iter().find(|name| !known.contains(name)) {
            let why = format!("there is no model `{odd}`");
            return Err(Error::config("--models", why, format!("models: all, {}", known.join(", "))));
        }
        more.into_iter().for_each(|name| {
            if !chosen.contains(&name) {
                chosen.push(name)
            }
        });
    }
    if chosen.is_empty() {
        return Err(Error::config(
            "--models",
            "names no model",
            format!("models: all, {}", known.join(", ")),
        ));
    }
    Ok(chosen)
}

fn resolve(
    request: &Request,
    model: &str,
    optimizer: &Option<String>,
    weighting: &Option<String>,
) -> Result<Config> {
    let mut settings = request.settings_for.get(model).cloned().unwrap_or_default();
    settings.extend(request.settings.iter().cloned());
    settings.push(format!("model.name=\"{model}\""));
    settings.extend(optimizer.iter().map(|name| format!("train.optimizer=\"{name}\"")));
    settings.extend(weighting.iter().map(|name| format!("weighting.combine=\"{name}\"")));
    let config = Config::resolve(request.base.clone(), &settings);
    // An unknown optimizer is refused before the first run starts.
    let checked = config.and_then(|config| TrainStep::new(&config).map(|_| config));
    checked.map_err(|error| match error {
        Error::Config { key, why, remedy } => Error::config(key, format!("{why} (of {model})"), remedy),
        error => error,
    })
}

/// Refuses settings for an ablation of WAA-TA that restore what the ablation removes, as those found for WAA-TA do: its
/// rows would be WAA-TA's under another name.
fn keeps_ablation(model: &str, settings: &[String]) -> Result<()> {
    let ablation = models::models().iter().find(|m| m.name == model && m.kind == Kind::Ablation);
    for implied in ablation.iter().flat_map(|m| m.settings()) {
        let Some((key, value)) = implied.split_once('=') else { continue };
        let given = settings.iter().filter_map(|s| s.split_once('=')).rfind(|(k, _)| k.trim() == key);
        if let Some((_, given)) = given.filter(|(_, v)| v.trim().trim_matches('"') != value) {
            let why = format!("{model} is by definition {key} = {value}, its file says {given}");
            return Err(Error::config(
                "--settings-for",
                why,
                format!("take {key} out of the file of {model}"),
            ));
        }
    }
    Ok(())
}

/// A choice as it is written in settings.
fn word(value: &impl Serialize) -> String {
    match toml::Value::try_from(value) {
        Ok(toml::Value::String(word)) => word,
        other => unreachable!("a choice is a word: {other:?}"),
    }
}

fn notes(request: &Request, models: &[String]) -> Vec<String> {
    let those = |not: fn(Varies) -> bool| -> Vec<&str> {
        models.iter().map(String::as_str).filter(|m| not(varies(m))).collect()
    };
    let mut notes = vec![];
    let mut note = |many: bool, models: Vec<&str>, why: &str| {
        if many && !models.is_empty() {
            notes.push(format!("{}: {why}", models.join(", ")));
        }
    };
    note(
        request.weightings.len() > 1,
        those(|v| !v.weighting),
        "no losses to weight, or a weighting of its own; one run for all --weightings",
    );
    note(
        request.optimizers.len() > 1,
        those(|v| !v.optimizer),
        "not trained by steps; one run for all --optimizers",
    );
    note(request.seeds > 1, those(|v| !v.seed), "nothing is random; one run for all --seeds");
    notes
}

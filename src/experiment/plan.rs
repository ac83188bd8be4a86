//! Which runs a comparison consists of.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::{Base, Config};
use crate::models::{self, Kind, Make};
use crate::train::TrainStep;
use crate::{Error, Result};

/// What a comparison asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Names in the registry, or `all`.
    pub models: Vec<String>,
    /// Optimizers to compare; empty for the one of each model's settings.
    pub optimizers: Vec<String>,
    /// Values of `weighting.combine`; empty for the one of each model's settings.
    pub weightings: Vec<String>,
    /// How many seeds, counted up from the settings' own.
    pub seeds: usize,
    /// What all settings start from.
    pub base: Base,
    /// Settings of one model as `key=value`, under `settings`.
    pub settings_for: BTreeMap<String, Vec<String>>,
    /// `--set key=value`, for all models.
    pub settings: Vec<String>,
}

/// One run to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub model: String,
    /// `none` where it makes no difference to the model, as `weighting`.
    pub optimizer: String,
    pub weighting: String,
    pub seed: u64,
    pub config: Config,
}

/// In the place of an optimizer or a weighting that makes no difference.
pub const NONE: &str = "none";

impl Spec {
    /// The run's name and that of its folder.
    pub fn name(&self) -> String {
        format!("{}-{}-{}-{}", self.model, self.optimizer, self.weighting, self.seed)
    }
}

/// Runs, in the order in which they are made: seed by seed, so that an early look compares all models.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub runs: Vec<Spec>,
    /// What is left out because it would give the same run again, for the user.
    pub notes: Vec<String>,
}

/// What makes a difference to a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Varies {
    pub optimizer: bool,
    pub weighting: bool,
    pub seed: bool,
}

/// Models for which something makes none; all others are trained by an optimizer on several tasks.
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

/// Every model that `--models all` means.
pub fn model_names() -> Vec<String> {
    models::models().iter().map(|model| model.name.to_string()).collect()
}

impl Plan {
    /// Every combination. `Error::Config` for names that do not exist and settings that cannot be used.
    pub fn new(request: &Request) -> Result<Plan> {
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
                        let spec = Spec {
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
        let runs: Vec<Spec> =
            runs.into_iter().map(|(_, run)| run).filter(|run| seen.insert(run.name())).collect();
        Ok(Plan { runs, notes: notes(request, &models) })
    }
}

/// The models asked for, each once.
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
    // An optimizer that does not exist is refused before the first run begins.
    let checked = config.and_then(|config| TrainStep::new(&config).map(|_| config));
    checked.map_err(|error| match error {
        Error::Config { key, why, remedy } => Error::config(key, format!("{why} (of {model})"), remedy),
        error => error,
    })
}

/// Refuses a file for an ablation of WAA-TA that puts back what the ablation leaves out, as the settings that were
/// found for WAA-TA itself do: its rows would be WAA-TA's under another name.
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

/// The word of a setting's value.
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
        "no losses to weigh, or a weighting of its own; one run for all --weightings",
    );
    note(
        request.optimizers.len() > 1,
        those(|v| !v.optimizer),
        "not trained by steps; one run for all --optimizers",
    );
    note(request.seeds > 1, those(|v| !v.seed), "nothing is random; one run for all --seeds");
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(models: &[&str]) -> Request {
        let words = |words: &[&str]| words.iter().map(|w| w.to_string()).collect();
        Request { models: words(models), seeds: 1, ..Default::default() }
    }

    #[test]
    fn every_combination_seed_by_seed() {
        let mut request = request(&["waa-ta"]);
        request.optimizers = vec!["sgd".into(), "adam".into()];
        request.weightings = vec!["sum".into(), "cosine".into()];
        request.seeds = 2;
        request.settings = vec!["seed=5".into(), "train.lr=0.5".into()];
        request.settings_for =
            [("waa-ta".to_string(), vec!["train.lr=9".into(), "model.dim=7".into()])].into();
        let plan = Plan::new(&request).unwrap();
        let names: Vec<String> = plan.runs.iter().map(Spec::name).collect();
        let want = |seed| {
            ["sgd-sum", "sgd-cosine", "adam-sum", "adam-cosine"]
                .map(|n| format!("waa-ta-{n}-{seed}"))
                .to_vec()
        };
        assert_eq!(names, [want(5), want(6)].concat());
        assert!(plan.notes.is_empty());
        for run in &plan.runs {
            assert_eq!((run.config.seed, run.config.model.dim), (run.seed, 7));
            assert_eq!(run.config.train.lr, 0.5, "--set is above --settings-for");
            assert_eq!(
                (&run.config.train.optimizer, word(&run.config.weighting.combine)),
                (&run.optimizer, run.weighting.clone())
            );
        }
    }

    #[test]
    fn files_keep_what_an_ablation_leaves_out() {
        let with = |model: &str, setting: &str| {
            let settings_for = [(model.to_string(), vec![setting.to_string()])].into();
            Plan::new(&Request { settings_for, ..request(&[model]) }).map(|plan| plan.runs.len())
        };
        assert_eq!(with("waa-ta", "loss.orth_weight=0.5").unwrap(), 1);
        assert_eq!(with("waa-ta1", "loss.orth_weight=0.5").unwrap(), 1);
        assert_eq!(with("waa-ta3", "loss.orth_weight=0.0").unwrap(), 1);
        assert_eq!(with("waa-ta1", "weighting.combine=\"sum\"").unwrap(), 1);
        for (model, setting) in
            [("waa-ta3", "loss.orth_weight=0.5"), ("waa-ta1", "weighting.combine=\"pcgrad\"")]
        {
            let error = with(model, setting).unwrap_err().to_string();
            assert!(error.contains(model) && error.contains("by definition"), "{error}");
        }
    }

    #[test]
    fn without_lists_the_settings_decide() {
        let mut request = request(&["waa-ta", "waa-ta"]);
        request.settings = vec!["train.optimizer=adagrad".into()];
        let plan = Plan::new(&request).unwrap();
        assert_eq!(plan.runs.len(), 1);
        assert_eq!(plan.runs[0].name(), "waa-ta-adagrad-metabalance_x_cosine-1");
    }

    #[test]
    fn what_makes_no_difference_is_noted() {
        let models = ["ease", "lightgcn", "waa-ta"].map(String::from);
        let many = || vec!["a".to_string(), "b".to_string()];
        let all = Request { optimizers: many(), weightings: many(), seeds: 3, ..Default::default() };
        let notes = notes(&all, &models);
        assert_eq!(notes.len(), 3);
        assert!(notes[0].starts_with("ease, lightgcn: ") && notes[0].ends_with("--weightings"), "{notes:?}");
        assert!(notes[1].starts_with("ease: ") && notes[2].starts_with("ease: "), "{notes:?}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: &dyn Fn(&mut Request), part: &str| {
            let mut request = request(&["waa-ta"]);
            change(&mut request);
            let error = Plan::new(&request).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{error}");
        };
        refused(&|r| r.models = vec!["kgat".into()], "`kgat`");
        refused(&|r| r.models = vec![], "names no model");
        refused(&|r| r.seeds = 0, "--seeds");
        refused(&|r| r.optimizers = vec!["adamax".into()], "adamax");
        refused(&|r| r.weightings = vec!["best".into()], "weighting.combine");
        refused(&|r| r.settings = vec!["train.lrr=1".into()], "train.lr");
        refused(&|r| r.settings_for = [("ease".to_string(), vec![])].into(), "ease");
    }
}

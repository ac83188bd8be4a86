//! What a model's name implies: settings that make it what its paper says, put over a preset and under `--set`.

use toml::{Table, Value};

use super::keys;
use crate::{Error, Result};

/// A model by its name in `model.name`.
#[derive(Debug)]
pub struct Definition {
    pub name: &'static str,
    pub about: &'static str,
    /// `key=value`, as after `--set`.
    pub settings: &'static [&'static str],
    /// Of `model.encoder`, where nobody says otherwise.
    encoder: Encoder,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoder {
    /// What the base says.
    AsGiven,
    Table,
    /// It has none.
    None,
}

use Encoder::{AsGiven, Table as Vectors};

/// Losses are added up, and there is no decomposition for (14) and (15) to act on.
const PLAIN: &[&str] = &["weighting.combine=sum", "loss.orth_weight=0.0", "loss.aux_weight=0.0"];

/// Labels of courses that were not taken are 0, and count.
const ENTIRE: &[&str] =
    &["weighting.combine=sum", "loss.orth_weight=0.0", "loss.aux_weight=0.0", "loss.label_space=entire"];

const RANKS: &[&str] = &["loss.tasks=[\"enrolled\"]", "eval.rank_by=inner"];

pub const DEFINITIONS: &[Definition] = &[
    define_as(
        "waa-ta",
        "attention over the knowledge graph, shared and specific representations",
        AsGiven,
        &[],
    ),
    define_as("waa-ta1", "WAA-TA without weighting of task gradients", AsGiven, &["weighting.combine=sum"]),
    define_as(
        "waa-ta2",
        "WAA-TA without decomposition: one shared representation",
        AsGiven,
        &["loss.orth_weight=0.0", "loss.aux_weight=0.0"],
    ),
    define_as("waa-ta3", "WAA-TA without the orthogonality constraint", AsGiven, &["loss.orth_weight=0.0"]),
    define_as("mmoe", "experts for all tasks, a gate for each", Vectors, PLAIN),
    define_as("ple", "levels of shared and own experts", Vectors, PLAIN),
    define_as(
        "fdn",
        "pairs of shared and specific experts, kept orthogonal",
        Vectors,
        &["weighting.combine=sum", "head.fusion=fdn_concat", "head.pairs=2", "head.tower=[]"],
    ),
    define_as("esmm", "products of probabilities along the funnel", Vectors, ENTIRE),
    define_as("esm2", "ESMM with an act between enrolment and completion", Vectors, ENTIRE),
    define_as("ctcvr", "one net for the last behaviour of the funnel", Vectors, ENTIRE),
    define_as("single-task", "one network for the target task alone", Vectors, PLAIN),
    define_as("shared-bottom", "one representation, a tower for each task", Vectors, PLAIN),
    define_as(
        "bpr-mf",
        "matrix factorisation by BPR",
        Vectors,
        &[
            "weighting.combine=sum",
            "loss.orth_weight=0.0",
            "loss.aux_weight=0.0",
            "loss.tasks=[\"enrolled\"]",
            "loss.task_weights=[0.0]",
            "loss.ranking=bpr",
            "eval.rank_by=inner",
        ],
    ),
    define_as(
        "lightgcn",
        "vectors smoothed over the graph of enrolments, by BPR",
        AsGiven,
        &[
            "weighting.combine=sum",
            "loss.orth_weight=0.0",
            "loss.aux_weight=0.0",
            "loss.tasks=[\"enrolled\"]",
            "loss.task_weights=[0.0]",
            "loss.ranking=bpr",
            "eval.rank_by=inner",
            "model.encoder=graph",
            "model.propagation=full",
            "model.learner=free",
            "model.course_output=tied",
            "model.aggregator=light",
            "model.stack=mean",
            "model.normalize=false",
            "model.layer_scale=1.0",
            "model.message_dropout=0.0",
            "model.dim=64",
            "model.layers=[64, 64]",
            "attention.mode=symmetric",
            "attention.edge_bias=none",
            "attention.norm_power=1.0",
            "attention.self_loop=false",
            "kg.phase=off",
            "kg.propagate=false",
        ],
    ),
    define_as("popularity", "courses by how many took them", Encoder::None, RANKS),
    define_as("itemknn", "courses by their cosine with those taken", Encoder::None, RANKS),
    define_as("ease", "linear item-item weights in closed form", Encoder::None, RANKS),
];

/// What a table of vectors implies. They begin near 0, as in torch-rechub and DeepCTR-Torch (1e-4): a learner has few
/// enrolments, so a vector of length 1 drawn at random would outweigh all that is learned of him or her.
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

const fn define_as(
    name: &'static str,
    about: &'static str,
    encoder: Encoder,
    settings: &'static [&'static str],
) -> Definition {
    Definition { name, about, settings, encoder }
}

/// Puts what the named model implies over `tree`; `settings` are those of `--set`, which come after it.
pub(super) fn define(tree: &mut Table, settings: &[String]) -> Result<()> {
    let mut asked = tree.clone();
    for setting in settings {
        keys::set(&mut asked, setting)?;
    }
    let word = |key: &str| asked.get("model")?.get(key)?.as_str().map(str::to_string);
    let name = word("name").unwrap_or_default();
    let definition = DEFINITIONS.iter().find(|d| d.name == name).ok_or_else(|| {
        let known: Vec<&str> = DEFINITIONS.iter().map(|d| d.name).collect();
        let why = format!("there is no model `{name}`");
        Error::config("model.name", why, format!("models: {}", known.join(", ")))
    })?;
    for setting in definition.settings {
        keys::set(tree, setting)?;
    }
    let given = settings.iter().any(|s| s.trim_start().starts_with("model.encoder"));
    let table = match (given, definition.encoder) {
        (true, _) => word("encoder").as_deref() == Some("table"),
        (false, Encoder::AsGiven) => {
            tree.get("model").and_then(|m| m.get("encoder")).and_then(Value::as_str) == Some("table")
        }
        (false, Vectors | Encoder::None) => true,
    };
    if table {
        for setting in TABLE {
            keys::set(tree, setting)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn resolve(base: &str, settings: &[&str]) -> Config {
        let settings: Vec<String> = settings.iter().map(|s| s.to_string()).collect();
        Config::resolve(Base::Preset(base.into()), &settings).unwrap()
    }

    #[test]
    fn every_model_resolves_on_every_preset() {
        for definition in DEFINITIONS {
            for (preset, _) in PRESETS {
                let c = resolve(preset, &[&format!("model.name={}", definition.name)]);
                assert_eq!(c.model.name, definition.name);
            }
        }
    }

    /// Table 2: learning rate, batch, epochs, optimizer, width of an expert, tasks.
    #[test]
    fn presets_of_the_paper() {
        for (preset, second, k) in [
            ("paper-mooccubex", "completed", &[10, 20, 50][..]),
            ("paper-edx", "certified", &[1, 3, 5, 10, 20, 50]),
        ] {
            let c = resolve(preset, &[]);
            assert_eq!((c.train.lr, c.train.batch_size, c.train.epochs), (2e-4, 1024, 20));
            assert_eq!((c.train.optimizer.as_str(), c.head.widths.last()), ("adam", Some(&32)));
            assert_eq!((&c.loss.tasks[..], &c.eval.k[..]), (&["enrolled", second].map(String::from)[..], k));
            assert_eq!(c.train.max_steps, 0);
        }
    }

    #[test]
    fn names_imply_settings_that_set_changes() {
        let c = resolve("history", &["model.name=mmoe"]);
        assert_eq!((c.model.encoder, c.model.layers.len()), (EncoderKind::Table, 0));
        assert_eq!(c.weighting.combine, Combine::Sum);
        let c = resolve("history", &["model.name=mmoe", "model.encoder=graph", "weighting.combine=cosine"]);
        assert_eq!((c.model.encoder, c.model.propagation), (EncoderKind::Graph, Propagation::History));
        assert_eq!(c.weighting.combine, Combine::Cosine);
        // Both readings of the first ablation.
        assert_eq!(resolve("tasks", &["model.name=waa-ta1"]).weighting.combine, Combine::Sum);
        let c = resolve("tasks", &["model.name=waa-ta1", "loss.tasks=[\"enrolled\"]"]);
        assert_eq!(c.loss.tasks, ["enrolled"]);
    }
}

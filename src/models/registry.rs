//! Every model by its name in `model.name`: one entry each.

use super::closed_form::Solve;
use super::neural::MakeHead;
use super::{ease, itemknn, popularity};
use super::{esm2::Esm2, esmm::Esmm, match_score::MatchScore, mmoe::Mmoe, ple::Ple};
use super::{shared_bottom::SharedBottom, single_net::SingleNet, waa_ta::WaaTaHead};
use crate::Result;
use crate::config::{Base, Config, no_such};

/// A model: what it is called, what it is, and how it is made.
pub struct Entry {
    pub name: &'static str,
    /// As reports show it.
    pub shown: &'static str,
    pub kind: Kind,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Settings that make it what its paper says, `key=value` each, put over a preset and under `--set`; in groups that
    /// models share. `model.encoder=table` implies what goes with a table of vectors.
    implies: &'static [&'static [&'static str]],
    pub make: Make,
}

/// What a model is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A multi-task or single-task network: the paper's baselines and the controls.
    Network,
    /// A ranker of enrolments alone.
    Ranker,
    /// WAA-TA itself.
    Own,
    /// WAA-TA without one of its parts.
    Ablation,
}

/// How a model comes to be.
#[derive(Clone, Copy)]
pub enum Make {
    /// Trained by gradients; this makes its head.
    Neural(MakeHead),
    /// Solved in closed form; this makes the courses' vectors.
    ClosedForm(Solve),
}

const TABLE: &[&str] = &["model.encoder=table"];
const SUM: &[&str] = &["weighting.combine=sum"];
/// There is no decomposition for (14) and (15) to act on.
const NO_PAIRS: &[&str] = &["loss.orth_weight=0.0", "loss.aux_weight=0.0"];
/// Labels of courses that were not taken are 0, and count.
const ENTIRE: &[&str] = &["loss.label_space=entire"];
const RANKS: &[&str] = &["loss.tasks=[\"enrolled\"]", "eval.rank_by=inner"];
const BPR: &[&str] = &["loss.task_weights=[0.0]", "loss.ranking=bpr"];
const FDN: &[&str] = &["head.fusion=fdn_concat", "head.pairs=2", "head.tower=[]"];
const LIGHT: &[&str] = &[
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
];

/// Entries, a line or two each: name, name in reports, kind, settings implied; what it is; how it is made.
macro_rules! entries {
    ($($name:literal $shown:literal $kind:ident $implies:expr, $about:literal, $make:ident($how:expr);)+) => {
        &[$(Entry {
            name: $name,
            shown: $shown,
            kind: Kind::$kind,
            about: $about,
            implies: &$implies,
            make: entries!(@$make $how),
        }),+]
    };
    (@Head $new:expr) => { Make::Neural(|b, config, dim, tasks| Ok(Box::new($new(b, config, dim, tasks)?))) };
    (@ClosedForm $solve:expr) => { Make::ClosedForm($solve) };
}

/// Every model; those of a kind in the order of reports.
pub fn models() -> &'static [Entry] {
    const MODELS: &[Entry] = entries! {
        "waa-ta" "WAA-TA" Own [],
            "attention over the knowledge graph, shared and specific representations", Head(WaaTaHead::new);
        "waa-ta1" "TA1" Ablation [SUM],
            "WAA-TA without weighting of task gradients; with `--set 'loss.tasks=[\"enrolled\"]'` without the auxiliary \
                task", Head(WaaTaHead::new);
        "waa-ta2" "TA2" Ablation [NO_PAIRS],
            "WAA-TA without decomposition: one shared representation", Head(SharedBottom::new);
        "waa-ta3" "TA3" Ablation [&["loss.orth_weight=0.0"]],
            "WAA-TA without the orthogonality constraint", Head(WaaTaHead::new);
        "mmoe" "MMoE" Network [TABLE, SUM, NO_PAIRS],
            "experts for all tasks, a gate for each task", Head(Mmoe::new);
        "ple" "PLE" Network [TABLE, SUM, NO_PAIRS],
            "levels of shared and own experts (CGC with one level)", Head(Ple::new);
        "fdn" "FDN" Network [TABLE, SUM, FDN],
            "pairs of shared and specific experts, kept orthogonal", Head(WaaTaHead::fdn);
        "esmm" "ESMM" Network [TABLE, SUM, NO_PAIRS, ENTIRE],
            "products of probabilities along the funnel", Head(Esmm::new);
        "esm2" "ESM2" Network [TABLE, SUM, NO_PAIRS, ENTIRE],
            "ESMM with an act between enrolment and completion: three tasks", Head(Esm2::new);
        "ctcvr" "CTCVR" Network [TABLE, SUM, NO_PAIRS, ENTIRE],
            "one network for the last behaviour of the funnel", Head(SingleNet::ctcvr);
        "single-task" "Single-task" Network [TABLE, SUM, NO_PAIRS],
            "one network for the target task alone", Head(SingleNet::target);
        "shared-bottom" "Shared-bottom" Network [TABLE, SUM, NO_PAIRS],
            "one representation, a tower for each task", Head(SharedBottom::new);
        "popularity" "Popularity" Ranker [TABLE, RANKS],
            "courses by how many took them", ClosedForm(popularity::solve);
        "itemknn" "ItemKNN" Ranker [TABLE, RANKS],
            "courses by their cosine with those taken", ClosedForm(itemknn::solve);
        "ease" "EASE" Ranker [TABLE, RANKS],
            "linear weights between courses in closed form", ClosedForm(ease::solve);
        "bpr-mf" "BPR-MF" Ranker [TABLE, SUM, NO_PAIRS, RANKS, BPR],
            "matrix factorization by BPR", Head(MatchScore::new);
        "lightgcn" "LightGCN" Ranker [SUM, NO_PAIRS, RANKS, BPR, LIGHT],
            "vectors smoothed over the graph of enrolments, by BPR", Head(MatchScore::new);
    };
    MODELS
}

impl Entry {
    /// Settings that the name implies, `key=value` each.
    pub fn settings(&self) -> impl Iterator<Item = &'static str> {
        self.implies.iter().flat_map(|group| group.iter().copied())
    }

    /// The value that the name implies for a setting.
    pub fn implied(&self, key: &str) -> Option<&'static str> {
        self.settings().filter_map(|setting| setting.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| v)
    }
}

/// The model of this name.
pub fn find(name: &str) -> Result<&'static Entry> {
    models().iter().find(|model| model.name == name).ok_or_else(|| {
        let names: Vec<&str> = models().iter().map(|model| model.name).collect();
        no_such("model.name", "model", name, &names)
    })
}

impl Config {
    /// The defaults, changed by a base (a preset or a run.toml), by what the model that is named implies, and then by
    /// `--set key=value` pairs, and checked.
    pub fn resolve(base: Base, settings: &[String]) -> Result<Config> {
        Config::layered(base, settings, |name| Ok(find(name)?.settings().collect()))
    }
}

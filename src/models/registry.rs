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

use Make::{ClosedForm, Neural};

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

/// Every model; those of a kind in the order of reports.
pub fn models() -> &'static [Entry] {
    const MODELS: &[Entry] = &[
        Entry {
            name: "waa-ta",
            shown: "WAA-TA",
            kind: Kind::Own,
            about: "attention over the knowledge graph, shared and specific representations",
            implies: &[],
            make: Neural(|b, c, d, k| Ok(Box::new(WaaTaHead::new(b, c, d, k)?))),
        },
        Entry {
            name: "waa-ta1",
            shown: "TA1",
            kind: Kind::Ablation,
            about: "WAA-TA without weighting of task gradients; with `--set 'loss.tasks=[\"enrolled\"]'` without the \
                auxiliary task",
            implies: &[SUM],
            make: Neural(|b, c, d, k| Ok(Box::new(WaaTaHead::new(b, c, d, k)?))),
        },
        Entry {
            name: "waa-ta2",
            shown: "TA2",
            kind: Kind::Ablation,
            about: "WAA-TA without decomposition: one shared representation",
            implies: &[NO_PAIRS],
            make: Neural(|b, c, d, k| Ok(Box::new(SharedBottom::new(b, c, d, k)?))),
        },
        Entry {
            name: "waa-ta3",
            shown: "TA3",
            kind: Kind::Ablation,
            about: "WAA-TA without the orthogonality constraint",
            implies: &[&["loss.orth_weight=0.0"]],
            make: Neural(|b, c, d, k| Ok(Box::new(WaaTaHead::new(b, c, d, k)?))),
        },
        Entry {
            name: "mmoe",
            shown: "MMoE",
            kind: Kind::Network,
            about: "experts for all tasks, a gate for each task",
            implies: &[TABLE, SUM, NO_PAIRS],
            make: Neural(|b, c, d, k| Ok(Box::new(Mmoe::new(b, c, d, k)?))),
        },
        Entry {
            name: "ple",
            shown: "PLE",
            kind: Kind::Network,
            about: "levels of shared and own experts (CGC with one level)",
            implies: &[TABLE, SUM, NO_PAIRS],
            make: Neural(|b, c, d, k| Ok(Box::new(Ple::new(b, c, d, k)?))),
        },
        Entry {
            name: "fdn",
            shown: "FDN",
            kind: Kind::Network,
            about: "pairs of shared and specific experts, kept orthogonal",
            implies: &[TABLE, SUM, FDN],
            make: Neural(|b, c, d, k| Ok(Box::new(WaaTaHead::fdn(b, c, d, k)?))),
        },
        Entry {
            name: "esmm",
            shown: "ESMM",
            kind: Kind::Network,
            about: "products of probabilities along the funnel",
            implies: &[TABLE, SUM, NO_PAIRS, ENTIRE],
            make: Neural(|b, c, d, k| Ok(Box::new(Esmm::new(b, c, d, k)?))),
        },
        Entry {
            name: "esm2",
            shown: "ESM2",
            kind: Kind::Network,
            about: "ESMM with an act between enrolment and completion: three tasks",
            implies: &[TABLE, SUM, NO_PAIRS, ENTIRE],
            make: Neural(|b, c, d, k| Ok(Box::new(Esm2::new(b, c, d, k)?))),
        },
        Entry {
            name: "ctcvr",
            shown: "CTCVR",
            kind: Kind::Network,
            about: "one network for the last behaviour of the funnel",
            implies: &[TABLE, SUM, NO_PAIRS, ENTIRE],
            make: Neural(|b, c, d, k| Ok(Box::new(SingleNet::ctcvr(b, c, d, k)?))),
        },
        Entry {
            name: "single-task",
            shown: "Single-task",
            kind: Kind::Network,
            about: "one network for the target task alone",
            implies: &[TABLE, SUM, NO_PAIRS],
            make: Neural(|b, c, d, k| Ok(Box::new(SingleNet::target(b, c, d, k)?))),
        },
        Entry {
            name: "shared-bottom",
            shown: "Shared-bottom",
            kind: Kind::Network,
            about: "one representation, a tower for each task",
            implies: &[TABLE, SUM, NO_PAIRS],
            make: Neural(|b, c, d, k| Ok(Box::new(SharedBottom::new(b, c, d, k)?))),
        },
        Entry {
            name: "popularity",
            shown: "Popularity",
            kind: Kind::Ranker,
            about: "courses by how many took them",
            implies: &[TABLE, RANKS],
            make: ClosedForm(popularity::solve),
        },
        Entry {
            name: "itemknn",
            shown: "ItemKNN",
            kind: Kind::Ranker,
            about: "courses by their cosine with those taken",
            implies: &[TABLE, RANKS],
            make: ClosedForm(itemknn::solve),
        },
        Entry {
            name: "ease",
            shown: "EASE",
            kind: Kind::Ranker,
            about: "linear weights between courses in closed form",
            implies: &[TABLE, RANKS],
            make: ClosedForm(ease::solve),
        },
        Entry {
            name: "bpr-mf",
            shown: "BPR-MF",
            kind: Kind::Ranker,
            about: "matrix factorization by BPR",
            implies: &[TABLE, SUM, NO_PAIRS, RANKS, BPR],
            make: Neural(|_, _, _, _| Ok(Box::new(MatchScore))),
        },
        Entry {
            name: "lightgcn",
            shown: "LightGCN",
            kind: Kind::Ranker,
            about: "vectors smoothed over the graph of enrolments, by BPR",
            implies: &[SUM, NO_PAIRS, RANKS, BPR, LIGHT],
            make: Neural(|_, _, _, _| Ok(Box::new(MatchScore))),
        },
    ];
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

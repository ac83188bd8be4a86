//! run.toml: every choice of a run, with its default; unknown keys are refused.

mod keys;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
    };
}

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
            train: Default::default(),
            eval: Default::default(),
        }
    }
}

choice!(
    /// Which nodes talk in the graph.
    Propagation {
        /// Learners, courses and attributes in one graph, edges both ways (formulas 3 to 7 over all nodes).
        #[default]
        Full,
        /// Courses and attributes talk among themselves; a learner listens to the courses taken before the one
        /// to be predicted. Learners need no vector of their own, and new ones can be served without training.
        History,
    }
);
choice!(
    /// What layer 0 of a learner is. All but `free` need `history` propagation.
    LearnerInit {
        /// A vector of the learner's own.
        #[default]
        Free,
        /// What the attention gathers from the learner's courses.
        History,
        /// The sum of both.
        FreeHistory,
        /// The vector of the course taken last, which then asks for what goes with it.
        Latest,
        /// The same, plus what the attention gathers.
        LatestHistory,
    }
);
choice!(Aggregator {
    #[default]
    Bi,
    Gcn,
    Graphsage
});
choice!(Stack {
    #[default]
    Concat,
    Last,
    Sum,
    Mean
});
choice!(
    /// The course's side of the match score (8).
    CourseOutput {
        /// The course's own stacked representation.
        #[default]
        Tied,
        /// Layer 0 is replaced by a second vector of the course: being taken next and having been taken differ.
        Separate,
    }
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    pub name: String,
    /// n, width of the entity vectors.
    pub dim: usize,
    /// m, width of the relation vectors; 0 means n.
    pub relation_dim: usize,
    /// Widths of the propagation layers (7); none is allowed.
    pub layers: Vec<usize>,
    pub propagation: Propagation,
    pub learner: LearnerInit,
    pub course_output: CourseOutput,
    /// Most recent courses that a learner listens to under `history` propagation.
    pub max_history: usize,
    /// How the neighbourhood is joined with the node itself (6).
    pub aggregator: Aggregator,
    /// Slope of LeakyReLU in (6).
    pub slope: f32,
    /// Dropout of messages in (6).
    pub message_dropout: f32,
    /// Share of a learner's history that is left out at random in training, under `history` propagation.
    pub history_dropout: f32,
    pub stack: Stack,
    /// L2-normalise the layers above 0 before they are stacked (7).
    pub normalize: bool,
    /// The layers above 0 are multiplied by this before they are stacked: their say in the match score (8).
    pub layer_scale: f64,
    /// Standard deviation of the entity vectors at the start; 0 means Xavier's.
    pub init_std: f64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            name: "waa-ta".into(),
            dim: 64,
            relation_dim: 0,
            layers: vec![64, 32, 16],
            propagation: Default::default(),
            learner: Default::default(),
            course_output: Default::default(),
            max_history: 200,
            aggregator: Default::default(),
            slope: 0.01,
            message_dropout: 0.1,
            history_dropout: 0.0,
            stack: Default::default(),
            normalize: true,
            layer_scale: 1.0,
            init_std: 0.0,
        }
    }
}

choice!(ProjNorm {
    #[default]
    None,
    Clamp,
    L2
});
choice!(EntityNorm {
    #[default]
    None,
    Clamp1
});
choice!(KgLoss {
    #[default]
    Bpr,
    Margin
});
choice!(Distance {
    #[default]
    L2Squared,
    L2,
    L1
});
choice!(Corruption {
    #[default]
    Tail,
    Unif,
    Bern
});
choice!(ProjInit {
    #[default]
    Xavier,
    EntityZero,
    RelationZero
});
choice!(
    /// When the knowledge graph's loss is trained.
    KgPhase {
        /// Joint when there is one task only (it is the auxiliary task then), else separate.
        #[default]
        Auto,
        /// Batches of triples of their own after each epoch's batches of enrolments.
        Separate,
        /// One batch of triples in every step, as one of the weighted losses.
        Joint,
        Off,
    }
);

/// TransD, formulas (1) and (2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KgConfig {
    pub phase: KgPhase,
    pub loss: KgLoss,
    /// Margin of the margin loss.
    pub gamma: f64,
    pub distance: Distance,
    pub proj_norm: ProjNorm,
    /// Clamping of the vectors (not of the projection vectors) after each step.
    pub entity_norm: EntityNorm,
    pub proj_init: ProjInit,
    /// lambda of the L2 term on the projected vectors.
    pub l2: f64,
    pub corruption: Corruption,
    /// Triples per batch.
    pub batch_size: usize,
    /// Batches per epoch of the separate phase; 0 means every triple once.
    pub steps_per_epoch: usize,
    /// Train enrolments as triples too, under `full` propagation.
    pub enrolments: bool,
    /// One optimizer state for both phases instead of two.
    pub shared_state: bool,
}

impl Default for KgConfig {
    fn default() -> Self {
        KgConfig {
            phase: Default::default(),
            loss: Default::default(),
            gamma: 1.0,
            distance: Default::default(),
            proj_norm: Default::default(),
            entity_norm: Default::default(),
            proj_init: Default::default(),
            l2: 1e-5,
            corruption: Default::default(),
            batch_size: 2048,
            steps_per_epoch: 0,
            enrolments: true,
            shared_state: false,
        }
    }
}

choice!(AttentionMode {
    /// 1 / (edges of the same head and relation), never updated: what the published KGAT trains with.
    Laplacian,
    /// Recomputed once per epoch, constant in between.
    #[default]
    Refreshed,
    /// Recomputed and differentiated in every step.
    Differentiated,
});
choice!(Logit {
    #[default]
    KgatTanh,
    Dot,
    Gat
});
choice!(Message {
    #[default]
    Raw,
    Projected
});
choice!(EdgeBias {
    #[default]
    None,
    Recency
});

/// Formulas (3) to (5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttentionConfig {
    pub mode: AttentionMode,
    pub logit: Logit,
    pub temperature: f32,
    pub message: Message,
    /// An edge from every node to itself, with a relation of its own.
    pub self_loop: bool,
    /// A learned bias in the logit of an enrolment by how recent it is.
    pub edge_bias: EdgeBias,
    /// Buckets of recency: the latest enrolments one by one, then in steps that double.
    pub recency_buckets: usize,
    /// Exponent of the softmax's denominator for a learner's history: 1 is the softmax, 0 a weighted sum.
    pub norm_power: f32,
}

impl Default for AttentionConfig {
    fn default() -> Self {
        AttentionConfig {
            mode: Default::default(),
            logit: Default::default(),
            temperature: 1.0,
            message: Default::default(),
            self_loop: false,
            edge_bias: Default::default(),
            recency_buckets: 24,
            norm_power: 1.0,
        }
    }
}

choice!(BottomKind {
    Concat,
    Hadamard,
    #[default]
    ConcatHadamard
});
choice!(HeadActivation {
    #[default]
    Relu,
    Elu
});
choice!(GateWidth {
    #[default]
    Vector,
    Scalar
});
choice!(Fusion {
    #[default]
    SigmoidGate,
    SoftmaxGate,
    FdnConcat
});
choice!(PairMerge {
    #[default]
    Mean,
    ConcatProject
});

/// The multi-task head, formulas (9) to (13).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadConfig {
    pub bottom: BottomKind,
    /// Widths of the shared and the specific MLPs; the last is d.
    pub widths: Vec<usize>,
    pub activation: HeadActivation,
    /// M, decomposition pairs per task.
    pub pairs: usize,
    /// How M > 1 pairs become one S and one T_k.
    pub pair_merge: PairMerge,
    pub gate: GateWidth,
    /// One gate for all tasks instead of one each.
    pub shared_gate: bool,
    pub fusion: Fusion,
    /// Hidden widths of the towers.
    pub tower: Vec<usize>,
    /// Adds the match score (8) to the first task's logit.
    pub score_residual: bool,
}

impl Default for HeadConfig {
    fn default() -> Self {
        HeadConfig {
            bottom: Default::default(),
            widths: vec![64, 32],
            activation: Default::default(),
            pairs: 1,
            pair_merge: Default::default(),
            gate: Default::default(),
            shared_gate: false,
            fusion: Default::default(),
            tower: vec![16],
            score_residual: false,
        }
    }
}

choice!(OrthForm {
    #[default]
    A,
    A0,
    B,
    C,
    D,
    FdnCode
});
choice!(
    /// What trains the ranking beside the tasks' binary cross-entropies.
    Ranking {
        /// Nothing: the first task's cross-entropy over sampled negatives.
        #[default]
        Bce,
        /// BPR on the match score (8).
        Bpr,
        /// Softmax over all courses of the match score (8).
        Softmax,
    }
);

choice!(
    /// Where the labels of enrolled learners are learned.
    LabelSpace {
        /// Everywhere: a course that was not taken was not completed either (the paper's binary labels).
        #[default]
        Entire,
        /// On enrolments alone: the probability given that the course is taken.
        Enrolled,
    }
);

/// Formula (16) and its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Tasks by name, the target first; empty means enrolled and then every label of the data set.
    pub tasks: Vec<String>,
    /// Weight of each task's loss, in the order of `tasks`; missing ones are 1.
    pub task_weights: Vec<f64>,
    /// Of every task but enrolment itself.
    pub label_space: LabelSpace,
    pub orth: OrthForm,
    /// lambda_o of (14).
    pub orth_weight: f64,
    /// lambda_f of (15).
    pub aux_weight: f64,
    /// Weight of the knowledge graph's loss in the joint phase.
    pub kg_weight: f64,
    pub ranking: Ranking,
    pub ranking_weight: f64,
    /// The match score is multiplied by this before the softmax (an inverse temperature).
    pub softmax_scale: f64,
    pub label_smoothing: f64,
    /// Courses already taken do not compete in the softmax.
    pub softmax_mask_seen: bool,
    /// lambda of the L2 term on Z_u and Z_i of the batch.
    pub l2: f64,
    /// lambda of the L1 term on the specific MLPs (11).
    pub l1_specific: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        LossConfig {
            tasks: vec![],
            task_weights: vec![],
            label_space: Default::default(),
            orth: Default::default(),
            orth_weight: 1.0,
            aux_weight: 1.0,
            kg_weight: 1.0,
            ranking: Default::default(),
            ranking_weight: 1.0,
            softmax_scale: 1.0,
            label_smoothing: 0.0,
            softmax_mask_seen: false,
            l2: 0.0,
            l1_specific: 0.0,
        }
    }
}

choice!(Combine {
    Sum,
    Metabalance,
    Cosine,
    #[default]
    MetabalanceXCosine
});
choice!(Strategy {
    A,
    B,
    #[default]
    C
});
choice!(Granularity {
    #[default]
    Tensor,
    Global
});
choice!(CosineKind {
    #[default]
    Weighted,
    Unweighted
});

/// How task gradients meet on the shared parameters: (17), (18) and what the paper claims but does not write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightingConfig {
    pub combine: Combine,
    pub strategy: Strategy,
    pub relax: f64,
    pub beta: f64,
    pub granularity: Granularity,
    pub cosine: CosineKind,
    pub cosine_granularity: Granularity,
}

impl Default for WeightingConfig {
    fn default() -> Self {
        WeightingConfig {
            combine: Default::default(),
            strategy: Default::default(),
            relax: 0.7,
            beta: 0.9,
            granularity: Default::default(),
            cosine: Default::default(),
            cosine_granularity: Granularity::Global,
        }
    }
}

choice!(PositiveDraw {
    #[default]
    Uniform,
    /// The later in the learner's history, the likelier, in proportion to the place.
    Late,
});
choice!(Schedule {
    #[default]
    Constant,
    Linear
});

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    pub epochs: usize,
    /// Positives per step; each brings its negatives.
    pub batch_size: usize,
    /// q, sampled negatives per positive.
    pub negatives: usize,
    /// sgd, adagrad, rmsprop, adam or adamw.
    pub optimizer: String,
    pub lr: f64,
    /// Learning rate of the multi-task head; 0 means `lr`.
    pub head_lr: f64,
    pub weight_decay: f64,
    /// Constant, or linear decay to zero over all epochs.
    pub schedule: Schedule,
    /// Steps after which training stops; 0 means none.
    pub max_steps: u64,
    /// Positives per learner and epoch, drawn at random; 0 means all.
    pub positives_per_learner: usize,
    /// How those are drawn.
    pub draw: PositiveDraw,
    /// Epochs without a better validation metric before training stops; 0 never stops early.
    pub patience: usize,
    /// Learners of the validation during training; 0 means all.
    pub valid_learners: usize,
    /// Epochs between validations.
    pub valid_every: usize,
    /// Train on the validation part too (no early stopping then): for a last fit with settings found before.
    pub include_valid: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            epochs: 20,
            batch_size: 1024,
            negatives: 4,
            optimizer: "adam".into(),
            lr: 2e-4,
            head_lr: 0.0,
            weight_decay: 0.0,
            schedule: Default::default(),
            max_steps: 0,
            positives_per_learner: 0,
            draw: Default::default(),
            patience: 5,
            valid_learners: 2000,
            valid_every: 1,
            include_valid: false,
        }
    }
}

choice!(RankBy {
    #[default]
    Head,
    Inner,
    Both
});
choice!(NdcgIdcg {
    #[default]
    Truth,
    Retrieved
});

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    pub k: Vec<usize>,
    /// The first task's head, the match score (8), or the sum of both.
    pub rank_by: RankBy,
    /// Courses of the validation part are left out of the ranking when testing.
    pub mask_valid: bool,
    pub ndcg_idcg: NdcgIdcg,
    /// Metric that validation selects the epoch by.
    pub metric: String,
}

impl Default for EvalConfig {
    fn default() -> Self {
        EvalConfig {
            k: vec![10, 20, 50],
            rank_by: Default::default(),
            mask_valid: true,
            ndcg_idcg: Default::default(),
            metric: "ndcg@20".into(),
        }
    }
}

impl Config {
    /// The defaults, changed by a base (a preset or a run.toml) and then by `--set key=value` pairs, and checked.
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

    /// What cannot work, or cannot work together.
    fn check(&self) -> Result<()> {
        let (m, a, h, t) = (&self.model, &self.attention, &self.head, &self.train);
        let refuse = |bad: bool, key: &str, why: &str, remedy: &str| {
            if bad { Err(Error::config(key, why, remedy)) } else { Ok(()) }
        };
        let unit = |x: f32| (0.0..1.0).contains(&x);
        refuse(m.dim == 0, "model.dim", "must be at least 1", "the paper's reading is 64")?;
        refuse(m.layers.contains(&0), "model.layers", "a layer of width 0", "leave it out")?;
        refuse(!unit(m.message_dropout), "model.message_dropout", "must be in [0, 1)", "try 0.1")?;
        refuse(!unit(m.history_dropout), "model.history_dropout", "must be in [0, 1)", "try 0.2")?;
        refuse(
            h.widths.is_empty() || h.widths.contains(&0),
            "head.widths",
            "needs positive widths",
            "try [64, 32]",
        )?;
        refuse(h.tower.contains(&0), "head.tower", "a layer of width 0", "leave it out")?;
        refuse(h.pairs == 0, "head.pairs", "must be at least 1", "set head.pairs = 1")?;
        refuse(t.batch_size == 0, "train.batch_size", "must be at least 1", "try 1024")?;
        refuse(self.kg.batch_size == 0, "kg.batch_size", "must be at least 1", "try 2048")?;
        refuse(t.epochs == 0, "train.epochs", "must be at least 1", "try 20")?;
        refuse(t.valid_every == 0, "train.valid_every", "must be at least 1", "try 1")?;
        refuse(!(t.lr > 0.0 && t.lr.is_finite()), "train.lr", "must be positive", "try 2e-4")?;
        refuse(
            !(t.head_lr >= 0.0 && t.head_lr.is_finite()),
            "train.head_lr",
            "must not be negative",
            "0 means train.lr",
        )?;
        refuse(
            a.temperature.is_nan() || a.temperature <= 0.0,
            "attention.temperature",
            "must be positive",
            "try 1",
        )?;
        let (l, w) = (&self.loss, &self.weighting);
        let smoothing = (0.0..1.0).contains(&l.label_smoothing);
        refuse(!smoothing, "loss.label_smoothing", "must be in [0, 1)", "try 0.1")?;
        refuse(!l.softmax_scale.is_finite(), "loss.softmax_scale", "must be a number", "try 1")?;
        let (key, target) = match l.ranking {
            Ranking::Bce => ("loss.task_weights", l.task_weights.first().copied().unwrap_or(1.0)),
            Ranking::Bpr | Ranking::Softmax => ("loss.ranking_weight", l.ranking_weight),
        };
        refuse(
            target == 0.0,
            key,
            "the target's weight is 0",
            "give the first task or the ranking a weight",
        )?;
        refuse(!(0.0..=1.0).contains(&w.relax), "weighting.relax", "must be in [0, 1]", "try 0.7")?;
        refuse(!(0.0..1.0).contains(&w.beta), "weighting.beta", "must be in [0, 1)", "try 0.9")?;
        refuse(
            self.eval.k.is_empty() || self.eval.k.contains(&0),
            "eval.k",
            "needs cut-offs of 1 or more",
            "try [10, 20, 50]",
        )?;
        refuse(self.eval.k.iter().any(|&k| k > 128), "eval.k", "cut-offs end at 128", "lower the largest")?;
        let history = m.propagation == Propagation::History;
        refuse(
            !history && m.learner != LearnerInit::Free,
            "model.learner",
            "this choice needs model.propagation = \"history\"",
            "add --set model.propagation=history",
        )?;
        refuse(
            a.edge_bias == EdgeBias::Recency && a.mode != AttentionMode::Differentiated,
            "attention.edge_bias",
            "the recency bias is learned through the attention, which this mode keeps constant",
            "add --set attention.mode=differentiated",
        )?;
        refuse(
            a.edge_bias == EdgeBias::Recency && a.recency_buckets == 0,
            "attention.recency_buckets",
            "must be at least 1",
            "try 24",
        )?;
        refuse(
            a.norm_power != 1.0 && (!history || a.mode == AttentionMode::Laplacian),
            "attention.norm_power",
            "other powers than 1 are for a learner's history under a softmax",
            "add --set model.propagation=history --set attention.mode=differentiated",
        )?;
        refuse(
            a.message == Message::Projected && self.relation_dim() != m.dim,
            "attention.message",
            "projected messages have the relations' width, which must be model.dim",
            "set model.relation_dim = 0",
        )?;
        refuse(
            a.message == Message::Projected && m.layers.iter().rev().skip(1).any(|&w| w != m.dim),
            "attention.message",
            "projected messages need layers of width model.dim (but the last)",
            "set model.layers to widths of model.dim",
        )?;
        let widths = std::iter::once(&m.dim).chain(&m.layers);
        refuse(
            matches!(m.stack, Stack::Sum | Stack::Mean) && widths.clone().any(|w| *w != m.dim),
            "model.stack",
            "sum and mean need layers of equal width",
            "set model.layers to widths of model.dim",
        )?;
        refuse(
            m.course_output == CourseOutput::Separate && m.stack == Stack::Last && !m.layers.is_empty(),
            "model.course_output",
            "a separate vector takes the place of layer 0, which stack = \"last\" leaves out",
            "set model.stack = \"concat\"",
        )?;
        refuse(
            self.loss.ranking == Ranking::Bpr && t.negatives == 0,
            "loss.ranking",
            "bpr compares with a sampled negative",
            "set train.negatives to 1 or more",
        )?;
        self.eval.check_metric()
    }
}

impl EvalConfig {
    /// Fails where the selection metric is not one that an evaluation has: recall, ndcg, hr or mrr @ one of `k`,
    /// or auc/ and a task, which is looked up when the tasks are known.
    fn check_metric(&self) -> Result<()> {
        let known = |name: &str| matches!(name, "recall" | "ndcg" | "hr" | "mrr");
        let at_k = |(name, k): (&str, &str)| known(name) && k.parse().is_ok_and(|k| self.k.contains(&k));
        if self.metric.starts_with("auc/") || self.metric.split_once('@').is_some_and(at_k) {
            return Ok(());
        }
        Err(Error::config(
            "eval.metric",
            format!("`{}` is not one of the metrics", self.metric),
            format!("use recall, ndcg, hr or mrr @ one of eval.k = {:?}, or auc/TASK", self.k),
        ))
    }
}

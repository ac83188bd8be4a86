//! Settings of training and evaluation.

use serde::{Deserialize, Serialize};

choice!(PositiveDraw {
    #[default]
    Uniform,
    /// The later in the learner's history, the likelier, in proportion to the place.
    Late,
});
choice!(
    /// What a training step knows of a positive's learner.
    KnownHistory {
        /// What came before the positive where the split is by time, else the learner's others.
        #[default]
        Auto,
        /// The courses before the positive.
        Before,
        /// All of the learner's courses but the positive.
        Others,
    }
);
choice!(
    /// What a GPU multiplies matrices with: float, or operands rounded for its matrix units.
    Matmul {
        #[default]
        F32,
        Tf32,
        Bf16
    }
);
choice!(
    /// Whether a GPU replays recorded steps.
    CudaGraph {
        /// Where steps do not vary.
        #[default]
        Auto,
        Off
    }
);
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
    /// The courses by which the learner of a positive is known.
    pub history: KnownHistory,
    /// Epochs without a better validation metric before training stops; 0 never stops early.
    pub patience: usize,
    /// Learners of the validation during training; 0 means all.
    pub valid_learners: usize,
    /// Epochs between validations.
    pub valid_every: usize,
    /// Train on the validation part too (no early stopping then): for a last fit with settings found before.
    pub include_valid: bool,
    pub matmul: Matmul,
    /// A GPU replays steps of one shape as a CUDA graph.
    pub cuda_graph: CudaGraph,
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
            history: Default::default(),
            patience: 5,
            valid_learners: 2000,
            valid_every: 1,
            include_valid: false,
            matmul: Default::default(),
            cuda_graph: Default::default(),
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

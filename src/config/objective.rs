//! Settings of what is learned: the multi-task head, the losses and the weighting of their gradients.

use serde::{Deserialize, Serialize};

pub use crate::engine::gradient_weighting::{Combine, CosineKind, Granularity, Strategy};

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
    /// Experts of MMoE.
    pub experts: usize,
    /// Experts of each task, shared experts and levels of PLE.
    pub specific_experts: usize,
    pub shared_experts: usize,
    pub levels: usize,
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
            experts: 8,
            specific_experts: 3,
            shared_experts: 2,
            levels: 1,
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

/// How task gradients meet on the shared parameters: (17), (18), what the paper claims but does not write, and rules to
/// compare it with.
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
    /// Learning rate of `uncertainty` and `gradnorm`; 0 means `train.lr`.
    pub lr: f64,
    /// T of `dwa`.
    pub dwa_temperature: f64,
    pub gradnorm_alpha: f64,
    pub cagrad_c: f64,
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
            lr: 0.0,
            dwa_temperature: 2.0,
            gradnorm_alpha: 1.5,
            cagrad_c: 0.4,
        }
    }
}

//! Settings of the graph side: the encoder, TransD and the attention.

use serde::{Deserialize, Serialize};

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
choice!(
    /// Where the vectors of learners and courses come from.
    EncoderKind {
        /// Propagation over the graph, formulas (1) to (7).
        #[default]
        Graph,
        /// One table of vectors for learners and courses: what multi-task papers begin with.
        Table,
    }
);
choice!(Aggregator {
    #[default]
    Bi,
    Gcn,
    Graphsage,
    /// What is gathered, without weights or the node itself (LightGCN).
    Light
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

choice!(
    /// What a learner hears of the labels of the courses taken.
    HistoryLabels {
        #[default]
        None,
        /// A vector for every pattern of labels.
        Shared,
        /// A vector for every course and pattern of labels.
        Course,
    }
);

choice!(
    /// What rows of nodes are stored in where edges gather them. Parameters, optimizer states, sums and gradients are
    /// f32 in any case.
    Storage {
        #[default]
        F32,
        /// 8 bits of exponent, 7 of mantissa.
        Bf16,
        /// 5 bits of exponent, 10 of mantissa: values beyond 65,504 are infinite.
        F16,
    }
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    pub name: String,
    /// `graph` or `table`.
    pub encoder: EncoderKind,
    /// n, width of the entity vectors.
    pub dim: usize,
    /// m, width of the relation vectors; 0 means n.
    pub relation_dim: usize,
    /// Widths of the propagation layers (7); none is allowed.
    pub layers: Vec<usize>,
    /// Edges that a training step draws for each node, per hop from the batch's own nodes on, one for each layer; empty
    /// propagates over the whole graph.
    pub fan_out: Vec<usize>,
    /// What the attention's and the aggregation's edges read rows of nodes in.
    pub storage: Storage,
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
    /// Whether a learner hears what became of each course taken.
    pub history_labels: HistoryLabels,
    pub stack: Stack,
    /// L2-normalize the layers above 0 before they are stacked (7).
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
            encoder: Default::default(),
            dim: 64,
            relation_dim: 0,
            layers: vec![64, 32, 16],
            fan_out: vec![],
            storage: Default::default(),
            propagation: Default::default(),
            learner: Default::default(),
            course_output: Default::default(),
            max_history: 200,
            aggregator: Default::default(),
            slope: 0.01,
            message_dropout: 0.1,
            history_dropout: 0.0,
            history_labels: Default::default(),
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
    /// Its triples are edges of the graph that propagation runs on.
    pub propagate: bool,
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

impl Default for KgConfig {
    fn default() -> Self {
        KgConfig {
            phase: Default::default(),
            propagate: true,
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
    /// 1 / sqrt(edges of the head times edges to the tail), never updated (LightGCN).
    Symmetric,
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

//! Every setting: key, type, default, range and meaning. docs/settings.md prints this file as tables.

use serde::{Deserialize, Serialize};

use super::setting::{Setting, above, any, at_least, below, within, words};
use crate::engine::gradient_weighting::{Combine, CosineKind, Granularity, Strategy};
use crate::engine::{DType, MathMode};
use crate::graph::Corruption;
use crate::ops::{Activation, Distance, OrthForm, PairFeatures, ProjNorm};

/// Enumerations whose variants are the words of a setting. Where an operation has the choice, the setting is of the
/// operation's own type.
macro_rules! choices {
    ($($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident),+ $(,)? })+) => { $(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$doc])* $variant),+ }
    )+ };
}

/// Sections of run.toml: a structure each, with its defaults and its entries in `settings()`.
macro_rules! sections {
    ($($(#[doc = $about:literal])* [$section:ident] $config:ident { $(
        $(#[doc = $meaning:literal])+
        $key:ident: $type:ty = $default:expr $(, $range:expr)?;
    )+ })+) => {
        $(
            $(#[doc = $about])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub struct $config { $($(#[doc = $meaning])+ pub $key: $type,)+ }

            impl Default for $config {
                fn default() -> Self {
                    $config { $($key: $default),+ }
                }
            }
        )+

        /// A whole run. Precedence: flag, then `--set key=value`, then run.toml, then the defaults.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            /// Seed of every random number of the run.
            pub seed: u64,
            $(pub $section: $config,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Config { seed: 1, $($section: Default::default()),+ }
            }
        }

        /// Every setting, section by section.
        pub fn settings() -> impl Iterator<Item = &'static Setting> {
            const SETTINGS: &[Setting] = &[
                Setting {
                    key: "seed",
                    rust_type: "u64",
                    words: words::<u64>,
                    range: any(),
                    meaning: "of every random number of the run: initial values, batches, negatives, dropout",
                },
                $($(Setting {
                    key: concat!(stringify!($section), ".", stringify!($key)),
                    rust_type: stringify!($type),
                    words: words::<$type>,
                    range: sections!(@range $($range)?),
                    meaning: concat!($($meaning),+),
                },)+)+
            ];
            SETTINGS.iter()
        }
    };
    (@range) => { any() };
    (@range $range:expr) => { $range };
}

choices! {
    EncoderKind { Graph, Table }
    Propagation { Full, History }
    LearnerInit { Free, History, FreeHistory, Latest, LatestHistory }
    CourseOutput { Tied, Separate }
    Aggregator { Bi, Gcn, Graphsage, Light }
    HistoryLabels { None, Shared, Course }
    Stack { Concat, Last, Sum, Mean }

    KgPhase { Auto, Separate, Joint, Off }
    KgLoss { Bpr, Margin }
    EntityNorm { None, Clamp1 }
    ProjInit { Xavier, EntityZero, RelationZero }

    AttentionMode { Refreshed, Laplacian, Symmetric, Differentiated }
    Logit { KgatTanh, Dot, Gat }
    Message { Raw, Projected }
    EdgeBias { None, Recency }

    PairMerge { Mean, ConcatProject }
    GateWidth { Vector, Scalar }
    Fusion { SigmoidGate, SoftmaxGate, FdnConcat }

    LabelSpace { Entire, Enrolled }
    Ranking { Bce, Bpr, Softmax }

    Schedule { Constant, Linear }
    PositiveDraw { Uniform, Late }
    KnownHistory { Auto, Before, Others }
    CudaGraph { Auto, Off }

    RankBy { Head, Inner, Both }
    /// What NDCG is divided by.
    Idcg {
        /// The DCG of min(K, |T|) hits: the definition.
        Truth,
        /// The DCG of the hits found anywhere in the list, the best K of them. Inflates NDCG; for comparison with
        /// numbers that were published so.
        Retrieved,
    }
}

sections! {
    /// The model: vectors of learners and courses, and propagation, formulas (3), (6) and (7).
    [model] ModelConfig {
        /// which model, by its name in the registry; the name implies settings of its own
        name: String = "waa-ta".into(), any().note("a model of `waata models`");
        /// where the vectors of learners and courses come from: `graph`, propagation (1) to (7); `table`, one vector
        /// each and no propagation
        encoder: EncoderKind = EncoderKind::Graph, any().note("`table` needs `layers = []`, `full` propagation and \
            `kg.phase = \"off\"`, which it sets itself when `--set` or the model names it");
        /// n, width of the entity vectors
        dim: usize = 64, at_least(1.0);
        /// m, width of the relation vectors; 0 means n
        relation_dim: usize = 0;
        /// widths of the propagation layers (7); `[]` for none
        layers: Vec<usize> = vec![64, 32, 16], at_least(1.0);
        /// edges that a training step samples for each node, hop by hop from the batch's own nodes, one number per
        /// layer; rows of large tables then have row-sparse gradients. `[]`: every step propagates over the whole graph
        fan_out: Vec<usize> = vec![], at_least(1.0).note("as many as `layers`; needs `full` propagation");
        /// storage type of the node rows that attention and aggregation read along edges: `f32`, or `bf16` or `f16` at
        /// half the bytes. Rows are rounded once per layer; parameters, optimizer states, sums and gradients stay f32
        storage: DType = DType::F32;
        /// `full`: learners, courses and attributes in one graph. `history`: courses and attributes only; a learner
        /// attends to the courses taken before the one to be predicted
        propagation: Propagation = Propagation::Full;
        /// initial embedding of a learner. `free`: a vector of the learner's own. `history`: what attention aggregates
        /// from the courses taken. `free_history`: the sum of both. `latest`: the vector of the most recent course.
        /// `latest_history`: the same plus what attention aggregates from the earlier courses
        learner: LearnerInit = LearnerInit::Free, any().note("all but `free` need `history` propagation");
        /// layer 0 of a course in the match score. `tied`: its node's. `separate`: a second vector of the course
        course_output: CourseOutput = CourseOutput::Tied,
            any().note("`separate` cannot go with `stack = \"last\"` unless `layers` is empty");
        /// the most recent courses that a learner attends to under `history`, and that `loss.softmax_mask_seen` masks
        /// in training
        max_history: usize = 200;
        /// how node and neighbourhood are combined (6): `bi`, `gcn`, `graphsage`; `light`: the neighbourhood alone, no
        /// weights (LightGCN)
        aggregator: Aggregator = Aggregator::Bi,
            any().note("`light` needs constant attention, `full` propagation, layers of width `dim`");
        /// slope of LeakyReLU in (6), and in the logit `gat`
        slope: f32 = 0.01, within(0.0, 1.0);
        /// inverted dropout on the output of (6)
        message_dropout: f32 = 0.1, below(0.0, 1.0);
        /// share of a learner's history left out at random in training, under `history`
        history_dropout: f32 = 0.0, below(0.0, 1.0);
        /// how the labels of the courses taken enter a learner's history: `none`; `shared`, a vector for every pattern
        /// of labels; `course`, one for every course and pattern
        history_labels: HistoryLabels = HistoryLabels::None,
            any().note("all but `none` need `history` propagation and at most 4 labels");
        /// how the layers are stacked (7): `concat`, `last`, `sum`, `mean`
        stack: Stack = Stack::Concat, any().note("`sum` and `mean` need layers of width `dim`");
        /// layers above 0 are L2-normalized before stacking (7)
        normalize: bool = true;
        /// layers above 0 are multiplied by this before stacking, after normalization
        layer_scale: f64 = 1.0;
        /// standard deviation of the initial entity, learner and separate course vectors; 0 means Xavier's, 1 / sqrt(n);
        /// models with a table of vectors imply 0.0001
        init_std: f64 = 0.0, at_least(0.0);
    }

    /// TransD on the triples of the knowledge graph, (1) and (2).
    [kg] KgConfig {
        /// `separate`: batches of triples after each epoch's batches of enrolments. `joint`: one batch of triples in
        /// every step, its loss weighted with the others. `auto`: `joint` when there is one task, else `separate`.
        /// `off`: never
        phase: KgPhase = KgPhase::Auto, any().note("`off` with a table of vectors or `light`");
        /// the triples are edges of the graph that propagation runs on
        propagate: bool = true;
        /// `bpr`: softplus(d+ - d-). `margin`: max(0, gamma + d+ - d-)
        loss: KgLoss = KgLoss::Bpr;
        /// margin of `margin`
        gamma: f64 = 1.0, above(0.0);
        /// `l2_squared`, formula (2); `l2`; `l1`
        distance: Distance = Distance::L2Squared;
        /// what is done to a projected vector in the loss: `none`, `clamp` to the unit ball, `l2` to length 1
        proj_norm: ProjNorm = ProjNorm::None;
        /// after each step: `none`, or `clamp1`, which clamps E and R (not P and R_p) to the unit ball
        entity_norm: EntityNorm = EntityNorm::None;
        /// initial projection vectors: `xavier`, `entity_zero` (P is 0), `relation_zero` (R_p is 0); both at 0 would
        /// never learn
        proj_init: ProjInit = ProjInit::Xavier;
        /// lambda of the L2 term on the projected vectors
        l2: f64 = 1e-5, at_least(0.0);
        /// which end of a triple is replaced: `tail`; `unif`, either with probability 1/2; `bern`, by the relation's
        /// cardinalities
        corruption: Corruption = Corruption::Tail;
        /// triples per batch
        batch_size: usize = 2048, at_least(1.0);
        /// batches per epoch of the separate phase; 0 means every triple once, which is also the most
        steps_per_epoch: usize = 0;
        /// enrolments of the training part are triples too, under `full`
        enrolments: bool = true;
        /// one optimizer state for enrolments and the separate phase, instead of two
        shared_state: bool = false;
    }

    /// Attention over the edges, (3) to (5).
    [attention] AttentionConfig {
        /// `refreshed`: the graph's attention is recomputed at the start of each epoch and constant in between; that of
        /// a history is recomputed in each step without gradient. `laplacian`: 1 / (edges of the same head and
        /// relation), never updated. `symmetric`: 1 / sqrt(edges of the head times edges to the tail), never updated
        /// (LightGCN). `differentiated`: recomputed and differentiated in every step
        mode: AttentionMode = AttentionMode::Refreshed;
        /// (4): `kgat_tanh`, `dot`, `gat`
        logit: Logit = Logit::KgatTanh;
        /// the logit is divided by this
        temperature: f32 = 1.0, above(0.0);
        /// (3): `raw` vectors of the neighbours, or `projected` ones
        message: Message = Message::Raw, any().note("`projected` needs m = n and layers of width n, but the last");
        /// an edge from every node of the graph to itself, with a relation of its own
        self_loop: bool = false;
        /// `recency`: a learned bias in the logit of an enrolment by how recent it is
        edge_bias: EdgeBias = EdgeBias::None, any().note("`recency` needs `mode = \"differentiated\"`");
        /// buckets of recency: two thirds of them hold one place each, counted from the latest enrolment, the others
        /// twice as many as the one before
        recency_buckets: usize = 24, any().note("at least 1 with `recency`");
        /// exponent of the softmax's denominator for a learner's history: 1 is the softmax, 0 a sum weighted by exp of
        /// the logit
        norm_power: f32 = 1.0, any().note("other than 1 needs `history` propagation and no `laplacian`");
    }

    /// The multi-task head, (9) to (13).
    [head] HeadConfig {
        /// features of the pair: `concat` [Z_u, Z_i], `hadamard` Z_u * Z_i, `concat_hadamard` all three
        bottom: PairFeatures = PairFeatures::ConcatHadamard;
        /// widths of the shared and the specific networks (9) to (11); the last is d
        widths: Vec<usize> = vec![64, 32], at_least(1.0).not_empty();
        /// of the networks and, between layers, of the towers
        activation: Activation = Activation::Relu;
        /// M, decomposition pairs per task
        pairs: usize = 1, at_least(1.0);
        /// how M > 1 pairs become one S and one T_k: `mean`, `concat_project`
        pair_merge: PairMerge = PairMerge::Mean;
        /// (12): `vector`, a gate for each of d columns; `scalar`, one
        gate: GateWidth = GateWidth::Vector;
        /// one gate for all tasks instead of one each
        shared_gate: bool = false;
        /// (13): `sigmoid_gate`, `softmax_gate`, `fdn_concat` (all specific and all shared vectors side by side, no
        /// gate)
        fusion: Fusion = Fusion::SigmoidGate;
        /// hidden widths of the towers; `[]` for a linear tower
        tower: Vec<usize> = vec![16], at_least(1.0);
        /// adds the match score (8) to the first task's logit
        score_residual: bool = false;
        /// experts of `mmoe`
        experts: usize = 8, at_least(1.0);
        /// experts of each task in `ple`
        specific_experts: usize = 3, at_least(1.0);
        /// shared experts in `ple`
        shared_experts: usize = 2, at_least(1.0);
        /// levels of `ple`; 1 is CGC
        levels: usize = 1, at_least(1.0);
    }

    /// The losses, (14) to (16).
    [loss] LossConfig {
        /// tasks by name, the target first; `[]` means `enrolled` and then every label of the data set
        tasks: Vec<String> = vec![], any().note("`enrolled` and labels of the data set");
        /// weight of each task's loss, in the order of the tasks; missing ones are 1
        task_weights: Vec<f64> = vec![], at_least(0.0).note("not 0 for the target");
        /// where labels other than enrolment are learned. `entire`: on all pairs, sampled negatives having label 0.
        /// `enrolled`: on enrolments alone, the probability given that the course is taken
        label_space: LabelSpace = LabelSpace::Entire;
        /// the form of (14)
        orth: OrthForm = OrthForm::A;
        /// lambda_o, weight of (14); 0 leaves it out
        orth_weight: f64 = 1.0, at_least(0.0);
        /// lambda_f, weight of (15); 0 leaves it out
        aux_weight: f64 = 1.0, at_least(0.0);
        /// weight of the knowledge graph's loss in the joint phase
        kg_weight: f64 = 1.0, at_least(0.0);
        /// what trains the ranking beside the tasks' cross-entropies. `bce`: nothing. `bpr`: BPR on the match score.
        /// `softmax`: softmax over all courses of the match score. The last two become the target
        ranking: Ranking = Ranking::Bce, any().note("`bpr` needs `train.negatives` of 1 or more");
        /// weight of the ranking's loss
        ranking_weight: f64 = 1.0, at_least(0.0).note("not 0 with `bpr` or `softmax`");
        /// the match score is multiplied by this before the softmax (an inverse temperature)
        softmax_scale: f64 = 1.0;
        /// share of the target's probability that all competing courses share
        label_smoothing: f64 = 0.0, below(0.0, 1.0);
        /// courses of the learner's history are masked in the softmax
        softmax_mask_seen: bool = false;
        /// lambda of the L2 term on Z_u and Z_i of the batch; part of the BPR loss with `bpr`
        l2: f64 = 0.0, at_least(0.0);
        /// lambda of the L1 term on the weights of the specific networks (11)
        l1_specific: f64 = 0.0, at_least(0.0);
    }

    /// How the gradients of the losses are weighted on shared parameters: (17), and (17b) to (17h).
    [weighting] WeightingConfig {
        /// `sum` (18), `metabalance`, `cosine`, `metabalance_x_cosine`; `uncertainty`, `dwa`, `gradnorm` weight whole
        /// losses, `pcgrad` and `cagrad` resolve conflicts of gradients
        combine: Combine = Combine::MetaBalanceCosine;
        /// which auxiliary gradients MetaBalance scales: `a`, those longer than the target's; `b`, shorter; `c`, all
        strategy: Strategy = Strategy::C;
        /// r: 0 leaves lengths as they are, 1 makes them the target's
        relax: f64 = 0.7, within(0.0, 1.0);
        /// decay of the moving averages of lengths
        beta: f64 = 0.9, below(0.0, 1.0);
        /// lengths of each parameter tensor alone, or of all together
        granularity: Granularity = Granularity::Tensor;
        /// `weighted`: max(0, cos). `unweighted`: 1 where cos is 0 or more, else 0
        cosine: CosineKind = CosineKind::Weighted;
        /// as `granularity`, for the cosine
        cosine_granularity: Granularity = Granularity::Global;
        /// learning rate of the log-variances of `uncertainty` and the weights of `gradnorm`; 0 means `train.lr`. It
        /// follows `train.schedule`
        lr: f64 = 0.0, at_least(0.0);
        /// T of `dwa`: the higher, the more equal the weights
        dwa_temperature: f64 = 2.0, above(0.0);
        /// alpha of `gradnorm`: how strongly losses that have fallen less are favoured; 0 makes all gradients equally
        /// long
        gradnorm_alpha: f64 = 1.5, at_least(0.0);
        /// c of `cagrad`: how far from the mean gradient it may go, in lengths of it; 0 is the plain sum
        cagrad_c: f64 = 0.4, below(0.0, 1.0);
    }

    /// Models that are not trained by gradients.
    [rankers] RankersConfig {
        /// weight of the L2 penalty of `ease`
        ease_lambda: f64 = 200.0, above(0.0);
        /// most similar courses that `itemknn` keeps for each; 0 keeps all
        itemknn_neighbours: usize = 0;
        /// added to the denominator of the cosine of `itemknn`: courses of few learners count less
        itemknn_shrink: f64 = 0.0, at_least(0.0);
    }

    /// Training.
    [train] TrainConfig {
        /// passes over the positives
        epochs: usize = 20, at_least(1.0);
        /// positives per step; each brings its negatives
        batch_size: usize = 1024, at_least(1.0);
        /// q, sampled courses per positive
        negatives: usize = 4;
        /// `sgd`, `adagrad`, `rmsprop`, `adam`, `adamw`
        optimizer: String = "adam".into(), any().note("the five");
        /// learning rate
        lr: f64 = 2e-4, above(0.0);
        /// learning rate of the multi-task head, (9) to (15); 0 means `train.lr`
        head_lr: f64 = 0.0, at_least(0.0);
        /// added to the gradient as weight_decay * theta; decoupled in `adamw`
        weight_decay: f64 = 0.0, at_least(0.0);
        /// `constant`, or `linear` decay to zero over the steps of the run
        schedule: Schedule = Schedule::Constant;
        /// steps after which training stops; 0 means none
        max_steps: u64 = 0;
        /// positives per learner and epoch, drawn without replacement; 0 means all
        positives_per_learner: usize = 0;
        /// how those are drawn: `uniform`, or `late`, with a probability proportional to the place in the learner's
        /// history
        draw: PositiveDraw = PositiveDraw::Uniform;
        /// the history of a positive's learner: `before`, the courses before it; `others`, all but it. `auto`: `before`
        /// where every learner's validation and test enrolments come after the training ones, else `others`
        history: KnownHistory = KnownHistory::Auto, any().note("`before` needs times");
        /// epochs without a better validation metric before training stops; 0 never stops early
        patience: usize = 5;
        /// learners of the validation during training, a fixed random sample; 0 means all
        valid_learners: usize = 2000;
        /// epochs between validations; the last epoch always has one
        valid_every: usize = 1, at_least(1.0);
        /// trains on the validation part too; then there is no validation and no early stop
        include_valid: bool = false;
        /// how a GPU multiplies the matrices of the dense layers: `f32`; or on its tensor cores, operands rounded to
        /// `tf32` (10 bits of mantissa) or `bf16` (7 bits), sums in float. The CPU always computes in f32
        matmul: MathMode = MathMode::F32;
        /// how a GPU runs training steps: `auto` captures a step as a CUDA graph and replays it where all steps have one
        /// shape (`full` propagation without sampling, triples in a phase of their own), and launches kernel by kernel
        /// elsewhere; the run says which; `off` always launches. The bits are the same. No effect on the CPU
        cuda_graph: CudaGraph = CudaGraph::Auto;
    }

    /// Evaluation.
    [eval] EvalConfig {
        /// cut-offs of (19) and (20)
        k: Vec<usize> = vec![10, 20, 50], within(1.0, 128.0).not_empty();
        /// what courses are ranked by: `head`, the first task's logit; `inner`, the match score (8); `both`, their sum
        rank_by: RankBy = RankBy::Head;
        /// courses of the validation part are left out of the ranking when testing
        mask_valid: bool = true;
        /// what NDCG is divided by: `truth`, the definition; `retrieved`, the hits found in the list, as some published
        /// code does
        ndcg_idcg: Idcg = Idcg::Truth;
        /// metric that validation selects the epoch by
        metric: String = "ndcg@20".into(),
            any().note("`recall`, `ndcg`, `hr` or `mrr` @ one of `eval.k`, or `auc/` and a task");
    }
}

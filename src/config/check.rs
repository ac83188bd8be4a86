//! What settings cannot work, or cannot work together.

use super::*;

impl Config {
    /// What cannot work, or cannot work together.
    pub(super) fn check(&self) -> Result<()> {
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
        refuse(h.experts == 0, "head.experts", "must be at least 1", "the paper of MMoE has 8")?;
        refuse(
            h.specific_experts == 0 || h.shared_experts == 0,
            "head.specific_experts, head.shared_experts",
            "must be at least 1 each",
            "try 3 and 2",
        )?;
        refuse(h.levels == 0, "head.levels", "must be at least 1", "1 is CGC, 2 are PLE")?;
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
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        refuse(!not_negative(w.lr), "weighting.lr", "must not be negative", "0 means train.lr")?;
        refuse(
            !not_negative(w.dwa_temperature) || w.dwa_temperature == 0.0,
            "weighting.dwa_temperature",
            "must be positive",
            "the paper of dwa has 2",
        )?;
        refuse(
            !not_negative(w.gradnorm_alpha),
            "weighting.gradnorm_alpha",
            "must not be negative",
            "try 1.5",
        )?;
        refuse(!(0.0..1.0).contains(&w.cagrad_c), "weighting.cagrad_c", "must be in [0, 1)", "try 0.4")?;
        refuse(
            self.eval.k.is_empty() || self.eval.k.contains(&0),
            "eval.k",
            "needs cut-offs of 1 or more",
            "try [10, 20, 50]",
        )?;
        refuse(self.eval.k.iter().any(|&k| k > 128), "eval.k", "cut-offs end at 128", "lower the largest")?;
        let history = m.propagation == Propagation::History;
        let samples = !m.fan_out.is_empty();
        refuse(m.fan_out.contains(&0), "model.fan_out", "a hop without edges", "leave its layer out")?;
        refuse(
            samples && m.fan_out.len() != m.layers.len(),
            "model.fan_out",
            "every layer needs the edges of its hop",
            "give as many numbers as model.layers has",
        )?;
        refuse(
            samples && history,
            "model.fan_out",
            "under history propagation learners listen to their own courses, and only those of the catalogue talk",
            "use model.max_history, or model.propagation = \"full\"",
        )?;
        refuse(
            !history && m.learner != LearnerInit::Free,
            "model.learner",
            "this choice needs model.propagation = \"history\"",
            "add --set model.propagation=history",
        )?;
        refuse(
            !history && m.history_labels != HistoryLabels::None,
            "model.history_labels",
            "labels are heard by learners that listen to their histories",
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
        let table = m.encoder == EncoderKind::Table;
        refuse(
            table && (history || !m.layers.is_empty()),
            "model.encoder",
            "a table of vectors does not propagate",
            "set model.layers = [] and model.propagation = \"full\", or model.encoder = \"graph\"",
        )?;
        let light = m.aggregator == Aggregator::Light;
        refuse(
            (table || light) && self.kg.phase != KgPhase::Off,
            "kg.phase",
            "without projections there is nothing for triples to teach",
            "set kg.phase = \"off\"",
        )?;
        refuse(
            light && (matches!(a.mode, AttentionMode::Refreshed | AttentionMode::Differentiated) || history),
            "model.aggregator",
            "light gathers by constant weights over learners and courses",
            "set attention.mode = \"symmetric\" and model.propagation = \"full\"",
        )?;
        refuse(
            light && m.layers.iter().any(|w| *w != m.dim),
            "model.layers",
            "light layers are as wide as model.dim",
            "set them to model.dim",
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

//! Which settings cannot work together.

use super::*;

/// Fails with the first rule that is broken: condition => key, reason, remedy.
macro_rules! refuse {
    ($($broken:expr => $key:expr, $why:expr, $remedy:expr;)+) => {
        $(if $broken { return Err(Error::config($key, $why, $remedy)); })+
    };
}

impl Config {
    pub(super) fn check(&self) -> Result<()> {
        let (m, a, t, l) = (&self.model, &self.attention, &self.train, &self.loss);
        let history = m.propagation == Propagation::History;
        let (table, light) = (m.encoder == EncoderKind::Table, m.aggregator == Aggregator::Light);
        let recency = a.edge_bias == EdgeBias::Recency;
        let constant = matches!(a.mode, AttentionMode::Laplacian | AttentionMode::Symmetric);
        let projected = a.message == Message::Projected;
        let wider = |widths: &[usize]| widths.iter().any(|&w| w != m.dim);
        let (target_key, target_weight) = match l.ranking {
            Ranking::Bce => ("loss.task_weights", l.task_weights.first().copied().unwrap_or(1.0)),
            Ranking::Bpr | Ranking::Softmax => ("loss.ranking_weight", l.ranking_weight),
        };
        refuse! {
            target_weight == 0.0 => target_key,
                "the target's weight is 0", "give the first task or the ranking a weight";
            !m.fan_out.is_empty() && m.fan_out.len() != m.layers.len() => "model.fan_out",
                "every layer needs the edges of its hop", "give as many numbers as model.layers has";
            !m.fan_out.is_empty() && history => "model.fan_out",
                "under history propagation learners attend to their own courses, and only the catalogue propagates",
                "use model.max_history, or model.propagation = \"full\"";
            !history && m.learner != LearnerInit::Free => "model.learner",
                "this choice needs model.propagation = \"history\"", "add --set model.propagation=history";
            !history && m.history_labels != HistoryLabels::None => "model.history_labels",
                "labels enter through the histories that learners attend to", "add --set model.propagation=history";
            recency && a.mode != AttentionMode::Differentiated => "attention.edge_bias",
                "the recency bias is learned through the attention, which this mode keeps constant",
                "add --set attention.mode=differentiated";
            recency && a.recency_buckets == 0 => "attention.recency_buckets", "must be at least 1", "try 24";
            a.norm_power != 1.0 && (!history || a.mode == AttentionMode::Laplacian) => "attention.norm_power",
                "other powers than 1 are for a learner's history under a softmax",
                "add --set model.propagation=history --set attention.mode=differentiated";
            projected && self.relation_dim() != m.dim => "attention.message",
                "projected messages have the relations' width, which must be model.dim", "set model.relation_dim = 0";
            projected && wider(m.layers.split_last().map_or(&[], |(_, others)| others)) => "attention.message",
                "projected messages need layers of width model.dim (but the last)",
                "set model.layers to widths of model.dim";
            table && (history || !m.layers.is_empty()) => "model.encoder",
                "a table of vectors does not propagate",
                "set model.layers = [] and model.propagation = \"full\", or model.encoder = \"graph\"";
            (table || light) && self.kg.phase != KgPhase::Off => "kg.phase",
                "without projections there is nothing for triples to teach", "set kg.phase = \"off\"";
            light && (!constant || history) => "model.aggregator",
                "light aggregates by constant weights over learners and courses",
                "set attention.mode = \"symmetric\" and model.propagation = \"full\"";
            light && wider(&m.layers) => "model.layers",
                "light layers are as wide as model.dim", "set them to model.dim";
            matches!(m.stack, Stack::Sum | Stack::Mean) && wider(&m.layers) => "model.stack",
                "sum and mean need layers of equal width", "set model.layers to widths of model.dim";
            m.course_output == CourseOutput::Separate && m.stack == Stack::Last && !m.layers.is_empty() =>
                "model.course_output",
                "a separate vector takes the place of layer 0, which stack = \"last\" leaves out",
                "set model.stack = \"concat\"";
            l.ranking == Ranking::Bpr && t.negatives == 0 => "loss.ranking",
                "bpr compares with a sampled negative", "set train.negatives to 1 or more";
            !self.eval.has_metric() => "eval.metric",
                format!("`{}` is not one of the metrics", self.eval.metric),
                format!("use recall, ndcg, hr or mrr @ one of eval.k = {:?}, or auc/TASK", self.eval.k);
        }
        Ok(())
    }
}

impl EvalConfig {
    /// Whether an evaluation has the selection metric; the task of auc/ is looked up when the tasks are known.
    fn has_metric(&self) -> bool {
        let known = |name: &str| matches!(name, "recall" | "ndcg" | "hr" | "mrr");
        let at_k = |(name, k): (&str, &str)| known(name) && k.parse().is_ok_and(|k| self.k.contains(&k));
        self.metric.starts_with("auc/") || self.metric.split_once('@').is_some_and(at_k)
    }
}

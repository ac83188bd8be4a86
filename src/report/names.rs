//! Names of models and metrics: how they are shown, in which order, and which direction is better.

use std::cmp::Ordering;

/// Models in the order of the paper's columns, then controls, simple rankers, and WAA-TA with its ablations.
const MODELS: &[(&str, &str, Kind)] = &[
    ("mmoe", "MMoE", Kind::Neural),
    ("ple", "PLE", Kind::Neural),
    ("fdn", "FDN", Kind::Neural),
    ("esmm", "ESMM", Kind::Neural),
    ("esm2", "ESM2", Kind::Neural),
    ("ctcvr", "CTCVR", Kind::Neural),
    ("single-task", "Single-task", Kind::Neural),
    ("shared-bottom", "Shared-bottom", Kind::Neural),
    ("popularity", "Popularity", Kind::Ranker),
    ("itemknn", "ItemKNN", Kind::Ranker),
    ("ease", "EASE", Kind::Ranker),
    ("bpr-mf", "BPR-MF", Kind::Ranker),
    ("lightgcn", "LightGCN", Kind::Ranker),
    (OWN, "WAA-TA", Kind::Own),
    ("waa-ta1", "TA1", Kind::Ablation),
    ("waa-ta2", "TA2", Kind::Ablation),
    ("waa-ta3", "TA3", Kind::Ablation),
];

pub const OWN: &str = "waa-ta";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A multi-task or single-task network: the paper's baselines and the controls.
    Neural,
    /// Ranks by enrolments alone.
    Ranker,
    Own,
    Ablation,
    /// An unknown model counts as a baseline.
    Other,
}

impl Kind {
    pub fn is_baseline(self) -> bool {
        matches!(self, Kind::Neural | Kind::Ranker | Kind::Other)
    }
}

pub fn kind(model: &str) -> Kind {
    let known = MODELS.iter().find(|(name, ..)| *name == model).map(|(_, _, kind)| *kind);
    known.unwrap_or(if model.starts_with(OWN) { Kind::Ablation } else { Kind::Other })
}

pub fn model(name: &str) -> &str {
    MODELS.iter().find(|(known, ..)| *known == name).map_or(name, |(_, shown, _)| shown)
}

/// Place in the list of models; unknown ones come last.
pub fn place(model: &str) -> usize {
    MODELS.iter().position(|(known, ..)| *known == model).unwrap_or(MODELS.len())
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Better {
    Higher,
    Lower,
    /// Describes a model and does not rank it.
    Neither,
}

/// Families of metrics in the order of the report: the part of the name before `@` or `/`.
const FAMILIES: &[(&str, &str, Better)] = &[
    ("recall", "Recall", Better::Higher),
    ("ndcg", "NDCG", Better::Higher),
    ("hr", "HR", Better::Higher),
    ("mrr", "MRR", Better::Higher),
    ("auc", "AUC", Better::Higher),
    ("logloss", "Log-loss", Better::Lower),
    ("coverage", "Coverage", Better::Higher),
    ("popularity", "Popularity", Better::Neither),
    ("arp", "ARP", Better::Neither),
];

/// `recall@10` or `auc/completed` in its parts: family, then cut-off or task.
pub fn split(metric: &str) -> (&str, &str) {
    metric.split_once(['@', '/']).unwrap_or((metric, ""))
}

pub fn better(metric: &str) -> Better {
    let (family, _) = split(metric);
    FAMILIES.iter().find(|(name, ..)| *name == family).map_or(Better::Neither, |(_, _, better)| *better)
}

/// Orders values of a metric from best to worst.
pub fn compare_values(metric: &str, a: f64, b: f64) -> Ordering {
    match better(metric) {
        Better::Lower => a.total_cmp(&b),
        _ => b.total_cmp(&a),
    }
}

pub fn metric(name: &str) -> String {
    let (family, rest) = split(name);
    let Some((_, shown, _)) = FAMILIES.iter().find(|(known, ..)| *known == family) else {
        return name.into();
    };
    let gap = if name.contains('@') { "@" } else { " " };
    format!("{shown}{gap}{rest}").trim_end().into()
}

/// By family, then cut-off by size or task by name.
pub fn compare_metrics(a: &str, b: &str) -> Ordering {
    let place = |name: &str| {
        let (family, rest) = split(name);
        let family = FAMILIES.iter().position(|(known, ..)| *known == family).unwrap_or(FAMILIES.len());
        (family, rest.parse::<u64>().unwrap_or(u64::MAX))
    };
    place(a).cmp(&place(b)).then_with(|| a.cmp(b))
}

/// Four decimals as in the paper; large numbers are shorter.
pub fn number(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 1e6 => format!("{value:.3e}"),
        size if size >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    };
    // No negative zero, and a minus as wide as a plus.
    match text.strip_prefix('-') {
        Some("0.0000") => "0.0000".into(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

/// A change in percent, with its sign.
pub fn percent(ratio: f64) -> String {
    let text = format!("{:.2}", 100.0 * ratio.abs());
    let sign = match ratio {
        _ if text == "0.00" => '±',
        ratio if ratio < 0.0 => '−',
        _ => '+',
    };
    format!("{sign}{text}\u{a0}%")
}

pub fn p_value(p: f64) -> String {
    if p < 1e-4 { "< 0.0001".into() } else { format!("{p:.4}") }
}

/// Conventional stars of a p-value.
pub fn stars(p: f64) -> &'static str {
    match p {
        p if p < 0.001 => " ***",
        p if p < 0.01 => " **",
        p if p < 0.05 => " *",
        _ => "",
    }
}

/// `1 run`, `2 runs`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A file name or anchor made of names.
pub fn slug(parts: &[&str]) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let words = parts.iter().map(|part| part.chars().map(plain).collect::<String>().trim_matches('-').to_string());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_in_order() {
        let mut metrics = ["ndcg@5", "other", "auc/b", "recall@50", "recall@5", "logloss/a", "auc/a", "recall@10"];
        metrics.sort_by(|a, b| compare_metrics(a, b));
        assert_eq!(metrics, ["recall@5", "recall@10", "recall@50", "ndcg@5", "auc/a", "auc/b", "logloss/a", "other"]);
        assert_eq!(
            ["recall@10", "logloss/completed", "other"].map(metric),
            ["Recall@10", "Log-loss completed", "other"]
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(0.12345), "0.1235");
        assert_eq!(number(-0.00001), "0.0000");
        assert_eq!(number(-0.5), "−0.5000");
        assert_eq!(number(1234.56), "1234.6");
        assert_eq!(percent(0.0421), "+4.21\u{a0}%");
        assert_eq!(percent(-0.00001), "±0.00\u{a0}%");
        assert_eq!((p_value(0.00001).as_str(), p_value(0.031).as_str()), ("< 0.0001", "0.0310"));
        assert_eq!([stars(0.0001), stars(0.005), stars(0.04), stars(0.05)], [" ***", " **", " *", ""]);
    }
}

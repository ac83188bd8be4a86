//! How WAA-TA compares with the baselines, in words, bad news first.

use crate::document::Tone;
use crate::field::{Field, Variant, best};
use crate::names::{self, Kind, count};

/// WAA-TA against the best of some baselines by one metric.
pub struct Standing<'v, 'a> {
    pub metric: &'a str,
    pub own: f64,
    pub baseline: &'v Variant<'a>,
    pub value: f64,
    /// Holm's p-value of the test against this very baseline.
    pub p: Option<f64>,
}

impl Standing<'_, '_> {
    pub fn difference(&self) -> f64 {
        self.own - self.value
    }

    /// In percent of the baseline; absolute if the baseline is zero.
    pub fn gain(&self) -> String {
        match self.value {
            0.0 => format!("by {}", names::number(self.own)),
            value => names::percent(self.difference() / value.abs()),
        }
    }
}

/// WAA-TA, as its first variant stands, against the best of some baselines, each with the optimizer and weighting that
/// suit it best: the comparison favors the baselines.
pub fn standings<'v, 'a>(field: &'v Field<'a>, counts: impl Fn(Kind) -> bool) -> Vec<Standing<'v, 'a>> {
    let Some(own) = field.own() else { return vec![] };
    let baselines: Vec<&Variant> = field.variants.iter().filter(|v| counts(v.kind())).collect();
    let standing = |metric: &'a str| {
        let (baseline, value) = best(&baselines, metric)?;
        let p = field.test(own, metric, baseline).and_then(|test| test.corrected_p());
        Some(Standing { metric, own: own.mean(metric)?, baseline, value, p })
    };
    field.main_metrics().into_iter().filter_map(standing).collect()
}

fn list(field: &Field, standings: &[&Standing]) -> String {
    let text = |s: &&Standing| {
        let p = s.p.map_or(String::new(), |p| format!(", p = {}", names::p_value(p)).replace("= <", "<"));
        format!("{} {} ({}{p})", names::metric(s.metric), s.gain(), field.name(s.baseline))
    };
    standings.iter().map(text).collect::<Vec<_>>().join("; ")
}

pub fn of(field: &Field) -> (Tone, Vec<String>) {
    let results = field.results;
    let ranking = names::metric(field.ranking);
    if results.single {
        let run = results.first();
        let mut line = format!("{}, seed {}", field.variants[0].full_name(), run.seed);
        if let Some(value) = run.metrics.get(field.ranking) {
            line += &format!(": {ranking} {} on the test split", names::number(*value));
        }
        if let Some(last) = results.runs[0].log.last() {
            line += &format!(", {} trained", count(last.epoch as usize, "epoch"));
        }
        let best = run.best_epoch.map_or(String::new(), |epoch| format!(", best epoch {epoch}"));
        return (Tone::Plain, vec![format!("{line}{best}.")]);
    }
    let Some(own) = field.own() else {
        return (Tone::Plain, vec!["WAA-TA is not part of this comparison, or none of its runs has finished.".into()]);
    };
    let all = standings(field, Kind::is_baseline);
    if all.is_empty() {
        let why = match field.models().iter().any(|v| v.kind().is_baseline()) {
            true => "No baseline shares a Recall or NDCG with WAA-TA",
            false => "The comparison has no baseline",
        };
        return (Tone::Warning, vec![format!("{why}, so nothing here shows how good WAA-TA's numbers are.")]);
    }
    let (behind, ahead, tied) = split(&all);
    let mut parts = vec![];
    for (what, n) in [("loses to", behind.len()), ("beats", ahead.len()), ("ties with", tied)] {
        match n {
            0 => {}
            n if parts.is_empty() => {
                let n = if n == all.len() { "all".to_string() } else { format!("{n} of") };
                parts.push(format!("WAA-TA {what} the best baseline on {n} {}", count(all.len(), "main metric")));
            }
            n => parts.push(format!("{what} it on {n}")),
        }
    }
    let mut lines = vec![format!("{}.", parts.join(" and "))];
    if !behind.is_empty() {
        lines.push(format!("Behind: {}.", list(field, &behind)));
    }
    if !ahead.is_empty() {
        lines.push(format!("Ahead: {}.", list(field, &ahead)));
        let tested = ahead.iter().filter(|s| s.p.is_some()).count();
        let sure = ahead.iter().filter(|s| s.p.is_some_and(|p| p < 0.05)).count();
        lines.push(match tested {
            0 => "None of these leads was tested against this baseline: they may be chance.".into(),
            _ => format!("Leads that are significant at the 5 % level: {sure} of {tested} tested."),
        });
    }
    let neural = standings(field, |kind| kind == Kind::Neural);
    if !neural.is_empty() && field.models().iter().any(|v| v.kind() == Kind::Ranker) {
        let (behind, ahead, _) = split(&neural);
        let mut line = format!("Among neural baselines alone, it is ahead on {} of {}", ahead.len(), neural.len());
        if !behind.is_empty() {
            line += &format!(" and behind on {}: {}", behind.len(), list(field, &behind));
        }
        lines.push(format!("{line}."));
    }
    if own.mean(field.ranking).is_some() {
        let place = 1 + field.models().iter().take_while(|v| v.mean(field.ranking) != own.mean(field.ranking)).count();
        let selects =
            if results.selected_by() == Some(field.ranking) { ", the metric of model selection," } else { "" };
        let models = field.models().iter().filter(|v| v.mean(field.ranking).is_some()).count();
        lines.push(format!("By {ranking}{selects} WAA-TA ranks {place} of {}.", count(models, "model")));
    }
    for ablation in field.models().iter().filter(|v| v.kind() == Kind::Ablation) {
        let above = |m: &&str| ablation.mean(m).zip(own.mean(m)).is_some_and(|(ablation, own)| ablation > own);
        let above: Vec<String> = field.main_metrics().into_iter().filter(above).map(names::metric).collect();
        if !above.is_empty() {
            lines.push(format!("Its ablation {} is better on {}.", ablation.shown(), above.join(", ")));
        }
    }
    (if behind.is_empty() { Tone::Good } else { Tone::Warning }, lines)
}

/// Metrics lost, won, and the number of ties.
fn split<'s, 'v, 'a>(all: &'s [Standing<'v, 'a>]) -> (Vec<&'s Standing<'v, 'a>>, Vec<&'s Standing<'v, 'a>>, usize) {
    let behind: Vec<&Standing> = all.iter().filter(|s| s.difference() < 0.0).collect();
    let ahead: Vec<&Standing> = all.iter().filter(|s| s.difference() > 0.0).collect();
    let tied = all.len() - behind.len() - ahead.len();
    (behind, ahead, tied)
}

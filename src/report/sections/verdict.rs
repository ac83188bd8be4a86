//! How WAA-TA stands against the baselines, in words, bad news first.

use crate::document::Tone;
use crate::names::{self, Kind, OWN};
use crate::variants::{Field, Variant, best};

use super::count;

pub struct Verdict {
    pub tone: Tone,
    pub lines: Vec<String>,
}

/// WAA-TA against the best of some baselines by one metric.
pub struct Standing<'a> {
    pub metric: &'a str,
    pub baseline: String,
    /// (WAA-TA - baseline) / baseline; none where the baseline has zero.
    pub ratio: Option<f64>,
    pub difference: f64,
    /// The decisive p-value against this baseline.
    pub p: Option<f64>,
}

impl Standing<'_> {
    pub fn gain(&self) -> String {
        match self.ratio {
            Some(ratio) => names::percent(ratio),
            None => format!("by {}", names::number(self.difference)),
        }
    }

    fn text(&self) -> String {
        let p = self.p.map_or(String::new(), |p| match names::p_value(p) {
            small if small.starts_with('<') => format!(", p {small}"),
            p => format!(", p = {p}"),
        });
        format!("{} {} ({}{p})", names::metric(self.metric), self.gain(), self.baseline)
    }
}

/// The main metrics: Recall and NDCG at every cut-off.
pub fn main_metrics<'a>(field: &Field<'a>) -> Vec<&'a str> {
    field.metrics_of(&["recall", "ndcg"])
}

/// WAA-TA as it stands in Table 3 against the best of some baselines, with whatever optimizer and weighting they do
/// best: a comparison that is hard on WAA-TA alone.
pub fn standings<'a>(field: &Field<'a>, counts: impl Fn(Kind) -> bool) -> Vec<Standing<'a>> {
    let Some(own) = field.own() else { return vec![] };
    let baselines: Vec<&Variant> = field.variants.iter().filter(|v| counts(v.kind())).collect();
    let standing = |metric: &'a str| {
        let (baseline, value) = best(&baselines, metric)?;
        let difference = own.mean(metric)? - value;
        let p = field.test(own, metric, baseline).and_then(|test| test.decisive());
        let ratio = (value != 0.0).then(|| difference / value.abs());
        Some(Standing { metric, baseline: field.name(baseline), ratio, difference, p })
    };
    main_metrics(field).into_iter().filter_map(standing).collect()
}

fn list<'s, 'a: 's>(standings: impl Iterator<Item = &'s Standing<'a>>) -> String {
    standings.map(Standing::text).collect::<Vec<_>>().join("; ")
}

pub fn of(field: &Field) -> Verdict {
    let Some(own) = field.own() else {
        let lines = vec!["WAA-TA took no part in this comparison, or none of its runs has finished.".into()];
        return Verdict { tone: Tone::Plain, lines };
    };
    let all = standings(field, Kind::is_baseline);
    if all.is_empty() {
        let why = match field.main().iter().any(|v| v.kind().is_baseline()) {
            true => "No baseline has a Recall or NDCG beside WAA-TA's",
            false => "No baseline took part",
        };
        let lines = vec![format!("{why}: nothing here says how good WAA-TA's numbers are.")];
        return Verdict { tone: Tone::Warning, lines };
    }
    let behind = || all.iter().filter(|s| s.difference < 0.0);
    let ahead = || all.iter().filter(|s| s.difference > 0.0);
    let equal = all.len() - behind().count() - ahead().count();
    let metrics = count(all.len(), "main metric");
    let headline = match (behind().count(), ahead().count()) {
        (0, n) if n == all.len() => format!("WAA-TA is ahead of the best baseline in all {metrics}."),
        (0, n) => format!("WAA-TA is ahead of the best baseline in {n} of {metrics}, and equal in {equal}."),
        (n, 0) if n == all.len() => format!("WAA-TA loses to the best baseline in all {metrics}."),
        (n, _) => format!("WAA-TA loses to the best baseline in {n} of {metrics}."),
    };
    let mut lines = vec![headline];
    if behind().count() > 0 {
        lines.push(format!("Behind: {}.", list(behind())));
    }
    if ahead().count() > 0 {
        lines.push(format!("Ahead: {}.", list(ahead())));
        let tested = ahead().filter(|s| s.p.is_some()).count();
        let sure = ahead().filter(|s| s.p.is_some_and(|p| p < 0.05)).count();
        lines.push(match tested {
            0 => "None of these leads was tested against this baseline: they may be chance.".into(),
            _ => format!("Leads that are significant at the 5 % level: {sure} of {tested} that were tested."),
        });
    }
    lines.extend(neural(field));
    lines.extend(rank(field, own));
    lines.extend(ablations(field, own));
    let lost = behind().count() > 0;
    Verdict { tone: if lost { Tone::Warning } else { Tone::Good }, lines }
}

/// Against networks alone, where simple rankers took part too.
fn neural(field: &Field) -> Option<String> {
    if field.main().iter().all(|v| v.kind() != Kind::Ranker) {
        return None;
    }
    let neural = standings(field, |kind| kind == Kind::Neural);
    if neural.is_empty() {
        return None;
    }
    let behind: Vec<&Standing> = neural.iter().filter(|s| s.difference < 0.0).collect();
    let ahead = neural.iter().filter(|s| s.difference > 0.0).count();
    let of = neural.len();
    Some(match behind.is_empty() {
        true => format!("Against the best neural baseline alone it is ahead in {ahead} of {of}."),
        false => format!(
            "Against the best neural baseline alone it is ahead in {ahead} of {of}, behind in {}: {}.",
            behind.len(),
            list(behind.into_iter())
        ),
    })
}

fn rank(field: &Field, own: &Variant) -> Option<String> {
    let metric = field.comparison.selected_by().or(main_metrics(field).last().copied())?;
    let value = own.mean(metric)?;
    let others: Vec<f64> =
        field.main().iter().filter(|v| v.model != OWN).filter_map(|v| v.mean(metric)).collect();
    let sign = if names::better(metric) == names::Better::Lower { -1.0 } else { 1.0 };
    let above = others.iter().filter(|other| sign * **other > sign * value).count();
    let selects =
        if field.comparison.selected_by().is_some() { ", by which validation selects epochs," } else { "" };
    Some(format!(
        "By {}{selects} WAA-TA is number {} of {}.",
        names::metric(metric),
        above + 1,
        count(others.len() + 1, "model")
    ))
}

/// Parts of WAA-TA that it would be better without.
fn ablations(field: &Field, own: &Variant) -> Vec<String> {
    let above = |ablation: &&Variant| {
        let better: Vec<String> = main_metrics(field)
            .into_iter()
            .filter(|m| ablation.mean(m).zip(own.mean(m)).is_some_and(|(a, own)| a > own))
            .map(names::metric)
            .collect();
        (!better.is_empty())
            .then(|| format!("Its ablation {} is above it in {}.", ablation.shown(), better.join(", ")))
    };
    let main = field.main();
    main.iter().filter(|v| v.kind() == Kind::Ablation).filter_map(above).collect()
}

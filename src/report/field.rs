//! Runs that differ only in their seed, put together: means, deviations, and which of them represent a model.

use std::collections::BTreeMap;
use std::fmt;

use super::names::{self, Kind, OWN};
use super::read::{Results, Run};
use super::tables::SummaryRow;

/// What stands out among models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    Own,
    /// The best of the others.
    Best,
    Other,
}

/// A metric over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stat {
    pub mean: f64,
    /// Of a sample (n - 1); none for one seed.
    pub sd: Option<f64>,
}

impl Stat {
    pub fn of(values: &[f64]) -> Option<Stat> {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (n > 0).then(|| Stat { mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()) })
    }

    /// One standard deviation below and above the mean.
    pub fn range(&self) -> [f64; 2] {
        let sd = self.sd.unwrap_or(0.0);
        [self.mean - sd, self.mean + sd]
    }

    /// `±0.0012`; empty for one seed.
    pub fn spread(&self) -> String {
        self.sd.map_or(String::new(), |sd| format!("±{}", names::number(sd)))
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text = format!("{} {}", names::number(self.mean), self.spread());
        f.write_str(text.trim_end())
    }
}

/// A model with an optimizer and a task weighting.
pub struct Variant<'a> {
    pub model: &'a str,
    pub optimizer: &'a str,
    pub weighting: &'a str,
    /// One per seed, by seed.
    pub runs: Vec<&'a Run>,
    pub metrics: BTreeMap<&'a str, Stat>,
}

impl Variant<'_> {
    pub fn kind(&self) -> Kind {
        names::kind(self.model)
    }

    pub fn is_own(&self) -> bool {
        self.model == OWN
    }

    /// What summary.csv calls it.
    pub fn id(&self) -> String {
        format!("{}-{}-{}", self.model, self.optimizer, self.weighting)
    }

    pub fn shown(&self) -> &str {
        names::model(self.model)
    }

    /// Model, optimizer and weighting.
    pub fn full_name(&self) -> String {
        let parts = [self.shown(), self.optimizer, self.weighting];
        parts.into_iter().filter(|part| !part.is_empty() && *part != "none").collect::<Vec<_>>().join(" ")
    }

    pub fn mean(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric).map(|stat| stat.mean)
    }
}

/// All that took part.
pub struct Field<'a> {
    pub results: &'a Results,
    /// Variants of a model are in the order in which optimizers and weightings were requested.
    pub variants: Vec<Variant<'a>>,
    /// Metrics that any run has, in the report's order.
    pub metrics: Vec<&'a str>,
    /// The metric that ranks models: the one that validation selects by, else the last NDCG.
    pub ranking: &'a str,
    /// Indices into `variants`, best model first.
    ranked: Vec<usize>,
}

impl<'a> Field<'a> {
    pub fn of(results: &'a Results) -> Field<'a> {
        let mut groups: BTreeMap<(&str, &str, &str), Vec<&Run>> = BTreeMap::new();
        for run in &results.runs {
            groups.entry((&run.row.model, &run.row.optimizer, &run.row.weighting)).or_default().push(run);
        }
        let variant = |((model, optimizer, weighting), mut runs): ((&'a str, &'a str, &'a str), Vec<&'a Run>)| {
            runs.sort_by_key(|run| run.row.seed);
            let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
            for (name, value) in runs.iter().flat_map(|run| &run.row.metrics) {
                values.entry(name).or_default().push(*value);
            }
            let metrics = values.into_iter().filter_map(|(name, values)| Some((name, Stat::of(&values)?)));
            Variant { model, optimizer, weighting, metrics: metrics.collect(), runs }
        };
        let mut variants: Vec<Variant> = groups.into_iter().map(variant).collect();
        // The first requested represents a model; what the plan does not name follows, the paper's Adam first.
        let (optimizers, weightings) = (results.requested("optimizers"), results.requested("weightings"));
        let place = |list: &[&str], name: &str| list.iter().position(|n| *n == name).unwrap_or(list.len());
        variants.sort_by_key(|v| {
            let requested = (place(&optimizers, v.optimizer), v.optimizer != "adam", place(&weightings, v.weighting));
            (names::place(v.model), v.model, requested, v.optimizer, v.weighting)
        });
        let mut metrics: Vec<&str> =
            results.runs.iter().flat_map(|run| run.row.metrics.keys().map(String::as_str)).collect();
        metrics.sort_by(|a, b| names::compare_metrics(a, b));
        metrics.dedup();
        let selects = metrics.iter().find(|m| Some(**m) == results.selected_by());
        let main = metrics.iter().rfind(|m| ["recall", "ndcg"].contains(&names::split(m).0));
        let ranking = *selects.or(main).or(metrics.first()).unwrap_or(&"");
        let first = |i: &usize| *i == 0 || variants[*i].model != variants[*i - 1].model;
        let mut ranked: Vec<usize> = (0..variants.len()).filter(first).collect();
        ranked.sort_by(|a, b| match [*a, *b].map(|i| variants[i].mean(ranking)) {
            [Some(a), Some(b)] => names::compare_values(ranking, a, b),
            [a, b] => b.is_some().cmp(&a.is_some()),
        });
        Field { results, variants, metrics, ranking, ranked }
    }

    /// The variant that represents each model, chosen by the request and never by a result; the best model first.
    pub fn models(&self) -> Vec<&Variant<'a>> {
        self.ranked.iter().map(|i| &self.variants[*i]).collect()
    }

    pub fn represents(&self, variant: &Variant) -> bool {
        self.models().iter().any(|v| std::ptr::eq(*v, variant))
    }

    pub fn own(&self) -> Option<&Variant<'a>> {
        self.models().into_iter().find(|v| v.is_own())
    }

    /// WAA-TA, else the best model.
    pub fn focus(&self) -> Option<&Variant<'a>> {
        self.own().or(self.models().first().copied())
    }

    pub fn role(&self, variant: &Variant) -> Role {
        let best = self.models().into_iter().find(|v| !v.is_own()).map(|v| v.model);
        match variant.model {
            OWN => Role::Own,
            model if Some(model) == best => Role::Best,
            _ => Role::Other,
        }
    }

    /// Metrics of these families, in order.
    pub fn metrics_of(&self, families: &[&str]) -> Vec<&'a str> {
        self.metrics.iter().copied().filter(|m| families.contains(&names::split(m).0)).collect()
    }

    /// Recall and NDCG at every cut-off.
    pub fn main_metrics(&self) -> Vec<&'a str> {
        self.metrics_of(&["recall", "ndcg"])
    }

    /// The name of a variant: that of its model if it represents the model, else with optimizer and weighting.
    pub fn name(&self, variant: &Variant) -> String {
        if self.represents(variant) { variant.shown().into() } else { variant.full_name() }
    }

    /// The test of a variant against a baseline, if summary.csv has it.
    pub fn test(&self, variant: &Variant, metric: &str, baseline: &Variant) -> Option<&'a SummaryRow> {
        let key = (variant.model, variant.optimizer, variant.weighting, metric);
        let baseline = baseline.id();
        self.results.tests.iter().find(|test| {
            (&*test.model, &*test.optimizer, &*test.weighting, &*test.metric) == key
                && test.baseline.as_ref() == Some(&baseline)
        })
    }
}

/// The best of some variants by a metric's mean; the earlier one if two are equal.
pub fn best<'v, 'a>(variants: &[&'v Variant<'a>], metric: &str) -> Option<(&'v Variant<'a>, f64)> {
    let means = variants.iter().filter_map(|v| Some((*v, v.mean(metric)?)));
    means.min_by(|(_, a), (_, b)| names::compare_values(metric, *a, *b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations() {
        assert_eq!(Stat::of(&[]), None);
        assert_eq!(Stat::of(&[0.25]), Some(Stat { mean: 0.25, sd: None }));
        assert_eq!(Stat::of(&[2.0, 2.0]), Some(Stat { mean: 2.0, sd: Some(0.0) }));
        assert_eq!(Stat::of(&[1.0, 2.0, 3.0]), Some(Stat { mean: 2.0, sd: Some(1.0) }));
    }
}

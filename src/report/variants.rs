//! Runs that differ by their seed alone, put together: means, deviations, and which of them stand for a model.

use std::collections::BTreeMap;

use super::names::{self, Better, Kind};
use super::read::{Comparison, Run, Test};

/// Of one metric over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stat {
    pub mean: f64,
    /// Of a sample (n - 1); none for one seed.
    pub sd: Option<f64>,
    pub n: usize,
}

impl Stat {
    pub fn of(values: &[f64]) -> Option<Stat> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Some(Stat { mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()), n })
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

    /// What summary.csv calls it.
    pub fn id(&self) -> String {
        format!("{}-{}-{}", self.model, self.optimizer, self.weighting)
    }

    pub fn shown(&self) -> &str {
        names::model(self.model)
    }

    pub fn mean(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric).map(|stat| stat.mean)
    }
}

/// All that took part.
pub struct Field<'a> {
    pub comparison: &'a Comparison,
    /// In order of models, then as optimizers and weightings were asked for.
    pub variants: Vec<Variant<'a>>,
    /// Names of metrics that any run has, in the report's order.
    pub metrics: Vec<&'a str>,
}

impl<'a> Field<'a> {
    pub fn of(comparison: &'a Comparison) -> Field<'a> {
        let mut groups: BTreeMap<(&str, &str, &str), Vec<&Run>> = BTreeMap::new();
        for run in &comparison.runs {
            groups.entry((&run.model, &run.optimizer, &run.weighting)).or_default().push(run);
        }
        let mut variants: Vec<Variant> = groups
            .into_iter()
            .map(|((model, optimizer, weighting), mut runs)| {
                runs.sort_by_key(|run| run.seed);
                let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
                for (name, value) in runs.iter().flat_map(|run| &run.metrics) {
                    values.entry(name).or_default().push(*value);
                }
                let stat = |(name, values): (&'a str, Vec<f64>)| Some((name, Stat::of(&values)?));
                let metrics = values.into_iter().filter_map(stat).collect();
                Variant { model, optimizer, weighting, runs, metrics }
            })
            .collect();
        // What was asked for first stands for a model; what the plan does not name follows, the paper's Adam first.
        let optimizers = comparison.asked("optimizers");
        let weightings = comparison.asked("weightings");
        let place =
            |asked: &[String], name: &str| asked.iter().position(|a| a == name).unwrap_or(asked.len());
        variants.sort_by(|a, b| {
            let key = |v: &Variant| {
                (place(&optimizers, v.optimizer), v.optimizer != "adam", place(&weightings, v.weighting))
            };
            names::compare_models(a.model, b.model)
                .then_with(|| key(a).cmp(&key(b)))
                .then_with(|| (a.optimizer, a.weighting).cmp(&(b.optimizer, b.weighting)))
        });
        let mut metrics: Vec<&str> =
            comparison.runs.iter().flat_map(|run| run.metrics.keys().map(String::as_str)).collect();
        metrics.sort_by(|a, b| names::compare_metrics(a, b));
        metrics.dedup();
        Field { comparison, variants, metrics }
    }

    /// The variant that stands for each model: its first one, chosen by what was asked for and never by a result.
    pub fn main(&self) -> Vec<&Variant<'a>> {
        let mut main: Vec<&Variant> = vec![];
        for variant in &self.variants {
            if main.last().is_none_or(|last| last.model != variant.model) {
                main.push(variant);
            }
        }
        main
    }

    pub fn own(&self) -> Option<&Variant<'a>> {
        self.main().into_iter().find(|v| v.model == names::OWN)
    }

    /// Metrics of these families, in order.
    pub fn metrics_of(&self, families: &[&str]) -> Vec<&'a str> {
        self.metrics.iter().copied().filter(|m| families.contains(&names::split(m).0)).collect()
    }

    /// What to call a variant: its model's name, with optimizer and weighting where it is not the one that stands for
    /// the model.
    pub fn name(&self, variant: &Variant) -> String {
        let stands = self.main().iter().any(|main| main.id() == variant.id());
        match stands {
            true => variant.shown().into(),
            false => format!("{} {} {}", variant.shown(), variant.optimizer, variant.weighting),
        }
    }

    /// The test of a variant against a baseline, where summary.csv has it.
    pub fn test(&self, variant: &Variant, metric: &str, baseline: &Variant) -> Option<&'a Test> {
        let baseline = baseline.id();
        self.comparison.tests.iter().find(|test| {
            test.model == variant.model
                && test.optimizer == variant.optimizer
                && test.weighting == variant.weighting
                && test.metric == metric
                && test.baseline == baseline
        })
    }
}

/// The best of some variants by a metric's mean; the earlier one where two are equal.
pub fn best<'v, 'a>(variants: &[&'v Variant<'a>], metric: &str) -> Option<(&'v Variant<'a>, f64)> {
    let sign = if names::better(metric) == Better::Lower { -1.0 } else { 1.0 };
    let mut best: Option<(&Variant, f64)> = None;
    for &variant in variants {
        if let Some(mean) = variant.mean(metric)
            && best.is_none_or(|(_, known)| sign * mean > sign * known)
        {
            best = Some((variant, mean));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations() {
        assert_eq!(Stat::of(&[]), None);
        assert_eq!(Stat::of(&[0.25]), Some(Stat { mean: 0.25, sd: None, n: 1 }));
        assert_eq!(Stat::of(&[2.0, 2.0]), Some(Stat { mean: 2.0, sd: Some(0.0), n: 2 }));
        assert_eq!(Stat::of(&[1.0, 2.0, 3.0]), Some(Stat { mean: 2.0, sd: Some(1.0), n: 3 }));
    }
}

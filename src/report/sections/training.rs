//! The course of training: convergence by optimizer (the paper's Figure 5), task weightings, gates, weights and
//! cosines.

use std::collections::{BTreeMap, BTreeSet};

use crate::chart::{self, Curve, Figure};
use crate::document::{Block, Cell, Table};
use crate::field::Role;
use crate::field::{Field, Stat, Variant};
use crate::names::{self, slug};
use crate::read::Epoch;

use super::metric_table;

/// A value of the log by epoch: mean and deviation over the runs that have it.
fn over_epochs(variant: &Variant, key: &str) -> Vec<(u64, Stat)> {
    let mut values: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for epoch in epochs(variant) {
        if let Some(value) = epoch.value(key).filter(|v| v.is_finite()) {
            values.entry(epoch.epoch).or_default().push(value);
        }
    }
    values.into_iter().filter_map(|(epoch, values)| Some((epoch, Stat::of(&values)?))).collect()
}

fn epochs<'v>(variant: &'v Variant) -> impl Iterator<Item = &'v Epoch> {
    variant.runs.iter().flat_map(|run| &run.log)
}

/// Keys of the variants' logs that begin so, without the beginning.
fn keys<'v>(variants: &[&'v Variant], prefix: &str) -> BTreeSet<&'v str> {
    let keys = variants.iter().flat_map(|v| epochs(v)).flat_map(|epoch| epoch.values.keys());
    keys.filter_map(|key| key.strip_prefix(prefix)).collect()
}

/// One key of the log as a curve of each variant, the best first.
fn compare(id: String, title: String, y: &str, key: &str, rows: &[(&Variant, String)]) -> Option<Figure> {
    let curve = |(v, label): &(&Variant, String)| {
        let role = if v.is_own() { Role::Own } else { Role::Other };
        Curve { label: label.clone(), role, points: over_epochs(v, key) }
    };
    let mut curves: Vec<Curve> = rows.iter().map(curve).collect();
    // The best of those that have a log: simple rankers have none.
    if let Some(best) = curves.iter_mut().find(|c| c.role == Role::Other && !c.points.is_empty()) {
        best.role = Role::Best;
    }
    chart::lines(id, title, y, curves)
}

/// The variants of each model that differ from the one that represents it in one choice alone, that one included:
/// models with several, WAA-TA before all.
fn ways<'f, 'a>(field: &'f Field<'a>, same: impl Fn(&Variant, &Variant) -> bool) -> Vec<Vec<&'f Variant<'a>>> {
    let of = |main: &&Variant| -> Vec<&'f Variant<'a>> {
        field.variants.iter().filter(|v| v.model == main.model && same(v, main)).collect()
    };
    let mut ways: Vec<_> = field.models().iter().map(of).filter(|way| way.len() > 1).collect();
    ways.sort_by_key(|way| !way[0].is_own());
    ways
}

pub fn convergence(field: &Field) -> Vec<Block> {
    // The metric that selects epochs, else the first that validation measured.
    let all: Vec<&Variant> = field.variants.iter().collect();
    let valid: BTreeSet<&str> = all
        .iter()
        .flat_map(|v| epochs(v))
        .filter_map(|e| e.valid.as_ref())
        .flatten()
        .map(|(name, _)| &**name)
        .collect();
    let metric = valid.get(field.ranking).or(valid.first()).copied();
    let shown = metric.map_or(String::new(), |metric| format!("validation {}", names::metric(metric)));
    let key = format!("valid:{}", metric.unwrap_or_default());
    let (mut blocks, mut folded) = (vec![], vec![]);
    let models: Vec<(&Variant, String)> = field.models().into_iter().map(|v| (v, v.shown().into())).collect();
    let title = format!("Convergence: {shown}");
    blocks.extend(compare("convergence-models".into(), title, &shown, &key, &models).map(Block::Figure));
    for (i, way) in ways(field, |v, main| v.weighting == main.weighting).into_iter().enumerate() {
        let model = way[0].shown();
        let into = if i == 0 { &mut blocks } else { &mut folded };
        let rows: Vec<(&Variant, String)> = way.iter().map(|v| (*v, v.optimizer.to_string())).collect();
        let caption = format!("{model} by optimizer, on the test split: mean over seeds ± standard deviation.");
        let id = slug(&["optimizers", way[0].model]);
        into.push(Block::Table(metric_table(id, &caption, "Optimizer", &rows, &field.main_metrics())));
        let id = if i == 0 { "figure-5".to_string() } else { slug(&["figure-5", way[0].model]) };
        let mut figure = |id: String, what: &str, key: &str| {
            let title = format!("Figure 5: {what} of {model} by optimizer");
            into.extend(compare(id, title, what, key, &rows).map(Block::Figure));
        };
        figure(id.clone(), &shown, &key);
        for loss in keys(&way, "loss/") {
            figure(slug(&[&id, "loss", loss]), &format!("training loss {loss}"), &format!("loss/{loss}"));
        }
    }
    if !folded.is_empty() {
        blocks.push(Block::Folded("Optimizers of the other models".into(), folded));
    }
    let curves = blocks.iter().any(|block| matches!(block, Block::Figure(_)));
    if curves || blocks.len() > 1 { blocks } else { vec![] }
}

pub fn weightings(field: &Field) -> Vec<Block> {
    let metrics = field.metrics_of(&["recall", "ndcg", "auc", "logloss"]);
    let table = |way: Vec<&Variant>| {
        let rows: Vec<(&Variant, String)> = way.iter().map(|v| (*v, v.weighting.to_string())).collect();
        let caption = format!("{} by task weighting: mean over seeds ± standard deviation.", way[0].shown());
        Block::Table(metric_table(slug(&["weightings", way[0].model]), &caption, "Weighting", &rows, &metrics))
    };
    let mut tables: Vec<Block> = ways(field, |v, main| v.optimizer == main.optimizer).into_iter().map(table).collect();
    if tables.len() > 1 {
        let others = tables.split_off(1);
        tables.push(Block::Folded("Task weightings of the other models".into(), others));
    }
    tables
}

const SIGNALS: &[(&str, &str, &str)] = &[
    ("loss/", "Losses", "training loss"),
    ("gate/", "Gates", "gate: share of the shared features, mean over learners"),
    ("weight/", "Weights", "weight of each task's gradient"),
    ("cosine/", "Cosines", "cosine with the target task's gradient"),
];

fn figures(variant: &Variant, name: &str) -> Vec<Block> {
    let draw = |(prefix, what, y): &(&str, &str, &str)| {
        let curve = |key: &str| Curve {
            label: key.into(),
            role: Role::Other,
            points: over_epochs(variant, &format!("{prefix}{key}")),
        };
        let curves = keys(&[variant], prefix).into_iter().map(curve).collect();
        chart::lines(slug(&[what, name]), format!("{what} of {name}"), y, curves).map(Block::Figure)
    };
    SIGNALS.iter().filter_map(draw).collect()
}

pub fn signals(field: &Field) -> Vec<Block> {
    let Some(focus) = field.focus() else { return vec![] };
    let mut blocks = figures(focus, focus.shown());
    blocks.extend(cosines(field));
    // The other models, and the variants of WAA-TA that differ from it in optimizer or weighting alone.
    let near = |v: &&Variant| {
        let varied = v.model == focus.model && (v.optimizer == focus.optimizer || v.weighting == focus.weighting);
        v.id() != focus.id() && (field.represents(v) || varied)
    };
    let folded: Vec<Block> = field.variants.iter().filter(near).flat_map(|v| figures(v, &field.name(v))).collect();
    if !folded.is_empty() {
        blocks.push(Block::Folded("The same for the other models and settings".into(), folded));
    }
    blocks
}

/// How much the tasks of each model conflict.
fn cosines(field: &Field) -> Option<Block> {
    let mut rows = vec![];
    for variant in field.models() {
        for key in keys(&[variant], "cosine/") {
            let points = over_epochs(variant, &format!("cosine/{key}"));
            let (Some((_, first)), Some((_, last))) = (points.first(), points.last()) else { continue };
            let mean = points.iter().map(|(_, stat)| stat.mean).sum::<f64>() / points.len() as f64;
            let against = points.iter().filter(|(_, stat)| stat.mean < 0.0).count();
            let numbers = [first.mean, last.mean, mean].map(names::number);
            let row = [variant.shown().into(), key.into()].into_iter().chain(numbers);
            rows.push(row.chain([format!("{against} of {}", points.len())]).map(Cell::new).collect());
        }
    }
    let head = ["Model", "Loss", "First epoch", "Last epoch", "Mean", "Epochs below 0"].map(String::from).into();
    let caption = "Cosine between the gradients of each loss and of the target task over the shared parameters; below 0 \
                   the two conflict.";
    let table = Table { id: "cosine-table".into(), caption: caption.into(), head, rows, own: None };
    (!table.rows.is_empty()).then_some(Block::Table(table))
}

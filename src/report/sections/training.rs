//! What happened while training: gates, task weights, cosines between the tasks' gradients.

use std::collections::BTreeMap;

use crate::document::{Block, Cell, Table};
use crate::lines::{Curve, Lines, Point};
use crate::names::{self, OWN};
use crate::read::Run;
use crate::svg::Image;
use crate::variants::{Field, Stat, Variant};

use super::slug;

/// A value of the log over epochs: mean and deviation over the runs that have it at an epoch.
pub fn over_epochs(runs: &[&Run], key: &str) -> Vec<Point> {
    let mut values: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for epoch in runs.iter().flat_map(|run| &run.log) {
        if let Some(value) = epoch.value(key).filter(|v| v.is_finite()) {
            values.entry(epoch.epoch).or_default().push(value);
        }
    }
    let point = |(epoch, values): (u64, Vec<f64>)| {
        let stat = Stat::of(&values)?;
        Some(Point { x: epoch as f64, mean: stat.mean, spread: stat.sd })
    };
    values.into_iter().filter_map(point).collect()
}

/// A plot of curves, each of some runs and one key of their logs; none where no log has a value.
pub fn curves<'r>(
    id: String,
    title: String,
    y: &str,
    wanted: impl Iterator<Item = (String, &'r [&'r Run], String)>,
) -> Option<Image> {
    let curves: Vec<Curve> = wanted
        .map(|(label, runs, key)| Curve { label, points: over_epochs(runs, &key) })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    if curves.is_empty() {
        return None;
    }
    let said = curves.iter().filter_map(|c| {
        let (first, last) = (c.points.first()?, c.points.last()?);
        let ends = format!("{} at epoch {}", names::number(last.mean), last.x);
        Some(match first.x == last.x {
            true => format!("{}: {ends}", c.label),
            false => format!("{}: {} at epoch {}, {ends}", c.label, names::number(first.mean), first.x),
        })
    });
    let description = format!("{y} over epochs. {}.", said.collect::<Vec<_>>().join("; "));
    Some(Lines { id, title, description, x: "epoch".into(), y: y.into(), curves }.draw())
}

/// Keys of a variant's logs that begin so, without the beginning.
fn keys<'a>(variant: &Variant<'a>, prefix: &str) -> Vec<&'a str> {
    let logs = variant.runs.iter().flat_map(|run| &run.log);
    let mut keys: Vec<&str> =
        logs.flat_map(|epoch| epoch.values.keys()).filter_map(|key| key.strip_prefix(prefix)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

const KINDS: &[(&str, &str, &str)] = &[
    ("gate/", "gates", "gate: share of the shared features, mean over learners"),
    ("weight/", "weights", "weight of each task's gradient"),
    ("cosine/", "cosines", "cosine with the target task's gradient"),
];

fn figures(variant: &Variant, name: &str) -> Vec<Block> {
    let draw = |(prefix, what, y): &(&str, &str, &str)| {
        let id = slug(&[what, name]);
        let title = format!("{} of {name} over training", upper(what));
        let keys = keys(variant, prefix);
        let wanted =
            keys.iter().map(|key| (key.to_string(), variant.runs.as_slice(), format!("{prefix}{key}")));
        let image = curves(id, title, y, wanted)?;
        let caption = format!("{}. Mean over seeds; band: one standard deviation.", image.title);
        Some(Block::Figure { image, caption })
    };
    KINDS.iter().filter_map(draw).collect()
}

fn upper(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |c| c.to_uppercase().chain(letters).collect())
}

pub fn section(field: &Field) -> Vec<Block> {
    let title = "Gates, task weights and gradient cosines over training";
    let mut blocks = vec![Block::Section { id: "training", title: title.into() }];
    // WAA-TA as it stands in Table 3, else the first model that logged anything of the kind; the rest in a fold.
    let main = field.main();
    let mut order: Vec<&Variant> = field.variants.iter().collect();
    let stands = |v: &Variant| main.iter().any(|m| std::ptr::eq(*m, v));
    order.sort_by_key(|v| (v.model != OWN, !stands(v)));
    let mut folded = vec![];
    // With many optimizers and weightings: those that differ from the main one in one of the two.
    let near = |v: &Variant| {
        let main = main.iter().find(|m| m.model == v.model && v.model == OWN);
        stands(v) || main.is_some_and(|m| m.optimizer == v.optimizer || m.weighting == v.weighting)
    };
    for variant in order.into_iter().filter(|v| near(v)) {
        let figures = figures(variant, &field.name(variant));
        if figures.is_empty() {
            continue;
        }
        if blocks.len() == 1 { blocks.extend(figures) } else { folded.extend(figures) }
    }
    if blocks.len() == 1 {
        blocks.push(Block::Paragraph("No log has gates, task weights or cosines.".into()));
        return blocks;
    }
    blocks.extend(cosines(&main));
    if !folded.is_empty() {
        blocks.push(Block::Folded {
            title: "The same for the other models and settings".into(),
            blocks: folded,
        });
    }
    blocks
}

/// How much the tasks of each model pull apart.
fn cosines(main: &[&Variant]) -> Option<Block> {
    let mut rows = vec![];
    for variant in main {
        for key in keys(variant, "cosine/") {
            let points = over_epochs(&variant.runs, &format!("cosine/{key}"));
            let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
            let mean = points.iter().map(|p| p.mean).sum::<f64>() / points.len() as f64;
            let against = points.iter().filter(|p| p.mean < 0.0).count();
            rows.push(vec![
                Cell::new(variant.shown()),
                Cell::new(key),
                Cell::new(names::number(first.mean)),
                Cell::new(names::number(last.mean)),
                Cell::new(names::number(mean)),
                Cell::new(format!("{against} of {}", points.len())),
            ]);
        }
    }
    let head = ["Model", "Loss", "First epoch", "Last epoch", "Mean", "Epochs below zero"].map(String::from);
    let caption = "Cosine between each loss's gradient and the target's, over the shared parameters: below zero the \
                   two pull apart.";
    let table = Table {
        id: "cosine-table".into(),
        caption: caption.into(),
        head: head.into(),
        rows,
        numeric: true,
        own: None,
    };
    (!table.rows.is_empty()).then_some(Block::Table(table))
}

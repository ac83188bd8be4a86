//! Figure 5, convergence by optimizer, and the comparison of task weightings.

use crate::document::Block;
use crate::names::{self, OWN};
use crate::svg::Image;
use crate::variants::{Field, Variant};

use super::field::table;
use super::training::curves;
use super::{slug, verdict};

/// The validation metric that curves show: the one that selects epochs, else the last of a log's in order.
pub fn validation<'a>(field: &Field<'a>) -> Option<&'a str> {
    let logs = || field.comparison.runs.iter().flat_map(|run| &run.log);
    let names = || logs().filter_map(|epoch| epoch.valid.as_ref()).flat_map(|valid| valid.keys());
    let selected = field.comparison.selected_by();
    if let Some(metric) = names().find(|name| Some(name.as_str()) == selected) {
        return Some(metric);
    }
    let preferred = ["ndcg@20", "recall@20"];
    let known = preferred.iter().find_map(|p| names().find(|name| name == p));
    known.or_else(|| names().min_by(|a, b| names::compare_metrics(a, b))).map(String::as_str)
}

/// Variants of each model that differ in one choice alone from the one that stands for it, it included. Models with
/// several come first, WAA-TA before all.
fn ways<'f, 'a>(
    field: &'f Field<'a>,
    same: impl Fn(&Variant, &Variant) -> bool,
) -> Vec<Vec<&'f Variant<'a>>> {
    let mut ways: Vec<Vec<&Variant>> = field
        .main()
        .into_iter()
        .map(|main| field.variants.iter().filter(|v| v.model == main.model && same(v, main)).collect())
        .collect();
    ways.sort_by_key(|way: &Vec<&Variant>| (way.len() < 2, way.first().is_none_or(|v| v.model != OWN)));
    ways
}

fn convergence(
    id: String,
    title: String,
    key: &str,
    shown: &str,
    variants: &[(&Variant, String)],
) -> Option<Image> {
    let groups: Vec<(String, Vec<_>)> =
        variants.iter().map(|(v, name)| (name.clone(), v.runs.clone())).collect();
    curves(
        id,
        title,
        shown,
        groups.iter().map(|(name, runs)| (name.clone(), runs.as_slice(), key.to_string())),
    )
}

/// Losses of training that variants have in common, by name: the sum of those of the tasks is not logged.
fn losses<'a>(variants: &[&Variant<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = variants
        .iter()
        .flat_map(|v| &v.runs)
        .flat_map(|run| &run.log)
        .flat_map(|epoch| epoch.values.keys())
        .map(String::as_str)
        .filter(|name| name.starts_with("loss/"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

pub fn section(field: &Field) -> Vec<Block> {
    let mut blocks = vec![Block::Section { id: "optimizers", title: "Figure 5: convergence".into() }];
    let before = blocks.len();
    let ways = ways(field, |v, main| v.weighting == main.weighting);
    let several: Vec<&Vec<&Variant>> = ways.iter().filter(|way| way.len() > 1).collect();
    if several.is_empty() {
        let why = "Each model ran with one optimizer; the curves are by model.";
        blocks.push(Block::Paragraph(why.into()));
    }
    let mut folded = vec![];
    for (i, way) in several.iter().enumerate() {
        let shown = way[0].shown();
        let into = if i == 0 { &mut blocks } else { &mut folded };
        let names: Vec<String> = way.iter().map(|v| v.optimizer.to_string()).collect();
        let caption =
            format!("{shown} by optimizer: mean over seeds ± standard deviation, on the test part.");
        let id = slug(&["optimizers", way[0].model]);
        into.push(Block::Table(table(&id, caption, &verdict::main_metrics(field), way, &names)));
        let named: Vec<(&Variant, String)> = way.iter().copied().zip(names).collect();
        let mut figure = |key: &str, what: &str, id: String| {
            let title = format!("Figure 5: {what} of {shown} by optimizer");
            into.extend(convergence(id, title, key, what, &named).map(with_band));
        };
        let id = if i == 0 { "figure-5".to_string() } else { slug(&["figure-5", way[0].model]) };
        if let Some(metric) = validation(field) {
            figure(&format!("valid:{metric}"), &format!("validation {}", names::metric(metric)), id.clone());
        }
        for loss in losses(way) {
            let what = format!("training loss {}", loss.trim_start_matches("loss/"));
            figure(loss, &what, slug(&[&id, loss]));
        }
    }
    if let Some(metric) = validation(field) {
        let what = format!("validation {}", names::metric(metric));
        let main: Vec<(&Variant, String)> =
            field.main().into_iter().map(|v| (v, v.shown().to_string())).collect();
        let title = format!("Convergence: {what} by model");
        let key = format!("valid:{metric}");
        blocks.extend(convergence("convergence-models".into(), title, &key, &what, &main).map(with_band));
    }
    if !folded.is_empty() {
        blocks.push(Block::Folded { title: "Optimizers of the other models".into(), blocks: folded });
    }
    if blocks.len() == before || !blocks.iter().any(|b| matches!(b, Block::Figure { .. })) {
        blocks.push(Block::Paragraph("There is no curve: no log has a validation.".into()));
    }
    blocks
}

fn with_band(image: Image) -> Block {
    let caption =
        format!("{}. Mean over the seeds that reached the epoch; band: one standard deviation.", image.title);
    Block::Figure { image, caption }
}

pub fn weightings(field: &Field) -> Vec<Block> {
    let mut blocks = vec![Block::Section { id: "weightings", title: "Task weightings".into() }];
    let ways = ways(field, |v, main| v.optimizer == main.optimizer);
    let mut folded = vec![];
    for way in ways.iter().filter(|way| way.len() > 1) {
        let names: Vec<String> = way.iter().map(|v| v.weighting.to_string()).collect();
        let caption = format!("{} by task weighting: mean over seeds ± standard deviation.", way[0].shown());
        let metrics = field.metrics_of(&["recall", "ndcg", "auc", "logloss"]);
        let table = Block::Table(table(&slug(&["weightings", way[0].model]), caption, &metrics, way, &names));
        if blocks.len() == 1 { blocks.push(table) } else { folded.push(table) }
    }
    if !folded.is_empty() {
        blocks.push(Block::Folded { title: "Task weightings of the other models".into(), blocks: folded });
    }
    if blocks.len() == 1 {
        blocks.push(Block::Paragraph("Each model ran with one task weighting.".into()));
    }
    blocks
}

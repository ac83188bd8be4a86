//! What was run, with which settings, and what is missing.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Block, Cell, Table};
use crate::field::{Field, Stat, Variant};
use crate::names::{self, Kind, count};

use super::metric_table;

pub fn runs(field: &Field) -> Vec<Block> {
    let results = field.results;
    let first = results.first();
    let seeds: BTreeSet<u64> = results.runs.iter().map(|run| run.row.seed).collect();
    let seeds: Vec<String> = seeds.into_iter().map(|seed| seed.to_string()).collect();
    let command = results.command.as_ref();
    let facts = [
        ("Command", command.map_or("", |c| &c.command)),
        ("Started", command.map_or("", |c| &c.started)),
        ("Data set", &first.data),
        ("Data fingerprint", &first.data_fingerprint),
        ("Split fingerprint", &first.split_fingerprint),
        ("Finished runs", &results.runs.len().to_string()),
        ("Seeds", &seeds.join(", ")),
        ("Trained by waata", &Vec::from_iter(versions(field)).join(", ")),
        ("Reported by waata", env!("CARGO_PKG_VERSION")),
    ];
    let facts = facts.iter().filter(|(_, value)| !value.is_empty());
    let mut blocks = vec![Block::List(facts.map(|(what, value)| format!("{what}: {value}")).collect())];
    blocks.push(Block::Table(variants(field)));
    let mut folded = vec![];
    if field.variants.len() > field.models().len() {
        let rows: Vec<(&Variant, String)> = field.variants.iter().map(|v| (v, v.full_name())).collect();
        let metrics = field.metrics_of(&["recall", "ndcg", "auc", "logloss"]);
        let caption = "Test results of every variant: mean over seeds ± standard deviation.";
        folded.push(Block::Table(metric_table("variant-metrics".into(), caption, "Variant", &rows, &metrics)));
    }
    folded.extend(differing_settings(field).map(Block::Table));
    if !folded.is_empty() {
        blocks.push(Block::Folded("Results of every variant, and the settings that differ".into(), folded));
    }
    if !results.plan_text.is_empty() {
        let text = Block::Verbatim(results.plan_text.trim_end().into());
        blocks.push(Block::Folded("compare.toml".into(), vec![text]));
    }
    let focus = field.focus().and_then(|v| Some((v, v.runs.first()?)));
    if let Some((variant, run)) = focus
        && let Some(settings) = &run.settings
    {
        let text = toml::to_string_pretty(settings).unwrap_or_else(|_| settings.to_string());
        let title = format!("run.toml of {}, seed {}", variant.shown(), run.row.seed);
        blocks.push(Block::Folded(title, vec![Block::Verbatim(text.trim_end().into())]));
    }
    blocks
}

fn versions<'a>(field: &Field<'a>) -> BTreeSet<&'a str> {
    field.results.runs.iter().filter_map(|run| run.version.as_deref()).collect()
}

fn variants(field: &Field) -> Table {
    let row = |v: &Variant| {
        let list = |values: BTreeSet<String>| Cell::new(Vec::from_iter(values).join(", "));
        let mean = |of: fn(&crate::tables::RunRow) -> Option<u64>| {
            let values: Vec<f64> = v.runs.iter().filter_map(|run| of(&run.row)).map(|n| n as f64).collect();
            let text = Stat::of(&values).map(|stat| format!("{:.1}", stat.mean));
            Cell::maybe(text.map(|text| text.trim_end_matches(".0").to_string()))
        };
        vec![
            Cell::new(v.shown()),
            Cell::new(v.optimizer),
            Cell::new(v.weighting),
            Cell::new(v.runs.iter().map(|run| run.row.seed.to_string()).collect::<Vec<_>>().join(", ")),
            mean(|row| row.parameters),
            mean(|row| row.steps),
            mean(|row| row.best_epoch),
            list(v.runs.iter().map(|run| run.row.settings_fingerprint.chars().take(8).collect()).collect()),
        ]
    };
    let head =
        ["Model", "Optimizer", "Weighting", "Seeds", "Parameters", "Steps", "Best epoch", "Settings fingerprint"];
    Table {
        id: "variants".into(),
        caption: "Every model with its optimizers and task weightings; steps and best epoch are means over seeds."
            .into(),
        head: head.map(String::from).into(),
        rows: field.variants.iter().map(row).collect(),
        own: None,
    }
}

fn flatten(table: &toml::Table, prefix: &str, out: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => flatten(inner, &format!("{prefix}{key}."), out),
            value => _ = out.insert(format!("{prefix}{key}"), value.to_string()),
        }
    }
}

/// Keys of run.toml in which models differ, with the models that have each value.
fn differing_settings(field: &Field) -> Option<Table> {
    let mut values: BTreeMap<String, BTreeMap<String, Vec<&str>>> = BTreeMap::new();
    let mut models = 0;
    for v in field.models() {
        let Some(settings) = v.runs.first().and_then(|run| run.settings.as_ref()) else { continue };
        let mut keys = BTreeMap::new();
        flatten(settings, "", &mut keys);
        models += 1;
        for (key, value) in keys {
            values.entry(key).or_default().entry(value).or_default().push(v.shown());
        }
    }
    let differs = |key: &str, values: &BTreeMap<String, Vec<&str>>| {
        let told = values.values().map(Vec::len).sum::<usize>();
        key != "model.name" && !key.ends_with("seed") && (values.len() > 1 || told < models)
    };
    let row = |(key, values): (String, BTreeMap<String, Vec<&str>>)| {
        let each = values.iter().map(|(value, models)| format!("{value} ({})", models.join(", ")));
        vec![Cell::new(key), Cell::new(each.collect::<Vec<_>>().join("; "))]
    };
    let rows: Vec<Vec<Cell>> = values.into_iter().filter(|(key, values)| differs(key, values)).map(row).collect();
    (!rows.is_empty()).then(|| Table {
        id: "settings".into(),
        caption: "Settings in which the models differ, from the first run of each.".into(),
        head: ["Setting", "Values"].map(String::from).into(),
        rows,
        own: None,
    })
}

/// What was requested and is missing, and what makes numbers hard to compare.
pub fn missing(field: &Field) -> Vec<Block> {
    let results = field.results;
    let models = field.models();
    let mut items = vec![];
    for model in results.requested("models") {
        if model != "all" && models.iter().all(|v| v.model != model) {
            items.push(format!("{}: requested, but it has no finished run", names::model(model)));
        }
    }
    let most = field.variants.iter().map(|v| v.runs.len()).max().unwrap_or(0).max(results.requested_seeds());
    // A model computed from counts is the same for all seeds.
    for v in field.variants.iter().filter(|v| v.runs.len() < most && v.optimizer != "none") {
        items.push(format!("{}: {} of {most}", v.full_name(), count(v.runs.len(), "seed")));
    }
    for (name, why) in &results.unfinished {
        let why = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        items.push(format!("runs/{name} has started and has no result{why}"));
    }
    items.extend(results.missing.iter().cloned());
    if versions(field).len() > 1 {
        let versions = Vec::from_iter(versions(field)).join(", ");
        items.push(format!("the runs come from several versions of waata: {versions}"));
    }
    let main = field.main_metrics();
    for v in &models {
        let lacks: Vec<String> = main.iter().filter(|m| v.mean(m).is_none()).map(|m| names::metric(m)).collect();
        if !lacks.is_empty() {
            items.push(format!("{} has no {}", v.shown(), lacks.join(", ")));
        }
    }
    for run in &results.runs {
        let has_null = |values: &BTreeMap<String, Option<f64>>| values.values().any(Option::is_none);
        if run.log.iter().any(|epoch| has_null(&epoch.values) || epoch.valid.as_ref().is_some_and(has_null)) {
            items.push(format!("the log of {} has values that are not finite; curves skip them", run.row.run));
        }
    }
    let baselines = models.iter().any(|v| v.kind().is_baseline());
    if baselines && field.own().is_some() && models.iter().all(|v| v.kind() != Kind::Ranker) {
        items.push("there is no simple ranker (popularity, ItemKNN, EASE, ...); they are often the strongest".into());
    }
    if items.is_empty() { vec![] } else { vec![Block::List(items)] }
}

//! What was run, with which settings, and what is not there.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Block, Cell, Table};
use crate::names::{self, OWN};
use crate::variants::{Field, Stat, Variant};

use super::{count, verdict};

pub fn section(field: &Field) -> Vec<Block> {
    let comparison = field.comparison;
    let mut blocks = vec![Block::Section { id: "runs", title: "What was run".into() }];
    let said = |what: &str, value: &str| {
        format!("{what}: {}", if value.is_empty() { "not recorded" } else { value })
    };
    let versions: BTreeSet<&str> = comparison.runs.iter().filter_map(|run| run.version.as_deref()).collect();
    let seeds: BTreeSet<u64> = comparison.runs.iter().map(|run| run.seed).collect();
    let seeds: Vec<String> = seeds.into_iter().map(|seed| seed.to_string()).collect();
    let trained_by = versions.into_iter().collect::<Vec<_>>().join(", ");
    blocks.push(Block::List(vec![
        said("Data set", &comparison.data),
        said("Data fingerprint", &comparison.data_fingerprint),
        said("Split fingerprint", &comparison.split_fingerprint),
        count(comparison.runs.len(), "finished run"),
        said("Seeds", &seeds.join(", ")),
        said("Trained by waata", &trained_by),
        said("Reported by waata", env!("CARGO_PKG_VERSION")),
    ]));
    blocks.push(Block::Table(variants(field)));
    let mut folded = vec![Block::Table(all_metrics(field))];
    folded.extend(differing_settings(field).map(Block::Table));
    blocks.push(Block::Folded {
        title: "Every variant's results, and the settings that differ".into(),
        blocks: folded,
    });
    if !comparison.plan_text.is_empty() {
        let text = Block::Verbatim(comparison.plan_text.trim_end().into());
        blocks.push(Block::Folded { title: "compare.toml".into(), blocks: vec![text] });
    }
    let focus = field.own().or(field.main().into_iter().next());
    if let Some((variant, settings)) = focus.and_then(|v| Some((v, v.runs.first()?.settings.as_ref()?))) {
        let title = format!("run.toml of {}, seed {}", variant.shown(), variant.runs[0].seed);
        let text = toml::to_string_pretty(settings).unwrap_or_else(|_| format!("{settings:?}"));
        blocks.push(Block::Folded { title, blocks: vec![Block::Verbatim(text.trim_end().into())] });
    }
    blocks
}

fn whole(values: impl Iterator<Item = Option<f64>>) -> Cell {
    let values: Vec<f64> = values.flatten().collect();
    Stat::of(&values).map_or(Cell::none(), |stat| {
        let text = format!("{:.1}", stat.mean);
        Cell::new(text.strip_suffix(".0").unwrap_or(&text))
    })
}

fn variants(field: &Field) -> Table {
    let row = |v: &Variant| {
        let seeds: Vec<String> = v.runs.iter().map(|run| run.seed.to_string()).collect();
        let settings: BTreeSet<&str> = v.runs.iter().map(|run| run.settings_fingerprint.as_str()).collect();
        let short = |text: &&str| text.chars().take(12).collect::<String>();
        vec![
            Cell::new(v.shown()),
            Cell::new(v.optimizer),
            Cell::new(v.weighting),
            Cell::new(seeds.join(", ")),
            whole(v.runs.iter().map(|run| run.parameters)),
            whole(v.runs.iter().map(|run| run.steps)),
            whole(v.runs.iter().map(|run| run.best_epoch)),
            Cell::new(settings.iter().map(short).collect::<Vec<_>>().join(", ")),
        ]
    };
    let head = [
        "Model",
        "Optimizer",
        "Weighting",
        "Seeds",
        "Parameters",
        "Steps",
        "Best epoch",
        "Settings fingerprint",
    ];
    Table {
        id: "variants".into(),
        caption: "Every model with optimizer and task weighting; parameters, steps and best epoch are means over seeds."
            .into(),
        head: head.map(String::from).into(),
        rows: field.variants.iter().map(row).collect(),
        numeric: true,
        own: None,
    }
}

fn all_metrics(field: &Field) -> Table {
    let metrics = field.metrics_of(&["recall", "ndcg", "auc", "logloss"]);
    let row = |v: &Variant| {
        let names = [Cell::new(v.shown()), Cell::new(v.optimizer), Cell::new(v.weighting)];
        let cell = |m: &&str| match v.metrics.get(m) {
            Some(stat) => Cell {
                text: names::number(stat.mean),
                aside: stat.sd.map_or(String::new(), |sd| format!("±{}", names::number(sd))),
                ..Cell::default()
            },
            None => Cell::none(),
        };
        names.into_iter().chain(metrics.iter().map(cell)).collect()
    };
    let head = ["Model", "Optimizer", "Weighting"].map(String::from);
    Table {
        id: "variant-metrics".into(),
        caption: "Results of every variant: mean over seeds ± standard deviation.".into(),
        head: head.into_iter().chain(metrics.iter().map(|m| names::metric(m))).collect(),
        rows: field.variants.iter().map(row).collect(),
        numeric: true,
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

/// Keys of run.toml in which the models differ; seeds aside.
fn differing_settings(field: &Field) -> Option<Table> {
    let settings = |v: &&Variant| {
        let mut keys = BTreeMap::new();
        flatten(v.runs.first()?.settings.as_ref()?, "", &mut keys);
        Some((v.shown().to_string(), keys))
    };
    let models: Vec<(String, BTreeMap<String, String>)> = field.main().iter().filter_map(settings).collect();
    let keys: BTreeSet<&String> = models.iter().flat_map(|(_, keys)| keys.keys()).collect();
    let differ = |key: &&String| {
        let mut values = models.iter().map(|(_, keys)| keys.get(*key));
        let first = values.next();
        !key.ends_with("seed") && values.any(|v| Some(v) != first)
    };
    let row = |key: &String| {
        let value =
            |(_, keys): &(String, BTreeMap<String, String>)| keys.get(key).map_or(Cell::none(), Cell::new);
        [Cell::new(key)].into_iter().chain(models.iter().map(value)).collect()
    };
    let rows: Vec<Vec<Cell>> = keys.into_iter().filter(differ).map(row).collect();
    let names = models.iter().map(|(name, _)| name.clone());
    (!rows.is_empty()).then(|| Table {
        id: "settings".into(),
        caption: "Settings in which the models differ, of each model's first run.".into(),
        head: [String::from("Setting")].into_iter().chain(names).collect(),
        rows,
        numeric: false,
        own: None,
    })
}

/// What was asked for and is not there, and what makes numbers hard to compare.
pub fn missing(field: &Field) -> Vec<Block> {
    let comparison = field.comparison;
    let mut items = vec![];
    for model in comparison.asked("models") {
        if model != "all" && field.variants.iter().all(|v| v.model != model) {
            items.push(format!("{}: asked for, but it has no finished run", names::model(&model)));
        }
    }
    let most = field.variants.iter().map(|v| v.runs.len()).max().unwrap_or(0);
    let wanted = comparison.asked_seeds().unwrap_or(most).max(most);
    for v in &field.variants {
        // What nothing trains is the same for all seeds: one run is all there is.
        if v.runs.len() < wanted && v.optimizer != "none" {
            let how = format!("{} {}", v.optimizer, v.weighting);
            let runs = count(v.runs.len(), "seed");
            items.push(format!("{} ({}): {runs} of {wanted}", v.shown(), how.trim()));
        }
    }
    for (name, why) in &comparison.unfinished {
        let why = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        items.push(format!("runs/{name} was begun and has no result{why}"));
    }
    items.extend(comparison.missing.iter().cloned());
    let versions: BTreeSet<&str> = comparison.runs.iter().filter_map(|run| run.version.as_deref()).collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        items.push(format!("the runs are of several versions of the program: {}", versions.join(", ")));
    }
    for v in field.main() {
        let lacks: Vec<String> = verdict::main_metrics(field)
            .into_iter()
            .filter(|m| v.mean(m).is_none())
            .map(names::metric)
            .collect();
        if !lacks.is_empty() {
            items.push(format!("{} has no {}", v.shown(), lacks.join(", ")));
        }
    }
    let gaps = comparison.runs.iter().filter(|run| {
        let null = |values: &BTreeMap<String, Option<f64>>| values.values().any(Option::is_none);
        run.log.iter().any(|epoch| null(&epoch.values) || epoch.valid.as_ref().is_some_and(null))
    });
    items.extend(
        gaps.map(|run| {
            format!("the log of {} has values that are not finite: curves leave them out", run.name)
        }),
    );
    let own_baselines = field.main().iter().any(|v| v.kind().is_baseline());
    let simple = field.main().iter().any(|v| v.kind() == names::Kind::Ranker);
    if own_baselines && !simple && field.main().iter().any(|v| v.model == OWN) {
        items.push(
            "no simple ranker (popularity, ItemKNN, EASE, ...) took part: they are often the strongest"
                .into(),
        );
    }
    let mut blocks = vec![Block::Section { id: "missing", title: "What is missing".into() }];
    blocks.push(match items.is_empty() {
        true => Block::Paragraph("Nothing: every run that was asked for has finished.".into()),
        false => Block::List(items),
    });
    blocks
}

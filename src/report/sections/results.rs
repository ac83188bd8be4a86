//! Test results: the main table in the measures of the paper's Table 3, its Figures 3 and 4, and what lies beyond.

use std::collections::BTreeMap;

use crate::chart::{self, Group};
use crate::document::{Block, Cell, Table};
use crate::field::{Field, Stat, Variant};
use crate::names::{self, Kind, count, slug};
use crate::tables::SummaryRow;

use super::verdict::{Standing, standings};
use super::{Column, by_model, metric_table, table};

pub fn main(field: &Field) -> Vec<Block> {
    let metrics = field.main_metrics();
    if metrics.is_empty() {
        return vec![];
    }
    let models = field.models();
    if field.results.single {
        let table = metric_table("main".into(), "Test split.", "Model", &by_model(models), &metrics);
        return vec![Block::Table(table)];
    }
    let seeds = models.iter().map(|v| v.runs.len());
    let (least, most) = (seeds.clone().min().unwrap_or(0), seeds.max().unwrap_or(0));
    let seeds = if least == most { count(least, "seed") } else { format!("{least} to {most} seeds") };
    let mut reading = format!(
        "Models by {}, the best first; every course is ranked for every learner of the test split. Mean over {seeds}",
        names::metric(field.ranking)
    );
    reading += if most > 1 { " ± standard deviation." } else { "." };
    if field.variants.len() > models.len() {
        reading += " A model that ran with several optimizers or task weightings is represented by those requested \
                    first, whatever their result.";
    }
    let caption = "Recall and NDCG (the paper's Table 3). Bold: best; underlined: second best.";
    let mut blocks = vec![Block::Paragraph(reading)];
    blocks.push(Block::Table(metric_table("main".into(), caption, "Model", &by_model(models.clone()), &metrics)));
    blocks.extend(bars(field, "Figure 3", &models));
    blocks
}

/// One figure for Recall and one for NDCG, as far as there is something to compare.
fn bars(field: &Field, figure: &str, models: &[&Variant]) -> Vec<Block> {
    let draw = |(family, shown): (&str, &str)| {
        let metrics = field.metrics_of(&[family]);
        let group = |v: &&Variant| Group {
            label: v.shown().into(),
            role: field.role(v),
            bars: metrics.iter().map(|m| v.metrics.get(m).copied()).collect(),
        };
        let groups: Vec<Group> = models.iter().map(group).collect();
        let series: Vec<String> = metrics.iter().map(|m| names::metric(m)).collect();
        let title = format!("{figure}: {shown} by model");
        (models.len() > 1 && !metrics.is_empty())
            .then(|| Block::Figure(chart::bars(slug(&[&figure.replace(' ', "-"), family]), title, &series, &groups)))
    };
    [("recall", "Recall"), ("ndcg", "NDCG")].into_iter().filter_map(draw).collect()
}

/// By metric: the best baseline, the gain over it and its test, and the same for neural baselines.
pub fn baselines(field: &Field) -> Vec<Block> {
    let all = standings(field, Kind::is_baseline);
    let Some(own) = field.own().filter(|_| !all.is_empty()) else { return vec![] };
    let neural = standings(field, |kind| kind == Kind::Neural);
    let mut table = Table {
        id: "baselines-table".into(),
        caption: "Mean over seeds; the gain is relative to the baseline's mean.".into(),
        head: ["Metric", "WAA-TA", "Best baseline", "Gain", "Difference, 95 % interval", "p", "p (Holm)"]
            .map(String::from)
            .into(),
        ..Table::default()
    };
    let named = |s: &Standing| Cell { text: names::number(s.value), aside: field.name(s.baseline), ..Cell::default() };
    if !neural.is_empty() {
        table.head.extend(["Best neural".into(), "Gain".into()]);
    }
    for s in &all {
        let test = field.test(own, s.metric, s.baseline);
        let mut row = vec![Cell::new(names::metric(s.metric)), Cell::new(names::number(s.own)), named(s)];
        row.push(Cell::new(format!("{}{}", s.gain(), s.p.map_or("", names::stars))));
        row.extend(test_cells(test));
        if let Some(s) = neural.iter().find(|n| n.metric == s.metric) {
            row.extend([named(s), Cell::new(s.gain())]);
        } else if !neural.is_empty() {
            row.extend([Cell::maybe(None), Cell::maybe(None)]);
        }
        table.rows.push(row);
    }
    let tested = all.iter().any(|s| s.p.is_some());
    let mut said = String::from(
        "The baseline of a row is the best one by its metric, with the optimizer and task weighting that suit it best.",
    );
    if tested {
        said += " Tests: paired bootstrap over learners, two-sided p, corrected by Holm over all models tested by the \
                 metric; * p < 0.05, ** p < 0.01, *** p < 0.001. They hold for other learners, not for other seeds.";
    }
    vec![Block::Table(table), Block::Paragraph(said)]
}

/// Difference with its interval, p and the corrected p.
fn test_cells(test: Option<&SummaryRow>) -> [Cell; 3] {
    let interval = test.and_then(|t| Some(format!("{} to {}", names::number(t.low?), names::number(t.high?))));
    let difference =
        Cell { aside: interval.unwrap_or_default(), ..Cell::maybe(test.and_then(|t| t.difference).map(names::number)) };
    let [p, holm] = [test.and_then(|t| t.p), test.and_then(|t| t.p_holm)].map(|p| Cell::maybe(p.map(names::p_value)));
    [difference, p, holm]
}

/// Hit rate and reciprocal rank, tasks, coverage, popularity bias.
pub fn other_metrics(field: &Field) -> Vec<Block> {
    let tables = [
        ("hits", &["hr", "mrr"][..], "Hit rate and mean reciprocal rank."),
        (
            "tasks",
            &["auc", "logloss"],
            "AUC (higher is better) and log-loss (lower is better) of each task; – if a model does not estimate it.",
        ),
        (
            "breadth",
            &["coverage", "popularity", "arp"],
            "Coverage: share of all courses that are recommended to anyone. Popularity: mean percentile of the \
             recommended courses by training enrolments. ARP, average recommendation popularity: their mean number of \
             training enrolments. Popularity and ARP describe; neither direction is better.",
        ),
    ];
    let known = |metric: &&&str| {
        let family = names::split(metric).0;
        !["recall", "ndcg"].contains(&family) && tables.iter().all(|(_, families, _)| !families.contains(&family))
    };
    let others: Vec<&str> = field.metrics.iter().filter(known).copied().collect();
    let tables = tables.map(|(id, families, caption)| (id, field.metrics_of(families), caption));
    let tables = tables.into_iter().chain([("further", others, "Further metrics.")]);
    let rows = by_model(field.models());
    let tables = tables.filter(|(_, metrics, _)| !metrics.is_empty());
    tables
        .map(|(id, metrics, caption)| Block::Table(metric_table(id.into(), caption, "Model", &rows, &metrics)))
        .collect()
}

pub fn ablation(field: &Field) -> Vec<Block> {
    let metrics = field.main_metrics();
    let shown: Vec<&Variant> =
        field.models().into_iter().filter(|v| matches!(v.kind(), Kind::Own | Kind::Ablation)).collect();
    let Some(own) = field.own().filter(|_| shown.len() > 1 && !metrics.is_empty()) else { return vec![] };
    let caption = "Mean over seeds, and the change relative to WAA-TA.";
    let mut table = metric_table("ablation-table".into(), caption, "Model", &by_model(shown.clone()), &metrics);
    for (row, variant) in table.rows.iter_mut().zip(&shown).filter(|(_, v)| !v.is_own()) {
        for (cell, metric) in row.iter_mut().skip(1).zip(&metrics) {
            let change = variant.mean(metric).zip(own.mean(metric)).filter(|(_, own)| *own != 0.0);
            cell.aside = change.map_or(String::new(), |(value, own)| names::percent((value - own) / own));
        }
    }
    let said = "TA1 adds the gradients of the auxiliary tasks without weighting them. TA2 does not separate shared \
                from task-specific features. TA3 has no orthogonality constraint.";
    let mut blocks = vec![Block::Paragraph(said.into()), Block::Table(table)];
    blocks.extend(bars(field, "Figure 4", &shown));
    blocks
}

/// `5-9` before `10-19`, and what has no number last.
fn slice_order(slice: &str) -> (u64, &str) {
    let digits = slice.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
    (digits.collect::<String>().parse().unwrap_or(u64::MAX), slice)
}

pub fn slices(field: &Field) -> Vec<Block> {
    let slices = &field.results.slices;
    let mut kinds: Vec<&str> = slices.iter().map(|s| s.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut metrics: Vec<&str> = slices.iter().map(|s| s.metric.as_str()).collect();
    metrics.sort_by(|a, b| names::compare_metrics(a, b));
    metrics.dedup();
    // The ranking metric is shown, the others are folded.
    let Some(first) = metrics.iter().copied().find(|m| *m == field.ranking).or(metrics.first().copied()) else {
        return vec![];
    };
    let said = "Means over seeds, with the number of learners. Activity: learners by their known enrolments. \
                Popularity: the courses to be found, by training enrolments; a learner counts in each part with one.";
    let mut blocks = vec![Block::Paragraph(said.into())];
    let mut folded = vec![];
    for kind in &kinds {
        blocks.push(Block::Table(slice_table(field, kind, first)));
        let others = metrics.iter().filter(|m| **m != first);
        folded.extend(others.map(|metric| Block::Table(slice_table(field, kind, metric))));
    }
    if !folded.is_empty() {
        blocks.push(Block::Folded("The same by the other metrics".into(), folded));
    }
    blocks
}

fn slice_table(field: &Field, kind: &str, metric: &str) -> Table {
    /// Learners, and the value of each run.
    type Found<'a> = (usize, BTreeMap<&'a str, f64>);
    let rows = by_model(field.models());
    let mut slices: BTreeMap<(u64, &str), Found> = BTreeMap::new();
    for slice in field.results.slices.iter().filter(|s| s.kind == kind && s.metric == metric) {
        let (learners, values) = slices.entry(slice_order(&slice.slice)).or_default();
        *learners = slice.learners.max(*learners);
        values.insert(&slice.run, slice.value);
    }
    let column = |((_, slice), (learners, values)): ((u64, &str), Found)| {
        let mean = |v: &Variant| {
            let seeds: Vec<f64> = v.runs.iter().filter_map(|run| values.get(&*run.row.run).copied()).collect();
            Stat::of(&seeds).map(|stat| Stat { sd: None, ..stat })
        };
        Column { head: format!("{slice} ({learners})"), metric, stats: rows.iter().map(|(v, _)| mean(v)).collect() }
    };
    let columns = slices.into_iter().map(column).collect();
    let by = match kind {
        "activity" => "number of known enrolments of the learner",
        "popularity" => "popularity of the courses to be found",
        other => other,
    };
    let caption = format!("{} by {by}.", names::metric(metric));
    table(slug(&["slices", kind, metric]), &caption, "Model", &rows, columns)
}

/// Tests of all variants but WAA-TA as it stands in the main table.
pub fn other_tests(field: &Field) -> Vec<Block> {
    let mut rows = vec![];
    for variant in field.variants.iter().filter(|v| !(v.is_own() && field.represents(v))) {
        let key = (variant.model, variant.optimizer, variant.weighting);
        let of = |t: &&SummaryRow| (&*t.model, &*t.optimizer, &*t.weighting) == key;
        let mut tests: Vec<&SummaryRow> = field.results.tests.iter().filter(of).collect();
        tests.sort_by(|a, b| names::compare_metrics(&a.metric, &b.metric));
        for test in tests {
            let id = test.baseline.as_deref().unwrap_or_default();
            let baseline = field.variants.iter().find(|v| v.id() == id).map_or(id.into(), |v| field.name(v));
            let mut row = Vec::from([variant.full_name(), names::metric(&test.metric), baseline].map(Cell::new));
            row.extend(test_cells(Some(test)));
            row[3].text += test.corrected_p().map_or("", names::stars);
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return vec![];
    }
    let head = ["Model", "Metric", "Baseline", "Difference, 95 % interval", "p", "p (Holm)"];
    let table = Table {
        id: "tests-others".into(),
        caption: "Each against the best baseline by the metric.".into(),
        head: head.map(String::from).into(),
        rows,
        own: None,
    };
    vec![Block::Folded("Tests of all other models and settings".into(), vec![Block::Table(table)])]
}

#[cfg(test)]
mod tests {
    use super::slice_order;

    #[test]
    fn slices_are_in_order_of_size() {
        let mut slices = ["50+", "10-19", "all", "5-9", "1", "20-49"];
        slices.sort_by_key(|s| slice_order(s));
        assert_eq!(slices, ["1", "5-9", "10-19", "20-49", "50+", "all"]);
    }
}

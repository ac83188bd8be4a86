//! The main table in the layout of the paper's Table 3, Figure 3, and the ablation with Figure 4.

use crate::bars::{Bar, Bars, Group};
use crate::document::{Block, Cell, Mark, Table};
use crate::names::{self, Better, Kind, OWN};
use crate::svg::Image;
use crate::variants::{Field, Stat, Variant};

use super::count;
use super::verdict::{self, Standing};

/// Best and second best among columns, by unrounded means; equal values share a mark.
pub fn marks(metric: &str, values: &[Option<f64>]) -> Vec<Mark> {
    let sign = match names::better(metric) {
        Better::Higher => 1.0,
        Better::Lower => -1.0,
        Better::Neither => return vec![Mark::None; values.len()],
    };
    let mut distinct: Vec<f64> = values.iter().flatten().map(|v| sign * v).collect();
    let compared = distinct.len();
    distinct.sort_by(|a, b| b.total_cmp(a));
    distinct.dedup();
    let mark = |value: &Option<f64>| match value.map(|v| sign * v) {
        Some(v) if compared > 1 && distinct.len() > 1 && v == distinct[0] => Mark::Best,
        Some(v) if compared > 1 && distinct.len() > 1 && v == distinct[1] => Mark::Second,
        _ => Mark::None,
    };
    values.iter().map(mark).collect()
}

fn spread(stat: &Stat) -> String {
    stat.sd.map_or(String::new(), |sd| format!("±{}", names::number(sd)))
}

/// One row per metric, one column per variant; `head` names the columns.
pub fn table(id: &str, caption: String, metrics: &[&str], variants: &[&Variant], head: &[String]) -> Table {
    let row = |metric: &&str| {
        let stats: Vec<Option<&Stat>> = variants.iter().map(|v| v.metrics.get(metric)).collect();
        let means: Vec<Option<f64>> = stats.iter().map(|s| s.map(|s| s.mean)).collect();
        let cells = stats.iter().zip(marks(metric, &means)).map(|(stat, mark)| match stat {
            Some(stat) => Cell { text: names::number(stat.mean), aside: spread(stat), mark },
            None => Cell::none(),
        });
        [Cell::new(names::metric(metric))].into_iter().chain(cells).collect()
    };
    Table {
        id: id.into(),
        caption,
        head: [String::from("Metric")].into_iter().chain(head.iter().cloned()).collect(),
        rows: metrics.iter().map(row).collect(),
        numeric: true,
        own: own_column(variants, 1),
    }
}

/// Where WAA-TA stands among columns of models, if some are others.
pub fn own_column(variants: &[&Variant], before: usize) -> Option<usize> {
    let others = variants.iter().any(|v| v.model != OWN);
    variants.iter().position(|v| others && v.model == OWN).map(|i| i + before)
}

/// Names of models as columns.
pub fn model_names(variants: &[&Variant]) -> Vec<String> {
    variants.iter().map(|v| v.shown().to_string()).collect()
}

pub fn section(field: &Field) -> Vec<Block> {
    let metrics = verdict::main_metrics(field);
    let main = field.main();
    let mut blocks =
        vec![Block::Section { id: "table-3", title: "Table 3: Recall and NDCG by model".into() }];
    if metrics.is_empty() {
        blocks.push(Block::Paragraph("No run has a Recall or an NDCG.".into()));
        return blocks;
    }
    blocks.push(Block::Paragraph(reading(field)));
    let caption =
        "Mean over seeds ± standard deviation; all courses ranked. Bold: best. Underlined: second best.";
    let mut table = table("main", caption.into(), &metrics, &main, &model_names(&main));
    let gains = [
        ("Gain over best baseline", verdict::standings(field, Kind::is_baseline)),
        ("Gain over best neural", verdict::standings(field, |kind| kind == Kind::Neural)),
    ];
    let mut starred = false;
    for (title, standings) in gains.iter().filter(|(_, standings)| !standings.is_empty()) {
        table.head.push(title.to_string());
        for (row, metric) in table.rows.iter_mut().zip(&metrics) {
            let standing = standings.iter().find(|s| s.metric == *metric);
            starred |= standing.is_some_and(|s| s.p.is_some());
            row.push(standing.map_or(Cell::none(), gain));
        }
    }
    blocks.push(Block::Table(table));
    if starred {
        blocks.push(Block::Paragraph(
            "Gain: WAA-TA's mean relative to that of the best baseline, with whatever optimizer and task weighting that \
             one does best in this row. Stars: * p < 0.05, ** p < 0.01, *** p < 0.001, of a paired bootstrap over \
             learners with Holm's correction; the section on significance has the p-values."
                .into(),
        ));
    }
    blocks.extend(bars(field, "figure-3", "Figure 3", &main));
    blocks
}

/// What stands for a model where it ran in several ways.
fn reading(field: &Field) -> String {
    let several = field.variants.len() > field.main().len();
    let seeds: Vec<usize> = field.main().iter().map(|v| v.runs.len()).collect();
    let (least, most) = (seeds.iter().min().copied().unwrap_or(0), seeds.iter().max().copied().unwrap_or(0));
    let seeds = match least == most {
        true => count(least, "seed"),
        false => format!("{least} to {most} seeds"),
    };
    let alone = if most == 1 { "; one seed has no standard deviation" } else { "" };
    let which = match several {
        true => {
            " Where a model ran with several optimizers or task weightings, the one asked for first stands here, \
                 whatever its results; the others follow below."
        }
        false => "",
    };
    format!("Each model with {seeds}{alone}.{which}")
}

fn gain(standing: &Standing) -> Cell {
    let stars = standing.p.map_or("", names::stars);
    let p = standing.p.map_or(String::new(), |p| format!(", p {}", names::p_value(p)));
    Cell {
        text: format!("{} {stars}", standing.gain()).trim_end().to_string(),
        aside: format!("{}{p}", standing.baseline),
        mark: Mark::None,
    }
}

/// Bars by model: one figure for Recall and one for NDCG.
fn bars(field: &Field, id: &str, title: &str, variants: &[&Variant]) -> Vec<Block> {
    let mut blocks = vec![];
    for (family, shown) in [("recall", "Recall"), ("ndcg", "NDCG")] {
        let metrics = field.metrics_of(&[family]);
        if metrics.is_empty() {
            continue;
        }
        let title = format!("{title}: {shown} by model");
        let image = draw(&format!("{id}-{family}"), &title, shown, &metrics, variants);
        let caption = format!("{title}. Error bars: one standard deviation over seeds.");
        blocks.push(Block::Figure { image, caption });
    }
    blocks
}

fn draw(id: &str, title: &str, axis: &str, metrics: &[&str], variants: &[&Variant]) -> Image {
    let bar = |stat: &Stat| Bar { value: stat.mean, error: stat.sd };
    let groups = variants.iter().map(|v| Group {
        label: v.shown().into(),
        strong: v.model == OWN,
        bars: metrics.iter().map(|m| v.metrics.get(m).map(bar)).collect(),
    });
    let names: Vec<String> = metrics.iter().map(|m| names::metric(m)).collect();
    let said = variants.iter().map(|v| {
        let value = |m: &&str| v.mean(m).map_or("no value".into(), names::number);
        format!("{}: {}", v.shown(), metrics.iter().map(value).collect::<Vec<_>>().join(", "))
    });
    let description = format!("{} of each model. {}.", names.join(", "), said.collect::<Vec<_>>().join("; "));
    Bars {
        id: id.into(),
        title: title.into(),
        description,
        axis: axis.into(),
        groups: groups.collect(),
        series: names,
    }
    .draw()
}

pub fn ablation(field: &Field) -> Vec<Block> {
    let mut blocks = vec![Block::Section { id: "ablation", title: "Figure 4: ablation".into() }];
    let main = field.main();
    let shown: Vec<&Variant> =
        main.iter().copied().filter(|v| matches!(v.kind(), Kind::Own | Kind::Ablation)).collect();
    let own = field.own();
    let metrics = verdict::main_metrics(field);
    let (Some(own), true, false) = (own, shown.len() > 1, metrics.is_empty()) else {
        let why = "No finished run of WAA-TA stands beside one of an ablation (waa-ta1, waa-ta2, waa-ta3).";
        blocks.push(Block::Paragraph(why.into()));
        return blocks;
    };
    blocks.push(Block::Paragraph(
        "TA1: the auxiliary tasks' gradients are added as they are, without weighting. TA2: no decomposition into \
         shared and task-specific features. TA3: no orthogonality constraint. Percent: change against WAA-TA."
            .into(),
    ));
    let caption = "Mean over seeds ± standard deviation, and the change against WAA-TA.";
    let mut table = table("ablation-table", caption.into(), &metrics, &shown, &model_names(&shown));
    for (row, metric) in table.rows.iter_mut().zip(&metrics) {
        for (cell, variant) in row.iter_mut().skip(1).zip(&shown) {
            let change = variant.mean(metric).zip(own.mean(metric)).filter(|(_, own)| *own != 0.0);
            if let (false, Some((value, own))) = (variant.model == OWN, change) {
                cell.aside = format!("{} {}", cell.aside, names::percent((value - own) / own)).trim().into();
            }
        }
    }
    blocks.push(Block::Table(table));
    blocks.extend(bars(field, "figure-4", "Figure 4", &shown));
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_and_second() {
        use Mark::{Best, None as No, Second};
        assert_eq!(marks("recall@10", &[Some(0.1), Some(0.3), None, Some(0.2)]), [No, Best, No, Second]);
        assert_eq!(marks("logloss/a", &[Some(0.1), Some(0.3), Some(0.2)]), [Best, No, Second]);
        assert_eq!(marks("ndcg@5", &[Some(0.3), Some(0.3), Some(0.2)]), [Best, Best, Second]);
        assert_eq!(marks("ndcg@5", &[Some(0.3), Some(0.3)]), [No, No], "nobody is best where all are equal");
        assert_eq!(marks("ndcg@5", &[Some(0.3)]), [No]);
        assert_eq!(marks("popularity@10", &[Some(0.1), Some(0.3)]), [No, No]);
    }
}

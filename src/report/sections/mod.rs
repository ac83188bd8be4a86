//! What the report says, section by section.

mod details;
mod results;
mod training;
mod verdict;

use super::document::{Cell, Document, Mark, Section, Table};
use super::field::{Field, Stat, Variant};
use super::names::{self, Better, count};

pub fn document(field: &Field) -> Document {
    let (tone, summary) = verdict::of(field);
    let sections = [
        ("results", "Results", results::main(field)),
        ("baselines", "WAA-TA against the best baseline", results::baselines(field)),
        ("metrics", "Other metrics", results::other_metrics(field)),
        ("ablation", "Ablation", results::ablation(field)),
        ("convergence", "Convergence", training::convergence(field)),
        ("weightings", "Task weightings", training::weightings(field)),
        ("training", "Losses, gates, task weights and gradient cosines", training::signals(field)),
        ("slices", "By learner activity and course popularity", results::slices(field)),
        ("significance", "Significance of the other differences", results::other_tests(field)),
        ("runs", "Runs and settings", details::runs(field)),
        ("missing", "What is missing", details::missing(field)),
    ];
    let sections = sections.map(|(id, title, blocks)| Section { id, title, blocks });
    let data = match field.results.first().data.as_str() {
        "" => "an unnamed data set",
        name => name,
    };
    let title = match field.models().as_slice() {
        [model] if field.results.single => format!("{} on {data}", model.shown()),
        models => format!("Comparison of {} on {data}", count(models.len(), "model")),
    };
    Document::new(title, tone, summary, sections.into())
}

/// One column of a table of models.
struct Column<'a> {
    head: String,
    metric: &'a str,
    /// By row.
    stats: Vec<Option<Stat>>,
}

/// A table of variants as rows, with the best and second best of each column marked. The first column names them.
fn table(id: String, caption: &str, first: &str, rows: &[(&Variant, String)], columns: Vec<Column>) -> Table {
    let names = rows.iter().map(|(_, name)| vec![Cell::new(name)]);
    let mut table = Table { id, caption: caption.into(), head: vec![first.into()], rows: names.collect(), own: None };
    for Column { head, metric, stats } in columns {
        table.head.push(head);
        let means: Vec<Option<f64>> = stats.iter().map(|stat| stat.map(|stat| stat.mean)).collect();
        for ((row, stat), mark) in table.rows.iter_mut().zip(stats).zip(marks(metric, &means)) {
            row.push(match stat {
                Some(stat) => Cell { text: names::number(stat.mean), aside: stat.spread(), mark },
                None => Cell::maybe(None),
            });
        }
    }
    let others = rows.iter().any(|(v, _)| !v.is_own());
    table.own = rows.iter().position(|(v, _)| others && v.is_own());
    table
}

fn metric_table(id: String, caption: &str, first: &str, rows: &[(&Variant, String)], metrics: &[&str]) -> Table {
    let columns = metrics.iter().map(|metric| Column {
        head: names::metric(metric),
        metric,
        stats: rows.iter().map(|(v, _)| v.metrics.get(metric).copied()).collect(),
    });
    table(id, caption, first, rows, columns.collect())
}

/// Variants with the names of their models.
fn by_model<'v, 'a>(variants: Vec<&'v Variant<'a>>) -> Vec<(&'v Variant<'a>, String)> {
    variants.into_iter().map(|v| (v, v.shown().to_string())).collect()
}

/// Best and second best by unrounded means; equal values share a mark, and none is best if all are equal.
fn marks(metric: &str, values: &[Option<f64>]) -> Vec<Mark> {
    let mut distinct: Vec<f64> = values.iter().flatten().copied().collect();
    distinct.sort_by(|a, b| names::compare_values(metric, *a, *b));
    distinct.dedup();
    if distinct.len() < 2 || names::better(metric) == Better::Neither {
        return vec![Mark::None; values.len()];
    }
    let mark = |value: &Option<f64>| match value {
        Some(v) if *v == distinct[0] => Mark::Best,
        Some(v) if *v == distinct[1] => Mark::Second,
        _ => Mark::None,
    };
    values.iter().map(mark).collect()
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
        assert_eq!(marks("ndcg@5", &[Some(0.3), Some(0.3)]), [No, No]);
        assert_eq!(marks("ndcg@5", &[Some(0.3)]), [No]);
        assert_eq!(marks("popularity@10", &[Some(0.1), Some(0.3)]), [No, No]);
    }
}

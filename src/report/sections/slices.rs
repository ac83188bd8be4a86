//! Results by how active learners are and how popular courses are.

use std::collections::BTreeMap;

use crate::document::{Block, Cell, Table};
use crate::names;
use crate::variants::{Field, Stat, Variant};

use super::field::{marks, model_names, own_column};
use super::slug;

/// `5-9` before `10-19`, and what has no number last.
fn place(slice: &str) -> (u64, &str) {
    let digits: String =
        slice.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    (digits.parse().unwrap_or(u64::MAX), slice)
}

pub fn section(field: &Field) -> Vec<Block> {
    let title = "By learner activity and course popularity";
    let mut blocks = vec![Block::Section { id: "slices", title: title.into() }];
    let slices = &field.comparison.slices;
    let mut kinds: Vec<&str> = slices.iter().map(|s| s.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut metrics: Vec<&str> = slices.iter().map(|s| s.metric.as_str()).collect();
    metrics.sort_by(|a, b| names::compare_metrics(a, b));
    metrics.dedup();
    // The metric of validation is shown, the others are folded.
    let wanted = field.comparison.selected_by().unwrap_or("ndcg@20");
    let Some(first) = metrics.iter().copied().find(|m| *m == wanted).or(metrics.first().copied()) else {
        blocks.push(Block::Paragraph("The comparison has no results by slices.".into()));
        return blocks;
    };
    blocks.push(Block::Paragraph(
        "Means over seeds. Activity: learners by the number of their enrolments that are known when they are ranked. \
         Popularity: the courses to find by their enrolments in training, head first; a learner counts in each part \
         in which there is something to find."
            .into(),
    ));
    let mut folded = vec![];
    for kind in &kinds {
        blocks.push(Block::Table(table(field, kind, first)));
        folded.extend(metrics.iter().filter(|m| **m != first).map(|m| Block::Table(table(field, kind, m))));
    }
    if !folded.is_empty() {
        blocks.push(Block::Folded { title: "The same by the other metrics".into(), blocks: folded });
    }
    blocks
}

/// One slice by one metric.
#[derive(Default)]
struct Found<'a> {
    learners: u64,
    /// By run.
    values: BTreeMap<&'a str, f64>,
}

fn table(field: &Field, kind: &str, metric: &str) -> Table {
    let main = field.main();
    let mut slices: BTreeMap<(u64, &str), Found> = BTreeMap::new();
    for slice in field.comparison.slices.iter().filter(|s| s.kind == kind && s.metric == metric) {
        let found = slices.entry(place(&slice.slice)).or_default();
        found.learners = slice.learners.max(found.learners);
        found.values.insert(&slice.run, slice.value);
    }
    let row = |((_, slice), found): (&(u64, &str), &Found)| {
        let mean = |v: &&Variant| {
            let seeds: Vec<f64> =
                v.runs.iter().filter_map(|run| found.values.get(run.name.as_str()).copied()).collect();
            Stat::of(&seeds).map(|stat| stat.mean)
        };
        let means: Vec<Option<f64>> = main.iter().map(mean).collect();
        let cell = |(mean, mark): (&Option<f64>, _)| match mean {
            Some(mean) => Cell { text: names::number(*mean), aside: String::new(), mark },
            None => Cell::none(),
        };
        let cells = means.iter().zip(marks(metric, &means)).map(cell);
        [Cell::new(*slice), Cell::new(found.learners.to_string())].into_iter().chain(cells).collect()
    };
    let rows = slices.iter().map(row).collect();
    let head = ["Slice".into(), "Learners".into()].into_iter().chain(model_names(&main)).collect();
    let by = match kind {
        "activity" => "learner activity (known enrolments)",
        "popularity" => "popularity of the courses to find",
        other => other,
    };
    Table {
        id: slug(&["slices", kind, metric]),
        caption: format!("{} by {by}. Bold: best. Underlined: second best.", names::metric(metric)),
        head,
        rows,
        numeric: true,
        own: own_column(&main, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn slices_are_in_order_of_size() {
        let mut slices = ["50+", "10-19", "all", "5-9", "1", "20-49"];
        slices.sort_by_key(|s| place(s));
        assert_eq!(slices, ["1", "5-9", "10-19", "20-49", "50+", "all"]);
    }
}

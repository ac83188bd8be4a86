//! Which differences hold beyond chance.

use crate::document::{Block, Cell, Table};
use crate::names;
use crate::read::Test;
use crate::variants::Field;

pub fn section(field: &Field) -> Vec<Block> {
    let mut blocks = vec![Block::Section { id: "significance", title: "Significance".into() }];
    let tests = &field.comparison.tests;
    if tests.is_empty() {
        let why = "The comparison has no tests of significance: no difference here is known to be more than chance.";
        blocks.push(Block::Paragraph(why.into()));
        return blocks;
    }
    blocks.push(Block::Paragraph(
        "Paired bootstrap over learners against the baseline named in the row: mean difference, its interval of 95 %, \
         the p-value (two-sided), and the p-value corrected by Holm over all that is tested by that metric. It is the \
         learners that are drawn, not the seeds: the tests speak of these trained models on other learners."
            .into(),
    ));
    // WAA-TA as it stands in Table 3; everything else is folded.
    let stands = |t: &&Test| {
        field
            .own()
            .is_some_and(|v| (v.model, v.optimizer, v.weighting) == (&*t.model, &*t.optimizer, &*t.weighting))
    };
    let (own, others): (Vec<&Test>, Vec<&Test>) = tests.iter().partition(stands);
    if !own.is_empty() {
        blocks.push(Block::Table(table(
            field,
            "tests-own",
            "WAA-TA against the best baseline of each metric.",
            own,
        )));
    }
    if !others.is_empty() {
        let table = Block::Table(table(
            field,
            "tests-others",
            "All others against the best baseline of each metric.",
            others,
        ));
        match blocks.len() {
            2 => blocks.push(table),
            _ => blocks.push(Block::Folded {
                title: "Tests of the other models and settings".into(),
                blocks: vec![table],
            }),
        }
    }
    blocks
}

fn table(field: &Field, id: &str, caption: &str, mut tests: Vec<&Test>) -> Table {
    tests.sort_by(|a, b| {
        names::compare_models(&a.model, &b.model)
            .then_with(|| (&a.optimizer, &a.weighting).cmp(&(&b.optimizer, &b.weighting)))
            .then_with(|| names::compare_metrics(&a.metric, &b.metric))
            .then_with(|| a.baseline.cmp(&b.baseline))
    });
    let p = |p: Option<f64>| p.map_or(Cell::none(), |p| Cell::new(names::p_value(p)));
    let row = |test: &&Test| {
        let interval = test.interval.map_or(Cell::none(), |(low, high)| {
            Cell::new(format!("{} to {}", names::number(low), names::number(high)))
        });
        let known = field.variants.iter().find(|v| v.id() == test.baseline);
        let baseline = known.map_or_else(|| test.baseline.clone(), |v| field.name(v));
        let stars = test.decisive().map_or("", names::stars);
        vec![
            Cell::new(names::model(&test.model)),
            Cell::new(&test.optimizer),
            Cell::new(&test.weighting),
            Cell::new(names::metric(&test.metric)),
            Cell::new(baseline),
            Cell::new(format!("{} {stars}", names::number(test.difference)).trim_end()),
            interval,
            p(test.p),
            p(test.p_holm),
        ]
    };
    let head = [
        "Model",
        "Optimizer",
        "Weighting",
        "Metric",
        "Baseline",
        "Difference",
        "95 % interval",
        "p",
        "p (Holm)",
    ];
    Table {
        id: id.into(),
        caption: caption.into(),
        head: head.map(String::from).into(),
        rows: tests.iter().map(row).collect(),
        numeric: true,
        own: None,
    }
}

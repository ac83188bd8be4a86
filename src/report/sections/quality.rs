//! What Table 3 does not show: hit rate and reciprocal rank, tasks, coverage, popularity bias.

use crate::document::Block;
use crate::names;
use crate::variants::Field;

use super::field::{model_names, table};

pub fn section(field: &Field) -> Vec<Block> {
    let main = field.main();
    let names = model_names(&main);
    let mut blocks = vec![Block::Section { id: "metrics", title: "Other metrics by model".into() }];
    let before = blocks.len();
    let mut add = |id: &str, families: &[&str], caption: &str| {
        let metrics = field.metrics_of(families);
        if !metrics.is_empty() {
            blocks.push(Block::Table(table(id, caption.into(), &metrics, &main, &names)));
        }
    };
    add("hits", &["hr", "mrr"], "Hit rate and mean reciprocal rank.");
    add(
        "tasks",
        &["auc", "logloss"],
        "AUC (higher is better) and log-loss (lower is better) of each task; – where a model does not estimate it.",
    );
    add(
        "breadth",
        &["coverage", "popularity", "arp"],
        "Coverage: share of all courses that stand in anyone's list. Popularity: mean percentile of the recommended \
         courses by enrolments in training; average popularity: the mean of those enrolments. Neither is better for \
         being high or low.",
    );
    let known = ["recall", "ndcg", "hr", "mrr", "auc", "logloss", "coverage", "popularity", "arp"];
    let others: Vec<&str> =
        field.metrics.iter().copied().filter(|m| !known.contains(&names::split(m).0)).collect();
    if !others.is_empty() {
        let caption = "Further metrics of the comparison.";
        blocks.push(Block::Table(table("further", caption.into(), &others, &main, &names)));
    }
    if blocks.len() == before {
        blocks.push(Block::Paragraph("The runs have no other metrics.".into()));
    }
    blocks
}

//! What the report says, section by section, from the numbers that were read.

mod field;
mod optimizers;
mod quality;
mod ran;
mod slices;
mod tests;
mod training;
mod verdict;

use super::document::{Block, Document};
use super::variants::Field;

/// The whole report. Its first block is the verdict.
pub fn document(field: &Field) -> (Document, Vec<String>) {
    let data = match field.comparison.data.as_str() {
        "" => "an unnamed data set",
        name => name,
    };
    let models = field.main().len();
    let verdict = verdict::of(field);
    let said = verdict.lines.clone();
    let mut blocks = vec![Block::Notice(verdict.tone, verdict.lines)];
    for section in [
        field::section,
        quality::section,
        field::ablation,
        optimizers::section,
        optimizers::weightings,
        training::section,
        slices::section,
        tests::section,
        ran::section,
        ran::missing,
    ] {
        blocks.extend(section(field));
    }
    let title = format!("Comparison of {models} model{} on {data}", if models == 1 { "" } else { "s" });
    (Document::new(title, blocks), said)
}

/// A file name or anchor out of names.
fn slug(parts: &[&str]) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let words: Vec<String> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| part.chars().map(plain).collect::<String>().trim_matches('-').to_string())
        .collect();
    words.join("-")
}

/// `1 run`, `2 runs`.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

//! What a report consists of, apart from how it is written down: HTML and Markdown say the same.

use std::collections::BTreeSet;

use super::svg::Image;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tone {
    /// Something that a reader must not overlook.
    Warning,
    Good,
    Plain,
}

/// How a number stands among those it is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mark {
    #[default]
    None,
    Best,
    Second,
}

#[derive(Clone, Debug, Default)]
pub struct Cell {
    pub text: String,
    /// Smaller, after the text: a standard deviation.
    pub aside: String,
    pub mark: Mark,
}

impl Cell {
    pub fn new(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), ..Default::default() }
    }

    /// For what has no value.
    pub fn none() -> Cell {
        Cell::new("–")
    }
}

#[derive(Default)]
pub struct Table {
    /// Anchor, unique in the report.
    pub id: String,
    pub caption: String,
    pub head: Vec<String>,
    /// The first cell names the row.
    pub rows: Vec<Vec<Cell>>,
    /// Columns of numbers, which stand at the right; else text at the left.
    pub numeric: bool,
    /// The column that the report is about.
    pub own: Option<usize>,
}

pub enum Block {
    Section {
        id: &'static str,
        title: String,
    },
    Paragraph(String),
    Notice(Tone, Vec<String>),
    List(Vec<String>),
    Table(Table),
    Figure {
        image: Image,
        caption: String,
    },
    /// Text as it is.
    Verbatim(String),
    /// What few readers want to see at once.
    Folded {
        title: String,
        blocks: Vec<Block>,
    },
}

pub struct Document {
    pub title: String,
    pub blocks: Vec<Block>,
}

impl Document {
    /// Gives figures and tables whose names are equal (models may differ in letters that a file name does not keep) a
    /// number behind them.
    pub fn new(title: String, mut blocks: Vec<Block>) -> Document {
        fn rename(blocks: &mut [Block], taken: &mut BTreeSet<String>) {
            for block in blocks {
                let id = match block {
                    Block::Figure { image, .. } => &mut image.id,
                    Block::Table(table) => &mut table.id,
                    Block::Folded { blocks, .. } => {
                        rename(blocks, taken);
                        continue;
                    }
                    Block::Section { id, .. } => {
                        taken.insert(id.to_string());
                        continue;
                    }
                    _ => continue,
                };
                let base = id.clone();
                for i in 2.. {
                    if taken.insert(id.clone()) {
                        break;
                    }
                    *id = format!("{base}-{i}");
                }
            }
        }
        rename(&mut blocks, &mut BTreeSet::new());
        Document { title, blocks }
    }

    /// Every figure, those in folds too, in order.
    pub fn figures(&self) -> Vec<&Image> {
        fn collect<'a>(blocks: &'a [Block], found: &mut Vec<&'a Image>) {
            for block in blocks {
                match block {
                    Block::Figure { image, .. } => found.push(image),
                    Block::Folded { blocks, .. } => collect(blocks, found),
                    _ => {}
                }
            }
        }
        let mut found = vec![];
        collect(&self.blocks, &mut found);
        found
    }
}

//! The contents of a report, independent of the format: HTML and Markdown say the same.

use std::collections::BTreeSet;

use super::chart::Figure;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Tone {
    /// Something that a reader must not overlook.
    Warning,
    Good,
    #[default]
    Plain,
}

/// How a number ranks among those it is compared with.
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

    /// A missing value is a dash.
    pub fn maybe(text: Option<String>) -> Cell {
        Cell::new(text.unwrap_or("–".into()))
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
    /// The row that the report is about.
    pub own: Option<usize>,
}

pub enum Block {
    Paragraph(String),
    List(Vec<String>),
    Table(Table),
    Figure(Figure),
    Verbatim(String),
    /// Details that are closed at first.
    Folded(String, Vec<Block>),
}

pub struct Section {
    /// Anchor, unique in the report.
    pub id: &'static str,
    pub title: &'static str,
    pub blocks: Vec<Block>,
}

pub struct Document {
    pub title: String,
    pub tone: Tone,
    /// The first lines of the report; the first is the headline.
    pub summary: Vec<String>,
    pub sections: Vec<Section>,
}

impl Document {
    /// Leaves out sections without contents, and numbers figures and tables whose anchors are equal: model names may
    /// differ only in characters that a file name does not keep.
    pub fn new(title: String, tone: Tone, summary: Vec<String>, mut sections: Vec<Section>) -> Document {
        sections.retain(|section| !section.blocks.is_empty());
        let mut taken: BTreeSet<String> = sections.iter().map(|section| section.id.into()).collect();
        for section in &mut sections {
            rename(&mut section.blocks, &mut taken);
        }
        Document { title, tone, summary, sections }
    }

    /// Every figure in order, including those in folds.
    pub fn figures(&self) -> Vec<&Figure> {
        let mut found = vec![];
        self.sections.iter().for_each(|section| collect(&section.blocks, &mut found));
        found
    }
}

fn rename(blocks: &mut [Block], taken: &mut BTreeSet<String>) {
    for block in blocks {
        let id = match block {
            Block::Figure(figure) => &mut figure.id,
            Block::Table(table) => &mut table.id,
            Block::Folded(_, blocks) => {
                rename(blocks, taken);
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

fn collect<'a>(blocks: &'a [Block], found: &mut Vec<&'a Figure>) {
    for block in blocks {
        match block {
            Block::Figure(figure) => found.push(figure),
            Block::Folded(_, blocks) => collect(blocks, found),
            _ => {}
        }
    }
}

//! A document as one HTML page: style and figures inside, no script, nothing to load.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart;
use super::document::{Block, Cell, Document, Mark, Table, Tone};

const STYLE: &str = include_str!("page.css");

/// The browser may load nothing, whatever the name of a data set contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

pub fn page(document: &Document) -> String {
    let tone = match document.tone {
        Tone::Warning => "warning",
        Tone::Good => "good",
        Tone::Plain => "plain",
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (document.title) }
                style { (PreEscaped(STYLE)) (PreEscaped(chart::STYLE)) }
            }
            body {
                header {
                    h1 { (document.title) }
                    div class={ "notice " (tone) } role="note" { @for line in &document.summary { p { (line) } } }
                    nav aria-label="Contents" {
                        ul { @for s in &document.sections { li { a href={ "#" (s.id) } { (s.title) } } } }
                    }
                }
                main {
                    @for section in &document.sections {
                        h2 id=(section.id) { (section.title) }
                        (blocks(&section.blocks))
                    }
                }
            }
        }
    };
    chart::printable(page)
}

fn blocks(list: &[Block]) -> Markup {
    // Figures that follow each other are side by side if there is room.
    let groups = list.chunk_by(|a, b| matches!((a, b), (Block::Figure(_), Block::Figure(_))));
    html! {
        @for group in groups {
            @if matches!(group[0], Block::Figure(_)) {
                div class="figures" { @for block in group { (one(block)) } }
            } @else {
                (one(&group[0]))
            }
            "\n"
        }
    }
}

fn one(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Paragraph(text) => p { (text) },
            Block::List(items) => ul { @for item in items { li { (item) } } },
            Block::Table(table) => (self::table(table)),
            Block::Figure(figure) => figure id=(figure.id) { (figure.inline()) figcaption { (figure.caption) } },
            Block::Verbatim(text) => pre { (text) },
            Block::Folded(title, list) => details { summary { (title) } (blocks(list)) },
        }
    }
}

/// On a narrow screen the style turns each row into a card, whose cells say what they are.
fn table(table: &Table) -> Markup {
    let own = |i: usize| (table.own == Some(i)).then_some("own");
    html! {
        div class="scroll" role="region" tabindex="0" aria-label=(table.caption) {
            table id=(table.id) {
                caption { (table.caption) }
                thead { tr { @for name in &table.head { th scope="col" { (name) } } } }
                tbody {
                    @for (i, row) in table.rows.iter().enumerate() {
                        tr class=[own(i)] {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (inner(cell)) } }
                                @else { td data-label=(table.head[i]) { (inner(cell)) } }
                            }
                        }
                        "\n"
                    }
                }
            }
        }
    }
}

fn inner(cell: &Cell) -> Markup {
    html! {
        @match cell.mark {
            Mark::None => (cell.text),
            Mark::Best => strong { (cell.text) },
            Mark::Second => u { (cell.text) },
        }
        @if !cell.aside.is_empty() { " " small { (cell.aside) } }
    }
}

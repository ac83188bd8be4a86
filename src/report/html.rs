//! A document as one HTML page: style and images inside, no script, nothing to load.

use std::fmt::Write;

use super::document::{Block, Cell, Document, Mark, Table, Tone};
use super::svg::{self, escape};

const STYLE: &str = include_str!("page.css");

/// The frame of the page. Its policy lets it load nothing: whatever a data set's name contains, no address is asked.
const PAGE: &str = include_str!("page.html");

pub fn page(document: &Document) -> String {
    let mut contents = String::new();
    for block in &document.blocks {
        if let Block::Section { id, title } = block {
            let _ = writeln!(contents, "<li><a href=\"#{id}\">{}</a></li>", escape(title));
        }
    }
    let mut main = String::new();
    blocks(&mut main, &document.blocks);
    let title = escape(&document.title);
    let style = [STYLE, svg::STYLE].concat();
    fill(PAGE, &[("{title}", &title), ("{style}", &style), ("{contents}", &contents), ("{blocks}", &main)])
}

/// A template with its marks replaced; what is put in is not searched for marks.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let (mut out, mut rest) = (String::new(), template);
    let next = |rest: &str| {
        let places = values.iter().filter_map(|(mark, value)| Some((rest.find(mark)?, mark.len(), *value)));
        places.min_by_key(|(at, ..)| *at)
    };
    while let Some((at, length, value)) = next(rest) {
        out.push_str(&rest[..at]);
        out.push_str(value);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

fn blocks(out: &mut String, list: &[Block]) {
    for (i, block) in list.iter().enumerate() {
        let figure =
            |at: Option<usize>| at.is_some_and(|i| matches!(list.get(i), Some(Block::Figure { .. })));
        // Figures that follow each other stand side by side where there is room.
        if figure(Some(i)) && !figure(i.checked_sub(1)) {
            out.push_str("<div class=\"figures\">\n");
        }
        one(out, block);
        if figure(Some(i)) && !figure(Some(i + 1)) {
            out.push_str("</div>\n");
        }
    }
}

fn one(out: &mut String, block: &Block) {
    let _ = match block {
        Block::Section { id, title } => writeln!(out, "<h2 id=\"{id}\">{}</h2>", escape(title)),
        Block::Paragraph(text) => writeln!(out, "<p>{}</p>", escape(text)),
        Block::Notice(tone, lines) => {
            let class = match tone {
                Tone::Warning => "warning",
                Tone::Good => "good",
                Tone::Plain => "plain",
            };
            let lines: String = lines.iter().map(|line| format!("<p>{}</p>\n", escape(line))).collect();
            writeln!(out, "<div class=\"notice {class}\" role=\"note\">\n{lines}</div>")
        }
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escape(item))).collect();
            writeln!(out, "<ul>\n{items}</ul>")
        }
        Block::Table(table) => {
            self::table(out, table);
            Ok(())
        }
        Block::Figure { image, caption } => writeln!(
            out,
            "<figure id=\"{}\">\n<div class=\"scroll\">{}</div>\n<figcaption>{}</figcaption>\n</figure>",
            escape(&image.id),
            image.inline(),
            escape(caption)
        ),
        Block::Verbatim(text) => writeln!(out, "<pre>{}</pre>", escape(text)),
        Block::Folded { title, blocks } => {
            let _ = writeln!(out, "<details>\n<summary>{}</summary>", escape(title));
            self::blocks(out, blocks);
            writeln!(out, "</details>")
        }
    };
}

fn table(out: &mut String, table: &Table) {
    let caption = escape(&table.caption);
    let class = if table.numeric { "numbers" } else { "words" };
    // A wide table scrolls inside its frame, by keyboard too.
    let _ = writeln!(
        out,
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\">\n\
         <table id=\"{}\" class=\"{class}\">\n<caption><span>{caption}</span></caption>\n<thead><tr>",
        escape(&table.id)
    );
    let own = |i: usize| if table.own == Some(i) { " class=\"own\"" } else { "" };
    for (i, name) in table.head.iter().enumerate() {
        let _ = writeln!(out, "<th scope=\"col\"{}>{}</th>", own(i), escape(name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            match i {
                0 => _ = write!(out, "<th scope=\"row\">{}</th>", inner(cell)),
                _ => _ = write!(out, "<td{}>{}</td>", own(i), inner(cell)),
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn inner(cell: &Cell) -> String {
    let text = escape(&cell.text);
    let text = match cell.mark {
        Mark::None => text,
        Mark::Best => format!("<strong>{text}</strong>"),
        Mark::Second => format!("<u>{text}</u>"),
    };
    match cell.aside.is_empty() {
        true => text,
        false => format!("{text} <small>{}</small>", escape(&cell.aside)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_title_is_no_mark() {
        let values = [("{title}", "{blocks}"), ("{blocks}", "text")];
        assert_eq!(super::fill("<{title}> {blocks} {title}!", &values), "<{blocks}> text {blocks}!");
    }
}

//! A document as Markdown; its figures are the files beside it.

use super::document::{Block, Cell, Document, Mark, Table, Tone};

pub fn text(document: &Document) -> String {
    let mut out = format!("# {}\n\n", escape(&document.title));
    for (i, line) in document.summary.iter().enumerate() {
        let line = escape(line);
        out += &match (i, document.tone) {
            (0, Tone::Plain) => format!("> {line}\n"),
            (0, _) => format!("> **{line}**\n"),
            _ => format!(">\n> {line}\n"),
        };
    }
    for section in &document.sections {
        out += &format!("\n## {}\n\n", escape(section.title));
        blocks(&mut out, &section.blocks, 3);
    }
    format!("{}\n", out.trim_end())
}

/// Escapes the characters that Markdown would read as markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn blocks(out: &mut String, list: &[Block], level: usize) {
    for block in list {
        match block {
            Block::Paragraph(text) => *out += &escape(text),
            Block::List(items) => items.iter().for_each(|item| *out += &format!("- {}\n", escape(item))),
            Block::Table(table) => self::table(out, table),
            Block::Figure(figure) => {
                *out += &format!("![{}]({}.svg)\n\n{}", escape(&figure.title), figure.id, escape(&figure.caption));
            }
            Block::Verbatim(text) => text.lines().for_each(|line| *out += &format!("    {line}\n")),
            Block::Folded(title, list) => {
                *out += &format!("{} {}\n\n", "#".repeat(level), escape(title));
                blocks(out, list, level + 1);
                continue;
            }
        }
        out.truncate(out.trim_end().len());
        out.push_str("\n\n");
    }
}

fn table(out: &mut String, table: &Table) {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = |i: usize| if i == 0 { "---".into() } else { "---:".into() };
    *out += &format!("{}\n\n", escape(&table.caption));
    *out += &row(table.head.iter().map(|name| escape(name)).collect());
    *out += &row((0..table.head.len()).map(rule).collect());
    table.rows.iter().for_each(|cells| *out += &row(cells.iter().map(inner).collect()));
}

fn inner(cell: &Cell) -> String {
    let text = escape(&cell.text);
    let text = match cell.mark {
        Mark::None => text,
        Mark::Best => format!("**{text}**"),
        Mark::Second => format!("<u>{text}</u>"),
    };
    format!("{text} {}", escape(&cell.aside)).trim_end().into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn markup_is_escaped() {
        assert_eq!(super::escape("a|b_c*\n<u> [x](y)"), "a\\|b\\_c\\* \\<u\\> \\[x\\](y)");
    }
}

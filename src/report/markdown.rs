//! A document as Markdown; its figures are the files beside it.

use std::fmt::Write;

use super::document::{Block, Cell, Document, Mark, Table, Tone};

pub fn text(document: &Document) -> String {
    let mut out = format!("# {}\n\n", escape(&document.title));
    blocks(&mut out, &document.blocks, 2);
    format!("{}\n", out.trim_end())
}

/// Characters that Markdown would read as marks.
pub fn escape(text: &str) -> String {
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
        let _ = match block {
            Block::Section { title, .. } => writeln!(out, "{} {}\n", "#".repeat(level), escape(title)),
            Block::Paragraph(text) => writeln!(out, "{}\n", escape(text)),
            Block::Notice(tone, lines) => {
                for (i, line) in lines.iter().enumerate() {
                    let line = escape(line);
                    let _ = match (i, tone) {
                        (0, Tone::Plain) => writeln!(out, "> {line}"),
                        (0, _) => writeln!(out, "> **{line}**"),
                        _ => writeln!(out, ">\n> {line}"),
                    };
                }
                writeln!(out)
            }
            Block::List(items) => {
                items.iter().for_each(|item| _ = writeln!(out, "- {}", escape(item)));
                writeln!(out)
            }
            Block::Table(table) => {
                self::table(out, table);
                Ok(())
            }
            Block::Figure { image, caption } => {
                let (title, caption) = (escape(&image.title), escape(caption));
                writeln!(out, "![{title}]({}.svg)\n\n{caption}\n", image.id)
            }
            Block::Verbatim(text) => {
                text.lines().for_each(|line| _ = writeln!(out, "    {line}"));
                writeln!(out)
            }
            // Folds of HTML would need HTML inside; a heading is enough.
            Block::Folded { title, blocks } => {
                let _ = writeln!(out, "{} {}\n", "#".repeat(level + 1), escape(title));
                self::blocks(out, blocks, level + 1);
                Ok(())
            }
        };
    }
}

fn table(out: &mut String, table: &Table) {
    let _ = writeln!(out, "{}\n", escape(&table.caption));
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out.push_str(&row(table.head.iter().map(|name| escape(name)).collect()));
    let rule = |i: usize| if i > 0 && table.numeric { "---:" } else { "---" };
    out.push_str(&row((0..table.head.len()).map(|i| rule(i).to_string()).collect()));
    for cells in &table.rows {
        out.push_str(&row(cells.iter().map(inner).collect()));
    }
    out.push('\n');
}

fn inner(cell: &Cell) -> String {
    let text = escape(&cell.text);
    let text = match cell.mark {
        Mark::None => text,
        Mark::Best => format!("**{text}**"),
        Mark::Second => format!("<u>{text}</u>"),
    };
    match cell.aside.is_empty() {
        true => text,
        false => format!("{text} {}", escape(&cell.aside)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("a|b_c*\n<u> [x](y)"), "a\\|b\\_c\\* \\<u\\> \\[x\\](y)");
    }
}

//! `waata settings`

use super::{nearest, show};
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Keys or sections, such as train.lr or kg; every key by default
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
}

/// A key of run.toml, as docs/settings.md describes it; tests/docs.rs holds that page to the code.
pub struct Setting {
    pub key: &'static str,
    pub default: &'static str,
    meaning: String,
    range: String,
}

impl Setting {
    pub fn all() -> Vec<Setting> {
        include_str!("../../docs/settings.md").lines().filter_map(Setting::of_row).collect()
    }

    /// Of a row `| key | default | meaning | range |`.
    fn of_row(row: &'static str) -> Option<Setting> {
        let cells: Vec<&str> = row.strip_prefix("| `")?.trim_end_matches('|').split(" | ").collect();
        let [key, default, meaning, range] = cells[..] else { return None };
        let code = |cell: &'static str| cell.trim().trim_matches('`');
        Some(Setting { key: code(key), default: code(default), meaning: text(meaning), range: text(range) })
    }

    /// Of the default's TOML.
    fn kind(&self) -> &'static str {
        match self.default.chars().next() {
            Some('"') => "word",
            Some('[') => "list",
            Some('t' | 'f') => "true or false",
            _ if self.default.contains(['.', 'e']) => "number",
            _ => "whole number",
        }
    }

    /// Whether `asked` is this key or a section that it is in.
    fn is(&self, asked: &str) -> bool {
        self.key == asked || self.key.strip_prefix(asked).is_some_and(|rest| rest.starts_with('.'))
    }

    fn explained(&self) -> String {
        let line = |name: &str, text: &str| match text.is_empty() {
            true => String::new(),
            false => format!("\n{}", show::entry(&format!("  {name}"), 11, text)),
        };
        let mut explained = self.key.to_string();
        explained += &line("type", self.kind());
        explained += &line("default", self.default);
        explained += &line("range", &self.range);
        explained + &line("meaning", &self.meaning)
    }
}

/// A cell without the marks of Markdown.
fn text(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell.trim();
    // A link is its words.
    while let Some((before, after)) = rest.split_once("](") {
        let (before, words) = before.rsplit_once('[').unwrap_or((before, ""));
        text += before;
        text += words;
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    (text + rest).replace('`', "")
}

pub fn run(args: Args) -> Result<()> {
    let all = Setting::all();
    if args.keys.is_empty() {
        for setting in &all {
            show::line(&format!("{:<32}{}", setting.key, setting.default))?;
        }
        return show::line("\nwaata settings KEY explains one; change it with --set KEY=VALUE");
    }
    for (i, asked) in args.keys.iter().enumerate() {
        let found: Vec<&Setting> = all.iter().filter(|setting| setting.is(asked)).collect();
        if found.is_empty() {
            return Err(unknown(asked, &all));
        }
        let texts: Vec<String> = found.iter().map(|setting| setting.explained()).collect();
        show::line(&format!("{}{}", if i > 0 { "\n" } else { "" }, texts.join("\n\n")))?;
    }
    Ok(())
}

fn unknown(asked: &str, all: &[Setting]) -> Error {
    // A key by its last word alone, else what is written alike.
    let mut like: Vec<&str> =
        all.iter().map(|s| s.key).filter(|k| k.rsplit('.').next() == Some(asked)).collect();
    like.extend(nearest(asked, all.iter().map(|s| s.key)).filter(|key| !like.contains(key)));
    let remedy = match like.is_empty() {
        true => "waata settings lists all keys".to_string(),
        false => format!("did you mean {}?", like.join(" or ")),
    };
    Error::config("KEY", format!("there is no setting `{asked}`"), remedy)
}

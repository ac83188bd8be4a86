//! `waata presets`

use clap::builder::{PossibleValue, PossibleValuesParser};

use super::show;
use waata::Result;
use waata::config::PRESETS;

/// Of `--preset`: the names, for the help, and for what was meant by a mistyped one.
pub fn parser() -> PossibleValuesParser {
    let value = |(name, text): &(&'static str, &'static str)| {
        let about = about(text);
        PossibleValue::new(*name).help(about.split(". ").next().unwrap_or_default().to_string())
    };
    PRESETS.iter().map(value).collect::<Vec<_>>().into()
}

/// The comment at the beginning of a preset.
fn about(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix('#'));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

pub fn run() -> Result<()> {
    for (name, text) in PRESETS {
        show::line(&show::entry(name, 17, &about(text)))?;
    }
    show::line("\nchoose one with --preset NAME; data/presets has their files")
}

//! `waata models`

use clap::builder::{PossibleValue, PossibleValuesParser};

use super::show;
use waata::Result;
use waata::models::{Entry, models};

/// Of a flag that names models: their names, for the help, and for what was meant by a mistyped one.
pub fn parser() -> PossibleValuesParser {
    models().iter().map(value).collect::<Vec<_>>().into()
}

/// As `parser`, with `all`.
pub fn parser_or_all() -> PossibleValuesParser {
    let all = PossibleValue::new("all").help("every model");
    models().iter().map(value).chain([all]).collect::<Vec<_>>().into()
}

fn value(model: &Entry) -> PossibleValue {
    PossibleValue::new(model.name).help(model.about)
}

pub fn run() -> Result<()> {
    for model in models() {
        show::line(&show::entry(model.name, 15, model.about))?;
    }
    show::line("\nchoose one with --set model.name=NAME; docs/model.md has formulas and sources")
}

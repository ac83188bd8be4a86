//! `waata models`

use clap::builder::{PossibleValue, PossibleValuesParser};

use super::show;
use waata::Result;
use waata::config::DEFINITIONS;

/// Of a flag that names models: their names, for the help, and for what was meant by a mistyped one.
pub fn parser() -> PossibleValuesParser {
    DEFINITIONS
        .iter()
        .map(|model| PossibleValue::new(model.name).help(model.about))
        .collect::<Vec<_>>()
        .into()
}

/// As `parser`, with `all`.
pub fn parser_or_all() -> PossibleValuesParser {
    let all = PossibleValue::new("all").help("every model");
    let models = DEFINITIONS.iter().map(|model| PossibleValue::new(model.name).help(model.about));
    models.chain([all]).collect::<Vec<_>>().into()
}

pub fn run() -> Result<()> {
    for model in DEFINITIONS {
        show::line(&show::entry(model.name, 15, model.about))?;
    }
    show::line("\nchoose one with --set model.name=NAME; docs/model.md has formulas and sources")
}

//! `waata presets`

use clap::builder::{PossibleValue, PossibleValuesParser};

use super::show;
use waata::Result;
use waata::config::presets;

/// Of `--preset`: the names, for the help, and for what was meant by a mistyped one.
pub fn parser() -> PossibleValuesParser {
    presets().iter().map(|preset| PossibleValue::new(preset.name).help(preset.about)).collect::<Vec<_>>().into()
}

pub fn run() -> Result<()> {
    for preset in presets() {
        show::line(&show::entry(preset.name, 17, preset.about))?;
    }
    show::line("\nchoose one with --preset NAME; data/presets has their files")
}

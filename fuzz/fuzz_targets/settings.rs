//! Settings as a run.toml, as a `--set` and as ranges of a search: what is accepted can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waata::config::{Base, Config};
use waata::experiment::Space;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(config) = Config::parse(text, "fuzz") {
        let again = Config::parse(&config.to_toml(), "again").expect("what was written can be read");
        assert_eq!(again.to_toml(), config.to_toml());
    }
    let _ = Config::resolve(Base::Defaults, &[text.to_string()]);
    if let Ok(space) = Space::of("waa-ta", Some((text, "fuzz"))) {
        for trial in 0..4 {
            space.sample(1, trial, 0);
        }
    }
});

//! The commit that the program was built from.
//!
//! A macro, not a build script: a build script belongs to the whole package, so each commit would compile the library
//! again. What the macro expands to names the file of git that changes with a commit, and only the program has it.

use std::path::Path;
use std::process::Command;

use proc_macro::TokenStream;

/// `Some("4e983de 2026-12-01")`, or `None` where there is no git or no repository.
#[proc_macro]
pub fn revision(_: TokenStream) -> TokenStream {
    let revision = git(&["log", "-1", "--format=%h %cs"]);
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]);
    // Reading the file makes it an input of this compilation.
    let watch = match log.filter(|log| Path::new(log).is_file()) {
        Some(log) => format!("const _: &[u8] = include_bytes!({log:?});"),
        None => String::new(),
    };
    let code = format!("{{ {watch} let revision: Option<&'static str> = {revision:?}; revision }}");
    code.parse().unwrap_or_default()
}

/// What git prints, without the line's end.
fn git(arguments: &[&str]) -> Option<String> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR")?;
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_string()).filter(|text| !text.is_empty())
}

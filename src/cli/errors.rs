//! How errors reach the user: one message on stderr, in words that do not need the source code.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

use super::show;
use waata::Error;
use waata::config::{self, Setting, nearest};

/// Prints an error of a command. The exit code is that of its kind.
pub fn report(error: &Error) -> ExitCode {
    let text = match error {
        Error::Io { path, source, .. } => format!("{error}{}", remedy(path.is_dir(), source.kind())),
        _ => error.to_string(),
    };
    eprintln!("waata: {}", plain(&text));
    ExitCode::from(error.exit_code())
}

/// Prints what clap says of the arguments: help and the version to stdout, errors to stderr.
pub fn usage(mut error: clap::Error, command: &clap::Command) -> ExitCode {
    if !error.use_stderr() {
        // Nobody reads on: no reason to fail.
        _ = error.print();
        return ExitCode::SUCCESS;
    }
    let tips = settings(&error, command);
    if !tips.is_empty() {
        let tips = tips.into_iter().map(Into::into).collect();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    let text = error.render();
    match std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        true => show::stderr(format_args!("{}", plain(text.ansi().to_string().trim_end()))),
        false => show::stderr(format_args!("{}", plain(text.to_string().trim_end()))),
    }
    ExitCode::from(2)
}

/// What to write where an unknown flag is the name of a setting: `--epochs 3` is `--set train.epochs=3`.
fn settings(error: &clap::Error, command: &clap::Command) -> Vec<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return vec![] };
    let mut arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let command = arguments.by_ref().find_map(|word| command.find_subcommand(word));
    if !command.is_some_and(|c| c.get_arguments().any(|argument| argument.get_long() == Some("set"))) {
        return vec![];
    }
    let word = flag.trim_start_matches('-').replace('-', "_");
    let last = |setting: &Setting| setting.key.rsplit('.').next().unwrap_or_default();
    let mut found: Vec<&Setting> = config::settings().filter(|s| s.key == word || last(s) == word).collect();
    // A flag that is written alike is likelier than a setting that is.
    if found.is_empty() && error.get(ContextKind::SuggestedArg).is_none() {
        let near = nearest(&word, config::settings().map(last));
        found.extend(config::settings().find(|s| Some(last(s)) == near));
    }
    let mut rest = arguments.skip_while(|argument| argument.split('=').next() != Some(flag));
    let value = match rest.next().as_deref().and_then(|argument| argument.split_once('=')) {
        Some((_, value)) => value.to_string(),
        None => rest.next().filter(|next| !next.starts_with("--")).unwrap_or("VALUE".into()),
    };
    found.iter().map(|s| format!("`{0}` is a setting: --set {0}={value}", s.key)).collect()
}

fn remedy(is_dir: bool, kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "\n  check the path, and the folder that you are in",
        ErrorKind::PermissionDenied => "\n  check who may read and write it",
        ErrorKind::StorageFull => "\n  free some space, or choose another disk",
        ErrorKind::IsADirectory => "\n  name a file",
        _ if is_dir => "\n  name a file, not a folder",
        _ => "",
    }
}

/// A message without what only programmers know: numbers of the operating system, and the words of the standard library.
fn plain(text: &str) -> String {
    const WORDS: &[(&str, &str)] = &[
        ("invalid digit found in string", "a whole number is needed"),
        ("cannot parse integer from empty string", "a whole number is needed"),
        ("invalid float literal", "a number is needed"),
        ("cannot parse float from empty string", "a number is needed"),
        ("number too large to fit in target type", "the number is too large"),
        ("number too small to fit in target type", "the number is too small"),
        ("stream did not contain valid UTF-8", "the file is not UTF-8 text"),
        ("failed to fill whole buffer", "the file ends too early"),
    ];
    let mut text = WORDS.iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to));
    while let Some(start) = text.find(" (os error ") {
        let end = text[start..].find(')').map_or(text.len(), |length| start + length + 1);
        text.replace_range(start..end, "");
    }
    text
}

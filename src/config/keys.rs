//! Settings as a tree of keys: merging, `--set`, and what to say when a key is not there.

use std::ops::Range;

use toml::{Table, Value};

use super::{Config, settings};
use crate::{Error, Result};

/// Every key there is, with its default.
pub fn defaults() -> Table {
    tree(&Config::default())
}

pub fn tree(config: &Config) -> Table {
    match Value::try_from(config) {
        Ok(Value::Table(table)) => table,
        other => unreachable!("settings are a table: {other:?}"),
    }
}

/// Puts the settings of a run.toml over `tree`.
pub fn merge_text(tree: &mut Table, text: &str, source: &str) -> Result<()> {
    let given: Table = text.parse().map_err(|error: toml::de::Error| {
        Error::config(source, error.message(), format!("near: {}", excerpt(text, error.span())))
    })?;
    merge(tree, given, "")
}

fn excerpt(text: &str, span: Option<Range<usize>>) -> String {
    let at = span.map_or(0, |s| s.start).min(text.len());
    let line = text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
    format!("line {line}: {}", text.lines().nth(line - 1).unwrap_or("").trim())
}

fn merge(tree: &mut Table, given: Table, prefix: &str) -> Result<()> {
    for (key, value) in given {
        let path = format!("{prefix}{key}");
        match (tree.get_mut(&key), value) {
            (None, value) => return Err(unknown(first_leaf(path, &value))),
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value, &format!("{path}."))?,
            (Some(Value::Table(_)), _) => {
                return Err(Error::config(path, "is a section, not a value", "write its keys one by one"));
            }
            (Some(place), value) => *place = value,
        }
    }
    Ok(())
}

/// The whole key of the first value under `path`.
fn first_leaf(path: String, value: &Value) -> String {
    match value.as_table().and_then(|inner| inner.iter().next()) {
        Some((key, value)) => first_leaf(format!("{path}.{key}"), value),
        None => path,
    }
}

pub fn set_all(tree: &mut Table, settings: &[impl AsRef<str>]) -> Result<()> {
    settings.iter().try_for_each(|setting| set(tree, setting.as_ref()))
}

/// `key=value` with a dotted key; the value is TOML, and a word that is no TOML is a string.
fn set(tree: &mut Table, setting: &str) -> Result<()> {
    let (path, text) = setting
        .split_once('=')
        .ok_or_else(|| Error::config("--set", format!("`{setting}` has no `=`"), "write --set train.lr=0.001"))?;
    let (path, text) = (path.trim(), text.trim());
    let value = text.parse().unwrap_or_else(|_| Value::String(text.into()));
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let nested = |value, key: &str| Value::Table(Table::from_iter([(key.to_string(), value)]));
    let value = rest.into_iter().flat_map(|rest| rest.rsplit('.')).fold(value, nested);
    merge(tree, Table::from_iter([(first.to_string(), value)]), "")
}

pub fn into_config(tree: Table) -> Result<Config> {
    let read = |tree: &Table| Value::Table(tree.clone()).try_into::<Config>();
    read(&tree).map_err(|error| {
        // The key whose value is refused on its own.
        for (section, value) in &tree {
            if !value.is_table() {
                let mut alone = defaults();
                alone.insert(section.clone(), value.clone());
                if let Err(error) = read(&alone) {
                    return Error::config(section, error.message().trim(), format!("it was given as {value}"));
                }
            }
            for (key, value) in value.as_table().into_iter().flatten() {
                let mut alone = defaults();
                if let Some(Value::Table(place)) = alone.get_mut(section) {
                    place.insert(key.clone(), value.clone());
                }
                if let Err(error) = read(&alone) {
                    let why = error.message().trim().to_string();
                    return Error::config(format!("{section}.{key}"), why, format!("it was given as {value}"));
                }
            }
        }
        Error::config("run.toml", error.message(), "see docs/settings.md")
    })
}

fn unknown(path: String) -> Error {
    let last = |key: &str| key.rsplit('.').next().map(str::to_string);
    let known = || settings().map(|setting| setting.key);
    let mut meant: Vec<&str> = known().filter(|key| last(key) == last(&path)).collect();
    if meant.is_empty() {
        meant.extend(nearest(&path, known()));
    }
    meant.sort_unstable();
    let remedy = match meant.is_empty() {
        false => format!("did you mean `{}`?", meant.join("` or `")),
        true => "`waata settings` and docs/settings.md list every key".to_string(),
    };
    Error::config(path, "there is no such setting", remedy)
}

/// The known name that `given` is most likely a misspelling of, if there is one.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = known.into_iter().map(|name| (strsim::levenshtein(name, given), name)).min();
    close.filter(|(distance, _)| *distance <= 1 + given.len() / 3).map(|(_, name)| name)
}

/// `Error::Config` for a name that is not among those known.
pub fn no_such(key: &str, what: &str, given: &str, known: &[&str]) -> Error {
    let meant = nearest(given, known.iter().copied()).map(|name| format!("did you mean `{name}`? "));
    let remedy = format!("{}{what}s: {}", meant.unwrap_or_default(), known.join(", "));
    Error::config(key, format!("there is no {what} `{given}`"), remedy)
}

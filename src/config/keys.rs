//! Settings as a tree of keys: merging, `--set`, and what to say when a key is not there.

use toml::{Table, Value};

use super::Config;
use crate::{Error, Result};

/// Every key there is, with its default.
pub fn defaults() -> Table {
    match Value::try_from(Config::default()) {
        Ok(Value::Table(table)) => table,
        other => unreachable!("the defaults are a table: {other:?}"),
    }
}

/// Puts the settings of a run.toml over `tree`.
pub fn merge_text(tree: &mut Table, text: &str, source: &str) -> Result<()> {
    let given: Table = text.parse().map_err(|error: toml::de::Error| {
        Error::config(source, error.message(), format!("near: {}", excerpt(text, error.span())))
    })?;
    merge(tree, given, "")
}

fn excerpt(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let at = span.map_or(0, |s| s.start).min(text.len());
    let line = text[..at].matches('\n').count() + 1;
    format!("line {line}: {}", text.lines().nth(line - 1).unwrap_or("").trim())
}

fn merge(tree: &mut Table, given: Table, prefix: &str) -> Result<()> {
    for (key, value) in given {
        let path = format!("{prefix}{key}");
        match (tree.get_mut(&key), value) {
            (None, value) => return Err(unknown(&first_leaf(path, &value))),
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

/// `key=value` with a dotted key; the value is TOML, and a word that is no TOML is a string.
pub fn set(tree: &mut Table, setting: &str) -> Result<()> {
    let (path, text) = setting.split_once('=').ok_or_else(|| {
        Error::config("--set", format!("`{setting}` has no `=`"), "write --set train.lr=0.001")
    })?;
    let (path, text) = (path.trim(), text.trim());
    let value = match format!("x = {text}").parse::<Table>() {
        Ok(mut table) => table.remove("x").unwrap_or_else(|| Value::String(text.into())),
        Err(_) => Value::String(text.into()),
    };
    let given =
        path.rsplit('.').fold(value, |inner, key| Value::Table(Table::from_iter([(key.to_string(), inner)])));
    match given {
        Value::Table(given) => merge(tree, given, ""),
        _ => Err(unknown(path)),
    }
}

pub fn into_config(tree: Table) -> Result<Config> {
    // One section after the other, so that the error can name its key.
    for (section, value) in &tree {
        let Value::Table(inner) = value else { continue };
        for (key, value) in inner {
            let mut alone = defaults();
            if let Some(Value::Table(place)) = alone.get_mut(section) {
                place.insert(key.clone(), value.clone());
            }
            if let Err(error) = Value::Table(alone).try_into::<Config>() {
                let why = error.message().trim().to_string();
                return Err(Error::config(
                    format!("{section}.{key}"),
                    why,
                    format!("it was given as {value}"),
                ));
            }
        }
    }
    Value::Table(tree)
        .try_into()
        .map_err(|error: toml::de::Error| Error::config("run.toml", error.message(), "see docs/settings.md"))
}

fn unknown(path: &str) -> Error {
    let mut known = vec![];
    paths(&defaults(), "", &mut known);
    let nearest = known.iter().min_by_key(|k| distance(k, path));
    let last = |p: &str| p.rsplit('.').next().unwrap_or(p).to_string();
    let same_name: Vec<&String> = known.iter().filter(|k| last(k) == last(path)).collect();
    let remedy = match (same_name.first(), nearest) {
        (Some(k), _) => format!("did you mean `{k}`?"),
        (None, Some(k)) if distance(k, path) <= 1 + path.len() / 3 => format!("did you mean `{k}`?"),
        _ => "docs/settings.md lists every key".to_string(),
    };
    Error::config(path, "there is no such setting", remedy)
}

fn paths(table: &Table, prefix: &str, out: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => paths(inner, &format!("{prefix}{key}."), out),
            _ => out.push(format!("{prefix}{key}")),
        }
    }
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn resolve(settings: &[&str]) -> Result<Config> {
        Config::resolve(Base::Defaults, &settings.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn set_takes_numbers_lists_and_words() {
        let c = resolve(&["train.lr=0.01", "model.layers=[8, 8]", "attention.mode=differentiated"]).unwrap();
        assert_eq!((c.train.lr, c.model.layers), (0.01, vec![8, 8]));
        assert_eq!(c.attention.mode, AttentionMode::Differentiated);
        // Whole numbers do where floats are wanted.
        assert_eq!(resolve(&["train.lr=1"]).unwrap().train.lr, 1.0);
    }

    #[test]
    fn unknown_and_impossible_settings_are_refused_with_a_remedy() {
        for (setting, part) in [
            ("train.epoch=3", "did you mean `train.epochs`"),
            ("lr=3", "did you mean `train.lr`"),
            ("trian.lr=3", "did you mean `train.lr`"),
            ("attention.mode=fast", "expected one of"),
            ("train.epochs=-1", "train.epochs"),
            ("train=3", "is a section"),
            ("train.lr", "has no `=`"),
            ("attention.edge_bias=recency", "attention.mode=differentiated"),
            ("eval.metric=ndcg@7", "eval.metric"),
            ("weighting.combine=best", "expected one of"),
            ("weighting.lr=-1", "weighting.lr"),
            ("weighting.dwa_temperature=0", "weighting.dwa_temperature"),
            ("weighting.gradnorm_alpha=-0.5", "weighting.gradnorm_alpha"),
            ("weighting.cagrad_c=1", "weighting.cagrad_c"),
        ] {
            let error = resolve(&[setting]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{setting}: {error}");
        }
    }

    #[test]
    fn every_preset_resolves() {
        for (name, _) in PRESETS {
            Config::resolve(Base::Preset(name.to_string()), &[]).unwrap();
        }
        assert_eq!(Config::resolve(Base::Preset("paper".into()), &[]).unwrap(), Config::default());
        let sample = include_str!("../../data/sample/run.toml");
        assert_eq!(sample, preset("tasks").unwrap(), "data/README.md says that the sample has this preset");
        assert!(preset("papers").unwrap_err().to_string().contains("presets: paper"));
    }

    #[test]
    fn what_is_saved_is_what_was_set() {
        let c = resolve(&["train.lr=0.003", "head.pairs=2", "seed=7"]).unwrap();
        assert_eq!(Config::parse(&c.to_toml(), "saved").unwrap(), c);
    }
}

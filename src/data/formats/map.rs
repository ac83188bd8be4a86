//! The map file of the table format: TOML that says which file and column is what.

use super::lists::Column;
use super::text::Dialect;
use crate::Split;
use base::{Error, Result};
use regex::Regex;
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Map {
    pub name: Option<String>,
    pub interactions: InteractionsMap,
    pub triples: Option<TriplesMap>,
    pub entities: Option<NamesMap>,
    pub relations: Option<NamesMap>,
    pub attributes: Option<AttributesMap>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InteractionsMap {
    files: Files,
    delimiter: Option<String>,
    header: Option<bool>,
    quote: Option<bool>,
    pub ids: Ids,
    pub learner: Column,
    pub course: Column,
    /// The number of courses, where some have no enrolment; only with integer ids.
    pub courses: Option<u32>,
    pub time: Option<Column>,
    #[serde(default)]
    pub time_missing: MissingTime,
    /// A column with train, valid or test.
    pub split: Option<Column>,
    /// Which rows are enrolments; without it all are.
    #[serde(rename = "where")]
    only: Option<String>,
    #[serde(default)]
    pub labels: Vec<LabelMap>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Files {
    One(PathBuf),
    Several(Vec<PathBuf>),
    PerSplit(PerSplit),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PerSplit {
    train: PathBuf,
    valid: Option<PathBuf>,
    test: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ids {
    /// Integers from 0: courses and entities keep theirs.
    Integer,
    /// Any text: numbered in the order of first appearance.
    Text,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MissingTime {
    #[default]
    Error,
    /// Rows without time come before the learner's others.
    First,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum LabelMap {
    /// A column of 0 and 1 of the same name.
    Column(String),
    Rule(LabelRule),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelRule {
    pub name: String,
    /// A column of 0 and 1, or a comparison such as "hours >= 2.5".
    pub when: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TriplesMap {
    pub file: PathBuf,
    delimiter: Option<String>,
    header: Option<bool>,
    quote: Option<bool>,
    pub head: Column,
    pub relation: Column,
    pub tail: Column,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamesMap {
    pub file: PathBuf,
    delimiter: Option<String>,
    header: Option<bool>,
    quote: Option<bool>,
    pub id: Column,
    pub name: Column,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttributesMap {
    /// Matched against the name of each course; every named group becomes a relation to an entity.
    pattern: String,
}

/// A condition on a row.
#[derive(Debug)]
pub(super) struct Condition {
    pub column: Column,
    /// None: the column holds 0 and 1 itself.
    pub test: Option<(Comparison, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Comparison {
    AtLeast,
    AtMost,
    Equal,
    NotEqual,
    Above,
    Below,
}

impl Comparison {
    const SYMBOLS: [(&str, Comparison); 6] = [
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        (">", Comparison::Above),
        ("<", Comparison::Below),
    ];

    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Comparison::AtLeast => value >= limit,
            Comparison::AtMost => value <= limit,
            Comparison::Equal => value == limit,
            Comparison::NotEqual => value != limit,
            Comparison::Above => value > limit,
            Comparison::Below => value < limit,
        }
    }
}

impl Map {
    /// Reads a map file. Errors: `Error::Data` with the line for anything that is not as documented, unknown keys
    /// among it.
    pub fn read(path: &Path) -> Result<Map> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "reading"))?;
        let map: Map = toml::from_str(&text).map_err(|e| {
            let line = e.span().map(|s| text[..s.start].matches('\n').count() as u64 + 1);
            Error::data(path, line, e.message(), "docs/data.md lists the keys of a map")
        })?;
        if map.interactions.ids == Ids::Text {
            for (key, there) in [
                ("[entities]", map.entities.is_some()),
                ("[relations]", map.relations.is_some()),
                ("courses", map.interactions.courses.is_some()),
            ] {
                if there {
                    let why = format!("{key} numbers ids, but ids = \"text\" has none");
                    return Err(Error::data(path, None, why, "leave it out, or set ids = \"integer\""));
                }
            }
        }
        let per_split = matches!(map.interactions.files, Files::PerSplit(_));
        if per_split && map.interactions.split.is_some() {
            let why = "both files and a column say what is train, valid and test";
            return Err(Error::data(path, None, why, "leave out one of them"));
        }
        Ok(map)
    }
}

impl InteractionsMap {
    /// The files in the order of reading, each with the split of its rows if the map gives one.
    pub fn files(&self) -> Vec<(&Path, Option<Split>)> {
        match &self.files {
            Files::One(file) => vec![(file, None)],
            Files::Several(files) => files.iter().map(|f| (f.as_path(), None)).collect(),
            Files::PerSplit(PerSplit { train, valid, test }) => {
                let all = [
                    (Some(train), Split::Train),
                    (valid.as_ref(), Split::Valid),
                    (test.as_ref(), Split::Test),
                ];
                all.into_iter().filter_map(|(file, split)| Some((file?.as_path(), Some(split)))).collect()
            }
        }
    }

    /// The condition on enrolments, if there is one.
    pub fn only(&self, map: &Path, header: bool) -> Result<Option<Condition>> {
        self.only.as_ref().map(|when| Condition::read(when, "where", map, header)).transpose()
    }

    pub fn has_split(&self) -> bool {
        self.split.is_some() || matches!(self.files, Files::PerSplit(_))
    }

    pub fn dialect(&self, map: &Path, file: &Path) -> Result<Dialect> {
        dialect(map, file, &self.delimiter, self.header, self.quote)
    }
}

impl TriplesMap {
    pub fn dialect(&self, map: &Path) -> Result<Dialect> {
        dialect(map, &self.file, &self.delimiter, self.header, self.quote)
    }
}

impl NamesMap {
    pub fn dialect(&self, map: &Path) -> Result<Dialect> {
        dialect(map, &self.file, &self.delimiter, self.header, self.quote)
    }
}

impl AttributesMap {
    /// The pattern and the names of its groups. Errors: `Error::Data` for a pattern that is none or names no group.
    pub fn pattern(&self, map: &Path) -> Result<(Regex, Vec<String>)> {
        let bad = |why: String| Error::data(map, None, why, "see [attributes] in docs/data.md");
        let regex = Regex::new(&self.pattern).map_err(|e| bad(format!("pattern: {e}")))?;
        let groups: Vec<String> = regex.capture_names().flatten().map(String::from).collect();
        match groups.is_empty() {
            true => Err(bad("pattern: no group has a name, as in (?<term>...)".into())),
            false => Ok((regex, groups)),
        }
    }
}

impl LabelMap {
    pub fn name(&self) -> &str {
        match self {
            LabelMap::Column(name) | LabelMap::Rule(LabelRule { name, .. }) => name,
        }
    }

    /// When a row has the label. `header` says whether columns have names or positions.
    pub fn condition(&self, map: &Path, header: bool) -> Result<Condition> {
        let when = match self {
            LabelMap::Column(name) => name,
            LabelMap::Rule(rule) => &rule.when,
        };
        Condition::read(when, &format!("label '{}'", self.name()), map, header)
    }
}

impl Condition {
    /// `what` has the condition `when`. Errors: `Error::Data` for text that is none.
    fn read(when: &str, what: &str, map: &Path, header: bool) -> Result<Condition> {
        let bad = |why: String| {
            let remedy = "write a column of 0 and 1, or a comparison such as \"hours >= 2.5\"";
            Error::data(map, None, format!("{what}: {why}"), remedy)
        };
        let split = Comparison::SYMBOLS.iter().find_map(|(s, c)| when.split_once(s).map(|(l, r)| (l, *c, r)));
        let (column, test) = match split {
            None => (when.trim(), None),
            Some((column, comparison, limit)) => {
                let limit: f64 =
                    limit.trim().parse().map_err(|_| bad(format!("'{}' is not a number", limit.trim())))?;
                if limit.is_nan() {
                    return Err(bad("nothing compares with NaN".into()));
                }
                (column.trim(), Some((comparison, limit)))
            }
        };
        let column = match header {
            true => Column::Name(column.into()),
            false => {
                let position =
                    column.parse().map_err(|_| bad(format!("'{column}' is not the position of a column")))?;
                Column::Position(position)
            }
        };
        Ok(Condition { column, test })
    }
}

/// Delimiter by the file's ending unless given; quotes are usual except between tabs and blanks.
fn dialect(
    map: &Path,
    file: &Path,
    delimiter: &Option<String>,
    header: Option<bool>,
    quote: Option<bool>,
) -> Result<Dialect> {
    let delimiter = match delimiter.as_deref() {
        None if file.extension().is_some_and(|e| e == "csv") => b',',
        None | Some("tab") => b'\t',
        Some(other) => match other.as_bytes() {
            [one] if one.is_ascii() && !b"\"\r\n".contains(one) => *one,
            _ => {
                let why = format!("delimiter '{other}' is not one character");
                return Err(Error::data(map, None, why, "write \",\", \";\", \" \" or \"tab\""));
            }
        },
    };
    Ok(Dialect {
        delimiter,
        header: header.unwrap_or(true),
        quote: quote.unwrap_or(!b"\t ".contains(&delimiter)),
    })
}

//! The map of a folder of tables: TOML that says which file and column is what.

use crate::Split;
use crate::formats::locate;
use crate::formats::shared::csv_table::{Column, CsvTable, Dialect};
use crate::formats::shared::values::{Place, lossy};
use base::{Error, Result};
use regex_lite::Regex;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A map that comes with this program.
#[derive(Clone, Copy, Debug)]
pub struct ShippedMap {
    /// That of its file in data/maps/.
    pub name: &'static str,
    pub text: &'static str,
}

/// The maps in data/maps/, which `--map` takes by name.
pub fn maps() -> impl Iterator<Item = ShippedMap> {
    macro_rules! shipped {
        ($($name:literal),*) => {
            [$(ShippedMap { name: $name, text: include_str!(concat!("../../../../data/maps/", $name, ".toml")) }),*]
        };
    }
    shipped!["lastfm-hetrec-kgcn", "oulad-derived", "xuetangx-activity"].into_iter()
}

impl ShippedMap {
    /// Whether a folder has the files of interactions, with the columns of learners and courses.
    pub fn fits(&self, folder: &Path) -> bool {
        let fits = |map: InteractionsMap| {
            map.files().into_iter().all(|(file, _)| {
                let table = locate(folder, file).map(|path| CsvTable::open(&path, map.dialect(file)));
                matches!(table, Some(Ok(table)) if [&map.learner, &map.course].iter().all(|c| table.find(c).is_ok()))
            })
        };
        Map::parse(self.text, self.name.into()).is_ok_and(|map| fits(map.interactions))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    pub name: Option<String>,
    pub interactions: InteractionsMap,
    pub triples: Option<TriplesMap>,
    pub learners: Option<NamesMap>,
    pub courses: Option<NamesMap>,
    pub entities: Option<NamesMap>,
    pub relations: Option<NamesMap>,
    pub attributes: Option<Attributes>,
    /// Where the map is from, for complaints.
    #[serde(skip)]
    pub path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InteractionsMap {
    pub files: Files,
    pub delimiter: Option<Delimiter>,
    pub header: Option<bool>,
    pub quote: Option<bool>,
    pub ids: IdKind,
    pub learner: Column,
    pub course: Column,
    /// The number of courses, where some have no enrolment; only with integer ids.
    pub courses: Option<usize>,
    pub time: Option<Column>,
    #[serde(default)]
    pub time_missing: MissingTime,
    /// A column with train, valid or test.
    pub split: Option<Column>,
    /// Which rows are enrolments; without it all are.
    #[serde(rename = "where")]
    pub only: Option<Condition>,
    #[serde(default)]
    pub labels: Vec<Label>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Files {
    One(String),
    Several(Vec<String>),
    PerSplit(PerSplit),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerSplit {
    train: String,
    valid: Option<String>,
    test: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdKind {
    /// Integers from 0: courses and entities keep theirs.
    Integer,
    /// Any text: numbered in the order of first appearance.
    Text,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingTime {
    #[default]
    Error,
    /// Rows without time come before the learner's others.
    First,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriplesMap {
    pub file: String,
    pub delimiter: Option<Delimiter>,
    pub header: Option<bool>,
    pub quote: Option<bool>,
    pub head: Column,
    pub relation: Column,
    pub tail: Column,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamesMap {
    pub file: String,
    pub delimiter: Option<Delimiter>,
    pub header: Option<bool>,
    pub quote: Option<bool>,
    pub id: Column,
    pub name: Column,
}

impl Map {
    /// Reads a map file or, where there is none, the shipped map of this name. Errors: `Error::Config` where there is
    /// neither, `Error::Data` with the line for anything that is not as documented, unknown keys among it.
    pub fn load(map: &Path) -> Result<Map> {
        if map.is_file() {
            let bytes = std::fs::read(map).map_err(Error::io(map, "reading"))?;
            let text = String::from_utf8(bytes).map_err(|e| {
                let line = e.as_bytes()[..e.utf8_error().valid_up_to()].split(|&b| b == b'\n').count();
                Error::data(map, Some(line as u64), "the line is not valid UTF-8", "save the map as UTF-8")
            })?;
            return Map::parse(&text, map.into());
        }
        match maps().find(|shipped| Path::new(shipped.name) == map) {
            Some(shipped) => Map::parse(shipped.text, map.into()),
            None => {
                let names: Vec<_> = maps().map(|shipped| shipped.name).collect();
                let why = format!("there is no file {}, and no map of this name ships", map.display());
                Err(Error::config("--map", why, format!("name a file, or one of {}", names.join(", "))))
            }
        }
    }

    pub fn parse(text: &str, path: PathBuf) -> Result<Map> {
        let mut map: Map = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|s| text[..s.start].matches('\n').count() as u64 + 1);
            Error::data(&path, line, e.message(), "docs/data.md lists the keys of a map")
        })?;
        map.path = path;
        let numbered = [
            ("[learners]", map.learners.is_some()),
            ("[courses]", map.courses.is_some()),
            ("[entities]", map.entities.is_some()),
            ("[relations]", map.relations.is_some()),
            ("courses", map.interactions.courses.is_some()),
        ];
        let text_ids = map.interactions.ids == IdKind::Text;
        if let Some((key, _)) = numbered.into_iter().find(|(_, there)| text_ids && *there) {
            let why = format!("{key} numbers ids, but ids = \"text\" has none");
            return Err(Error::data(map.path, None, why, "leave it out, or set ids = \"integer\""));
        }
        if matches!(map.interactions.files, Files::PerSplit(_)) && map.interactions.split.is_some() {
            let why = "both files and a column say what is train, valid and test";
            return Err(Error::data(map.path, None, why, "leave out one of them"));
        }
        let labels = &map.interactions.labels;
        if let Some(label) = labels.iter().enumerate().find_map(|(i, l)| labels[..i].iter().find(|o| o.name == l.name))
        {
            let why = format!("two labels have the name '{}'", label.name);
            return Err(Error::data(map.path, None, why, "give every label its own name"));
        }
        Ok(map)
    }
}

impl InteractionsMap {
    /// The files in the order of reading, each with the split of its rows if the map gives one.
    pub fn files(&self) -> Vec<(&str, Option<Split>)> {
        match &self.files {
            Files::One(file) => vec![(file, None)],
            Files::Several(files) => files.iter().map(|f| (f.as_str(), None)).collect(),
            Files::PerSplit(PerSplit { train, valid, test }) => {
                let all = [(Some(train), Split::Train), (valid.as_ref(), Split::Valid), (test.as_ref(), Split::Test)];
                all.into_iter().filter_map(|(file, split)| Some((file?.as_str(), Some(split)))).collect()
            }
        }
    }

    pub fn has_split(&self) -> bool {
        self.split.is_some() || matches!(self.files, Files::PerSplit(_))
    }

    pub fn dialect(&self, file: &str) -> Dialect {
        dialect(file, self.delimiter, self.header, self.quote)
    }
}

impl TriplesMap {
    pub fn dialect(&self) -> Dialect {
        dialect(&self.file, self.delimiter, self.header, self.quote)
    }
}

impl NamesMap {
    pub fn dialect(&self) -> Dialect {
        dialect(&self.file, self.delimiter, self.header, self.quote)
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Delimiter(u8);

impl TryFrom<String> for Delimiter {
    type Error = String;

    fn try_from(text: String) -> Result<Delimiter, String> {
        match text.as_bytes() {
            b"tab" => Ok(Delimiter(b'\t')),
            [one] if one.is_ascii() && !b"\"\r\n".contains(one) => Ok(Delimiter(*one)),
            _ => Err(format!("the delimiter '{text}' is neither \"tab\" nor one character such as \",\"")),
        }
    }
}

/// Delimiter by the file's ending unless given; quotes are usual except between tabs and blanks.
fn dialect(file: &str, delimiter: Option<Delimiter>, header: Option<bool>, quote: Option<bool>) -> Dialect {
    let delimiter = delimiter.map_or(if file.ends_with(".csv") { b',' } else { b'\t' }, |d| d.0);
    let quote = quote.unwrap_or(!b"\t ".contains(&delimiter));
    Dialect { delimiter, header: header.unwrap_or(true), quote }
}

/// What the names of the courses say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Every named group becomes a relation to an entity.
    pub pattern: Pattern,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        let regex = Regex::new(&text).map_err(|e| format!("pattern: {e}"))?;
        match regex.capture_names().flatten().next() {
            None => Err("pattern: no group has a name, as in (?<term>...)".into()),
            Some(_) => Ok(Pattern(regex)),
        }
    }
}

impl Pattern {
    pub fn groups(&self) -> Vec<&str> {
        self.0.capture_names().flatten().collect()
    }

    /// What each group matches, in the order of [`Pattern::groups`]; None where the pattern does not match.
    pub fn values(&self, name: &str) -> Option<Vec<String>> {
        let found = self.0.captures(name)?;
        let value = |group| found.name(group).map_or(String::new(), |value| value.as_str().into());
        Some(self.groups().into_iter().map(value).collect())
    }
}

#[derive(Deserialize)]
#[serde(try_from = "LabelText")]
pub struct Label {
    pub name: String,
    pub when: Condition,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LabelText {
    /// A column of 0 and 1 of the same name.
    Column(String),
    Rule(LabelRule),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelRule {
    name: String,
    when: String,
}

impl TryFrom<LabelText> for Label {
    type Error = String;

    fn try_from(text: LabelText) -> Result<Label, String> {
        let (name, when) = match text {
            LabelText::Column(name) => (name.clone(), name),
            LabelText::Rule(LabelRule { name, when }) => (name, when),
        };
        let when = when.try_into().map_err(|why| format!("label '{name}': {why}"))?;
        Ok(Label { name, when })
    }
}

/// A condition on a row: a column of 0 and 1, or a comparison such as "hours >= 2.5".
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Condition {
    column: Column,
    /// None: the column holds 0 and 1 itself.
    test: Option<(Comparison, f64)>,
}

type Comparison = fn(&f64, &f64) -> bool;

const COMPARISONS: [(&str, Comparison); 6] =
    [(">=", f64::ge), ("<=", f64::le), ("==", f64::eq), ("!=", f64::ne), (">", f64::gt), ("<", f64::lt)];

impl TryFrom<String> for Condition {
    type Error = String;

    fn try_from(text: String) -> Result<Condition, String> {
        let split = COMPARISONS.iter().find_map(|(s, c)| text.split_once(s).map(|(l, r)| (l, *c, r.trim())));
        let Some((column, comparison, limit)) = split else { return Ok(Condition::column(text.trim())) };
        match limit.parse::<f64>() {
            Ok(limit) if !limit.is_nan() => {
                Ok(Condition { column: column.trim().into(), test: Some((comparison, limit)) })
            }
            _ => Err(format!(
                "'{limit}' is not a number: write a column of 0 and 1, or a comparison such as \"hours >= 2.5\""
            )),
        }
    }
}

impl Condition {
    /// A column of 0 and 1.
    pub fn column(name: &str) -> Condition {
        Condition { column: name.into(), test: None }
    }

    /// Where the table has the column.
    pub fn find(&self, table: &CsvTable) -> Result<usize> {
        table.find(&self.column)
    }

    /// Whether the current row, with the column at `place`, is as the condition of `what` says.
    pub fn holds(&self, table: &CsvTable, place: usize, what: &str) -> Result<u8> {
        let Some((holds, limit)) = self.test else { return table.label(place, what) };
        match table.text(place)?.parse::<f64>() {
            Ok(value) if !value.is_nan() => Ok(holds(&value, &limit) as u8),
            _ => {
                let why = format!("{what} compares '{}', which is not a number", lossy(table.field(place)));
                Err(table.fail(why, "correct the value, or choose another column in the map"))
            }
        }
    }
}

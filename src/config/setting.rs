//! What a setting is: its key, type, default, range and meaning, declared once, in `sections.rs`.

use serde::de::value::Error as NoWord;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use toml::Value;

use super::{Config, keys};
use crate::{Error, Result};

/// Which values a number may have, or each number of a list. No setting may be NaN or infinite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    low: f64,
    high: f64,
    /// Whether the ends are left out.
    open: (bool, bool),
    not_empty: bool,
    /// What the checks of several settings together say about this one.
    note: &'static str,
}

pub(super) const fn any() -> Range {
    Range { low: f64::NEG_INFINITY, high: f64::INFINITY, open: (false, false), not_empty: false, note: "" }
}

pub(super) const fn at_least(low: f64) -> Range {
    Range { low, ..any() }
}

pub(super) const fn above(low: f64) -> Range {
    Range { low, open: (true, false), ..any() }
}

pub(super) const fn within(low: f64, high: f64) -> Range {
    Range { low, high, ..any() }
}

/// `low` to below `high`.
pub(super) const fn below(low: f64, high: f64) -> Range {
    Range { low, high, open: (false, true), ..any() }
}

impl Range {
    pub(super) const fn not_empty(self) -> Range {
        Range { not_empty: true, ..self }
    }

    pub(super) const fn note(self, note: &'static str) -> Range {
        Range { note, ..self }
    }

    fn contains(&self, x: f64) -> bool {
        let (low, high) = (if self.open.0 { x > self.low } else { x >= self.low }, self.high);
        x.is_finite() && low && if self.open.1 { x < high } else { x <= high }
    }

    /// As in "must be at least 1"; empty where any finite number will do.
    fn text(&self) -> String {
        match (self.low.is_finite(), self.high.is_finite()) {
            (true, true) if self.open.1 => format!("{} to below {}", self.low, self.high),
            (true, true) => format!("{} to {}", self.low, self.high),
            (true, false) if self.open.0 => format!("above {}", self.low),
            (true, false) => format!("at least {}", self.low),
            (false, _) => String::new(),
        }
    }
}

/// A key of run.toml.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// With its section, as in `train.lr`.
    pub key: &'static str,
    pub(super) rust_type: &'static str,
    pub(super) words: fn() -> &'static [&'static str],
    pub(super) range: Range,
    pub(super) meaning: &'static str,
}

impl Setting {
    /// What the setting decides.
    pub fn meaning(&self) -> &'static str {
        self.meaning.trim()
    }

    /// The type of its value, as in `integer` or `list of numbers`.
    pub fn value_type(&self) -> &'static str {
        match self.rust_type {
            "bool" => "boolean",
            "u64" | "usize" => "integer",
            "f32" | "f64" => "number",
            "Vec<usize>" => "list of integers",
            "Vec<f64>" => "list of numbers",
            "Vec<String>" => "list of strings",
            _ => "string",
        }
    }

    /// Its value where nothing sets it, as TOML.
    pub fn default(&self) -> String {
        match lookup(&keys::defaults(), self.key) {
            // A float of 32 bits has digits in 64 that nobody wrote.
            Some(Value::Float(x)) if self.rust_type == "f32" => format!("{:?}", *x as f32),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// The words of a choice; empty for other settings.
    pub fn choices(&self) -> &'static [&'static str] {
        (self.words)()
    }

    /// Which values are accepted, in words.
    pub fn range(&self) -> String {
        let (text, list) = (self.range.text(), self.rust_type.starts_with("Vec"));
        let own = match self.value_type() {
            "boolean" => "`true`, `false`".into(),
            "string" => self.choices().iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            "integer" if text.is_empty() => "at least 0".into(),
            "number" if text.is_empty() => "any finite number".into(),
            _ if list && !text.is_empty() => format!("each {text}"),
            _ => text,
        };
        let parts = [if self.range.not_empty { "not empty" } else { "" }, &own, self.range.note];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }

    fn check(&self, value: &Value) -> Result<()> {
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let number = |value: &Value| value.as_float().or(value.as_integer().map(|x| x as f64));
        let why = match list.iter().filter_map(number).find(|&x| !self.range.contains(x)) {
            _ if self.range.not_empty && list.is_empty() => "must not be empty".to_string(),
            Some(x) if x.is_finite() => format!("must be {}, and is {x}", self.range.text()),
            Some(x) => format!("must be a finite number, and is {x}"),
            None => return Ok(()),
        };
        Err(Error::config(self.key, why, format!("the default is {}: {}", self.default(), self.meaning())))
    }
}

/// Fails, naming the key, where a number of `config` lies outside its range.
pub(super) fn check(config: &Config) -> Result<()> {
    let tree = keys::tree(config);
    super::settings().try_for_each(|setting| lookup(&tree, setting.key).map_or(Ok(()), |v| setting.check(v)))
}

fn lookup<'a>(tree: &'a toml::Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, key)) => lookup(tree.get(section)?.as_table()?, key),
        None => tree.get(key),
    }
}

/// The words that an enumeration is read from; none for other types.
pub(super) fn words<'de, T: serde::Deserialize<'de>>() -> &'static [&'static str] {
    struct Words<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Words<'_> {
        type Error = NoWord;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, NoWord> {
            Err(NoWord::custom("no enumeration"))
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            variants: &'static [&'static str],
            visitor: V,
        ) -> std::result::Result<V::Value, NoWord> {
            *self.0 = variants;
            self.deserialize_any(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }

    let mut words: &'static [&'static str] = &[];
    // Nothing is read: what counts is what was asked for.
    let _ = T::deserialize(Words(&mut words));
    words
}

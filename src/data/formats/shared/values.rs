//! Values out of lines and fields: ids, labels, JSON; and complaints about them.

use super::time::{TimeKind, parse_time};
use base::{Error, Result};
use serde::Deserialize;

/// The largest id: 2^32 - 1 itself stays free as a mark.
const MAX_ID: u32 = u32::MAX - 1;

pub const TRUNCATED: &str = "the file may have been cut off: copy it again, or complete or delete this line";

/// A line or row of a file, for complaints about what it holds.
pub trait Place {
    /// An error at this place.
    fn fail(&self, why: impl Into<String>, remedy: impl Into<String>) -> Error;

    /// A decimal integer from 0 to 2^32 - 2. `what` names the id in the complaint.
    fn id(&self, field: &[u8], what: &str) -> Result<u32> {
        let digits = field.strip_prefix(b"-").unwrap_or(field);
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let value = digits.iter().fold(0u64, |v, b| (v * 10 + b.wrapping_sub(b'0') as u64).min(1 << 40));
        let is_positive = digits.len() == field.len();
        if is_number && is_positive && value <= MAX_ID as u64 {
            return Ok(value as u32);
        }
        let shown = lossy(field);
        let (why, remedy) = if field.is_empty() {
            (format!("the {what} id is missing"), TRUNCATED)
        } else if !is_number {
            let remedy = "write ids as integers from 0, or read text ids with --format table --map";
            (format!("the {what} id '{shown}' is not a number"), remedy)
        } else if !is_positive {
            let remedy = "number ids from 0, without gaps where possible";
            (format!("the {what} id '{shown}' is negative"), remedy)
        } else {
            (format!("the {what} id '{shown}' is larger than {MAX_ID}"), "number ids from 0, without gaps")
        };
        Err(self.fail(why, remedy))
    }

    /// `what` names the text in the complaint.
    fn utf8<'a>(&self, field: &'a [u8], what: &str) -> Result<&'a str> {
        std::str::from_utf8(field).map_err(|_| {
            let remedy = "convert the file to UTF-8, for instance with iconv";
            self.fail(format!("{what} is not valid UTF-8"), remedy)
        })
    }
}

/// Text of a complaint: bounded, and printable whatever the bytes are.
pub fn lossy(field: impl AsRef<[u8]>) -> String {
    let field = field.as_ref();
    let text: String = String::from_utf8_lossy(&field[..field.len().min(60)]).escape_debug().collect();
    if field.len() > 60 { text + "..." } else { text }
}

/// A share as text, such as "0.1 %".
pub fn percent(share: f64) -> String {
    // Rounded because 100 * 0.001 has more digits than anybody wrote.
    format!("{} %", (share * 1e8).round() / 1e6)
}

/// One JSON document. Err: why it is none, or not the expected one.
pub fn json<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line)
        .map_err(|e| format!("not the expected JSON: {}", e.to_string().replace(" at line 1 column ", ", byte ")))
}

/// What `parse` makes of a line or, where that is malformed, of the line with null for every NaN and Infinity outside its
/// strings: Python writes them, although JSON has neither.
pub fn with_nulls<T>(line: &[u8], parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, String> {
    parse(line).or_else(|why| match without_nan(line) {
        Some(repaired) => parse(&repaired),
        None => Err(why),
    })
}

/// None where the line has no NaN, or is no JSON object.
fn without_nan(line: &[u8]) -> Option<Vec<u8>> {
    const NONE: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    if !line.starts_with(b"{") {
        return None;
    }
    let mut out = Vec::with_capacity(line.len());
    let (mut at, mut quoted, mut changed) = (0, false, false);
    while let Some(&byte) = line.get(at) {
        if !quoted && let Some(word) = NONE.iter().find(|word| line[at..].starts_with(word)) {
            out.extend_from_slice(b"null");
            at += word.len();
            changed = true;
            continue;
        }
        if byte == b'"' {
            quoted = !quoted;
        }
        // What a backslash escapes in a string does not end it.
        let taken = if quoted && byte == b'\\' { 2 } else { 1 };
        out.extend(line[at..].iter().take(taken));
        at += taken;
    }
    changed.then_some(out)
}

/// The two columns of a line, separated by a tab. Err: why they cannot be used.
pub fn pair(line: &[u8]) -> Result<[&str; 2], String> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not valid UTF-8".to_string())?;
    let mut columns = text.split('\t').map(str::trim);
    match (columns.next(), columns.next(), columns.next()) {
        (Some(a), Some(b), None) if !a.is_empty() && !b.is_empty() => Ok([a, b]),
        _ => Err(format!("'{}' is not two columns separated by a tab", lossy(line))),
    }
}

/// The number of an id such as "U_24" with the prefix "U_". None for any other text.
pub fn number(id: &str, prefix: &str) -> Option<u64> {
    let digits = id.strip_prefix(prefix)?;
    let plain = (1..=18).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// [`number`], or why the id cannot be used.
pub fn require_number(id: &str, prefix: &str) -> Result<u64, String> {
    number(id, prefix).ok_or_else(|| format!("the id '{}' is not {prefix} and a number", lossy(id)))
}

/// An id that begins with a prefix. Err: why it does not.
pub fn require_prefix<'a>(id: &'a str, prefix: &str) -> Result<&'a str, String> {
    match id.strip_prefix(prefix) {
        Some(rest) if !rest.is_empty() => Ok(id),
        _ => Err(format!("the id '{}' does not begin with {prefix}", lossy(id))),
    }
}

/// The text of a field that must not be empty. Err: why it cannot be used.
pub fn require_text<'a>(text: &'a str, column: &str) -> Result<&'a str, String> {
    match text {
        "" => Err(format!("{column} is empty")),
        _ if text.contains('\u{FFFD}') => Err(format!("{column} is not valid UTF-8")),
        _ => Ok(text),
    }
}

/// A label, 0 or 1. Err: why it is none.
pub fn label(text: &str, column: &str) -> Result<u8, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        other => Err(format!("{column} is '{}', neither 0 nor 1", lossy(other))),
    }
}

/// A date in seconds since 1970, as [`parse_time`] reads it.
pub fn date(text: &str) -> Option<f64> {
    parse_time(text).filter(|(_, kind)| *kind == TimeKind::Date).map(|(seconds, _)| seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_columns() {
        assert_eq!((number("U_24", "U_"), number("U_024", "U_")), (Some(24), Some(24)));
        for bad in ["U_", "24", "V_24", "U_2x", "U_-2", "U_1234567890123456789", "U_٣"] {
            assert_eq!(number(bad, "U_"), None, "{bad}");
        }
        assert_eq!(pair(b"K_a b_c\tC_1\r"), Ok(["K_a b_c", "C_1"]));
        for bad in [&b"a"[..], b"a\t", b"\tb", b"a\tb\tc", b"\xff\tb", b""] {
            assert!(pair(bad).is_err(), "{bad:?}");
        }
        assert_eq!([percent(0.001), percent(0.5), percent(0.0)], ["0.1 %", "50 %", "0 %"]);
    }

    #[test]
    fn nan_is_null_outside_strings() {
        let repaired = |line: &str| without_nan(line.as_bytes()).map(|l| String::from_utf8(l).unwrap());
        assert_eq!(
            repaired(r#"{"a":[NaN,-Infinity, Infinity],"b":"NaN \" NaN","c":NaN}"#).unwrap(),
            r#"{"a":[null,null, null],"b":"NaN \" NaN","c":null}"#
        );
        for same in [r#"{"a":"NaN"}"#, "NaN", "", r#"{"a":"\"#] {
            assert_eq!(repaired(same), None, "{same}");
        }
    }
}

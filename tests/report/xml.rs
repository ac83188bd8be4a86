//! A strict reader of the markup that the report writes: elements, attributes, text, four entities, and the two
//! elements of HTML without an end that it uses.

use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Element {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    /// Of the element and everything in it.
    pub text: String,
}

/// Every element in the order of its start. Fails where the text is not well-formed.
pub fn parse(text: &str) -> Result<Vec<Element>, String> {
    let mut rest = text.strip_prefix("<!DOCTYPE html>").unwrap_or(text).trim();
    let (mut elements, mut open): (Vec<Element>, Vec<usize>) = (vec![], vec![]);
    let at = |rest: &str| rest.chars().take(60).collect::<String>();
    while !rest.is_empty() {
        let Some(tag) = rest.strip_prefix('<') else {
            let end = rest.find('<').unwrap_or(rest.len());
            if open.is_empty() {
                return Err(format!("text outside the root: {}", at(rest)));
            }
            let said = unescape(&rest[..end])?;
            open.iter().for_each(|&i| elements[i].text.push_str(&said));
            rest = &rest[end..];
            continue;
        };
        if open.is_empty() && !elements.is_empty() {
            return Err(format!("a second root: {}", at(rest)));
        }
        let end = close(tag).ok_or_else(|| format!("a tag without end: {}", at(rest)))?;
        let inside = &tag[..end];
        rest = &tag[end + 1..];
        if let Some(name) = inside.strip_prefix('/') {
            let Some(i) = open.pop() else { return Err(format!("</{name}> closes nothing")) };
            if elements[i].name != name {
                return Err(format!("</{name}> closes <{}>", elements[i].name));
            }
            continue;
        }
        let element = element(inside)?;
        let alone = ["meta", "link"].contains(&element.name.as_str());
        elements.push(element);
        if !alone {
            open.push(elements.len() - 1);
        }
    }
    match open.last() {
        Some(&i) => Err(format!("<{}> is not closed", elements[i].name)),
        None if elements.is_empty() => Err("no element".into()),
        None => Ok(elements),
    }
}

/// Where a tag ends: `>` outside quotes.
fn close(tag: &str) -> Option<usize> {
    let mut quoted = false;
    tag.char_indices().find_map(|(i, c)| {
        quoted ^= c == '"';
        (c == '>' && !quoted).then_some(i)
    })
}

fn element(inside: &str) -> Result<Element, String> {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '_'))
    };
    let (name, mut rest) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
    if !is_name(name) {
        return Err(format!("<{inside}> has no name"));
    }
    let mut attributes = BTreeMap::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(Element { name: name.into(), attributes, text: String::new() });
        }
        let parts = rest.split_once("=\"").and_then(|(key, rest)| Some((key, rest.split_once('"')?)));
        let Some((key, (value, after))) = parts else {
            return Err(format!("<{inside}>: an attribute is broken"));
        };
        if !is_name(key) || value.contains('<') || attributes.insert(key.into(), unescape(value)?).is_some() {
            return Err(format!("<{inside}>: attribute `{key}`"));
        }
        rest = after;
    }
}

fn unescape(text: &str) -> Result<String, String> {
    if let Some(c) = text.chars().find(|c| (*c as u32) < 0x20 && !matches!(c, '\n' | '\t' | '\r')) {
        return Err(format!("character {:#x} is not allowed", c as u32));
    }
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or("").to_string();
    for part in parts {
        let (name, rest) = part.split_once(';').ok_or_else(|| format!("a bare & before: {part}"))?;
        out.push_str(match name {
            "amp" => "&",
            "lt" => "<",
            "gt" => ">",
            "quot" => "\"",
            other => return Err(format!("entity &{other};")),
        });
        out.push_str(rest);
    }
    Ok(out)
}

#[test]
fn broken_xml_is_seen() {
    for text in [
        "",
        "a",
        "<a>",
        "<a></b>",
        "<a></a><b></b>",
        "<a x=1></a>",
        "<a x=\"1\" x=\"2\"></a>",
        "<a>&nbsp;</a>",
        "<a>b & c</a>",
        "<a x=\"<\"></a>",
        "<a>\u{1}</a>",
        "<a",
        "</a>",
        "<a><b></a></b>",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    let found = parse("<a x=\"1 &amp; 2\"><meta x=\"y\">c<d>e</d></a>").unwrap();
    assert_eq!((found.len(), found[0].attributes["x"].as_str(), found[0].text.as_str()), (3, "1 & 2", "ce"));
}

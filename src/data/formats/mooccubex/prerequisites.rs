//! `prerequisites/*.json`: pairs of concepts by their names, and whether people found that the first comes before the
//! second. What models predicted stands in the same lines and is passed over.
//!
//! The names have no field, which belongs to the id of a concept (`K_name_field`); each file is of one discipline, so a pair
//! is of concepts of one field.

use crate::formats::raw::{RawFolder, json};
use crate::formats::relations::Graph;
use base::Result;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;

const FILES: [&str; 3] = ["prerequisites/psy.json", "prerequisites/math.json", "prerequisites/cs.json"];

#[derive(Deserialize)]
struct Line<'a> {
    /// What comes first.
    #[serde(borrow)]
    c1: Cow<'a, str>,
    #[serde(borrow)]
    c2: Cow<'a, str>,
    /// 1 or 0.
    ground_truth: Option<f64>,
}

/// Adds (concept, prerequisite, concept that comes before it) for each pair that people confirmed. `concepts` are those of
/// the courses, by their ids.
pub(super) fn read(raw: &mut RawFolder, graph: &mut Graph, concepts: &HashMap<String, u32>) -> Result<()> {
    let mut named: HashMap<&str, Vec<(&str, u32)>> = HashMap::new();
    for (id, &entity) in concepts {
        let name_and_field = id.strip_prefix("K_").and_then(|id| id.rsplit_once('_'));
        if let Some((name, field)) = name_and_field {
            named.entry(name).or_default().push((field, entity));
        }
    }
    named.values_mut().for_each(|list| list.sort_unstable());
    let of = |name: &str| named.get(name).map_or(&[][..], Vec::as_slice);
    let mut pairs = Vec::new();
    for file in FILES {
        let Some(path) = raw.find(file) else { continue };
        let parse = |line: &[u8]| {
            let line: Line = json(line)?;
            Ok((line.ground_truth == Some(1.0)).then(|| (of(&line.c1), of(&line.c2))))
        };
        let (mut confirmed, mut left_out, mut distinct) = (0u64, 0u64, 0);
        let lines = raw.parsed(&path, parse, |found| {
            let Some((before, after)) = found else { return };
            confirmed += 1;
            let known = pairs.len();
            pairs.extend(of_one_field(before, after));
            left_out += (pairs.len() == known) as u64;
            // Lines may repeat, and a line may be of many fields.
            if pairs.len() > 2 * distinct + 1024 {
                pairs.sort_unstable();
                pairs.dedup();
                distinct = pairs.len();
            }
        })?;
        if lines > 0 {
            raw.note(format!(
                "{file}: {confirmed} of {lines} pairs are prerequisites, {left_out} of them not of two concepts that \
                 courses have in one field, and left out"
            ));
        }
    }
    graph.relate("prerequisite", pairs);
    Ok(())
}

/// The pairs (after, before) of concepts in one field, of two lists in the order of fields.
fn of_one_field<'a>(
    before: &'a [(&str, u32)],
    after: &'a [(&str, u32)],
) -> impl Iterator<Item = (u32, u32)> + 'a {
    after.iter().filter_map(|&(field, after)| {
        let place = before.binary_search_by_key(&field, |(field, _)| field).ok()?;
        (before[place].1 != after).then_some((after, before[place].1))
    })
}

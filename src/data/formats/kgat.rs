//! The text format of KGAT (Wang et al., KDD'19) and of the many data sets that were published in it.

use super::shared::graph::Graph;
use super::shared::ids::{Ids, IntegerIds, decimal};
use super::shared::lines;
use super::shared::source::Source;
use super::shared::values::Place;
use super::{Format, Loaded, Request};
use crate::Split;
use crate::assemble::Rows;
use base::{Error, Result};
use std::path::Path;

const TRAIN: &str = "train.txt";
const VALID: &str = "valid.txt";
const TEST: &str = "test.txt";
const TRIPLES: &str = "kg_final.txt";
const USERS: &str = "user_list.txt";
const ITEMS: &str = "item_list.txt";
const ENTITIES: &str = "entity_list.txt";
const RELATIONS: &str = "relation_list.txt";

pub(super) const FORMAT: Format = Format {
    name: "kgat",
    about: "train.txt, kg_final.txt and so on, as published with KGAT",
    options: &[],
    detect: |source| Ok(source.join(TRAIN).is_file()),
    read,
};

/// Reads a folder of the KGAT format (docs/data.md): the order within a line is the order in time, and the items
/// of valid.txt and test.txt follow those of train.txt. Errors: as for the other readers.
fn read(request: &Request) -> Result<Loaded> {
    let mut source = Source::open(request.source, request.options, &FORMAT)?;
    let train = source.require(TRAIN)?;
    let [valid, test, triples] = [VALID, TEST, TRIPLES].map(|file| source.find(file));
    let mut list = |file: &str| source.find(file).map(|path| read_list(&path)).transpose();
    let [users, items, entities, relations] = [list(USERS)?, list(ITEMS)?, list(ENTITIES)?, list(RELATIONS)?];
    let ids = |what, file, list: &Option<Vec<String>>| IntegerIds::new(what, file, list.as_ref().map(Vec::len));

    let (mut known_users, mut known_items) = (ids("user", USERS, &users), ids("item", ITEMS, &items));
    source.report.has_split = valid.is_some() || test.is_some();
    let mut rows = Rows { in_time_order: true, ..Default::default() };
    for (path, split) in [(Some(&train), Split::Train), (valid.as_ref(), Split::Valid), (test.as_ref(), Split::Test)] {
        if let Some(path) = path {
            read_items(path, split, &mut known_users, &mut known_items, &mut rows)?;
        }
    }
    let (learners, courses) = (known_users.count(&train)?, known_items.count(&train)?);

    let mut known_entities = ids("entity", ENTITIES, &entities);
    let mut known_relations = ids("relation", RELATIONS, &relations);
    let path = triples.unwrap_or_default();
    let triples = match path.as_os_str().is_empty() {
        false => read_triples(&path, &mut known_entities, &mut known_relations)?,
        true => Vec::new(),
    };
    let (entity_count, relation_count) = (known_entities.count(&path)?, known_relations.count(&path)?);
    if entities.is_some() && entity_count < courses {
        let why = format!("lists {entity_count} entities, but the first {courses} ids are items");
        let path = source.folder.join(ENTITIES);
        return Err(Error::data(path, None, why, "list every item as an entity too"));
    }
    let mut entity_names = entities.unwrap_or_else(|| decimal(0..entity_count.max(courses)));
    if let Some(names) = items {
        names.into_iter().enumerate().for_each(|(id, name)| entity_names[id] = name);
    }
    read_decodings(&mut source, &mut entity_names)?;
    let relation_names = relations.unwrap_or_else(|| decimal(0..relation_count));
    let graph = Graph { entity_names, relation_names, triples, courses };
    let dataset = graph.dataset(source.name(), users.unwrap_or_else(|| decimal(0..learners)));
    source.finish_rows(dataset, rows)
}

/// Lines "user item item ...".
fn read_items(
    path: &Path,
    split: Split,
    users: &mut IntegerIds,
    items: &mut IntegerIds,
    rows: &mut Rows,
) -> Result<()> {
    let lines = lines::each(path, |line| {
        let mut words = line.words();
        let user = users.number(&line, words.next().unwrap_or_default(), "user")?;
        let first = rows.len();
        for word in words {
            rows.course.push(items.number(&line, word, "item")?);
            rows.learner.push(user);
            rows.split.push(split);
        }
        if rows.len() == first {
            return Err(line.cut_off(format!("user {user} has no item")));
        }
        Ok(())
    })?;
    require_lines(lines, path, "write one line per user: user item item ...")
}

/// Lines "head relation tail".
fn read_triples(path: &Path, entities: &mut IntegerIds, relations: &mut IntegerIds) -> Result<Vec<[u32; 3]>> {
    let mut triples = Vec::new();
    let lines = lines::each(path, |line| {
        let words: Vec<&[u8]> = line.words().collect();
        let [head, relation, tail] = words[..] else {
            let why = format!("the line has {} fields instead of head, relation and tail", words.len());
            return Err(line.cut_off(why));
        };
        triples.push([
            entities.number(&line, head, "head")?,
            relations.number(&line, relation, "relation")?,
            entities.number(&line, tail, "tail")?,
        ]);
        Ok(())
    })?;
    require_lines(lines, path, "write one triple per line, or delete the file")?;
    Ok(triples)
}

fn require_lines(lines: u64, path: &Path, remedy: &str) -> Result<()> {
    if lines == 0 { Err(Error::data(path, None, "the file is empty", remedy)) } else { Ok(()) }
}

/// The original ids of a list file in the order of their new ids. The header names the columns: org_id and
/// remap_id are used; anything else (such as a column of the learners' properties) is not kept.
fn read_list(path: &Path) -> Result<Vec<String>> {
    // How many columns there are, and which of them hold the original and the new id.
    let mut header = None;
    let mut list: Vec<(u32, String, u64)> = Vec::new();
    let lines = lines::each(path, |line| {
        let words: Vec<&[u8]> = line.words().collect();
        let Some((columns, original, new)) = header else {
            let place = |name: &str| {
                words.iter().position(|h| *h == name.as_bytes()).ok_or_else(|| {
                    let remedy = "the first line must be: org_id remap_id";
                    line.fail(format!("the column '{name}' is missing"), remedy)
                })
            };
            header = Some((words.len(), place("org_id")?, place("remap_id")?));
            return Ok(());
        };
        let (id, name) = match words[..] {
            // With two columns an original id may contain blanks.
            [ref name @ .., id] if columns == 2 && original == 0 && name.len() > 1 => (id, name.join(&b' ')),
            _ if words.len() == columns => (words[new], words[original].to_vec()),
            _ => {
                let count = words.len();
                return Err(line.cut_off(format!("the line has {count} fields, the header {columns}")));
            }
        };
        let id = line.id(id, "new")?;
        list.push((id, line.utf8(&name, "the line")?.to_string(), line.number));
        Ok(())
    })?;
    require_lines(lines, path, "write the header 'org_id remap_id' and the ids, or delete the file")?;
    list.sort_by_key(|(id, ..)| *id);
    for (expected, (id, _, line)) in (0..).zip(&list) {
        if *id != expected {
            let why = match *id < expected {
                true => format!("the new id {id} is given twice"),
                false => format!("the new id {expected} is missing (the next one is {id})"),
            };
            return Err(Error::data(path, Some(*line), why, "number the ids from 0 without gaps"));
        }
    }
    Ok(list.into_iter().map(|(_, name, _)| name).collect())
}

/// Names of entities from files entity_*_decode.tsv: entity id, original id and name, separated by tabs.
fn read_decodings(source: &mut Source, names: &mut [String]) -> Result<()> {
    let folder = source.folder;
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder, "listing"))?;
    let mut files: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|f| f.starts_with("entity_") && f.ends_with("_decode.tsv"))
        .collect();
    files.sort();
    let mut known = IntegerIds::new("entity", TRIPLES, Some(names.len()));
    for file in files {
        lines::each(&folder.join(&file), |line| {
            let fields: Vec<&[u8]> = line.text.split(|&b| b == b'\t').collect();
            let [id, _, name, ..] = fields[..] else {
                let why = format!("the line has {} fields instead of id, original id and name", fields.len());
                return Err(line.cut_off(why));
            };
            let id = known.number(&line, id.trim_ascii(), "entity")?;
            names[id as usize] = line.utf8(name.trim_ascii(), "the line")?.to_string();
            Ok(())
        })?;
        source.report.files.push(file);
    }
    Ok(())
}

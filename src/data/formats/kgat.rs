//! The text format of KGAT (Wang et al., KDD'19) and of the many data sets that were published in it.

use super::lists::{Known, numbers};
use super::text::Lines;
use super::{Loaded, SourceReport, finish, folder_name, require_folder};
use crate::assemble::Rows;
use crate::{Dataset, Split};
use base::{Error, Result};
use std::path::Path;

pub const TRAIN: &str = "train.txt";
const VALID: &str = "valid.txt";
const TEST: &str = "test.txt";
const TRIPLES: &str = "kg_final.txt";
const USERS: &str = "user_list.txt";
const ITEMS: &str = "item_list.txt";
const ENTITIES: &str = "entity_list.txt";
const RELATIONS: &str = "relation_list.txt";

/// Reads a folder of the KGAT format (docs/data.md): the order within a line is the order in time, and the items
/// of valid.txt and test.txt follow those of train.txt. Errors: as for the other readers.
pub fn read(folder: &Path) -> Result<Loaded> {
    require_folder(folder)?;
    let mut report = SourceReport { format: "kgat".into(), ..Default::default() };
    let mut present = |file: &str| -> bool {
        let there = folder.join(file).is_file();
        if there { &mut report.files } else { &mut report.missing }.push(file.into());
        there
    };
    if !present(TRAIN) {
        let remedy = "the KGAT format needs it; other formats are chosen with --format";
        return Err(Error::data(folder.join(TRAIN), None, "the file is missing", remedy));
    }
    let [valid, test, triples] = [VALID, TEST, TRIPLES].map(&mut present);
    let mut list = |file: &str| -> Result<Option<Vec<String>>> {
        if present(file) { read_list(&folder.join(file)).map(Some) } else { Ok(None) }
    };
    let (users, items, entities, relations) = (list(USERS)?, list(ITEMS)?, list(ENTITIES)?, list(RELATIONS)?);

    let mut known_users = Known::new("user", USERS, users.as_ref().map(Vec::len));
    let mut known_items = Known::new("item", ITEMS, items.as_ref().map(Vec::len));
    let mut rows = Rows { in_time_order: true, ..Default::default() };
    for (file, split, there) in
        [(TRAIN, Split::Train, true), (VALID, Split::Valid, valid), (TEST, Split::Test, test)]
    {
        if there {
            read_items(&folder.join(file), split, &mut known_users, &mut known_items, &mut rows)?;
        }
    }
    let train = folder.join(TRAIN);
    let learners = known_users.total(&train)?;
    let courses = known_items.total(&train)?;
    report.has_split = valid || test;

    let mut known_entities = Known::new("entity", ENTITIES, entities.as_ref().map(Vec::len));
    let mut known_relations = Known::new("relation", RELATIONS, relations.as_ref().map(Vec::len));
    let path = folder.join(TRIPLES);
    let triples = match triples {
        true => read_triples(&path, &mut known_entities, &mut known_relations)?,
        false => Vec::new(),
    };
    let entity_count = known_entities.total(&path)?;
    let relation_count = known_relations.total(&path)?;
    if entities.is_some() && entity_count < courses {
        let why = format!("lists {entity_count} entities, but the first {courses} ids are items");
        return Err(Error::data(folder.join(ENTITIES), None, why, "list every item as an entity too"));
    }
    let mut entity_names = entities.unwrap_or_else(|| numbers(0, entity_count.max(courses)));
    if let Some(names) = items {
        names.into_iter().enumerate().for_each(|(id, name)| entity_names[id] = name);
    }
    read_decodings(folder, &mut entity_names, &mut report)?;
    let dataset = Dataset {
        name: folder_name(folder),
        learner_names: users.unwrap_or_else(|| numbers(0, learners)).into(),
        entity_names: entity_names.into(),
        courses,
        relation_names: relations.unwrap_or_else(|| numbers(0, relation_count)).into(),
        triples: triples.into(),
        labels: Vec::new(),
        interactions: Default::default(),
    };
    finish(folder, dataset, rows, report)
}

/// Lines "user item item ...".
fn read_items(
    path: &Path,
    split: Split,
    users: &mut Known,
    items: &mut Known,
    rows: &mut Rows,
) -> Result<()> {
    let mut lines = Lines::open(path)?;
    let before = rows.len();
    while lines.advance()? {
        let mut words = lines.words();
        let user = lines.id(words.next().unwrap_or(b""), "user")?;
        users.see(user).map_err(|(why, remedy)| lines.fail(why, remedy))?;
        let first = rows.len();
        for word in words {
            let item = lines.id(word, "item")?;
            items.see(item).map_err(|(why, remedy)| lines.fail(why, remedy))?;
            rows.learner.push(user);
            rows.course.push(item);
            rows.split.push(split);
        }
        if rows.len() == first {
            return Err(lines.cut_off(format!("user {user} has no item")));
        }
    }
    if rows.len() == before {
        let remedy = "write one line per user: user item item ...";
        return Err(lines.fail_file("the file is empty", remedy));
    }
    Ok(())
}

/// Lines "head relation tail".
fn read_triples(path: &Path, entities: &mut Known, relations: &mut Known) -> Result<Vec<[u32; 3]>> {
    let mut lines = Lines::open(path)?;
    let mut triples = Vec::new();
    while lines.advance()? {
        let mut triple = [0; 3];
        let mut fields = 0;
        for word in lines.words() {
            if fields < 3 {
                triple[fields] = lines.id(word, ["head", "relation", "tail"][fields])?;
            }
            fields += 1;
        }
        if fields != 3 {
            return Err(
                lines.cut_off(format!("the line has {fields} fields instead of head, relation and tail"))
            );
        }
        let [head, relation, tail] = triple;
        let seen = entities.see(head).and_then(|_| relations.see(relation)).and_then(|_| entities.see(tail));
        seen.map_err(|(why, remedy)| lines.fail(why, remedy))?;
        triples.push(triple);
    }
    if triples.is_empty() {
        return Err(lines.fail_file("the file is empty", "write one triple per line, or delete the file"));
    }
    Ok(triples)
}

/// The original ids of a list file in the order of their new ids. The header names the columns: org_id and
/// remap_id are used; anything else (such as a column of the learners' properties) is not kept.
fn read_list(path: &Path) -> Result<Vec<String>> {
    let mut lines = Lines::open(path)?;
    if !lines.advance()? {
        let remedy = "write the header 'org_id remap_id' and the ids, or delete the file";
        return Err(lines.fail_file("the file is empty", remedy));
    }
    let header: Vec<Vec<u8>> = lines.words().map(<[u8]>::to_vec).collect();
    let place = |name: &str| {
        header.iter().position(|h| h == name.as_bytes()).ok_or_else(|| {
            let remedy = "the first line must be: org_id remap_id";
            lines.fail(format!("the column '{name}' is missing"), remedy)
        })
    };
    let (original, new) = (place("org_id")?, place("remap_id")?);
    let mut list: Vec<(u32, String, u64)> = Vec::new();
    while lines.advance()? {
        let words: Vec<&[u8]> = lines.words().collect();
        // With two columns an original id may contain blanks.
        let two = header.len() == 2 && original == 0 && words.len() > 2;
        if words.len() != header.len() && !two {
            let why = format!("the line has {} fields, the header {}", words.len(), header.len());
            return Err(lines.cut_off(why));
        }
        let id = lines.id(if two { words[words.len() - 1] } else { words[new] }, "new")?;
        let name = if two { words[..words.len() - 1].join(&b' ') } else { words[original].to_vec() };
        list.push((id, lines.utf8(&name)?.to_string(), lines.number));
    }
    list.sort_by_key(|(id, ..)| *id);
    for (expected, (id, _, line)) in list.iter().enumerate() {
        if *id as usize != expected {
            let why = match (*id as usize) < expected {
                true => format!("the new id {id} is given twice"),
                false => format!("the new id {expected} is missing (the next one is {id})"),
            };
            return Err(Error::data(path, Some(*line), why, "number the ids from 0 without gaps"));
        }
    }
    Ok(list.into_iter().map(|(_, name, _)| name).collect())
}

/// Names of entities from files entity_*_decode.tsv: entity id, original id and name, separated by tabs.
fn read_decodings(folder: &Path, names: &mut [String], report: &mut SourceReport) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder, "listing"))?;
    let mut files: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|f| f.starts_with("entity_") && f.ends_with("_decode.tsv"))
        .collect();
    files.sort();
    for file in files {
        let mut lines = Lines::open(&folder.join(&file))?;
        let mut known = Known::new("entity", TRIPLES, Some(names.len()));
        while lines.advance()? {
            let fields: Vec<&[u8]> = lines.line().split(|&b| b == b'\t').collect();
            if fields.len() < 3 {
                return Err(lines.cut_off(format!(
                    "the line has {} fields instead of id, original id and name",
                    fields.len()
                )));
            }
            let id = lines.id(fields[0].trim_ascii(), "entity")?;
            known.see(id).map_err(|(why, remedy)| lines.fail(why, remedy))?;
            names[id as usize] = lines.utf8(fields[2].trim_ascii())?.to_string();
        }
        report.files.push(file);
    }
    Ok(())
}

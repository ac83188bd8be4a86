//! The table of formats, held against what docs/adding-a-format.md asks of each.

use std::fs;
use std::path::Path;

use crate::case::{Case, format};
use crate::fixtures::FIXTURES;
use waata_data::formats::{FORMATS, detect, maps, named, read};

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_format_has_a_file_a_line_and_a_section() {
    let docs = text("docs/data.md");
    for format in FORMATS {
        let name = format.name;
        let file = text(&format!("src/data/formats/{}.rs", name.replace('-', "_")));
        assert!(file.contains(&format!("name: \"{name}\"")), "{name}: FORMAT is in a file of another name");
        assert!(!format.about.is_empty() && !format.about.ends_with('.'), "{name}: `about` is a line of --help");
        assert!(docs.contains(&format!("\n| `{name}` | ")), "{name}: no line in the table of docs/data.md");
        // The course report shares the section of the person-course data.
        let section = docs.contains(&format!("\n### {name}\n")) || name == "edx-report";
        assert!(section, "{name}: no section in docs/data.md");
        assert!(FORMATS.iter().filter(|other| other.name == name).count() == 1, "{name} is there twice");
        assert_eq!(named(name).unwrap().unwrap().name, name);
    }
    assert!(named("auto").unwrap().is_none());
    let error = named("Kgat").unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("auto, interchange, kgat, "), "{error}");
}

/// The fixture of each format is recognized as it and as no other, and read to the same end by its name.
#[test]
fn every_format_recognizes_and_reads_its_fixture() {
    for own in FORMATS {
        let found = FIXTURES.iter().find(|(name, _)| *name == own.name);
        let (name, files) = *found.unwrap_or_else(|| panic!("{} has no fixture", own.name));
        let case = Case::new(files);
        let map = case.options().map;
        match map {
            None => assert_eq!(detect(&case.raw()).unwrap().name, name),
            Some(_) => assert!(detect(&case.raw()).is_err(), "{name}"),
        }
        let read = |format| read(&case.raw(), format, map.as_deref(), &Default::default());
        match (read(None), read(format(name))) {
            (Ok(found), Ok(named)) => {
                assert!(found.dataset == named.dataset && found.dataset.enrolments() > 0, "{name}");
                assert_eq!((found.report.format.as_str(), found.report.malformed), (name, 0));
            }
            (Err(error), Err(_)) => {
                assert!(name == "edx-report" && error.to_string().contains("no learners"))
            }
            _ => panic!("{name}: recognized is not as named"),
        }
    }
}

/// What the guide shows of the code is in the code.
#[test]
fn the_guide_quotes_the_code() {
    let guide = text("docs/adding-a-format.md");
    let code = text("src/data/formats/mod.rs")
        + &text("src/data/formats/oulad.rs")
        + &text("src/data/formats/shared/source.rs");
    let blocks: Vec<&str> = guide.split("```").skip(1).step_by(2).filter_map(|b| b.strip_prefix("rust\n")).collect();
    assert!(blocks.len() >= 2);
    for block in blocks {
        for line in block.lines().map(str::trim).filter(|line| !line.is_empty()) {
            assert!(code.contains(line), "docs/adding-a-format.md quotes what is not there: {line}");
        }
    }
}

/// `--map NAME` knows every file of data/maps, and each is sound.
#[test]
fn every_map_ships() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/maps");
    let mut files: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, maps().map(|map| format!("{}.toml", map.name)).collect::<Vec<_>>());
    let empty = Case::new::<&str>(&[]);
    for map in maps() {
        assert_eq!(map.text, text(&format!("data/maps/{}.toml", map.name)));
        let error = read(&empty.raw(), None, Some(Path::new(map.name)), &Default::default()).unwrap_err();
        assert!(error.to_string().contains("the file is missing"), "{}: {error}", map.name);
        assert!(!map.fits(&empty.raw()));
    }
}

//! What the documentation says, held against the code: settings and their defaults, links, folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use waata::config::Config;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every key of a table of settings, dotted, with its value.
fn flatten(table: &toml::Table, prefix: &str, out: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => flatten(inner, &format!("{prefix}{key}."), out),
            _ => _ = out.insert(format!("{prefix}{key}"), value.clone()),
        }
    }
}

/// Rows of docs/settings.md that begin with a key: the key and its default.
fn documented() -> BTreeMap<String, toml::Value> {
    let mut keys = BTreeMap::new();
    for line in read("docs/settings.md").lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let code = |cell: &str| cell.trim().trim_matches('`').to_string();
        let (key, default) = (code(cells[0]), code(cells[1]));
        let value = format!("x = {default}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("x"));
        let value = value.unwrap_or_else(|| panic!("{key}: the default `{default}` is no TOML"));
        assert_eq!(cells.len(), 4, "{key}: key, default, meaning, range");
        assert!(keys.insert(key.clone(), value).is_none(), "{key} is documented twice");
    }
    keys
}

/// Floats of 32 bits are printed with digits that the document does not have.
fn same(a: &toml::Value, b: &toml::Value) -> bool {
    match (a.as_float(), b.as_float()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs(),
        _ => a == b,
    }
}

#[test]
fn settings_are_documented_with_their_defaults() {
    let mut settings = BTreeMap::new();
    flatten(&Config::default().to_toml().parse().unwrap(), "", &mut settings);
    let documented = documented();
    for (key, value) in &settings {
        let said =
            documented.get(key).unwrap_or_else(|| panic!("docs/settings.md does not have the key `{key}`"));
        assert!(same(value, said), "docs/settings.md: the default of `{key}` is {value}, not {said}");
    }
    for key in documented.keys() {
        assert!(settings.contains_key(key), "docs/settings.md has `{key}`, which is no setting");
    }
}

#[test]
fn presets_and_models_are_listed() {
    let settings = read("docs/settings.md");
    for (preset, _) in waata::config::PRESETS {
        let row = format!("| {preset} | [`data/presets/{preset}.toml`]");
        assert!(settings.contains(&row), "docs/settings.md does not list the preset {preset}");
    }
    for (model, _) in waata::models::MODELS {
        assert!(
            settings.contains(&format!("| {model} | ")),
            "docs/settings.md does not list the model {model}"
        );
    }
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![PathBuf::from("README.md")];
    let files = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    pages.extend(files.map(|name| Path::new("docs").join(name)));
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

/// A page without its blocks of code.
fn prose(page: &Path) -> String {
    read(page).split("```").step_by(2).collect()
}

/// The anchor that a heading gets: lower case, words joined by hyphens, punctuation dropped.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        for target in prose(&page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => page.clone(),
                _ => page.parent().unwrap().join(path),
            };
            let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
            assert!(full.exists(), "{}: the link to {target} leads nowhere", page.display());
            let found = fragment.is_empty()
                || read(&file).lines().any(|l| l.starts_with('#') && anchor(l.trim_matches('#')) == fragment);
            assert!(found, "{}: {} has no heading for #{fragment}", page.display(), file.display());
        }
    }
}

/// Words in backticks that name a file of this project.
#[test]
fn paths_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tops = ["benches/", "data/", "docs/", "kernels/", "scripts/", "src/", "tests/", ".ci/"];
    for page in pages() {
        for word in prose(&page).split('`').skip(1).step_by(2) {
            let is_path =
                tops.iter().any(|top| word.starts_with(top)) && !word.contains([' ', '*', '<', '{']);
            assert!(!is_path || root.join(word).exists(), "{}: `{word}` does not exist", page.display());
        }
    }
}

#[test]
fn every_kernel_file_is_listed() {
    let listed = read("docs/kernels.md");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".cu") || name.ends_with(".cuh") {
            assert!(listed.contains(&format!("`{name}`")), "docs/kernels.md does not list {name}");
        }
    }
}

/// Blocks of code that begin with the path of a file, as in `// src/lib.rs`, and the lines after it.
fn quotations(page: &Path) -> Vec<(String, String)> {
    let text = read(page);
    let blocks = text.split("```").skip(1).step_by(2);
    let quoted = |block: &str| {
        let (_, body) = block.split_once('\n')?;
        let (path, code) = body.strip_prefix("// ")?.split_once('\n')?;
        path.contains('/').then(|| (path.to_string(), code.trim_end().to_string()))
    };
    blocks.filter_map(quoted).collect()
}

/// A guide shows the code as it is: what it quotes from a file stands there, line by line.
#[test]
fn guides_quote_the_code() {
    let mut guides = 0;
    for page in pages().iter().filter(|page| page.to_string_lossy().contains("adding-")) {
        let quoted = quotations(page);
        assert!(!quoted.is_empty(), "{}: no code is quoted", page.display());
        for (path, code) in quoted {
            assert!(read(&path).contains(&code), "{}: not in {path}:\n{code}", page.display());
        }
        guides += 1;
    }
    assert!(guides > 0);
}

//! What the documentation says, held against the code: settings and their defaults, links, folders.

use std::fs;
use std::path::{Path, PathBuf};

use waata::config::{Config, Preset, Setting, presets, settings};
use waata::models::{Entry, Make, models};

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows that tables of docs/settings.md have: settings, presets, models.
fn rows() -> Vec<String> {
    let setting = |s: &Setting| format!("| `{}` | `{}` | {} | {} |", s.key, s.default(), s.meaning(), s.range());
    let preset =
        |p: &Preset| format!("| {0} | [`data/presets/{0}.toml`](../data/presets/{0}.toml) | {1} |", p.name, p.about);
    let model = |m: &Entry| {
        let encoder = match m.make {
            Make::ClosedForm(_) => "none",
            Make::Neural(_) => m.implied("model.encoder").unwrap_or("as the base says"),
        };
        format!("| {} | {} | {encoder} |", m.name, m.about)
    };
    presets().iter().map(preset).chain(models().iter().map(model)).chain(settings().map(setting)).collect()
}

/// What a row is about: its first cell.
fn subject(row: &str) -> &str {
    row.split('|').nth(1).unwrap_or_default().trim()
}

/// `UPDATE_DOCS=1 cargo test --test docs` writes the rows; a new one has to be put in its place by its first cell.
#[test]
fn settings_presets_and_models_are_listed() {
    let (path, rows) = ("docs/settings.md", rows());
    let page = read(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let line = |line| rows.iter().find(|row| subject(row) == subject(line)).map_or(line, String::as_str);
        let page: Vec<&str> = page.lines().map(|l| if l.starts_with("| ") { line(l) } else { l }).collect();
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), page.join("\n") + "\n").unwrap();
        return;
    }
    for row in &rows {
        let found: Vec<&str> = page.lines().filter(|line| subject(line) == subject(row)).collect();
        assert_eq!(found, [row], "{path}: set UPDATE_DOCS=1 to write the row");
    }
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        assert!(rows.iter().any(|row| row == line), "{path} has {}, which is no setting", subject(line));
    }
    let known: Vec<&str> = settings().map(|s| s.key).collect();
    let saved: toml::Table = Config::default().to_toml().parse().unwrap();
    let sections = saved.iter().filter_map(|(section, keys)| Some((section, keys.as_table()?)));
    for (section, keys) in sections {
        let all = keys.keys().all(|key| known.contains(&format!("{section}.{key}").as_str()));
        assert!(all, "[{section}] has a key that settings() does not list");
    }
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from).into();
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
    let tops = ["benches/", "data/", "docs/", "examples/", "kernels/", "scripts/", "src/", "tests/", ".ci/"];
    for page in pages() {
        for word in prose(&page).split('`').skip(1).step_by(2) {
            let is_path = tops.iter().any(|top| word.starts_with(top)) && !word.contains([' ', '*', '<', '{']);
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

/// A guide shows the code as it is: what it quotes from a file stands there, however lines are broken.
#[test]
fn guides_quote_the_code() {
    let squeezed = |text: &str| {
        let text: String = text.split_whitespace().collect();
        text.replace(",)", ")").replace(",]", "]").replace(",}", "}")
    };
    for page in pages().iter().filter(|page| page.to_string_lossy().contains("adding-")) {
        for (path, code) in quotations(page) {
            assert!(squeezed(&read(&path)).contains(&squeezed(&code)), "{}: not in {path}:\n{code}", page.display());
        }
    }
}

//! Dependencies point down only, and unsafe code stays where it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of the package waata may use of the others; its manifest and those of the packages in src/ say the
/// rest. Errors are for all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("layers", &["config"]),
    ("models", &["layers", "config"]),
    ("eval", &["models", "config"]),
    ("train", &["eval", "models", "config"]),
    ("experiment", &["train", "eval", "models", "config"]),
    ("serve", &["train", "eval", "models", "config"]),
    ("bench", &["eval", "models", "layers", "config"]),
    ("cli", &["bench", "serve", "experiment", "train", "eval", "models", "config"]),
];

/// Packages in src/ with their dependencies among each other.
const PACKAGES: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("engine", &["base"]),
    ("graph", &["base", "engine"]),
    ("ops", &["base", "engine", "graph"]),
    ("data", &["base"]),
    ("report", &["base"]),
    ("revision", &[]),
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every file with its path below src/ and its text without comments, in order.
fn sources() -> BTreeMap<String, String> {
    let mut files = vec![];
    rust_files(&src(), &mut files);
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(src()).unwrap().to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(path).unwrap();
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
        (name, code.join("\n"))
    };
    files.iter().map(read).collect()
}

/// The module that a file belongs to; none for lib.rs and main.rs.
fn module(file: &str) -> Option<&str> {
    let name = file.split('/').next().unwrap().trim_end_matches(".rs");
    let package = PACKAGES.iter().any(|(package, _)| *package == name);
    (!package && !["lib", "main"].contains(&name)).then_some(name)
}

/// Modules behind `crate::` in some code, or `waata::` in the program's: `crate::a::..` and `crate::{a::.., b}`, with their
/// names as written.
fn used(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let paths = ["crate::", "waata::"].into_iter().flat_map(|p| code.match_indices(p).map(|(at, p)| (at, p.len())));
    for (at, len) in paths {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + len..];
        match rest.strip_prefix('{') {
            None => _ = names.insert(word(rest)),
            Some(group) => {
                // Names at the first level of the braces.
                let (mut depth, mut start) = (0, true);
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphabetic() => {
                            names.insert(word(&group[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn dependencies_point_down_only() {
    let modules: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let mut seen = BTreeSet::new();
    for (file, code) in sources() {
        let Some(own) = module(&file) else { continue };
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(name, _)| *name == own)
            .unwrap_or_else(|| panic!("src/{file}: module `{own}` has no place in the order of modules"));
        seen.insert(own.to_string());
        for name in used(&code).iter().filter(|name| modules.contains(name.as_str()) && *name != own) {
            assert!(allowed.contains(&name.as_str()), "src/{file} uses `{name}`, which `{own}` may not");
        }
    }
    assert_eq!(seen.len(), modules.len(), "every module is there");
    // The order itself has no cycle: each module uses only those before it.
    for (i, (name, allowed)) in MAY_USE.iter().enumerate() {
        for other in *allowed {
            assert!(MAY_USE[..i].iter().any(|(before, _)| before == other), "{name} -> {other}");
        }
    }
}

#[test]
fn packages_depend_as_listed() {
    for (package, allowed) in PACKAGES {
        let manifest = fs::read_to_string(src().join(package).join("Cargo.toml")).unwrap();
        let names: Vec<&str> = manifest.lines().map(|l| l.split(['.', ' ']).next().unwrap()).collect();
        let found: Vec<&str> = names.into_iter().filter(|n| PACKAGES.iter().any(|(p, _)| p == n)).collect();
        assert_eq!(found, *allowed, "src/{package}/Cargo.toml");
    }
}

#[test]
fn names_are_read_out_of_use_lines() {
    let code = "use crate::engine::{Op, Tensor};\nuse crate::{Error, data::{a, b}, ops};\npub use crate::graph;\n\
        $crate::train::x!(); super::crate_::cli; crate::layers::ForwardCtx::new()";
    let names: Vec<String> = used(code).into_iter().collect();
    assert_eq!(names, ["Error", "data", "engine", "graph", "layers", "ops"]);
}

#[test]
fn unsafe_code_is_where_it_is_known() {
    let count = |code: &str| {
        let whole = |at: usize| {
            let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
            !letter(code[..at].chars().next_back()) && !letter(code[at + "unsafe".len()..].chars().next())
        };
        code.match_indices("unsafe").filter(|(at, _)| whole(*at)).count()
    };
    let found: BTreeMap<String, usize> =
        sources().into_iter().map(|(file, code)| (file, count(&code))).filter(|(_, n)| *n > 0).collect();
    let page = fs::read_to_string(src().parent().unwrap().join("docs/architecture.md")).unwrap();
    // Rows of its table: | `src/FILE` | uses | for |
    let row = |line: &str| {
        let (file, rest) = line.strip_prefix("| `src/")?.split_once("` | ")?;
        Some((file.to_string(), rest.split_once(" | ")?.0.parse().ok()?))
    };
    let known: BTreeMap<String, usize> = page.lines().filter_map(row).collect();
    assert_eq!(
        found, known,
        "unsafe code appeared or went: give each its SAFETY reason, and a row in docs/architecture.md"
    );
}

#[test]
fn every_op_has_a_file_of_tests() {
    let tests = src().join("../tests/ops");
    let ops: Vec<String> = sources()
        .into_iter()
        .filter(|(file, code)| file.starts_with("ops/") && code.contains("impl Op for"))
        .map(|(file, _)| file)
        .collect();
    assert!(ops.len() > 20, "{ops:?}");
    for file in ops {
        let op = file.split('/').nth(1).unwrap().trim_end_matches(".rs");
        assert!(tests.join(format!("{op}.rs")).exists(), "src/{file}: tests/ops/{op}.rs does not exist");
    }
}

/// The path of a file as a module of its package: src/ops/cpu/dense.rs is `[cpu, dense]`, a mod.rs its folder.
fn module_path(file: &str) -> (String, Vec<String>) {
    let mut parts: Vec<String> = file.trim_end_matches(".rs").split('/').map(String::from).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    let room = if parts.is_empty() { String::new() } else { parts.remove(0) };
    (room, parts)
}

/// Paths behind `prefix` in some code, with groups written out: `a::{b, c::d}` gives a::b and a::c::d.
fn paths(code: &str, prefix: &str) -> Vec<Vec<String>> {
    fn expand(text: &str, base: &[String], found: &mut Vec<Vec<String>>) {
        let (mut depth, mut start) = (0, 0);
        let mut items = vec![];
        for (i, c) in text.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    items.push(&text[start..i]);
                    start = i + 1;
                }
                _ => {}
            }
        }
        items.push(&text[start..]);
        for item in items {
            let (head, group) = item.split_once('{').map_or((item, None), |(h, g)| (h, Some(g)));
            let names = head.split("::").map(str::trim).filter(|n| !n.is_empty()).map(String::from);
            let path: Vec<String> = base.iter().cloned().chain(names).collect();
            match group {
                Some(group) => expand(group.trim_end().trim_end_matches('}'), &path, found),
                None => found.push(path),
            }
        }
    }
    let mut found = vec![];
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let (mut depth, mut end) = (0, code.len());
        for (i, c) in code[at..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                _ if depth > 0 => {}
                _ if c.is_alphanumeric() || c == '_' || c == ':' => {}
                _ => {
                    end = at + i;
                    break;
                }
            }
        }
        let text = &code[at + prefix.len()..end];
        // A body of code is no list of imports.
        if text.chars().all(|c| c.is_alphanumeric() || "_:{}, \n".contains(c)) {
            expand(text, &[], &mut found);
        }
    }
    found
}

/// Modules of a room that use each other, directly or through others; a module and those inside it are one.
#[test]
fn modules_of_a_room_form_no_circle() {
    let files: Vec<((String, Vec<String>), String)> =
        sources().into_iter().map(|(file, code)| (module_path(&file), code)).collect();
    let rooms: BTreeSet<&String> = files.iter().map(|((room, _), _)| room).collect();
    for room in rooms.into_iter().filter(|room| !["main", "lib", "cli", ""].contains(&room.as_str())) {
        let package = PACKAGES.iter().any(|(package, _)| package == room);
        let own: Vec<&((String, Vec<String>), String)> = files.iter().filter(|((r, _), _)| r == room).collect();
        let modules: BTreeSet<&[String]> = own.iter().map(|((_, module), _)| module.as_slice()).collect();
        let mut uses: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
        for ((_, module), code) in &own {
            let code = code.split("#[cfg(test)]").next().unwrap();
            let mut found: Vec<Vec<String>> = vec![];
            let parent = &module[..module.len().saturating_sub(1)];
            let above = &parent[..parent.len().saturating_sub(1)];
            let absolute = if package { "crate::".into() } else { format!("crate::{room}::") };
            for (prefix, base) in [(absolute.as_str(), &[][..]), ("super::super::", above), ("super::", parent)] {
                found.extend(paths(code, prefix).into_iter().map(|p| [base, &p].concat()));
            }
            for path in found {
                let target = (1..=path.len()).rev().map(|n| &path[..n]).find(|p| modules.contains(p));
                let target = target.and_then(|t| modules.get(t).copied());
                let related = |t: &[String]| t.starts_with(module) || module.starts_with(t);
                if let Some(target) = target.filter(|t| !related(t)) {
                    uses.entry(module).or_default().insert(target);
                }
            }
        }
        for start in uses.keys() {
            let (mut seen, mut open) = (BTreeSet::new(), vec![*start]);
            while let Some(at) = open.pop() {
                for next in uses.get(at).into_iter().flatten() {
                    assert_ne!(next, start, "src/{room}: {start:?} uses itself through {at:?}");
                    if seen.insert(*next) {
                        open.push(next);
                    }
                }
            }
        }
    }
}

#[test]
fn paths_of_imports_are_written_out() {
    let code = "use super::{a, b::{C, d::E}};\nfn f() { super::g::h(1); }";
    let found: Vec<String> = paths(code, "super::").iter().map(|p| p.join("::")).collect();
    assert_eq!(found, ["a", "b::C", "b::d::E", "g::h"]);
}

/// Lines of Rust that a room may have. What grows past its budget is split off, or something else goes first.
const BUDGET: &[(&str, usize)] = &[
    ("base", 740),
    ("bench", 1340),
    ("cli", 2280),
    ("config", 980),
    ("data", 7160),
    ("engine", 6400),
    ("eval", 760),
    ("experiment", 1700),
    ("graph", 1780),
    ("layers", 980),
    ("models", 2340),
    ("ops", 10740),
    ("report", 2620),
    ("revision", 60),
    ("train", 2660),
];

#[test]
fn rooms_keep_their_budget_of_lines() {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut files = vec![];
    rust_files(&src(), &mut files);
    for path in files {
        let name = path.strip_prefix(src()).unwrap().to_string_lossy().replace('\\', "/");
        let Some((room, _)) = name.split_once('/') else { continue };
        *lines.entry(room.to_string()).or_default() += fs::read_to_string(&path).unwrap().lines().count();
    }
    for (room, lines) in &lines {
        let budget = BUDGET.iter().find(|(name, _)| name == room).map_or(0, |(_, budget)| *budget);
        assert!(*lines <= budget, "src/{room} has {lines} lines and a budget of {budget}");
    }
}

/// Words of earlier versions, for which the field has others.
const OLD_WORDS: &[(&str, &str)] = &[
    ("Held", "Allocation"),
    ("let_go", "empty_cache"),
    ("unshare", "make_unique"),
    ("MatrixUnit", "MathMode"),
    ("Stepper", "TrainStep"),
    ("with_real", "dispatch_float"),
    ("with_store", "dispatch_dtype"),
    ("SOLE", "UNSPLIT"),
    ("AHEAD", "PREFETCH_DISTANCE"),
    ("mlp_bank", "grouped_mlp"),
    ("MlpBank", "GroupedMlp"),
    ("SoftmaxMix", "SoftmaxMixture"),
    ("Decomposed", "WaaTaHead"),
    ("Heard", "AttentionOutput"),
    ("repack", "restage"),
    ("optimiser", "optimizer"),
    ("optimisers", "optimizers"),
];

#[test]
fn old_words_do_not_come_back() {
    for (file, code) in sources() {
        let words: BTreeSet<&str> = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let old = OLD_WORDS.iter().find(|(old, _)| words.contains(old));
        assert!(old.is_none(), "src/{file}: an old word, and the one used here: {old:?}");
    }
}

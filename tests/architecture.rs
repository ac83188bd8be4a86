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

/// Occurrences of `unsafe` in code, by file: the driver's calls, raw products of matrices, vector code, stores past the
/// caches, files as memory, and threads that write disjoint parts of one slice.
const UNSAFE: &[(&str, usize)] = &[
    ("base/mapped.rs", 1),
    ("base/parallel.rs", 5),
    ("base/simd.rs", 1),
    ("bench/limits.rs", 1),
    ("engine/device/capture.rs", 3),
    ("engine/device/cuda.rs", 25),
    ("engine/device/cust/libcuda.rs", 4),
    ("engine/device/cust/mod.rs", 15),
    ("engine/device/driver.rs", 7),
    ("engine/device/launch.rs", 1),
    ("engine/device/mod.rs", 6),
    ("engine/device/pack.rs", 1),
    ("engine/gemm.rs", 1),
    ("engine/panel.rs", 1),
    ("engine/parallel.rs", 2),
    ("engine/simd.rs", 7),
    ("ops/topk/select.rs", 1),
    ("ops/topk/tile.rs", 1),
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
    let paths =
        ["crate::", "waata::"].into_iter().flat_map(|p| code.match_indices(p).map(|(at, p)| (at, p.len())));
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
            let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !letter(code[..at].chars().next_back()) && !letter(code[at + "unsafe".len()..].chars().next())
        };
        code.match_indices("unsafe").filter(|(at, _)| whole(*at)).count()
    };
    let found: BTreeMap<String, usize> =
        sources().into_iter().map(|(file, code)| (file, count(&code))).filter(|(_, n)| *n > 0).collect();
    let known: BTreeMap<String, usize> = UNSAFE.iter().map(|(f, n)| (f.to_string(), *n)).collect();
    assert_eq!(
        found, known,
        "unsafe code appeared or went: give each its SAFETY reason, and change this list"
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

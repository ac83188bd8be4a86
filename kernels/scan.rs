//! Which kernels the .cu files of a folder define. Shared by the build scripts of the crate and of the host
//! executor (tests/host), so that both see the same kernels; it is no part of the library.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One `extern "C" __global__ void NAME(...)`.
pub struct Kernel {
    pub name: String,
    pub file: PathBuf,
    /// What the kernels of one list of variants are called together: `name` of STORAGE_VARIANTS (kernels/storage.cuh).
    #[allow(dead_code, reason = "not read by the host executor's build script")]
    pub family: Option<String>,
    /// The parameters as they are written: `const float* __restrict__ x`.
    pub parameters: Vec<String>,
    /// First argument of `__launch_bounds__`, as it is written.
    #[allow(dead_code, reason = "read by the host executor's build script alone")]
    pub max_threads: Option<String>,
}

/// The files of `folder` with this extension, sorted.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The kernels of all `sources`, sorted by name. A name must be unique across the files.
pub fn kernels(sources: &[PathBuf]) -> Result<Vec<Kernel>, String> {
    let mut found = BTreeMap::<String, Kernel>::new();
    for file in sources {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        for kernel in scan(file, &without_comments(&text))? {
            if let Some(first) = found.get(&kernel.name) {
                let (name, first) = (&kernel.name, first.file.display());
                return Err(format!(
                    "kernel `{name}` is defined twice: in {first} and in {}",
                    file.display()
                ));
            }
            found.insert(kernel.name.clone(), kernel);
        }
    }
    Ok(found.into_values().collect())
}

/// The macros that write a kernel out for each type of storage or unit, and what follows the name in each of the kernels'.
const VARIANTS: [(&str, &[&str]); 4] = [
    ("UNIT_VARIANTS", &["", "_tf32", "_bf16"]),
    ("STORAGE_VARIANTS", &["", "_bf16", "_f16"]),
    ("HALF_VARIANTS", &["_bf16", "_f16"]),
    ("ROW_VARIANTS", &["_64", "_64_bf16", "_64_f16", "_any", "_any_bf16", "_any_f16"]),
];

fn scan(file: &Path, text: &str) -> Result<Vec<Kernel>, String> {
    let mut kernels = Vec::new();
    let wrong = |at: usize, expected: &str| {
        let line = text[..at].matches('\n').count() + 1;
        format!("{}:{line}: a kernel is written out as {expected}", file.display())
    };
    for (at, _) in text.match_indices("__global__") {
        let kernel = parse(file, &text[..at], &text[at + "__global__".len()..]).ok_or_else(|| {
            wrong(
                at,
                "`extern \"C\" __global__ void [__launch_bounds__(N)] NAME(...)` or as STORAGE_VARIANTS \
                 (kernels/storage.cuh); share code between kernels through __device__ functions",
            )
        })?;
        kernels.push(kernel);
    }
    for (macro_name, suffixes) in VARIANTS {
        for (at, _) in text.match_indices(&format!("{macro_name}(")) {
            let list = variants(file, &text[at + macro_name.len()..], suffixes);
            let expected = format!("`{macro_name}(NAME, (N), (...), body)`");
            kernels.extend(list.ok_or_else(|| wrong(at, &expected))?);
        }
    }
    Ok(kernels)
}

/// The kernels of one list of variants, of which `text` begins with the arguments.
fn variants(file: &Path, text: &str, suffixes: &[&str]) -> Option<Vec<Kernel>> {
    let arguments = split_top_level(parenthesised(text)?.0);
    let [name, bounds, list, _body, ..] = arguments[..] else { return None };
    let max_threads = split_top_level(parenthesised(bounds.trim())?.0).first().map(|n| n.trim().to_string());
    let parameters = parameters_of(parenthesised(list.trim())?.0);
    let by_storage = suffixes.len() > 2 && suffixes.iter().any(|suffix| suffix.ends_with("_f16"));
    let kernel = |suffix: &&str| {
        let name = name.trim();
        let family = format!("{name}{}", suffix.trim_end_matches("_bf16").trim_end_matches("_f16"));
        Kernel {
            name: format!("{name}{suffix}"),
            file: file.to_path_buf(),
            family: by_storage.then_some(family),
            parameters: parameters.clone(),
            max_threads: max_threads.clone(),
        }
    };
    Some(suffixes.iter().map(kernel).collect())
}

/// `before` and `after` surround one `__global__`.
fn parse(file: &Path, before: &str, after: &str) -> Option<Kernel> {
    let (mut rest, mut is_void, mut max_threads) = (after.trim_start(), false, None);
    let linkage = before.trim_end();
    if !linkage.ends_with("extern \"C\"") {
        return None;
    }
    loop {
        if let Some(bounds) = rest.strip_prefix("__launch_bounds__") {
            let (arguments, tail) = parenthesised(bounds.trim_start())?;
            max_threads = split_top_level(arguments).first().map(|bound| bound.trim().to_string());
            rest = tail.trim_start();
        } else if let Some(tail) = rest.strip_prefix("void").filter(|t| t.starts_with(char::is_whitespace)) {
            is_void = true;
            rest = tail.trim_start();
        } else {
            break;
        }
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, tail) = rest.split_at(end);
    let (parameters, _) = parenthesised(tail.trim_start())?;
    if !is_void || name.is_empty() {
        return None;
    }
    let parameters = parameters_of(parameters);
    Some(Kernel { name: name.to_string(), file: file.to_path_buf(), family: None, parameters, max_threads })
}

/// The parameters of a list, each with single spaces.
fn parameters_of(list: &str) -> Vec<String> {
    match list.trim() {
        "" | "void" => Vec::new(),
        list => {
            split_top_level(list).iter().map(|p| p.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        }
    }
}

/// Splits `(inner) tail` into inner and tail.
fn parenthesised(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (c == ')').then(|| (&text[1..at], &text[at + 1..]));
        }
    }
    None
}

/// Splits at commas that stand in no bracket.
fn split_top_level(list: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '(' | '<' | '[' | '{' => depth += 1,
            ')' | '>' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts
}

/// Replaces comments by blanks; line numbers stay.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("//").into_iter().chain(rest.find("/*")).min() {
        out.push_str(&rest[..at]);
        let comment = &rest[at..];
        let end = if comment.starts_with("//") {
            comment.find('\n').unwrap_or(comment.len())
        } else {
            comment.find("*/").map_or(comment.len(), |end| end + 2)
        };
        out.extend(comment[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &comment[end..];
    }
    out.push_str(rest);
    out
}

//! What fuzz targets have in common: a folder for the files of an input, and what must hold of a data set that was read.

use std::fs;
use std::path::{Component, Path};
use std::sync::OnceLock;

use tempfile::TempDir;
use waata::data::{Counts, Dataset, Split};

/// An empty folder, in memory where the system has one there. It is the process's own and is used again and again.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        made.expect("a folder for the files of an input")
    });
    for entry in fs::read_dir(made.path()).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    made.path()
}

/// What stands before a file's content in an input: this and its path, on a line.
const MARK: &str = "=== ";

/// Writes the files of an input to `folder`. What stands before the first mark, or has a path that leads elsewhere, is left
/// out.
pub fn unpack(input: &[u8], folder: &Path) {
    let mut file: Option<(std::path::PathBuf, Vec<u8>)> = None;
    let flush = |file: Option<(std::path::PathBuf, Vec<u8>)>| {
        if let Some((path, content)) = file {
            let _ = path.parent().map(fs::create_dir_all);
            let _ = fs::write(path, content);
        }
    };
    for line in input.split_inclusive(|&b| b == b'\n') {
        let name = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(MARK)).map(str::trim);
        match name {
            Some(name) => {
                flush(file.take());
                let plain = !name.is_empty()
                    && name.len() < 100
                    && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
                file = plain.then(|| (folder.join(name), vec![]));
            }
            None => {
                if let Some((_, content)) = &mut file {
                    content.extend_from_slice(line);
                }
            }
        }
    }
    flush(file);
}

/// Uses everything that an index or a name of a data set leads to.
pub fn walk(data: &Dataset) {
    for names in [&data.learner_names, &data.entity_names, &data.relation_names] {
        for name in names.iter() {
            let _ = names.find(name);
        }
    }
    data.course_degrees(&Split::ALL);
    Counts::of(data);
    let lists = data.course_lists(&Split::ALL);
    assert!((0..data.learners()).all(|u| lists.of(u).windows(2).all(|w| w[0] < w[1])));
}

//! A folder of source files, and a place for what is prepared of them.

use std::fs;
use std::path::{Path, PathBuf};

use base::{Error, Result};
use waata_data::Dataset;
use waata_data::formats::{Format, ReadOptions, SourceReport, named};
use waata_data::prepare::{PrepareOptions, PrepareReport, prepare};

pub struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    pub fn new<T: AsRef<[u8]>>(files: &[(&str, T)]) -> Case {
        let case = Case { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(case.raw()).unwrap();
        files.iter().for_each(|(file, content)| case.write(file, content.as_ref()));
        case
    }

    pub fn write(&self, file: &str, content: &[u8]) {
        let path = self.raw().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn raw(&self) -> PathBuf {
        self.dir.path().join("raw")
    }

    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Any `map.toml` among the files is the map.
    pub fn options(&self) -> PrepareOptions {
        let map = self.raw().join("map.toml");
        let map = map.exists().then_some(map);
        PrepareOptions { source: self.raw(), out: self.out(), map, force: true, ..Default::default() }
    }

    pub fn prepare(&self, read: ReadOptions) -> Result<PrepareReport> {
        prepare(&PrepareOptions { read, ..self.options() })
    }

    /// The data set, and what was said about its source.
    pub fn read(&self, read: ReadOptions) -> (Dataset, SourceReport) {
        let report = self.prepare(read).unwrap();
        (Dataset::open(&self.out()).unwrap(), report.source)
    }

    /// Path, line, reason and remedy of the refusal, after which nothing is written.
    #[track_caller]
    pub fn refused(&self, read: ReadOptions) -> (PathBuf, Option<u64>, String, String) {
        let error = self.prepare(read).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        assert!(!self.out().exists(), "something was written");
        match error {
            Error::Data { path, line, why, remedy } if !remedy.is_empty() => (path, line, why, remedy),
            other => panic!("{other}"),
        }
    }

    /// None of `secrets` stands in what was written or reported.
    #[track_caller]
    pub fn keeps_none_of(&self, secrets: &[&str]) {
        let report = self.prepare(ReadOptions::default()).unwrap();
        let mut written = vec![serde_json::to_vec(&report).unwrap()];
        written.extend(fs::read_dir(self.out()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()));
        assert_eq!(written.len(), 4);
        for secret in secrets {
            assert!(!written.iter().any(|b| b.windows(secret.len()).any(|w| w == secret.as_bytes())), "{secret}");
        }
    }
}

pub fn format(name: &str) -> Option<&'static Format> {
    Some(named(name).unwrap().unwrap())
}

#[track_caller]
pub fn says(report: &SourceReport, words: &str) {
    assert!(report.notes.iter().any(|note| note.contains(words)), "{words}: {:#?}", report.notes);
}

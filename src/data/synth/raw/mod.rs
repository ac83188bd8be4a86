//! Learners as raw files of MOOCCubeX: its folders, its lines, its proportions, and its quirks in known numbers.
//!
//! Files by learner are made in blocks of learners, in parallel, and written in order, so memory grows with the
//! courses and with nothing else that is large. The logs come in another order of blocks than `user.json`, and the
//! learners in them are generated anew for each file.

mod catalogue;
mod expected;
mod learners;
mod lines;
mod logs;
mod relations;
mod words;

pub use expected::Expected;

use super::{Plan, Recipe};
use crate::store::{write_file, write_folder};
use base::{Error, Result};
use catalogue::Catalogue;
use lines::Lines;
use rayon::prelude::*;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What reading the files must find, in the same folder; no format has a file of this name.
pub(super) const EXPECTED: &str = "expected.json";

/// Blocks that are in memory at once, twice: while some are written the next are made.
const GROUP: usize = 16;

/// Writes the folder, all of it or nothing.
pub(super) fn write(recipe: &Recipe, plan: &Plan, out: &Path, force: bool) -> Result<Expected> {
    write_folder(out, force, EXPECTED, |path| {
        for folder in ["entities", "relations", "prerequisites"] {
            let folder = path.join(folder);
            fs::create_dir(&folder).map_err(Error::io(&folder, "creating"))?;
        }
        let catalogue = Catalogue::new(plan);
        let mut folder = Folder { path, expected: Expected::new(recipe) };
        let taken = learners::write(&mut folder, plan, &catalogue)?;
        relations::write(&mut folder, plan, &catalogue, &taken)?;
        logs::write(&mut folder, plan, &catalogue)?;
        let mut text = serde_json::to_vec_pretty(&folder.expected)
            .map_err(|e| Error::io(path.join(EXPECTED), "writing")(e.into()))?;
        text.push(b'\n');
        write_file(&path.join(EXPECTED), &text)?;
        Ok(folder.expected)
    })
}

/// The folder while it is filled.
struct Folder<'a> {
    path: &'a Path,
    expected: Expected,
}

impl Folder<'_> {
    /// Writes a file that fits the memory.
    fn put(&mut self, file: &'static str, lines: &Lines) -> Result<()> {
        write_file(&self.path.join(file), &lines.bytes)?;
        self.expected.file(file, lines);
        Ok(())
    }

    /// Writes a file of blocks in the given order: `make` is called in parallel, `take` in order.
    fn stream<T: Send>(
        &mut self,
        file: &'static str,
        blocks: &[usize],
        make: impl Fn(usize) -> (Lines, T) + Sync,
        mut take: impl FnMut(T) + Send,
    ) -> Result<()> {
        let path = self.path.join(file);
        let mut to = File::create(&path).map_err(Error::io(&path, "creating"))?;
        let expected = &mut self.expected;
        let mut put = |made: Vec<(Lines, T)>| -> io::Result<()> {
            for (lines, value) in made {
                to.write_all(&lines.bytes)?;
                expected.file(file, &lines);
                take(value);
            }
            Ok(())
        };
        let mut made = Vec::new();
        for group in blocks.chunks(GROUP) {
            let ready = std::mem::take(&mut made);
            let next = || group.par_iter().map(|&block| make(block)).collect();
            let (written, next) = rayon::join(|| put(ready), next);
            written.map_err(Error::io(&path, "writing"))?;
            made = next;
        }
        put(made).and_then(|()| to.sync_all()).map_err(Error::io(&path, "writing"))
    }
}

//! The learners of a synthetic data set as raw files of MOOCCubeX: its folders, its lines, its proportions, and its quirks
//! in known numbers, to try readers with at any size.
//!
//! Files by learner are made in blocks of learners, in parallel, and written in order: memory holds the data set and some
//! blocks, whatever the size of the logs. The logs come in another order of blocks than `user.json`. They are made from the
//! label: where an enrolment is completed its learner reaches half of the course's videos or problems or more, and less
//! elsewhere, so reading with a `completed_share` of 0.5 finds the label again. Courses without items are never completed.
//!
//! Planted are: learners without an enrolment (1 in 97), with a course twice (1 in 50), in two lines (1 in 200), with
//! their courses out of time order (1 in 4); courses that only enrolments name (1 in 10) and that only course-field.json
//! and course-school.txt name; courses without videos, without exercises, or with neither; resources twice and of other
//! kinds; fields that only one of two files has; lines of teachers twice; a header in `concept-course.txt`; line ends of
//! Windows in `course-school.txt` and `exercise-problem.txt`; NaN as year of birth, start point, score and prediction;
//! prerequisites of concepts that are none; segments that end before they start or after 50,000 s, and videos that have no
//! others; videos and answers of no course, of courses that the learner is not enrolled in, and of learners without an
//! enrolment or whom no file lists; learners with two lines of videos; and a malformed line after every 1,500 others,
//! which is below what a reader refuses.

#![allow(dead_code, unused_imports)]

mod catalogue;
mod expected;
mod learners;
mod lines;
mod logs;
mod relations;
mod words;
mod world;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use base::{Error, Result, files};
use catalogue::Catalogue;
use rayon::prelude::*;
use waata_data::synth::Recipe;
use world::World;

pub use expected::Expected;
pub use lines::Lines;

/// What reading the files must find, in the same folder; no format has a file of this name.
pub const EXPECTED: &str = "expected.json";

/// Blocks that are in memory at once, twice: while some are written the next are made.
const GROUP: usize = 16;

/// Writes a new folder, as a whole or not at all, and `expected.json` in it.
pub fn write(recipe: &Recipe, out: &Path, force: bool) -> Result<Expected> {
    files::check_output(out, force, EXPECTED)?;
    let data = recipe.generate()?;
    let world = &World::new(recipe, &data);
    files::write_folder(out, force, EXPECTED, |path| {
        for folder in ["entities", "relations", "prerequisites"] {
            let folder = path.join(folder);
            fs::create_dir(&folder).map_err(Error::io(&folder, "creating"))?;
        }
        let catalogue = Catalogue::new(world);
        let mut folder = Folder { path, expected: Expected::new(recipe, &data) };
        let taken = learners::write(&mut folder, world, &catalogue)?;
        relations::write(&mut folder, world, &catalogue, &taken)?;
        logs::write(&mut folder, world, &catalogue)?;
        let mut text = serde_json::to_vec_pretty(&folder.expected)
            .map_err(|e| Error::io(path.join(EXPECTED), "writing")(e.into()))?;
        text.push(b'\n');
        files::write(&path.join(EXPECTED), &text)?;
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
        files::write(&self.path.join(file), &lines.bytes)?;
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
        let expected = &mut self.expected;
        files::write_with(&path, |to| {
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
            put(made).map_err(Error::io(&path, "writing"))
        })
    }
}

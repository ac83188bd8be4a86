//! Copies of the kernels with one change to each, as faults/mutants.txt lists them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What the name of a changed kernel begins with.
pub const PREFIX: &str = "mutant_";

pub struct Mutants<'a> {
    /// Text of kernels/, and what stands in its place.
    changes: Vec<(&'a str, &'a str)>,
    /// The kernels that are changed.
    pub kernels: BTreeSet<&'a str>,
}

impl<'a> Mutants<'a> {
    /// Lines `cases: kernels | text | other text`; those that begin with # are skipped.
    pub fn parse(list: &'a str) -> Result<Mutants<'a>, String> {
        let mut mutants = Mutants { changes: vec![], kernels: BTreeSet::new() };
        for line in list.lines().filter(|line| !line.starts_with('#')) {
            let wrong = || format!("faults/mutants.txt: {line}");
            let [who, text, other] = line.split(" | ").collect::<Vec<_>>()[..] else { return Err(wrong()) };
            mutants.kernels.extend(who.split_once(": ").ok_or_else(wrong)?.1.split(' '));
            mutants.changes.push((text, other));
        }
        Ok(mutants)
    }

    /// Writes all of `sources` to `folder`, with each text changed that stands in them exactly once. A text that does
    /// not is left to the test, which finds that nothing fails.
    pub fn write(&self, sources: &[impl AsRef<Path>], folder: &Path) -> Result<(), String> {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut texts = vec![];
        for path in sources.iter().map(AsRef::as_ref) {
            let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
            // The kernels' own names are taken: in the unnamed namespace around them they are then of that file alone.
            let text = text.replace("extern \"C\" ", "");
            texts.push((folder.join(path.file_name().unwrap_or_default()), text));
        }
        for (text, other) in &self.changes {
            let count: usize = texts.iter().map(|(_, source)| source.matches(text).count()).sum();
            let place = texts.iter_mut().find(|(_, source)| source.contains(text));
            if let (1, Some((_, source))) = (count, place) {
                *source = source.replace(text, other);
            }
        }
        texts.iter().try_for_each(|(path, text)| fs::write(path, text).map_err(|e| format!("{}: {e}", path.display())))
    }
}

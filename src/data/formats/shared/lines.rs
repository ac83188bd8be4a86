//! Lines of text files: read in blocks, parsed on all cores, handed over in the order of the file. The result depends
//! neither on the number of threads nor on where blocks end, and no more than two blocks are in memory.

use super::progress::Progress;
use super::values::{Place, TRUNCATED};
use base::{Error, Result};
use rayon::prelude::*;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes that are read at once, and bytes that one task parses.
pub const SIZES: (usize, usize) = (8 << 20, 128 << 10);

/// Bytes of the longest line: a file without line ends must not fill the memory.
const LONGEST_LINE: u64 = 1 << 28;

/// A line that is not blank, without its end.
pub struct Line<'a> {
    path: &'a Path,
    pub number: u64,
    pub text: &'a [u8],
}

impl Line<'_> {
    /// The fields of the line, separated by any run of blanks and tabs.
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|b| b.is_ascii_whitespace()).filter(|w| !w.is_empty())
    }

    /// For a line with fewer fields than it must have.
    pub fn cut_off(&self, why: impl Into<String>) -> Error {
        self.fail(why, TRUNCATED)
    }
}

impl Place for Line<'_> {
    fn fail(&self, why: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::data(self.path, Some(self.number), why, remedy)
    }
}

/// Calls `take` for every line that is not blank; returns how many there were.
pub fn each(path: &Path, mut take: impl FnMut(Line) -> Result<()>) -> Result<u64> {
    let (mut blocks, mut count) = (Blocks::open(path, SIZES.0)?, 0);
    while let Some(block) = blocks.advance()? {
        for (at, text) in lines(&block.bytes) {
            count += 1;
            take(Line { path, number: block.first + at, text })?;
        }
    }
    Ok(count)
}

/// The first line that is not blank.
pub fn first(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut blocks = Blocks::open(path, 1 << 16)?;
    while let Some(block) = blocks.advance()? {
        if let Some((_, text)) = lines(&block.bytes).next() {
            return Ok(Some(text.to_vec()));
        }
    }
    Ok(None)
}

/// Calls `parse` for many lines at a time, and `keep` with the number of each line and what `parse` made of it, in the
/// order of the file. `sizes` is [`SIZES`], which only tests vary.
pub fn parsed<T: Send>(
    path: &Path,
    sizes: (usize, usize),
    progress: &Progress,
    parse: impl Fn(&[u8]) -> T + Sync,
    mut keep: impl FnMut(u64, T) -> Result<()>,
) -> Result<()> {
    let size = std::fs::metadata(path).map_err(Error::io(path, "reading"))?.len();
    let mut blocks = Blocks::open(path, sizes.0)?;
    let mut current = blocks.advance()?;
    while let Some(block) = current {
        // The next block comes from the disk while this one is parsed.
        let (next, pieces) = rayon::join(|| blocks.advance(), || parse_pieces(&block.bytes, sizes.1, &parse));
        let mut first = block.first;
        for (count, kept) in pieces {
            for (at, value) in kept {
                keep(first + at, value)?;
            }
            first += count;
        }
        progress.at(path, block.end.min(size), size)?;
        current = next?;
    }
    Ok(())
}

/// How many lines each piece has, and what became of those that are not blank, numbered from 0.
fn parse_pieces<T: Send>(bytes: &[u8], size: usize, parse: &(impl Fn(&[u8]) -> T + Sync)) -> Vec<(u64, Vec<(u64, T)>)> {
    let (mut pieces, mut rest) = (vec![], bytes);
    while !rest.is_empty() {
        let from = size.min(rest.len());
        let end = rest[from..].iter().position(|&b| b == b'\n').map_or(rest.len(), |at| from + at + 1);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    let parsed = |piece| lines(piece).map(|(at, text)| (at, parse(text))).collect();
    pieces.into_par_iter().map(|piece| (count_lines(piece), parsed(piece))).collect()
}

/// The lines that are not blank, without their ends, numbered from 0.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let lines = (0..).zip(bytes.split_inclusive(|&b| b == b'\n'));
    lines.map(|(at, line)| (at, line.trim_ascii_end())).filter(|(_, line)| !line.is_empty())
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&b| b == b'\n').count() as u64
}

/// Whole lines.
struct Block {
    bytes: Vec<u8>,
    /// The number of the first line, and where in the file the last one ends.
    first: u64,
    end: u64,
}

/// A file in blocks of whole lines.
struct Blocks<'a> {
    path: &'a Path,
    file: File,
    size: usize,
    /// The beginning of a line whose end is still to be read.
    rest: Vec<u8>,
    /// The number of the next line, and where it begins.
    next: u64,
    end: u64,
}

impl Blocks<'_> {
    fn open(path: &Path, size: usize) -> Result<Blocks<'_>> {
        let file = File::open(path).map_err(Error::io(path, "opening"))?;
        Ok(Blocks { path, file, size, rest: Vec::new(), next: 1, end: 0 })
    }

    /// The next block, without the byte order mark that the file may begin with. None at the end.
    fn advance(&mut self) -> Result<Option<Block>> {
        let mut bytes = Vec::with_capacity(self.rest.len() + self.size);
        bytes.append(&mut self.rest);
        loop {
            let before = bytes.len();
            let read = (&mut self.file).take(self.size as u64).read_to_end(&mut bytes);
            let ended = read.map_err(Error::io(self.path, "reading"))? == 0;
            let end = bytes[before..].iter().rposition(|&b| b == b'\n').map(|at| before + at + 1);
            if let Some(end) = end {
                self.rest = bytes.split_off(end);
            } else if !ended {
                if bytes.len() as u64 >= LONGEST_LINE {
                    let (why, remedy) = ("the line is longer than 256 MiB", "check the format of the file");
                    return Err(Error::data(self.path, Some(self.next), why, remedy));
                }
                continue;
            }
            let (first, begin) = (self.next, self.end);
            self.next += count_lines(&bytes);
            self.end += bytes.len() as u64;
            if begin == 0 && bytes.starts_with(b"\xEF\xBB\xBF") {
                bytes.drain(..3);
            }
            return Ok((!bytes.is_empty()).then_some(Block { bytes, first, end: self.end }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways of reading see the same lines, wherever blocks and pieces end.
    #[test]
    fn blocks_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let long = "x".repeat(100);
        let texts = [
            String::new(),
            "\n\n".into(),
            "1\n2\n\n 3\r\nbad\n4".into(),
            format!("\u{feff}1\n{long}\n\n2\n bad \n\n{{\"a\":NaN}}\n{long}\nbad\n3\n"),
            "\u{feff}".into(),
            "bad\nbad\nbad".into(),
        ];
        for text in texts {
            std::fs::write(&path, &text).unwrap();
            let plain = text.trim_start_matches('\u{feff}').lines().map(str::trim_end);
            let expected: Vec<(u64, Vec<u8>)> =
                (1..).zip(plain).filter(|l| !l.1.is_empty()).map(|(n, l)| (n, l.into())).collect();
            let mut found = vec![];
            let count = each(&path, |line| {
                found.push((line.number, line.text.to_vec()));
                Ok(())
            });
            assert_eq!((count.unwrap(), &found), (expected.len() as u64, &expected), "{text:?}");
            assert_eq!(first(&path).unwrap(), expected.first().map(|(_, text)| text.clone()));
            for block in [1, 2, 3, 7, 50, 1000] {
                for piece in [1, 5, 64] {
                    let mut found = vec![];
                    let keep = |number, text| {
                        found.push((number, text));
                        Ok(())
                    };
                    parsed(&path, (block, piece), &Progress::default(), <[u8]>::to_vec, keep).unwrap();
                    assert_eq!(found, expected, "{text:?} in blocks of {block} and pieces of {piece}");
                }
            }
        }
    }
}

//! Lines of raw files: read in blocks, parsed on all cores, kept in the order of the file. What comes of it does not depend
//! on the number of threads nor on where blocks end, and no more than two blocks are in memory.

use super::raw::{RawFolder, SHOWN, percent, without_nan};
use super::text::{LONGEST_LINE, Lines, TOO_LONG};
use crate::{Error, Result};
use rayon::prelude::*;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const BLOCK: usize = 8 << 20;

/// Bytes that one task parses.
const PIECE: usize = 128 << 10;

/// What became of the lines of one file so far.
#[derive(Default)]
struct Account {
    /// Lines that are not blank.
    lines: u64,
    malformed: u64,
    first: Option<(u64, String)>,
}

impl RawFolder<'_> {
    /// Gives every line that is not blank to `take`, with its number from 1; returns how many there were. `take`
    /// answers a malformed line with the reason, and must not have kept anything of it. Errors: `Error::Data`
    /// when too many lines are malformed, or with `strict` the first one.
    pub fn lines(
        &mut self,
        path: &Path,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<u64> {
        let mut lines = Lines::open(path)?;
        let (mut account, size) = (Account::default(), size(path)?);
        let (mut read, mut told) = (0, 0);
        while lines.advance()? {
            account.lines += 1;
            read += lines.line().len() as u64 + 1;
            if read >= told + BLOCK as u64 {
                told = read;
                self.options.control.at(path, read.min(size), size)?;
            }
            if let Err(why) = with_nulls(lines.line(), |line| take(lines.number, line)) {
                self.malformed(&mut account, path, lines.number, why)?;
            }
        }
        self.close(account, path)
    }

    /// As [`RawFolder::lines`] for large files: `parse` is called for many lines at a time, and `keep` takes what it made
    /// of the sound ones, in the order of the file.
    pub fn parsed<T: Send>(
        &mut self,
        path: &Path,
        parse: impl Fn(&[u8]) -> Result<T, String> + Sync,
        keep: impl FnMut(T),
    ) -> Result<u64> {
        self.parsed_by(path, (BLOCK, PIECE), parse, keep)
    }

    fn parsed_by<T: Send>(
        &mut self,
        path: &Path,
        (block, piece): (usize, usize),
        parse: impl Fn(&[u8]) -> Result<T, String> + Sync,
        mut keep: impl FnMut(T),
    ) -> Result<u64> {
        let mut blocks = Blocks::open(path, block)?;
        let (mut account, size) = (Account::default(), size(path)?);
        let (mut number, mut read) = (0, 0);
        let mut current = blocks.advance()?;
        while let Some(bytes) = current {
            // The next block comes from the disk while this one is parsed.
            let (next, parsed) = rayon::join(|| blocks.advance(), || parse_block(&bytes, piece, &parse));
            for piece in parsed {
                account.lines += piece.lines;
                for (line, why) in piece.malformed {
                    self.malformed(&mut account, path, number + line, why)?;
                }
                piece.kept.into_iter().for_each(&mut keep);
                number += piece.numbers;
            }
            read += bytes.len() as u64;
            self.options.control.at(path, read.min(size), size)?;
            current = next?;
        }
        self.close(account, path)
    }

    fn malformed(&mut self, account: &mut Account, path: &Path, line: u64, why: String) -> Result<()> {
        if self.options.strict {
            let remedy = "repair the line, or leave out --strict to pass over it";
            return Err(Error::data(path, Some(line), why, remedy));
        }
        account.malformed += 1;
        if self.report.malformed_first.len() < SHOWN {
            let file = path.strip_prefix(self.folder).unwrap_or(path).display();
            self.report.malformed_first.push(format!("{file}:{line}: {why}"));
        }
        account.first.get_or_insert((line, why));
        Ok(())
    }

    /// The number of lines, unless too many of them are malformed.
    fn close(&mut self, account: Account, path: &Path) -> Result<u64> {
        let Account { lines, malformed, first } = account;
        self.report.malformed += malformed;
        let share = self.options.malformed_share;
        match first {
            Some((line, why)) if malformed as f64 > share * lines as f64 => {
                let why = format!(
                    "{malformed} of {lines} lines are malformed, more than {}; the first: {why}",
                    percent(share)
                );
                let remedy =
                    "copy the file again, repair it, check --format, or allow more with --malformed-share";
                Err(Error::data(path, Some(line), why, remedy))
            }
            _ => Ok(lines),
        }
    }
}

fn size(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).map_err(Error::io(path, "reading"))?.len())
}

/// What `take` makes of a line, or of the line with null for every NaN where it is malformed as it stands.
fn with_nulls<T>(line: &[u8], mut take: impl FnMut(&[u8]) -> Result<T, String>) -> Result<T, String> {
    take(line).or_else(|why| match without_nan(line) {
        Some(repaired) => take(&repaired),
        None => Err(why),
    })
}

/// A file in blocks of whole lines.
struct Blocks {
    path: PathBuf,
    file: File,
    size: usize,
    /// The beginning of a line whose end is still to be read.
    rest: Vec<u8>,
    /// Lines in the blocks so far.
    lines: u64,
    begun: bool,
}

impl Blocks {
    fn open(path: &Path, size: usize) -> Result<Blocks> {
        let file = File::open(path).map_err(Error::io(path, "opening"))?;
        Ok(Blocks { path: path.into(), file, size, rest: Vec::new(), lines: 0, begun: false })
    }

    /// The next block, without the mark of byte order that the file may begin with. None at the end.
    fn advance(&mut self) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::with_capacity(self.rest.len() + self.size);
        bytes.append(&mut self.rest);
        loop {
            let before = bytes.len();
            let read = (&mut self.file).take(self.size as u64).read_to_end(&mut bytes);
            let ended = read.map_err(Error::io(&self.path, "reading"))? == 0;
            let end = bytes[before..].iter().rposition(|&b| b == b'\n').map(|at| before + at + 1);
            if let Some(end) = end {
                self.rest = bytes.split_off(end);
            } else if !ended {
                if bytes.len() as u64 >= LONGEST_LINE {
                    let (why, remedy) = TOO_LONG;
                    return Err(Error::data(&self.path, Some(self.lines + 1), why, remedy));
                }
                continue;
            }
            self.lines += bytes.iter().filter(|&&b| b == b'\n').count() as u64;
            if !std::mem::replace(&mut self.begun, true) && bytes.starts_with(b"\xEF\xBB\xBF") {
                bytes.drain(..3);
            }
            return Ok((!bytes.is_empty()).then_some(bytes));
        }
    }
}

/// What was made of some lines, numbered from 1.
struct Parsed<T> {
    /// All lines, and those that are not blank.
    numbers: u64,
    lines: u64,
    kept: Vec<T>,
    malformed: Vec<(u64, String)>,
}

fn parse_block<T: Send>(
    bytes: &[u8],
    size: usize,
    parse: &(impl Fn(&[u8]) -> Result<T, String> + Sync),
) -> Vec<Parsed<T>> {
    let mut pieces = vec![];
    let mut rest = bytes;
    while !rest.is_empty() {
        let from = size.min(rest.len());
        let end = rest[from..].iter().position(|&b| b == b'\n').map_or(rest.len(), |at| from + at + 1);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces.into_par_iter().map(|piece| parse_piece(piece, parse)).collect()
}

fn parse_piece<T>(bytes: &[u8], parse: &impl Fn(&[u8]) -> Result<T, String>) -> Parsed<T> {
    let mut out = Parsed { numbers: 0, lines: 0, kept: vec![], malformed: vec![] };
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        out.numbers += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        out.lines += 1;
        match with_nulls(line.trim_ascii_end(), parse) {
            Ok(kept) => out.kept.push(kept),
            Err(why) => out.malformed.push((out.numbers, why)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::raw::RawOptions;
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
        let parse = |line: &[u8]| match line {
            b"bad" | b" bad" => Err("it is bad".to_string()),
            _ if line.contains(&b'N') => Err("NaN".into()),
            _ => Ok(String::from_utf8(line.to_vec()).unwrap()),
        };
        for text in texts {
            std::fs::write(&path, &text).unwrap();
            let options = RawOptions { malformed_share: 1.0, ..Default::default() };
            let mut raw = RawFolder::open(dir.path(), &options, "test").unwrap();
            let mut one = vec![];
            let lines = raw.lines(&path, |_, line| parse(line).map(|kept| one.push(kept))).unwrap();
            let expected = (lines, one, raw.report.malformed, raw.report.malformed_first);
            for block in [1, 2, 3, 7, 50, 1000] {
                for piece in [1, 5, 64] {
                    let mut raw = RawFolder::open(dir.path(), &options, "test").unwrap();
                    let mut many = vec![];
                    let lines = raw.parsed_by(&path, (block, piece), parse, |kept| many.push(kept)).unwrap();
                    let found = (lines, many, raw.report.malformed, raw.report.malformed_first);
                    assert_eq!(found, expected, "{text:?} in blocks of {block} and pieces of {piece}");
                }
            }
            let strict = RawOptions { strict: true, ..Default::default() };
            let mut raw = RawFolder::open(dir.path(), &strict, "test").unwrap();
            let one = raw.lines(&path, |_, line| parse(line).map(drop)).map_err(|e| e.to_string());
            let many = raw.parsed_by(&path, (3, 2), parse, drop).map_err(|e| e.to_string());
            assert_eq!(one, many, "{text:?}");
        }
    }
}

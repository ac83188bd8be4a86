//! Lines of raw files: read in blocks, parsed on all cores, kept in the order of the file. What comes of it does not depend
//! on the number of threads nor on where blocks end, and no more than two blocks are in memory.

use super::raw::{RawFolder, SHOWN, percent, without_nan};
use super::resume::Resumable;
use super::text::{LONGEST_LINE, Lines, TOO_LONG};
use base::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const BLOCK: usize = 8 << 20;

/// Bytes that one task parses.
const PIECE: usize = 128 << 10;

/// What became of the lines of one file so far.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Account {
    /// Lines that are not blank.
    lines: u64,
    malformed: u64,
    first: Option<(u64, String)>,
}

/// How far a file has been read: everything before a line.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    /// Bytes and lines before it.
    bytes: u64,
    lines: u64,
    account: Account,
    /// Malformed lines of the file that are shown.
    shown: Vec<String>,
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
        mut keep: impl FnMut(T),
    ) -> Result<u64> {
        self.parsed_by(path, (BLOCK, PIECE), parse, &mut (), |_, kept| keep(kept))
    }

    /// As [`RawFolder::parsed`] for files that take minutes: what `keep` makes of the lines goes into `log`, which is saved
    /// from time to time where that is asked for ([`super::Control::saving`]), and is taken up again.
    pub(super) fn log<T: Send, L: Resumable>(
        &mut self,
        path: &Path,
        parse: impl Fn(&[u8]) -> Result<T, String> + Sync,
        log: &mut L,
        keep: impl FnMut(&mut L, T),
    ) -> Result<u64> {
        self.parsed_by(path, (BLOCK, PIECE), parse, log, keep)
    }

    fn parsed_by<T: Send, L: Resumable>(
        &mut self,
        path: &Path,
        (block, piece): (usize, usize),
        parse: impl Fn(&[u8]) -> Result<T, String> + Sync,
        log: &mut L,
        mut keep: impl FnMut(&mut L, T),
    ) -> Result<u64> {
        let (size, first_shown) = (size(path)?, self.report.malformed_first.len());
        let mut saving = self.saving(path);
        let mut place = Place::default();
        if let Some(saved) = saving.as_mut().and_then(|saving| saving.load::<Place>(log)) {
            place = saved;
            self.report.malformed_first.append(&mut place.shown);
            let file = path.strip_prefix(self.folder).unwrap_or(path).display();
            let share = 100.0 * place.bytes as f64 / size.max(1) as f64;
            self.note(format!("{file}: went on at {share:.1} %, where it had been cut off"));
        }
        let mut blocks = Blocks::open(path, block, &place)?;
        let mut current = blocks.advance()?;
        while let Some(Bytes { bytes, end }) = current {
            // The next block comes from the disk while this one is parsed.
            let (next, parsed) = rayon::join(|| blocks.advance(), || parse_block(&bytes, piece, &parse));
            for piece in parsed {
                place.account.lines += piece.lines;
                for (line, why) in piece.malformed {
                    self.malformed(&mut place.account, path, place.lines + line, why)?;
                }
                piece.kept.into_iter().for_each(|kept| keep(log, kept));
                place.lines += piece.numbers;
            }
            place.bytes = end;
            if let Some(journal) = &mut saving {
                let shown = &self.report.malformed_first[first_shown..];
                let here = || Place { account: place.account.clone(), shown: shown.to_vec(), ..place };
                if let Err(error) = journal.save(log, end >= size, here) {
                    let said = error.to_string().replace('\n', ": ");
                    self.note(format!("how far logs are read is no longer saved: {said}"));
                    saving = None;
                }
            }
            self.options.control.at(path, end.min(size), size)?;
            current = next?;
        }
        self.close(place.account, path)
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

/// Whole lines, and where in the file they end.
struct Bytes {
    bytes: Vec<u8>,
    end: u64,
}

/// A file in blocks of whole lines.
struct Blocks {
    path: PathBuf,
    file: File,
    size: usize,
    /// The beginning of a line whose end is still to be read.
    rest: Vec<u8>,
    /// Lines and bytes in the blocks so far.
    lines: u64,
    end: u64,
}

impl Blocks {
    /// From a place on.
    fn open(path: &Path, size: usize, place: &Place) -> Result<Blocks> {
        let mut file = File::open(path).map_err(Error::io(path, "opening"))?;
        file.seek(SeekFrom::Start(place.bytes)).map_err(Error::io(path, "reading"))?;
        Ok(Blocks { path: path.into(), file, size, rest: Vec::new(), lines: place.lines, end: place.bytes })
    }

    /// The next block, without the mark of byte order that the file may begin with. None at the end.
    fn advance(&mut self) -> Result<Option<Bytes>> {
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
            let begin = self.end;
            self.end += bytes.len() as u64;
            if begin == 0 && bytes.starts_with(b"\xEF\xBB\xBF") {
                bytes.drain(..3);
            }
            return Ok((!bytes.is_empty()).then_some(Bytes { bytes, end: self.end }));
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
    use super::super::Control;
    use super::super::raw::RawOptions;
    use super::super::resume::Saved;
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

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
                    let lines = raw
                        .parsed_by(&path, (block, piece), parse, &mut (), |_, kept| many.push(kept))
                        .unwrap();
                    let found = (lines, many, raw.report.malformed, raw.report.malformed_first);
                    assert_eq!(found, expected, "{text:?} in blocks of {block} and pieces of {piece}");
                }
            }
            let strict = RawOptions { strict: true, ..Default::default() };
            let mut raw = RawFolder::open(dir.path(), &strict, "test").unwrap();
            let one = raw.lines(&path, |_, line| parse(line).map(drop)).map_err(|e| e.to_string());
            let many =
                raw.parsed_by(&path, (3, 2), parse, &mut (), |_, kept| drop(kept)).map_err(|e| e.to_string());
            assert_eq!(one, many, "{text:?}");
        }
    }

    /// The numbers of a file's lines.
    #[derive(Default)]
    struct Numbers(Vec<u64>);

    impl Resumable for Numbers {
        fn save(&self) -> Option<Saved> {
            Some(Saved { counts: self.0.clone(), rows: vec![7], bits: vec![] })
        }

        fn restore(&mut self, saved: Saved) -> Option<()> {
            (saved.rows == [7]).then(|| self.0 = saved.counts)
        }
    }

    /// From every place where it was saved, the reading goes on to the same end; and from what is damaged or of other files
    /// it does not go on at all.
    #[test]
    fn a_reading_goes_on_from_where_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let (source, journal) = (dir.path().join("source"), dir.path().join("journal"));
        std::fs::create_dir(&source).unwrap();
        let path = source.join("log");
        std::fs::write(&path, "\u{feff}1\n2\nbad\n\n33\nworse\n4\n5\nbad").unwrap();
        let parse = |line: &[u8]| {
            let text = std::str::from_utf8(line).unwrap();
            text.parse::<u64>().map_err(|_| format!("'{text}' is no number"))
        };
        let read = |control: Control| {
            let options = RawOptions { malformed_share: 1.0, control, ..Default::default() };
            let mut raw = RawFolder::open(&source, &options, "test").unwrap();
            let (path, mut log) = (raw.find("log").unwrap(), Numbers::default());
            let lines = raw.parsed_by(&path, (4, 2), parse, &mut log, |log, n| log.0.push(n)).unwrap();
            let report = raw.report;
            ((lines, log.0, report.malformed, report.malformed_first), report.notes)
        };
        let every = |seconds: u64| Control::default().saving(journal.clone(), Duration::from_secs(seconds));
        let saved = journal.join("log.read");
        let (expected, notes) = read(Control::default());
        assert_eq!((expected.0, &expected.1[..], expected.2, notes.len()), (8, &[1, 2, 33, 4, 5][..], 3, 0));
        let places: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (seen, file) = (places.clone(), saved.clone());
        let control =
            every(0).telling(move |_, _, _| seen.lock().unwrap().push(std::fs::read(&file).unwrap()));
        assert_eq!(read(control).0, expected);
        let places = std::mem::take(&mut *places.lock().unwrap());
        assert!(places.len() > 3, "{}", places.len());
        for place in &places {
            std::fs::write(&saved, place).unwrap();
            let (found, notes) = read(every(1000));
            assert_eq!(found, expected);
            assert!(notes[0].starts_with("log: went on at "), "{notes:?}");
        }
        for at in 0..places[1].len() {
            let mut bad = places[1].clone();
            bad[at] ^= 1;
            std::fs::remove_file(&saved).unwrap();
            std::fs::write(&saved, bad).unwrap();
            assert_eq!(read(every(1000)), (expected.clone(), vec![]), "byte {at}");
        }
        std::fs::write(&saved, &places[1]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(read(every(1000)), (expected, vec![]));
    }
}

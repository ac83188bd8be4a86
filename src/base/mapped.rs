//! Files as memory: a file is read where it lies, page by page, by whoever asks for its bytes.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::{Advice, Mmap};
use rayon::prelude::*;

/// Bytes of pages that are mapped at once.
const POPULATED: usize = 4 << 20;

// Numbers are read from files in place, and files are little-endian.
const _: () = assert!(cfg!(target_endian = "little"), "files are little-endian, and so must the machine be");

/// A whole file, read only. It stays readable when the file is replaced or deleted, as long as this lives.
pub struct Mapped(Mmap);

impl Mapped {
    /// Errors: those of the operating system when the file cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Mapped> {
        let file = File::open(path)?;
        // SAFETY: the bytes must not change while they are borrowed. This program never writes to a file that it maps:
        // a new one is written elsewhere and renamed, which leaves this one as it is. What other programs do nobody can
        // rule out. If one writes into the file all the same, values change under their reader: only integers and text
        // that is checked at each use are read from them, so a number that was in range may be out of it, and an index
        // panics. If one cuts the file off, the operating system ends the process with a bus error.
        let map = unsafe { Mmap::map(&file)? };
        populate(&map);
        Ok(Mapped(map))
    }
}

/// Maps the pages that are in memory many at a time, on all cores: they would else be mapped as they are met, some at a
/// fault, which takes longer than to read them. A hint: where it fails the file is read all the same.
#[cfg(target_os = "linux")]
fn populate(map: &Mmap) {
    (0..map.len().div_ceil(POPULATED)).into_par_iter().for_each(|part| {
        let at = part * POPULATED;
        let _ = map.advise_range(Advice::PopulateRead, at, POPULATED.min(map.len() - at));
    });
}

#[cfg(not(target_os = "linux"))]
fn populate(_: &Mmap) {}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

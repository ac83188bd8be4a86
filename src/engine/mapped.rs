//! Files as memory: a file is read where it lies, page by page, by whoever asks for its bytes.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

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
        Ok(Mapped(unsafe { Mmap::map(&file)? }))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

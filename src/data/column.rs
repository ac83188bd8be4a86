//! One column of a table: values of one plain type, in memory or in a mapped file.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytemuck::Pod;

use base::Mapped;

/// Values that are read as a slice. Those of a prepared data set stay in its mapped file, so a clone costs nothing; they
/// are copied into memory only when they are changed.
#[derive(Clone)]
pub struct Column<T>(Values<T>);

#[derive(Clone)]
enum Values<T> {
    Owned(Vec<T>),
    /// Bytes of a file: aligned for T, and a whole number of them.
    Mapped(Arc<Mapped>, Range<usize>),
}

impl<T: Pod> Column<T> {
    /// The values that lie in `bytes` of a file. Errors: what is wrong with the range.
    pub(crate) fn mapped(file: &Arc<Mapped>, bytes: Range<usize>) -> Result<Column<T>, String> {
        let slice = file.get(bytes.clone()).ok_or("lies beyond the end of the file")?;
        bytemuck::try_cast_slice::<u8, T>(slice).map_err(|e| format!("cannot be read in place: {e}"))?;
        Ok(Column(Values::Mapped(file.clone(), bytes)))
    }

    /// The values in memory, to be changed. A mapped column is copied first.
    pub fn to_mut(&mut self) -> &mut Vec<T> {
        if let Values::Mapped(..) = self.0 {
            self.0 = Values::Owned(self.to_vec());
        }
        match &mut self.0 {
            Values::Owned(values) => values,
            Values::Mapped(..) => unreachable!("it has just been copied"),
        }
    }

    /// The values as the bytes that a file holds.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

impl<T: Pod> Deref for Column<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.0 {
            Values::Owned(values) => values,
            Values::Mapped(file, bytes) => bytemuck::cast_slice(&file[bytes.clone()]),
        }
    }
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Column(Values::Owned(Vec::new()))
    }
}

impl<T> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        Column(Values::Owned(values))
    }
}

impl<T> FromIterator<T> for Column<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Vec::from_iter(values).into()
    }
}

impl<'a, T: Pod> IntoIterator for &'a Column<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.deref().fmt(f)
    }
}

impl<T: Pod + PartialEq> PartialEq for Column<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<T: Pod + PartialEq, const N: usize> PartialEq<[T; N]> for Column<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        self[..] == other[..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_file_are_read_in_place_and_copied_by_who_changes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers");
        let numbers: Vec<u32> = (0..6).collect();
        std::fs::write(&path, bytemuck::cast_slice(&numbers)).unwrap();
        let file = Arc::new(Mapped::open(&path).unwrap());
        let whole = Column::<u32>::mapped(&file, 0..24).unwrap();
        let mut part = Column::<u32>::mapped(&file, 8..20).unwrap();
        assert_eq!(part, [2, 3, 4]);
        assert_eq!(part.as_ptr(), whole[2..].as_ptr(), "nothing is copied");
        assert_eq!(part.clone().as_ptr(), part.as_ptr());
        part.to_mut()[1] = 9;
        assert_eq!((&part[..], &whole[..]), (&[2, 9, 4][..], &numbers[..]));
        for bad in [1..5, 0..3, 20..28, 28..32] {
            assert!(Column::<u32>::mapped(&file, bad).is_err());
        }
        // The file may go while it is mapped.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(whole, [0, 1, 2, 3, 4, 5]);
    }
}

//! Names by number and numbers by name, stored as three columns instead of a string for each.

use std::fmt;
use std::ops::Index;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::column::Column;

/// A list of names. Name i is bytes `offsets[i]..offsets[i + 1]` of one text. A name's number is found by binary search
/// in the sorted order of the names, which is computed when it is first needed and stored with a prepared data set.
#[derive(Clone)]
pub struct Names {
    /// names + 1
    offsets: Column<u64>,
    bytes: Column<u8>,
    /// Numbers of the names, sorted by their bytes and then by number.
    order: OnceLock<Column<u32>>,
}

impl Names {
    /// From the columns of a file. They are not checked here: see `schema`.
    pub(crate) fn from_columns(offsets: Column<u64>, bytes: Column<u8>, order: Column<u32>) -> Names {
        Names { offsets, bytes, order: OnceLock::from(order) }
    }

    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|i| &self[i])
    }

    /// The number of a name, the smallest if several are called so.
    pub fn find(&self, name: &str) -> Option<u32> {
        let order = self.order();
        let at = order.partition_point(|&i| self.raw(i as usize) < name.as_bytes());
        order.get(at).copied().filter(|&i| self.raw(i as usize) == name.as_bytes())
    }

    /// Adds a name at the end.
    pub fn push(&mut self, name: &str) {
        self.extend([name]);
    }

    /// Keeps the first `len` names.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.offsets.to_mut().truncate(len + 1);
            self.bytes.to_mut().truncate(self.offsets[len] as usize);
            self.order = OnceLock::new();
        }
    }

    pub(crate) fn offsets(&self) -> &Column<u64> {
        &self.offsets
    }

    pub(crate) fn bytes(&self) -> &Column<u8> {
        &self.bytes
    }

    pub(crate) fn order(&self) -> &Column<u32> {
        self.order.get_or_init(|| {
            let mut order: Vec<u32> = (0..self.len() as u32).collect();
            order.par_sort_unstable_by_key(|&i| (self.raw(i as usize), i));
            order.into()
        })
    }

    /// Whether the order is that of the names: else `find` misses some.
    pub(crate) fn is_ordered(&self) -> bool {
        let order = self.order();
        let key = |i: u32| (self.raw(i as usize), i);
        order.len() == self.len() && order.par_windows(2).all(|w| key(w[0]) < key(w[1]))
    }

    #[inline]
    fn raw(&self, i: usize) -> &[u8] {
        &self.bytes[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }
}

impl Index<usize> for Names {
    type Output = str;

    fn index(&self, i: usize) -> &str {
        // Names are checked to be UTF-8 when they are opened: only a file that was changed since then has others.
        std::str::from_utf8(self.raw(i)).unwrap_or("\u{fffd}")
    }
}

impl<S: AsRef<str>> Extend<S> for Names {
    fn extend<I: IntoIterator<Item = S>>(&mut self, names: I) {
        let (offsets, bytes) = (self.offsets.to_mut(), self.bytes.to_mut());
        for name in names {
            bytes.extend_from_slice(name.as_ref().as_bytes());
            offsets.push(bytes.len() as u64);
        }
        self.order = OnceLock::new();
    }
}

impl<S: AsRef<str>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut all = Names::default();
        all.extend(names);
        all
    }
}

impl<S: AsRef<str>> From<Vec<S>> for Names {
    fn from(names: Vec<S>) -> Self {
        names.into_iter().collect()
    }
}

impl Default for Names {
    fn default() -> Self {
        Names { offsets: vec![0].into(), bytes: Column::default(), order: OnceLock::new() }
    }
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.offsets == other.offsets && self.bytes == other.bytes
    }
}

impl<const N: usize> PartialEq<[&str; N]> for Names {
    fn eq(&self, other: &[&str; N]) -> bool {
        self.iter().eq(other.iter().copied())
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let list = ["b", "", "ü", "a", "b", "ab", "日本"];
        let mut names: Names = list.iter().collect();
        assert_eq!(names, list);
        for (i, name) in list.iter().enumerate() {
            assert_eq!(&names[i], *name);
            let first = list.iter().position(|n| n == name).unwrap() as u32;
            assert_eq!(names.find(name), Some(first), "{name}");
        }
        assert_eq!((names.find("c"), names.find("日"), Names::default().find("")), (None, None, None));
        assert!(names.is_ordered());
        // The order follows when the names change.
        names.push("c");
        assert_eq!(names.find("c"), Some(7));
        names.truncate(3);
        assert_eq!((names.len(), names.find("a"), names.find("ü")), (3, None, Some(2)));
        assert_eq!(names, ["b", "", "ü"]);
    }

    #[test]
    fn an_order_that_is_wrong_gives_wrong_answers_and_no_panic() {
        let right: Names = ["a", "b", "c", "d"].iter().collect();
        for order in [vec![3, 2, 1, 0], vec![0, 0, 0, 0], vec![]] {
            let names = Names::from_columns(right.offsets.clone(), right.bytes.clone(), order.clone().into());
            assert!(!names.is_ordered(), "{order:?}");
            for name in ["a", "b", "c", "d", "e", ""] {
                assert!(names.find(name).is_none_or(|i| &names[i as usize] == name));
            }
        }
    }
}

//! Rows of any degree, cut into pieces of bounded length.
//!
//! A learner has a handful of edges and a popular course a hundred thousand: with one worker per row the course
//! is a long tail. So rows are cut into pieces of at most `PIECE` entries, pieces are worked on in any order, and
//! the partial results of a row are merged in piece order: balanced, and the same bits every time.

use std::ops::Range;

use crate::Result;
use crate::engine::{Device, Index};

/// Most entries of a piece.
pub const PIECE: u64 = 256;

#[derive(Clone, Debug)]
pub struct Pieces {
    /// (pieces) the row that each piece belongs to. Rows without entries have no piece.
    pub row: Index<u32>,
    /// (pieces) first entry, and one past the last.
    pub begin: Index<u64>,
    pub end: Index<u64>,
    /// (rows + 1) the pieces of row v are `of_row[v] .. of_row[v + 1]`.
    pub of_row: Index<u64>,
    /// (rows with several pieces) these rows alone need partial results and a merge.
    pub split_rows: Index<u32>,
    /// (pieces of those rows) the pieces, in order; a place in this list is the slot of a partial result.
    pub split: Index<u32>,
    /// (pieces) slot of each piece, `SOLE` for the only piece of a row.
    pub slot: Index<u32>,
}

/// `Pieces::slot` of a piece that is its row's only one.
pub const SOLE: u32 = u32::MAX;

impl Pieces {
    /// `offsets` (rows + 1): where each row's entries begin.
    pub fn new(device: &Device, offsets: &[u64]) -> Result<Pieces> {
        Pieces::cut(device, offsets.windows(2).map(|own| std::iter::once(own[0]..own[1])))
    }

    /// The entries of each row are the union of its ranges; all of them ascend and are disjoint, with gaps or without.
    pub fn of_ranges(device: &Device, rows: &[Vec<Range<u64>>]) -> Result<Pieces> {
        Pieces::cut(device, rows.iter().map(|ranges| ranges.iter().cloned()))
    }

    fn cut<R: Iterator<Item = Range<u64>>>(
        device: &Device,
        ranges: impl ExactSizeIterator<Item = R>,
    ) -> Result<Pieces> {
        let rows = ranges.len();
        let (mut row, mut begin, mut end) = (vec![], vec![], vec![]);
        let mut of_row = Vec::with_capacity(rows + 1);
        for (v, ranges) in ranges.enumerate() {
            of_row.push(row.len() as u64);
            for range in ranges {
                let mut at = range.start;
                while at < range.end {
                    let stop = (at + PIECE).min(range.end);
                    row.push(v as u32);
                    begin.push(at);
                    end.push(stop);
                    at = stop;
                }
            }
        }
        of_row.push(row.len() as u64);
        let (mut split_rows, mut split, mut slot) = (vec![], vec![], vec![SOLE; row.len()]);
        for v in 0..rows {
            let own = of_row[v] as u32..of_row[v + 1] as u32;
            if own.len() > 1 {
                split_rows.push(v as u32);
                for p in own {
                    slot[p as usize] = split.len() as u32;
                    split.push(p);
                }
            }
        }
        Ok(Pieces {
            split_rows: Index::new(device, split_rows)?,
            split: Index::new(device, split)?,
            slot: Index::new(device, slot)?,
            row: Index::new(device, row)?,
            begin: Index::new(device, begin)?,
            end: Index::new(device, end)?,
            of_row: Index::new(device, of_row)?,
        })
    }

    pub fn count(&self) -> usize {
        self.row.len()
    }

    pub fn rows(&self) -> usize {
        self.of_row.len() - 1
    }

    /// Entries of piece `p`.
    pub fn range(&self, p: usize) -> Range<usize> {
        self.begin.host()[p] as usize..self.end.host()[p] as usize
    }

    /// Pieces of row `v`.
    pub fn of(&self, v: usize) -> Range<usize> {
        let of_row = self.of_row.host();
        of_row[v] as usize..of_row[v + 1] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_rows_are_split() {
        let p = Pieces::new(&Device::Cpu, &[0, 3, 3, 603, 859, 1116]).unwrap();
        assert_eq!(p.row.host(), [0, 2, 2, 2, 3, 4, 4]);
        assert_eq!(p.begin.host(), [0, 3, 259, 515, 603, 859, 1115]);
        assert_eq!(p.end.host(), [3, 259, 515, 603, 859, 1115, 1116]);
        assert_eq!(p.of_row.host(), [0, 1, 1, 4, 5, 7]);
        assert_eq!(p.split_rows.host(), [2, 4]);
        assert_eq!(p.split.host(), [1, 2, 3, 5, 6]);
        assert_eq!(p.slot.host(), [SOLE, 0, 1, 2, SOLE, 3, 4]);
    }
}

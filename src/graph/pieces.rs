//! Rows of any degree, cut into pieces of bounded length.
//!
//! A learner has a handful of edges and a popular course a hundred thousand: with one worker per row the course
//! is a long tail. So rows are cut into pieces of at most `PIECE` entries, pieces are worked on in any order, and
//! the partial results of a row are merged in piece order: balanced, and the same bits every time.

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
}

impl Pieces {
    /// `offsets` (rows + 1): where each row's entries begin.
    pub fn new(device: &Device, offsets: &[u64]) -> Result<Pieces> {
        let rows = offsets.len() - 1;
        let (mut row, mut begin, mut end) = (vec![], vec![], vec![]);
        let mut of_row = Vec::with_capacity(rows + 1);
        for v in 0..rows {
            of_row.push(row.len() as u64);
            let mut at = offsets[v];
            while at < offsets[v + 1] {
                let stop = (at + PIECE).min(offsets[v + 1]);
                row.push(v as u32);
                begin.push(at);
                end.push(stop);
                at = stop;
            }
        }
        of_row.push(row.len() as u64);
        Ok(Pieces {
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
    pub fn range(&self, p: usize) -> std::ops::Range<usize> {
        self.begin.host()[p] as usize..self.end.host()[p] as usize
    }

    /// Pieces of row `v`.
    pub fn of(&self, v: usize) -> std::ops::Range<usize> {
        let of_row = self.of_row.host();
        of_row[v] as usize..of_row[v + 1] as usize
    }
}

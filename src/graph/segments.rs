//! The sorted inverse of a list of row ids: for every distinct row, where it was used.
//!
//! A gather reads rows in any order; its gradient adds to rows that may repeat. With the uses sorted by row, one
//! worker owns each row and adds in the order of use: no atomics, and the same bits every time.

use super::pieces::PIECE;
use super::runs::Runs;
use crate::Result;
use crate::engine::{Device, Index};

/// Uses of rows, sorted by (row, place of use).
#[derive(Clone, Debug)]
pub struct Segments {
    /// (segments) the distinct rows, ascending.
    pub row: Index<u32>,
    /// (segments + 1) the uses of segment s are `position[offsets[s] .. offsets[s + 1]]`.
    pub offsets: Index<u64>,
    /// (uses) places in the list of ids.
    pub position: Index<u32>,
    /// Pieces of at most `PIECE` uses, of the segments that are longer than that; the others have none.
    pub piece_begin: Index<u64>,
    pub piece_end: Index<u64>,
    /// (segments + 1) the pieces of segment s are `pieces[s] .. pieces[s + 1]`.
    pub pieces: Index<u64>,
}

/// Row ids of a table with their sorted inverse: what a differentiable gather needs.
#[derive(Clone, Debug)]
pub struct Rows {
    /// (B) the rows, in the order of use.
    pub ids: Index<u32>,
    /// Rows of the table.
    pub of: usize,
    pub segments: Segments,
}

impl Rows {
    /// Ids into a table of `n` rows. `Error::Shape` for an id of n or more.
    pub fn new(device: &Device, ids: Vec<u32>, n: usize) -> Result<Rows> {
        let segments = Segments::new(device, &ids, n)?;
        Ok(Rows { ids: Index::new(device, ids)?, of: n, segments })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl Segments {
    /// Sorts the uses of a table of `n` rows. `Error::Shape` for an id of n or more, or 2^32 uses or more.
    pub fn new(device: &Device, ids: &[u32], n: usize) -> Result<Segments> {
        let Runs { id: row, offsets, place: position } = Runs::new(ids, n)?;
        let (mut begin, mut end) = (vec![], vec![]);
        let mut pieces = Vec::with_capacity(offsets.len());
        for own in offsets.windows(2) {
            pieces.push(begin.len() as u64);
            if own[1] - own[0] > PIECE {
                for from in (own[0]..own[1]).step_by(PIECE as usize) {
                    begin.push(from);
                    end.push((from + PIECE).min(own[1]));
                }
            }
        }
        pieces.push(begin.len() as u64);
        Ok(Segments {
            row: Index::new(device, row)?,
            offsets: Index::new(device, offsets)?,
            position: Index::new(device, position)?,
            piece_begin: Index::new(device, begin)?,
            piece_end: Index::new(device, end)?,
            pieces: Index::new(device, pieces)?,
        })
    }

    pub fn count(&self) -> usize {
        self.row.len()
    }

    /// Uses of segment `s`.
    pub fn uses(&self, s: usize) -> &[u32] {
        let offsets = self.offsets.host();
        &self.position.host()[offsets[s] as usize..offsets[s + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_sorted_by_row_and_place() {
        let rows = Rows::new(&Device::Cpu, vec![7, 2, 7, 0, 2, 7], 8).unwrap();
        assert_eq!(rows.segments.row.host(), [0, 2, 7]);
        assert_eq!(rows.segments.offsets.host(), [0, 1, 3, 6]);
        assert_eq!(rows.segments.position.host(), [3, 1, 4, 0, 2, 5]);
        assert_eq!(rows.segments.pieces.host(), [0, 0, 0, 0]);
        assert!(Rows::new(&Device::Cpu, vec![8], 8).is_err());
        assert_eq!(Rows::new(&Device::Cpu, vec![], 0).unwrap().segments.count(), 0);
    }

    #[test]
    fn wide_ids_and_hot_rows() {
        let n = 5_000_000;
        let ids: Vec<u32> = (0..4000u32).map(|i| if i % 4 == 0 { 4_999_999 } else { i * 1237 }).collect();
        let segments = Segments::new(&Device::Cpu, &ids, n).unwrap();
        let mut want: Vec<(u32, u32)> = ids.iter().enumerate().map(|(i, &id)| (id, i as u32)).collect();
        want.sort();
        assert!(segments.position.host().iter().eq(want.iter().map(|(_, i)| i)));
        let last = segments.count() - 1;
        assert_eq!(segments.uses(last).len(), 1000);
        assert_eq!(segments.pieces.host()[last + 1], 4);
        assert_eq!(segments.piece_end.host()[3], 4000);
    }
}

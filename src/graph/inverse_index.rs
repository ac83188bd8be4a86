//! The sorted inverse of a list of row ids: for every distinct row, where it was used.
//!
//! A gather reads rows in any order; its gradient adds to rows that may repeat. With the uses sorted by row, one
//! worker owns each row and adds in the order of use: no atomics, and the same bits every time.

use super::row_splits::PIECE;
use super::sorted_groups::SortedGroups;
use base::Result;
use engine::{Device, Index};

/// Uses of rows, sorted by (row, place of use).
#[derive(Clone, Debug)]
pub struct InverseIndex {
    /// (segments) the distinct rows, ascending; behind them, where lists are filled up, row 0 without uses.
    pub row: Index<u32>,
    /// (segments + 1) the uses of segment s are `position[offsets[s] .. offsets[s + 1]]`.
    pub offsets: Index<u64>,
    /// (uses) places in the list of ids.
    pub position: Index<u32>,
    /// RowSplits of at most `PIECE` uses, of the segments that are longer than that; the others have none.
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
    pub segments: InverseIndex,
}

impl Rows {
    /// Ids into a table of `n` rows. `Error::Shape` for an id of n or more.
    pub fn new(device: &Device, ids: Vec<u32>, n: usize) -> Result<Rows> {
        // On a GPU all lists have the lengths that follow from the number of ids, so that work which was recorded with
        // other ids can be replayed.
        let segments = match device {
            Device::Cpu => InverseIndex::new(device, &ids, n)?,
            Device::Gpu(_) => InverseIndex::sort(&ids, n)?.filled(ids.len()).on(device)?,
        };
        Ok(Rows { ids: Index::new(device, ids)?, of: n, segments })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl InverseIndex {
    /// Sorts the uses of a table of `n` rows. `Error::Shape` for an id of n or more, or 2^32 uses or more.
    pub fn new(device: &Device, ids: &[u32], n: usize) -> Result<InverseIndex> {
        InverseIndex::sort(ids, n)?.on(device)
    }

    fn sort(ids: &[u32], n: usize) -> Result<Lists> {
        let SortedGroups { id: row, offsets, place: position } = SortedGroups::new(ids, n)?;
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
        Ok(Lists { row, offsets, position, begin, end, pieces })
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

/// `InverseIndex` in the making.
struct Lists {
    row: Vec<u32>,
    offsets: Vec<u64>,
    position: Vec<u32>,
    begin: Vec<u64>,
    end: Vec<u64>,
    pieces: Vec<u64>,
}

impl Lists {
    /// Filled up to the most segments and pieces that `uses` uses can have, with segments of no use and empty pieces
    /// that belong to none.
    fn filled(mut self, uses: usize) -> Lists {
        self.row.resize(uses, 0);
        self.offsets.resize(uses + 1, uses as u64);
        self.pieces.resize(uses + 1, self.begin.len() as u64);
        // A segment of more than PIECE uses has fewer than 2 / PIECE pieces a use.
        let most = 2 * uses / PIECE as usize;
        self.begin.resize(most.max(self.begin.len()), 0);
        self.end.resize(self.begin.len(), 0);
        self
    }

    fn on(self, device: &Device) -> Result<InverseIndex> {
        Ok(InverseIndex {
            row: Index::new(device, self.row)?,
            offsets: Index::new(device, self.offsets)?,
            position: Index::new(device, self.position)?,
            piece_begin: Index::new(device, self.begin)?,
            piece_end: Index::new(device, self.end)?,
            pieces: Index::new(device, self.pieces)?,
        })
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
    fn filled_lists_have_lengths_of_their_own() {
        let lengths = |ids: &[u32]| {
            let lists = InverseIndex::sort(ids, 2000).unwrap();
            let (segments, pieces) = (lists.row.len(), lists.begin.len());
            let filled = lists.filled(ids.len());
            assert!(filled.offsets[segments..].iter().all(|&at| at == ids.len() as u64));
            assert!(filled.begin[pieces..].iter().chain(&filled.end[pieces..]).all(|&at| at == 0));
            assert_eq!(filled.end.len(), filled.begin.len());
            (filled.row.len(), filled.offsets.len(), filled.pieces.len(), filled.begin.len())
        };
        // Of 1030 ids: all apart, all the same, and four rows of 257 or 258 that are two pieces each.
        let apart: Vec<u32> = (0..1030).collect();
        let four: Vec<u32> = (0..1030).map(|i| i % 4).collect();
        for ids in [&[7; 1030][..], &four] {
            assert_eq!(lengths(ids), lengths(&apart));
        }
        assert_eq!(lengths(&[]), (0, 1, 1, 0));
    }

    #[test]
    fn wide_ids_and_hot_rows() {
        let n = 5_000_000;
        let ids: Vec<u32> = (0..4000u32).map(|i| if i % 4 == 0 { 4_999_999 } else { i * 1237 }).collect();
        let segments = InverseIndex::new(&Device::Cpu, &ids, n).unwrap();
        let mut want: Vec<(u32, u32)> = ids.iter().enumerate().map(|(i, &id)| (id, i as u32)).collect();
        want.sort();
        assert!(segments.position.host().iter().eq(want.iter().map(|(_, i)| i)));
        let last = segments.count() - 1;
        assert_eq!(segments.uses(last).len(), 1000);
        assert_eq!(segments.pieces.host()[last + 1], 4);
        assert_eq!(segments.piece_end.host()[3], 4000);
    }
}

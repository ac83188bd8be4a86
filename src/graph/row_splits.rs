//! Rows of any degree, cut into pieces of bounded length.
//!
//! A learner has a handful of edges and a popular course a hundred thousand: with one worker per row the course
//! is a long tail. So rows are cut into pieces of at most `PIECE` entries, pieces are worked on in any order, and
//! the partial results of a row are merged in piece order: balanced, and the same bits every time.
//!
//! Entries of a long row gather rows from all over a table. Where the table exceeds a GPU's L2 cache, long rows are cut
//! by blocks of the table too, and a launch takes the pieces of the first block first, then those of the second: warps
//! that run at the same time gather from the same block, and memory is read once for each block instead of for each
//! entry.

use std::ops::Range;

use base::Result;
use engine::device::Launch;
use engine::{Device, Index};

/// Most entries of a piece.
pub const PIECE: u64 = 256;
/// Fewest entries of a piece that ends where a block of the table does: its partial result is written and read again,
/// two rows for at least 32 that are gathered.
const SHORT: u64 = 32;
/// Bytes of a block of a table. The L2 caches of the cards that train on large graphs hold some 40 to 60 MB, and other
/// tables, results and the entries themselves go through them too.
const BLOCK_BYTES: usize = 12_800_000;

/// Rows of a block of a table of f32 of this many columns.
pub fn block_rows(cols: usize) -> usize {
    (BLOCK_BYTES / (4 * cols.max(1))).max(1)
}

#[derive(Clone, Debug)]
pub struct RowSplits {
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
    /// (pieces) slot of each piece, `UNSPLIT` for the only piece of a row.
    pub slot: Index<u32>,
    /// The pieces in the order in which a launch takes them, where that is not their own.
    by_block: Option<Box<Order>>,
}

/// What a launch reads of each piece: `RowSplits::row`, `begin`, `end` and `slot`.
#[derive(Clone, Debug)]
struct Order {
    row: Index<u32>,
    begin: Index<u64>,
    end: Index<u64>,
    slot: Index<u32>,
}

/// `RowSplits` of rows that are launched in their own order, before they are on a device.
pub(super) struct Cut {
    row: Vec<u32>,
    begin: Vec<u64>,
    end: Vec<u64>,
    of_row: Vec<u64>,
    split_rows: Vec<u32>,
    split: Vec<u32>,
    slot: Vec<u32>,
}

/// `RowSplits::slot` of a piece that is its row's only one.
pub const UNSPLIT: u32 = u32::MAX;

impl RowSplits {
    /// `offsets` (rows + 1): where each row's entries begin.
    pub fn new(device: &Device, offsets: &[u64]) -> Result<RowSplits> {
        Cut::new(offsets).on(device)
    }

    /// The entries of each row are the union of its ranges; all of them ascend and are disjoint, with gaps or without.
    pub fn of_ranges(device: &Device, rows: &[Vec<Range<u64>>]) -> Result<RowSplits> {
        Cut::of(rows.iter().map(|ranges| ranges.iter().cloned()), None).on(device)
    }

    /// As `new`, where entry i gathers row `gathered(i)` of a table that is worked on by blocks of `block` rows. Rows
    /// of more than one piece are also cut where their entries pass from one block into another; it pays where these
    /// ascend within a row. RowSplits are launched by the block of their first entry, and within a block in their own
    /// order.
    pub fn by_block(
        device: &Device,
        offsets: &[u64],
        block: usize,
        gathered: impl Fn(u64) -> u32,
    ) -> Result<RowSplits> {
        let block_of = |i: u64| gathered(i) / block.max(1) as u32;
        let rows = offsets.windows(2).map(|own| std::iter::once(own[0]..own[1]));
        let cut = Cut::of(rows, Some(&block_of));
        let block: Vec<u32> = cut.begin.iter().map(|&i| block_of(i)).collect();
        let blocks = block.iter().max().map_or(0, |&last| last as usize + 1);
        let order = super::sorted_by(blocks, block.len(), |p| block[p]).1;
        fn taken<T: Copy>(of: &[T], order: &[u32]) -> Vec<T> {
            order.iter().map(|&p| of[p as usize]).collect()
        }
        let order = Order {
            row: Index::new(device, taken(&cut.row, &order))?,
            begin: Index::new(device, taken(&cut.begin, &order))?,
            end: Index::new(device, taken(&cut.end, &order))?,
            slot: Index::new(device, taken(&cut.slot, &order))?,
        };
        Ok(RowSplits { by_block: Some(Box::new(order)), ..cut.on(device)? })
    }

    /// Adds what a kernel reads of each piece, in the order in which pieces are to be launched: row, begin, end, slot
    /// and the number of pieces.
    pub fn arguments<'a>(&self, launch: Launch<'a>) -> Launch<'a> {
        let launch = match &self.by_block {
            Some(order) => launch.index(&order.row).index(&order.begin).index(&order.end).index(&order.slot),
            None => launch.index(&self.row).index(&self.begin).index(&self.end).index(&self.slot),
        };
        launch.count(self.count())
    }

    /// Adds what a kernel reads that merges the partial results of split rows: these rows, and the slots of each.
    pub fn merge_arguments<'a>(&self, launch: Launch<'a>) -> Launch<'a> {
        launch.index(&self.split_rows).index(&self.of_row).index(&self.slot)
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

    /// RowSplits of row `v`.
    pub fn of(&self, v: usize) -> Range<usize> {
        let of_row = self.of_row.host();
        of_row[v] as usize..of_row[v + 1] as usize
    }
}

impl Cut {
    /// `offsets` (rows + 1): where each row's entries begin.
    pub fn new(offsets: &[u64]) -> Cut {
        Cut::of(offsets.windows(2).map(|own| std::iter::once(own[0]..own[1])), None)
    }

    /// With `block_of` long rows are also cut where it changes from one entry to the next.
    fn of<R: Iterator<Item = Range<u64>>>(
        ranges: impl ExactSizeIterator<Item = R>,
        block_of: Option<&dyn Fn(u64) -> u32>,
    ) -> Cut {
        let rows = ranges.len();
        let [mut begin, mut end] = [(); 2].map(|()| Vec::with_capacity(rows));
        let (mut row, mut of_row) = (Vec::with_capacity(rows), Vec::with_capacity(rows + 1));
        for (v, ranges) in ranges.enumerate() {
            of_row.push(row.len() as u64);
            for range in ranges {
                let is_long = range.end - range.start > PIECE;
                let mut at = range.start;
                while at < range.end {
                    let most = (at + PIECE).min(range.end);
                    let passes = |of: &dyn Fn(u64) -> u32| (at + SHORT..most).find(|&i| of(i) != of(i - 1));
                    let stop = block_of.filter(|_| is_long).and_then(passes).unwrap_or(most);
                    row.push(v as u32);
                    begin.push(at);
                    end.push(stop);
                    at = stop;
                }
            }
        }
        of_row.push(row.len() as u64);
        let (mut split_rows, mut split, mut slot) = (vec![], vec![], vec![UNSPLIT; row.len()]);
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
        Cut { row, begin, end, of_row, split_rows, split, slot }
    }

    pub fn on(self, device: &Device) -> Result<RowSplits> {
        Ok(RowSplits {
            split_rows: Index::new(device, self.split_rows)?,
            split: Index::new(device, self.split)?,
            slot: Index::new(device, self.slot)?,
            row: Index::new(device, self.row)?,
            begin: Index::new(device, self.begin)?,
            end: Index::new(device, self.end)?,
            of_row: Index::new(device, self.of_row)?,
            by_block: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_rows_are_split() {
        let p = RowSplits::new(&Device::Cpu, &[0, 3, 3, 603, 859, 1116]).unwrap();
        assert_eq!(p.row.host(), [0, 2, 2, 2, 3, 4, 4]);
        assert_eq!(p.begin.host(), [0, 3, 259, 515, 603, 859, 1115]);
        assert_eq!(p.end.host(), [3, 259, 515, 603, 859, 1115, 1116]);
        assert_eq!(p.of_row.host(), [0, 1, 1, 4, 5, 7]);
        assert_eq!(p.split_rows.host(), [2, 4]);
        assert_eq!(p.split.host(), [1, 2, 3, 5, 6]);
        assert_eq!(p.slot.host(), [UNSPLIT, 0, 1, 2, UNSPLIT, 3, 4]);
    }
    /// A row of 100 entries is not cut. One of 300 is where it passes 10, not where it passes 20, which comes too
    /// early, and after 256 more entries. The pieces of block 0 come first.
    #[test]
    fn blocks_cut_long_rows_and_order_the_pieces() {
        let gathered = |i: u64| match i {
            0..100 => (i / 3) as u32,
            100..140 => 3,
            140..150 => 12,
            _ => 25 + (i / 399) as u32 * 10,
        };
        let p = RowSplits::by_block(&Device::Cpu, &[0, 100, 400], 10, gathered).unwrap();
        assert_eq!(p.begin.host(), [0, 100, 140, 396]);
        assert_eq!(p.end.host(), [100, 140, 396, 400]);
        assert_eq!(p.slot.host(), [UNSPLIT, 0, 1, 2]);
        let order = p.by_block.unwrap();
        assert_eq!(order.begin.host(), [0, 100, 140, 396]);
        let p = RowSplits::by_block(&Device::Cpu, &[0, 300, 600], 5, |i| (i % 300 / 60) as u32).unwrap();
        assert_eq!((p.count(), p.split_rows.host()), (4, &[0, 1][..]));
        let p = RowSplits::by_block(&Device::Cpu, &[0, 300, 600], 2, |i| (i % 300 / 60) as u32).unwrap();
        assert_eq!(p.begin.host(), [0, 120, 240, 300, 420, 540]);
        let order = p.by_block.unwrap();
        assert_eq!(order.begin.host(), [0, 300, 120, 420, 240, 540]);
        assert_eq!(order.end.host(), [120, 420, 240, 540, 300, 600]);
        assert_eq!(order.row.host(), [0, 1, 0, 1, 0, 1]);
        assert_eq!(order.slot.host(), [0, 3, 1, 4, 2, 5]);
    }
}

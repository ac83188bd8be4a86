//! One set of ids per row: courses a learner has taken, courses to find.

use base::{Error, Result};
use engine::{Device, Index};

/// A CSR of ids, ascending and distinct within each row.
#[derive(Clone, Debug)]
pub struct IdSets {
    /// (rows + 1)
    pub offsets: Index<u64>,
    pub ids: Index<u32>,
    /// One past the largest id allowed.
    pub below: usize,
}

impl IdSets {
    /// Sorts each row and drops repeats. `Error::Shape` for an id of `below` or more.
    pub fn new<R: AsRef<[u32]>>(device: &Device, rows: impl IntoIterator<Item = R>, below: usize) -> Result<IdSets> {
        let (mut offsets, mut ids, mut sorted) = (vec![0], vec![], vec![]);
        for row in rows {
            sorted.clear();
            sorted.extend_from_slice(row.as_ref());
            sorted.sort_unstable();
            sorted.dedup();
            if let Some(id) = sorted.last().filter(|&&id| id as usize >= below) {
                return Err(Error::shape("id sets", format!("ids below {below}"), format!("{id}")));
            }
            ids.extend_from_slice(&sorted);
            offsets.push(ids.len() as u64);
        }
        Ok(IdSets { offsets: Index::new(device, offsets)?, ids: Index::new(device, ids)?, below })
    }

    /// `rows` empty sets.
    pub fn none(device: &Device, rows: usize, below: usize) -> Result<IdSets> {
        IdSets::new(device, std::iter::repeat_n([], rows), below)
    }

    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The set of row `b`, ascending.
    pub fn row(&self, b: usize) -> &[u32] {
        let offsets = self.offsets.host();
        &self.ids.host()[offsets[b] as usize..offsets[b + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sets() {
        let sets = IdSets::new(&Device::Cpu, &[vec![3, 1, 3], vec![], vec![0]], 4).unwrap();
        assert_eq!((sets.row(0), sets.row(1), sets.row(2)), (&[1, 3][..], &[][..], &[0][..]));
        assert!(IdSets::new(&Device::Cpu, [[4]], 4).is_err());
        assert_eq!(IdSets::none(&Device::Cpu, 2, 4).unwrap().rows(), 2);
    }
}

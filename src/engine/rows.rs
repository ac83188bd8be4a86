//! Row-sparse gradients: a step that reads a few rows of a large table moves those alone.
//!
//! The rows of a batch are gathered once into a compact tensor, which stands on the tape in the table's place; so
//! the gradient is compact, too, and nothing of the table's size is cleared, written or read.

use std::sync::Arc;

use super::device::{Device, Grid, kernels};
use super::parallel::{self, RowWork, for_rows_work};
use super::{Element, Index, Tensor};
use crate::dispatch_dtype;
use base::{Error, Result};

/// Distinct rows of a table, in ascending order. Row k of a compact tensor is row `ids[k]` of the table.
#[derive(Clone, Debug)]
pub struct RowSet {
    /// (U) ascending, each below `of`.
    ids: Index<u32>,
    of: usize,
}

impl RowSet {
    /// `ids` are strictly ascending rows of a table of `rows` rows. Fails where they are not.
    pub fn new(device: &Device, ids: Vec<u32>, rows: usize) -> Result<RowSet> {
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(Error::shape("row set", "ascending distinct rows", format!("{pair:?}")));
        }
        match ids.last() {
            Some(&last) if last as usize >= rows => {
                Err(Error::shape("row set", format!("rows below {rows}"), format!("{last}")))
            }
            _ => Ok(RowSet { ids: Index::new(device, ids)?, of: rows }),
        }
    }

    /// The rows of an index that is known to be strictly ascending and below `rows`.
    pub fn of_sorted(ids: Index<u32>, rows: usize) -> RowSet {
        RowSet { ids, of: rows }
    }

    pub fn ids(&self) -> &Index<u32> {
        &self.ids
    }

    /// Rows in the set.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Rows of the table.
    pub fn of(&self) -> usize {
        self.of
    }

    /// These rows of `table` (of, cols), as a tensor (U, cols).
    pub fn gather(&self, table: &Tensor) -> Result<Tensor> {
        if table.rows() != self.of {
            return Err(Error::shape("row set", format!("a table of {} rows", self.of), format!("{}", table.rows())));
        }
        let (count, cols) = (self.len(), table.cols());
        let mut out = table.empty_like(count, cols)?;
        if out.is_empty() {
            return Ok(out);
        }
        if let Some(gpu) = table.gpu() {
            let kernel = if table.dtype().is_half() { kernels::GATHER_FWD_16 } else { kernels::GATHER_FWD };
            gpu.launch(kernel, Grid::warps(count, 256))
                .tensor(table)
                .index(&self.ids)
                .tensor_mut(&mut out)
                .value(count as u64)
                .value(cols as u32)
                .run()?;
            return Ok(out);
        }
        dispatch_dtype!(table.dtype(), S => {
            let work = Gathered { table: table.host::<S>(), ids: self.ids.host(), cols };
            for_rows_work(out.host_mut::<S>(), cols, cols, &work);
        });
        Ok(out)
    }

    fn same(&self, other: &RowSet) -> bool {
        std::ptr::eq(self, other) || (self.of == other.of && self.ids.host() == other.ids.host())
    }
}

/// Rows between the request for one and its copy.
const PREFETCH_DISTANCE: usize = 8;

struct Gathered<'a, T> {
    table: &'a [T],
    ids: &'a [u32],
    cols: usize,
}

impl<T: Element> RowWork<T> for Gathered<'_, T> {
    #[inline(always)]
    fn rows(&self, first: usize, rows: &mut [T]) {
        let cols = self.cols;
        let row = |id: u32| &self.table[id as usize * cols..][..cols];
        for (k, out) in rows.chunks_exact_mut(cols).enumerate() {
            if let Some(&id) = self.ids.get(first + k + PREFETCH_DISTANCE) {
                parallel::prefetch(row(id));
            }
            out.copy_from_slice(row(self.ids[first + k]));
        }
    }
}

/// What a loss says of one parameter.
#[derive(Clone, Debug)]
pub enum Gradient {
    /// Of the parameter's shape.
    Dense(Tensor),
    /// (U, cols) the gradient of these rows; that of all others is zero.
    Rows(Arc<RowSet>, Tensor),
}

impl From<Tensor> for Gradient {
    fn from(tensor: Tensor) -> Gradient {
        Gradient::Dense(tensor)
    }
}

impl Gradient {
    /// The numbers that are there: all of a dense gradient, the compact tensor of a row-sparse one.
    pub fn tensor(&self) -> &Tensor {
        match self {
            Gradient::Dense(tensor) | Gradient::Rows(_, tensor) => tensor,
        }
    }

    pub fn rows(&self) -> Option<&Arc<RowSet>> {
        match self {
            Gradient::Dense(_) => None,
            Gradient::Rows(rows, _) => Some(rows),
        }
    }

    /// The same rows with other numbers of the same shape.
    pub fn with(&self, tensor: Tensor) -> Gradient {
        match self {
            Gradient::Dense(_) => Gradient::Dense(tensor),
            Gradient::Rows(rows, _) => Gradient::Rows(rows.clone(), tensor),
        }
    }

    /// The shape of the parameter.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Gradient::Dense(tensor) => tensor.shape(),
            Gradient::Rows(rows, tensor) => (rows.of, tensor.cols()),
        }
    }

    /// Whether both speak of the same rows of parameters of the same shape, so that they add number by number.
    pub fn matches(&self, other: &Gradient) -> bool {
        let rows = match (self.rows(), other.rows()) {
            (None, None) => true,
            (Some(a), Some(b)) => a.same(b),
            _ => false,
        };
        rows && self.tensor().shape() == other.tensor().shape()
    }

    /// self += other. Fails where they do not match.
    pub fn add(&mut self, other: &Gradient) -> Result<()> {
        if !self.matches(other) {
            return Err(Error::shape("sum of gradients", self.describe(), other.describe()));
        }
        let (Gradient::Dense(tensor) | Gradient::Rows(_, tensor)) = self;
        tensor.add_scaled(1.0, other.tensor())
    }

    /// For errors.
    pub(super) fn describe(&self) -> String {
        match self {
            Gradient::Dense(tensor) => format!("{:?}", tensor.shape()),
            Gradient::Rows(rows, tensor) => {
                format!("{:?} for {} rows of {}", tensor.shape(), rows.len(), rows.of)
            }
        }
    }

    /// Whether a row-sparse gradient has a row for every id.
    pub(super) fn whole(&self) -> bool {
        self.rows().is_none_or(|rows| rows.len() == self.tensor().rows())
    }
}

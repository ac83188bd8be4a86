//! Rows of a table by id: y[b] = table[ids[b]], with a gradient that adds repeated rows in order.
//! Rows stored in 16 bits are copied as they are.

use super::cpu::scatter::{Layout, Scattered, scatter};
use super::{check_shape, inputs};
use base::Result;
use engine::device::{Grid, kernels};
use engine::parallel;
use engine::simd::axpy;
use engine::{Backward, Gpu, Op, Real, Tensor};
use engine::{dispatch_dtype, dispatch_float};
use graph::Rows;

/// Input table (N, d); output (B, d), row b being row ids[b] of the table. The ids stand in the op.
#[derive(Clone, Debug)]
pub struct Gather {
    pub rows: Rows,
}

impl Gather {
    pub fn new(rows: Rows) -> Gather {
        Gather { rows }
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let [table] = inputs("gather", "one input, the table", x)?;
        check_shape("gather", "table", table, self.rows.of, table.cols())?;
        let (count, d) = (self.rows.len(), table.cols());
        let mut y = table.empty_like(count, d)?;
        if let Some(gpu) = table.gpu() {
            if !y.is_empty() {
                let kernel = if table.dtype().is_half() { kernels::GATHER_FWD_16 } else { kernels::GATHER_FWD };
                gpu.launch(kernel, Grid::warps(count, 256))
                    .tensor(table)
                    .index(&self.rows.ids)
                    .tensor_mut(&mut y)
                    .value(count as u64)
                    .value(d as u32)
                    .run()?;
            }
            return Ok(vec![y]);
        }
        let ids = self.rows.ids.host();
        dispatch_dtype!(table.dtype(), S => {
            let table = table.host::<S>();
            parallel::for_rows(y.host_mut::<S>(), d, |first, rows| {
                for (row, &id) in rows.chunks_exact_mut(d).zip(&ids[first..]) {
                    row.copy_from_slice(&table[id as usize * d..][..d]);
                }
            });
        });
        Ok(vec![y])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let (Some(dy), Some(dtable)) = (dy[0], dx[0].as_mut()) else { return Ok(()) };
        let d = x[0].cols();
        if dy.is_empty() {
            return Ok(());
        }
        if let Some(gpu) = dy.gpu() {
            return self.backward_gpu(gpu, dy, dtable);
        }
        dispatch_float!(dy.dtype(), T => {
            let work = AddRows { dy: dy.host::<T>(), d };
            scatter(&self.rows.segments, d, (Layout::Add, d), [Some(dtable.host_mut::<T>())], &work);
        });
        Ok(())
    }

    fn takes_half(&self, _: usize) -> bool {
        true
    }
}

/// Sums of rows of dy (B, d).
struct AddRows<'a, T> {
    dy: &'a [T],
    d: usize,
}

impl<T: Real> Scattered<T, 1> for AddRows<'_, T> {
    #[inline(always)]
    fn add<const ISA: u8>(&self, place: usize, sum: &mut [T]) {
        axpy::<ISA, T>(T::one(), &self.dy[place * self.d..][..self.d], sum);
    }

    #[inline(always)]
    fn prefetch(&self, place: usize) {
        parallel::prefetch(&self.dy[place * self.d..][..self.d]);
    }

    #[inline(always)]
    fn finish<const ISA: u8>(&self, _row: usize, sum: &mut [T], [out]: &mut [Option<&mut [T]>; 1]) {
        if let Some(out) = out {
            axpy::<ISA, T>(T::one(), sum, out);
        }
    }
}

impl Gather {
    fn backward_gpu(&self, gpu: &Gpu, dy: &Tensor, dtable: &mut Tensor) -> Result<()> {
        let (segments, d) = (&self.rows.segments, dy.cols());
        let pieces = segments.piece_begin.len();
        let mut partial = dy.empty_like(pieces, d)?;
        if pieces > 0 {
            gpu.launch(kernels::GATHER_BWD_PIECES, Grid::warps(pieces, 256))
                .tensor_mut(&mut partial)
                .tensor(dy)
                .index(&segments.position)
                .index(&segments.piece_begin)
                .index(&segments.piece_end)
                .count(pieces)
                .count(d)
                .run()?;
        }
        gpu.launch(kernels::GATHER_BWD, Grid::warps(segments.count(), 256))
            .tensor_mut(dtable)
            .tensor(dy)
            .tensor(&partial)
            .index(&segments.row)
            .index(&segments.position)
            .index(&segments.offsets)
            .index(&segments.pieces)
            .count(segments.count())
            .count(d)
            .run()
    }
}

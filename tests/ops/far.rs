//! Offsets beyond 32 bits: tables whose rows x columns pass 2^31 and 2^32, without their memory. The executor's memory
//! exists where it is touched, and it runs the first and the last blocks of each grid alone; rows at both ends are
//! compared with the CPU's on a small table of the same rows. An offset that wraps reads zeros, or lands elsewhere.

use std::sync::Arc;

use waata::engine::{
    Backward, DType, Device, Gpu, Gradient, Op, Owner, Params, Philox, RowSet, Tensor, optim::Optimizer,
};
use waata::eval::Scorer;
use waata::graph::IdSets;
use waata::ops::{
    Activation, Concat, Gather, GroupedMlp, L2Normalize, Linear, PairFeatures, PairHead, RowDot, Rows, ScaleRows,
};

use crate::common::{Allocations, HostDriver, Order};

/// Just past 2^24: with 256 columns past 2^32 elements, with 128 past 2^31. The rows past 2^24 belong to the first
/// blocks of a grid-stride loop, whose stride is a power of two, and to the last blocks of a grid of one row a block.
const ROWS: usize = (1 << 24) + 3;
const SEEN: [usize; 6] = [0, 1, 2, ROWS - 3, ROWS - 2, ROWS - 1];
const BLOCKS: u64 = 16;

/// Rows of a table, and which of them are written and compared.
pub struct Spread {
    pub rows: usize,
    pub seen: Vec<usize>,
}

impl Spread {
    /// The ends of `rows` rows.
    pub fn ends(rows: usize) -> Spread {
        Spread { rows, seen: vec![0, 1, 2, rows - 3, rows - 2, rows - 1] }
    }
}

pub struct Far {
    pub device: Device,
    allocations: Allocations,
}

impl Far {
    pub fn new() -> Far {
        let allocations = Allocations::default();
        let driver = HostDriver::new(Order::Forward).sparse(BLOCKS, allocations.clone());
        Far { device: Device::Gpu(Gpu::new(driver)), allocations }
    }

    /// Addresses of allocations of this many floats, oldest first.
    fn addresses(&self, floats: usize) -> Vec<u64> {
        let all = self.allocations.lock().unwrap();
        all.iter().filter(|(_, bytes)| *bytes == 4 * floats).map(|(address, _)| *address).collect()
    }

    /// Of the newest allocation for so many rows of `cols`.
    pub fn newest(&self, rows: usize, cols: usize) -> u64 {
        *self.addresses(rows * cols).last().unwrap()
    }

    /// A table of zeros but for the rows `SEEN`, and its address.
    fn table(&self, cols: usize, rows: &[f32]) -> (Tensor, u64) {
        self.spread(&Spread::ends(ROWS), cols, rows)
    }

    /// A table of zeros but for the rows that are seen, and its address.
    pub fn spread(&self, spread: &Spread, cols: usize, rows: &[f32]) -> (Tensor, u64) {
        let tensor = Tensor::zeros(&self.device, DType::F32, spread.rows, cols).unwrap();
        let address = self.newest(spread.rows, cols);
        for (row, values) in spread.seen.iter().zip(rows.chunks_exact(cols)) {
            // SAFETY: inside the table.
            unsafe { waata_host::upload(address + 4 * (row * cols) as u64, bytemuck::cast_slice(values)) }.unwrap();
        }
        (tensor, address)
    }

    fn rows(&self, address: u64, cols: usize) -> Vec<f32> {
        self.seen(&Spread::ends(ROWS), address, cols)
    }

    pub fn seen(&self, spread: &Spread, address: u64, cols: usize) -> Vec<f32> {
        let mut values = vec![0f32; spread.seen.len() * cols];
        for (row, values) in spread.seen.iter().zip(values.chunks_exact_mut(cols)) {
            let from = address + 4 * (row * cols) as u64;
            // SAFETY: inside the table.
            unsafe { waata_host::download(bytemuck::cast_slice_mut(values), from) }.unwrap();
        }
        values
    }
}

pub fn draw(stream: u64, count: usize) -> Vec<f32> {
    let random = Philox::new(31, stream);
    (0..count).map(|i| 0.5 * random.normal_at(i as u64) as f32).collect()
}

#[track_caller]
pub fn close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 1e-5 * (1.0 + w.abs()), "{what} [{i}]: got {g}, want {w}");
    }
    assert!(want.iter().any(|w| *w != 0.0), "{what}: nothing to compare");
}

/// An op whose output rows depend on the same rows of its tables, of these widths; `small` stand behind them.
fn row_by_row(mut far_op: impl Op, mut near_op: impl Op, widths: &[usize], small: &[(usize, usize)]) {
    let (name, far) = (far_op.name(), Far::new());
    let values: Vec<Vec<f32>> = (0..).zip(widths).map(|(i, &cols)| draw(i, SEEN.len() * cols)).collect();
    let beside: Vec<Vec<f32>> = (10..).zip(small).map(|(i, (r, c))| draw(i, r * c)).collect();
    let inputs = |device: &Device, tables: Vec<Tensor>| -> Vec<Tensor> {
        let small = small.iter().zip(&beside).map(|((r, c), v)| Tensor::new(device, *r, *c, v).unwrap());
        tables.into_iter().chain(small).collect()
    };
    let tables = widths.iter().zip(&values);
    let x_far = inputs(&far.device, tables.clone().map(|(&cols, v)| far.table(cols, v).0).collect());
    let near = |(&cols, v): (&usize, &Vec<f32>)| Tensor::new(&Device::Cpu, SEEN.len(), cols, v).unwrap();
    let x_near = inputs(&Device::Cpu, tables.map(near).collect());
    let (x_far, x_near): (Vec<_>, Vec<_>) = (x_far.iter().collect(), x_near.iter().collect());

    let y_far = far_op.forward(&x_far).unwrap();
    let y_near = near_op.forward(&x_near).unwrap();
    let cols = y_near[0].cols();
    close(&format!("{name}: output"), &far.rows(far.newest(ROWS, cols), cols), y_near[0].host());

    let upstream = draw(20, SEEN.len() * cols);
    let dy_far = far.table(cols, &upstream).0;
    let dy_near = Tensor::new(&Device::Cpu, SEEN.len(), cols, &upstream).unwrap();
    let gradients = |x: &[&Tensor]| -> Vec<Option<Tensor>> {
        x.iter().enumerate().map(|(i, x)| (i < widths.len()).then(|| x.zeros_like().unwrap())).collect()
    };
    let mut dx_near = gradients(&x_near);
    near_op
        .backward(Backward {
            x: &x_near,
            y: &y_near.iter().collect::<Vec<_>>(),
            dy: &[Some(&dy_near)],
            dx: &mut dx_near,
        })
        .unwrap();
    let mut dx_far = vec![];
    let mut addresses = vec![];
    for i in 0..x_far.len() {
        let table = widths.get(i).map(|&cols| far.table(cols, &vec![0.0; SEEN.len() * cols]));
        addresses.extend(table.as_ref().map(|(_, address)| *address));
        dx_far.push(table.map(|(tensor, _)| tensor));
    }
    far_op
        .backward(Backward { x: &x_far, y: &y_far.iter().collect::<Vec<_>>(), dy: &[Some(&dy_far)], dx: &mut dx_far })
        .unwrap();
    for (i, (&cols, address)) in widths.iter().zip(addresses).enumerate() {
        let want = dx_near[i].as_ref().unwrap();
        close(&format!("{name}: gradient {i}"), &far.rows(address, cols), want.host());
    }
}

#[test]
fn rows_beyond_32_bits() {
    for cols in [128, 256] {
        row_by_row(ScaleRows { power: 0.5 }, ScaleRows { power: 0.5 }, &[cols, 1], &[]);
        row_by_row(L2Normalize::default(), L2Normalize::default(), &[cols], &[]);
        row_by_row(RowDot, RowDot, &[cols, cols], &[]);
    }
    row_by_row(Concat, Concat, &[256, 1], &[]);
    row_by_row(PairFeatures::ConcatHadamard, PairFeatures::ConcatHadamard, &[128, 128], &[]);
    let linear = || Linear { activation: Activation::Identity };
    row_by_row(linear(), linear(), &[256], &[(256, 64), (1, 64)]);
    // More tiles of rows than a grid has blocks along y.
    let mlps = || GroupedMlp::new(1, 2, Activation::Identity, Activation::Identity);
    row_by_row(mlps(), mlps(), &[256], &[(256, 256), (1, 256), (256, 64), (1, 64)]);
}

#[test]
fn gather_beyond_32_bits() {
    for cols in [128usize, 256, 257] {
        let far = Far::new();
        let values = draw(1, SEEN.len() * cols);
        let (table, _) = far.table(cols, &values);
        let ids: Vec<u32> = [5usize, 0, 3, 5, 4, 1].map(|i| SEEN[i] as u32).into();
        let mut op = Gather::new(Rows::new(&far.device, ids, ROWS).unwrap());
        let y = op.forward(&[&table]).unwrap().remove(0);
        let row = |i: usize| &values[i * cols..][..cols];
        close("gather", &y.to_vec().unwrap(), &[5, 0, 3, 5, 4, 1].map(row).concat());

        let (gradient, address) = far.table(cols, &vec![0.0; values.len()]);
        let mut dx = [Some(gradient)];
        op.backward(Backward { x: &[&table], y: &[&y], dy: &[Some(&y)], dx: &mut dx }).unwrap();
        let uses = [1.0, 1.0, 0.0, 1.0, 1.0, 2.0];
        let want: Vec<f32> = (0..6).flat_map(|i| row(i).iter().map(move |x| uses[i] * x)).collect();
        close("gather backward", &far.rows(address, cols), &want);
    }
}

#[test]
fn optimizers_beyond_32_bits() {
    let cols = 256;
    let (start, grad) = (draw(1, SEEN.len() * cols), draw(2, SEEN.len() * cols));
    for name in ["sgd", "adagrad", "rmsprop", "adam", "adamw"] {
        let near = {
            let mut params = Params::default();
            let id = params.add("t", Owner::Shared, Tensor::new(&Device::Cpu, 6, cols, &start).unwrap());
            let grad = Gradient::Dense(Tensor::new(&Device::Cpu, 6, cols, &grad).unwrap());
            Optimizer::new(name, 0.1, 0.01).unwrap().step(&mut params, &[Some(grad)]).unwrap();
            params.get(id).value.to_vec().unwrap()
        };
        for sparse in [true, false] {
            let far = Far::new();
            let (table, address) = far.table(cols, &start);
            let mut params = Params::default();
            params.add("t", Owner::Shared, table);
            let gradient = match sparse {
                true => {
                    let ids = SEEN.iter().map(|&row| row as u32).collect();
                    let set = Arc::new(RowSet::new(&far.device, ids, ROWS).unwrap());
                    Gradient::Rows(set, Tensor::new(&far.device, 6, cols, &grad).unwrap())
                }
                false => Gradient::Dense(far.table(cols, &grad).0),
            };
            Optimizer::new(name, 0.1, 0.01).unwrap().step(&mut params, &[Some(gradient)]).unwrap();
            close(&format!("{name}, sparse: {sparse}"), &far.rows(address, cols), &near);
        }
    }
}

/// Learners of which the first and the last have one value each, at different columns, and five courses that these two
/// columns order in opposite ways.
#[test]
fn ranking_beyond_32_bits() {
    let (rows, dim, courses, k) = ((1usize << 20) + 2, 4100usize, 5, 3);
    let far = Far::new();
    let learners = Tensor::zeros(&far.device, DType::F32, rows, dim).unwrap();
    let address = far.newest(rows, dim);
    for (row, column) in [(0, 4097), (rows - 1, 3)] {
        // SAFETY: inside the learners.
        unsafe { waata_host::upload(address + 4 * (row * dim + column) as u64, &1f32.to_ne_bytes()) }.unwrap();
    }
    let mut values = vec![0f32; courses * dim];
    for c in 0..courses {
        values[c * dim + 4097] = (c + 1) as f32;
        values[c * dim + 3] = (courses - c) as f32;
    }
    let table = Tensor::new(&far.device, courses, dim, &values).unwrap();
    let (w, b) = (vec![1f32; dim], Tensor::new(&far.device, 1, 1, &[0.5]).unwrap());
    let w = Tensor::new(&far.device, dim, 1, &w).unwrap();
    let head = PairHead::new(PairFeatures::Hadamard, dim, &[(w, b)], &[], Activation::Identity).unwrap();
    let seen = IdSets::none(&far.device, rows, courses).unwrap();
    for (scorer, more) in [
        (Scorer::match_score(table.clone()).unwrap(), 0.0),
        (Scorer::new(table.clone(), None, Some(head)).unwrap(), 0.5),
    ] {
        let top = scorer.rank(&learners, &seen, k).unwrap();
        for (row, best) in [(0, [4, 3, 2]), (rows - 1, [0, 1, 2])] {
            assert_eq!(top.row(row), best, "row {row}");
            assert_eq!(top.row_scores(row), [5.0 + more, 4.0 + more, 3.0 + more], "row {row}");
        }
    }
}

//! Ops on rows that are stored in bf16 or f16: the CPU code and the kernels, both with f32 sums, against the CPU code
//! in f64 on the rounded rows, within the same tolerances as for rows of f32.

use waata::engine::{DType, Device, Tape, Tensor};
use waata::ops::{Aggregate, LogitKind, RelationAttention};

use crate::graphs::{BUCKETS, Example, examples};
use crate::harness::Case;

const STORAGE: [DType; 2] = [DType::Bf16, DType::F16];

/// Widths with code of their own, with pairs of columns, without, and beyond a tile of 128.
const WIDTHS: [(usize, usize); 7] = [(64, 64), (63, 65), (65, 64), (16, 16), (1, 1), (128, 128), (256, 256)];

/// Every graph at the first two widths; at the others those that are small or streamed over.
fn tried() -> impl Iterator<Item = (Example, usize, usize)> {
    WIDTHS.into_iter().enumerate().flat_map(|(i, (n, m))| {
        let small = move |e: &Example| i < 2 || e.edges.len() == 90 || (e.paired && n < 128) || n == 16;
        examples().into_iter().filter(small).map(move |e| (e, n, m))
    })
}

mod relation_attention {
    use super::*;

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        for storage in STORAGE {
            for (example, n, m) in tried() {
                let (logit, temperature) = match n {
                    64 | 16 => (LogitKind::Gat { slope: 0.2 }, 0.7),
                    _ => (LogitKind::Tanh, 1.0),
                };
                let (graph, tails, groups) = (example.clone(), example.tails, example.groups());
                let name = format!("{} {n} {m} {storage:?}", example.name);
                cases.push(
                    Case::new(name, move |device| RelationAttention::new(graph.on(device), logit, temperature))
                        .input(groups, m)
                        .stored(storage)
                        .input(groups, 1)
                        .input(tails, n)
                        .stored(storage)
                        .input(tails, n)
                        .stored(storage)
                        .input(example.relations, m)
                        .input(BUCKETS, 1),
                );
            }
            // Nothing projected, on a graph with split rows.
            let example = examples().pop().unwrap();
            let (graph, tails, groups) = (example.clone(), example.tails, example.groups());
            cases.push(
                Case::new(format!("plain {storage:?}"), move |device| {
                    RelationAttention::new(graph.on(device), LogitKind::Dot, 1.3)
                })
                .input(groups, 64)
                .stored(storage)
                .input(groups, 1)
                .input(tails, 64)
                .stored(storage)
                .constant(0, 64, vec![])
                .stored(storage)
                .constant(0, 64, vec![])
                .input(BUCKETS, 1),
            );
        }
        cases
    }

    #[test]
    fn kernels() {
        crate::harness::kernels(cases());
    }

    /// Tables of several types cannot be told apart by a kernel.
    #[test]
    fn rows_of_two_types_are_refused() {
        let example = examples().remove(1);
        let mut tape = Tape::new();
        let zeros = |dtype, rows| Tensor::zeros(&Device::Cpu, dtype, rows, 4).unwrap();
        let column = |rows| Tensor::zeros(&Device::Cpu, DType::F32, rows, 1).unwrap();
        let values = [
            zeros(DType::F16, 1),
            column(1),
            zeros(DType::Bf16, 1),
            zeros(DType::Bf16, 1),
            zeros(DType::F32, 1),
            column(BUCKETS),
        ];
        let x: Vec<_> = values.into_iter().map(|t| tape.constant(t)).collect();
        let attend = RelationAttention::new(example.on(&Device::Cpu), LogitKind::Tanh, 1.0);
        let error = tape.apply_all(attend, &x).unwrap_err().to_string();
        assert!(error.contains("of one type"), "{error}");
    }
}

mod aggregate {
    use super::*;

    #[test]
    fn kernels() {
        let mut cases = vec![];
        for storage in STORAGE {
            for (example, n, _) in tried() {
                let graph = example.clone();
                cases.push(
                    Case::new(format!("{} {n} {storage:?}", example.name), move |device| {
                        Aggregate::new(graph.on(device))
                    })
                    .input(example.edges.len(), 1)
                    .input(example.tails, n)
                    .stored(storage),
                );
            }
        }
        crate::harness::kernels(cases);
    }
}

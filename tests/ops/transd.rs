use waata::engine::{Device, Gpu, Index, Tensor};
use waata::ops::{Distance, ProjNorm, TransD, TransDLoss, TransDOptions, Triples, transd_score};

use crate::common::{HostDriver, Order};
use crate::harness::Case;

struct Batch {
    heads: Vec<u32>,
    relations: Vec<u32>,
    tails: Vec<u32>,
    negative_heads: Vec<u32>,
    negative_tails: Vec<u32>,
}

/// `count` triples of which every third has its head corrupted, one is its own negative, and entity 1 is hot.
fn batch(count: u32, entities: u32, relations: u32) -> Batch {
    let entity = |i: u32, of: u32| if (i + of).is_multiple_of(3) { 1 % entities } else { (i * 7 + of * 5) % entities };
    let column = |f: &dyn Fn(u32) -> u32| (0..count).map(f).collect::<Vec<u32>>();
    let (head, tail) = (|i| entity(i, 0), |i| entity(i, 1));
    let corrupt = |i: u32| if i == 4 { tail(i) } else { (i * 11 + 3) % entities };
    Batch {
        heads: column(&head),
        relations: column(&|i| i * i % relations),
        tails: column(&tail),
        negative_heads: column(&|i| if i % 3 == 0 { corrupt(i) } else { head(i) }),
        negative_tails: column(&|i| if i % 3 == 0 { tail(i) } else { corrupt(i) }),
    }
}

fn triples(device: &Device, b: &Batch, sizes: (usize, usize)) -> Triples {
    let negatives = (&b.negative_heads[..], &b.negative_tails[..]);
    Triples::new(device, sizes, (&b.heads, &b.relations, &b.tails), negatives).unwrap()
}

fn case(name: String, count: u32, (entities, q): (usize, usize), (n, m): (usize, usize), o: TransDOptions) -> Case {
    let make =
        move |device: &Device| TransD::new(o, triples(device, &batch(count, entities as u32, q as u32), (entities, q)));
    Case::new(name, make).input(entities, n).input(entities, n).input(q, m).input(q, m)
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    let plain = TransDOptions { l2: 0.0, ..TransDOptions::default() };
    // No triples, one, a relation without triples; n above, below and beside m; rows wider than a warp.
    for (count, sizes, dims) in [
        (0, (3, 2), (2, 2)),
        (1, (2, 1), (1, 1)),
        (20, (9, 7), (5, 3)),
        (20, (9, 4), (3, 5)),
        (33, (11, 3), (40, 40)),
        (70, (10, 2), (8, 8)),
    ] {
        cases.push(case(format!("{count} {sizes:?} {dims:?}"), count, sizes, dims, plain));
    }
    for loss in [TransDLoss::Bpr, TransDLoss::Margin { gamma: 0.7 }] {
        for distance in [Distance::L2Squared, Distance::L2, Distance::L1] {
            for proj_norm in [ProjNorm::None, ProjNorm::Clamp, ProjNorm::L2] {
                for l2 in [0.0, 0.3] {
                    let o = TransDOptions { loss, distance, proj_norm, l2 };
                    cases.push(case(format!("{o:?}"), 24, (12, 3), (6, 4), o));
                }
            }
        }
    }
    // One relation of several pieces, one entity of several.
    cases.push(case("hot".into(), 700, (20, 2), (4, 4), TransDOptions { l2: 0.1, ..plain }));
    cases
}

crate::op_tests!(cases);

/// The loss of one triple is the loss of its two scores, on both devices.
#[test]
fn scores_agree_with_the_loss() {
    let (entities, q, n, m) = (6usize, 2usize, 5usize, 4usize);
    let values = |rows: usize, cols: usize, salt: usize| -> Vec<f32> {
        (0..rows * cols).map(|i| ((i * 37 + salt * 11) % 23) as f32 / 12.0 - 0.9).collect()
    };
    for device in [Device::Cpu, Device::Gpu(Gpu::new(HostDriver::new(Order::Forward)))] {
        let t = |rows, cols, salt| Tensor::new(&device, rows, cols, &values(rows, cols, salt)).unwrap();
        let x = [t(entities, n, 0), t(entities, n, 1), t(q, m, 2), t(q, m, 3)];
        let tables = x.each_ref();
        for distance in [Distance::L2Squared, Distance::L2, Distance::L1] {
            for proj_norm in [ProjNorm::None, ProjNorm::Clamp, ProjNorm::L2] {
                let index = |v: Vec<u32>| Index::new(&device, v).unwrap();
                let [h, r, tail] = [index(vec![4, 4]), index(vec![1, 1]), index(vec![2, 5])];
                let scores = transd_score(tables, &h, &r, &tail, distance, proj_norm).unwrap().to_vec().unwrap();
                let b = Batch {
                    heads: vec![4],
                    relations: vec![1],
                    tails: vec![2],
                    negative_heads: vec![4],
                    negative_tails: vec![5],
                };
                let loss = TransDLoss::Margin { gamma: 100.0 };
                let options = TransDOptions { loss, distance, proj_norm, l2: 0.0 };
                let mut op = TransD::new(options, triples(&device, &b, (entities, q)));
                let y = waata::engine::Op::forward(&mut op, &tables).unwrap();
                let want = 100.0 - scores[0] + scores[1];
                assert!((y[0].to_vec().unwrap()[0] - want).abs() < 1e-4, "{distance:?} {proj_norm:?}");
            }
        }
    }
}

/// Formula (1) by its explicit matrix, for one triple by hand: h_perp = (r_p h_p^T + I) h.
#[test]
fn score_by_hand() {
    let t = |rows, cols, v: &[f32]| Tensor::new(&Device::Cpu, rows, cols, v).unwrap();
    // h = (1, 2), h_p = (1, -1): p.e = -1; t = (0, 1), t_p = (2, 0): p.e = 0; r_p = (1, 0, 3).
    let e = t(2, 2, &[1.0, 2.0, 0.0, 1.0]);
    let p = t(2, 2, &[1.0, -1.0, 2.0, 0.0]);
    let r = t(1, 3, &[0.5, 0.0, 1.0]);
    let rp = t(1, 3, &[1.0, 0.0, 3.0]);
    let index = |v| Index::new(&Device::Cpu, vec![v]).unwrap();
    // h_perp = (0, 2, -3), t_perp = (0, 1, 0): e = (0.5, 1, -2).
    let score = |kind| {
        transd_score([&e, &p, &r, &rp], &index(0), &index(0), &index(1), kind, ProjNorm::None)
            .unwrap()
            .scalar()
            .unwrap()
    };
    assert_eq!(score(Distance::L2Squared), -5.25);
    assert_eq!(score(Distance::L1), -3.5);
}

#[test]
fn wrong_batches_are_refused() {
    let new = |h: &[u32], r: &[u32], t: &[u32], nh: &[u32], nt: &[u32]| {
        Triples::new(&Device::Cpu, (3, 2), (h, r, t), (nh, nt))
    };
    assert!(new(&[0], &[1], &[2], &[0], &[1]).is_ok());
    assert!(new(&[0], &[1], &[2], &[1], &[1]).is_err());
    assert!(new(&[0], &[2], &[2], &[0], &[1]).is_err());
    assert!(new(&[0], &[1], &[2], &[0], &[3]).is_err());
    assert!(new(&[0], &[1], &[2], &[0], &[]).is_err());
}

/// RowSplits and segments are cut by sizes alone and merged in order: one thread and three give the same bits.
#[test]
fn threads_do_not_change_the_bits() {
    let (entities, q, d) = (700usize, 3usize, 16usize);
    let random = |rows: usize, stream: u64| {
        let random = waata::engine::Philox::new(4, stream);
        let values: Vec<f32> = (0..rows * d).map(|i| random.normal_at(i as u64) as f32).collect();
        Tensor::new(&Device::Cpu, rows, d, &values).unwrap()
    };
    let x = [random(entities, 0), random(entities, 1), random(q, 2), random(q, 3)];
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let batch = batch(4000, entities as u32, q as u32);
            let op = TransD::new(TransDOptions::default(), triples(&Device::Cpu, &batch, (entities, q)));
            let mut tape = waata::engine::Tape::new();
            let vars = x.each_ref().map(|t| tape.parameter(t.clone()));
            let loss = tape.apply(op, &vars).unwrap();
            let one = Tensor::new(&Device::Cpu, 1, 1, &[1.0]).unwrap();
            let grads = tape.backward(&[(loss, one)]).unwrap();
            let mut bits = tape.value(loss).to_vec().unwrap();
            vars.iter().for_each(|&v| bits.extend(grads.get(v).unwrap().to_vec().unwrap()));
            bits.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
        })
    };
    assert_eq!(run(1), run(3));
}

/// The compact gradients are the rows of the dense ones that the batch has; all other rows are zero. A second loss over
/// the same tables is added to the first's gradient.
#[test]
fn row_sparse_gradients_are_rows_of_the_dense_ones() {
    let (entities, q, n, m) = (40usize, 3usize, 6usize, 4usize);
    let values = |rows: usize, cols: usize, salt: usize| -> Vec<f32> {
        (0..rows * cols).map(|i| ((i * 37 + salt * 11) % 23) as f32 / 12.0 - 0.9).collect()
    };
    for device in [Device::Cpu, Device::Gpu(Gpu::new(HostDriver::new(Order::Reverse)))] {
        let t = |rows, cols, salt| Tensor::new(&device, rows, cols, &values(rows, cols, salt)).unwrap();
        let x = [t(entities, n, 0), t(entities, n, 1), t(q, m, 2), t(q, m, 3)];
        for losses in [1, 2] {
            let run = |compact: bool| {
                let batch = triples(&device, &batch(30, 35, q as u32), (entities, q));
                let mut tape = waata::engine::Tape::new();
                let vars: Vec<_> = (0..4)
                    .map(|i| match compact && i < 2 {
                        true => tape.parameter_of_rows(x[i].clone(), batch.rows()).unwrap(),
                        false => tape.parameter(x[i].clone()),
                    })
                    .collect();
                let one = Tensor::new(&device, 1, 1, &[1.0]).unwrap();
                let seeds: Vec<_> = (0..losses)
                    .map(|_| {
                        let op = TransD::new(TransDOptions::default(), batch.clone());
                        (tape.apply(op, &vars).unwrap(), one.clone())
                    })
                    .collect();
                let grads = tape.backward(&seeds).unwrap();
                let grads: Vec<Tensor> = vars.iter().map(|&v| grads.get(v).unwrap().clone()).collect();
                (batch.rows().clone(), grads)
            };
            let ((rows, compact), (_, dense)) = (run(true), run(false));
            assert!(rows.len() < 35);
            for i in 0..2 {
                assert_eq!(compact[i].shape(), (rows.len(), n));
                assert_eq!(compact[i].to_vec().unwrap(), rows.gather(&dense[i]).unwrap().to_vec().unwrap());
                let all = dense[i].to_vec().unwrap();
                let others = (0..entities).filter(|v| !rows.ids().host().contains(&(*v as u32)));
                assert!(others.flat_map(|v| &all[v * n..(v + 1) * n]).all(|&g| g == 0.0));
            }
            for i in 2..4 {
                assert_eq!(compact[i].to_vec().unwrap(), dense[i].to_vec().unwrap());
            }
        }
    }
}

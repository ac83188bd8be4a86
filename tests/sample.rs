//! Sampled neighbourhoods: the same draws on every device and for any number of threads, and means without bias.

mod common;

use common::{HostDriver, Order};
use waata::engine::{Device, Gpu, Philox, Tape, Tensor};
use waata::graph::{Blocks, Edge, Graph, draw};
use waata::ops::{Aggregate, laplacian_weights};

const RELATIONS: usize = 3;

/// Nodes of all sorts of degrees: 0, 1, about the fan-outs, and two hubs; with parallel edges.
fn graph(device: &Device) -> Graph {
    const NODES: u32 = 400;
    let random = Philox::new(11, 4);
    let mut edges = vec![];
    for v in 0..NODES {
        let degree = match v {
            7 => 1700,
            200 => 900,
            _ => v % 13,
        };
        for i in 0..degree {
            let at = ((v as u64) << 32) | (2 * i as u64);
            let relation = random.below_at(at, RELATIONS as u32);
            edges.push(Edge { dst: v, relation, src: random.below_at(at + 1, NODES), bucket: i % 3 });
        }
    }
    Graph::new(device, NODES as usize, NODES as usize, RELATIONS, &edges).unwrap()
}

#[test]
fn the_kernel_draws_the_same_edges() {
    let cpu = graph(&Device::Cpu);
    let heads: Vec<u32> = (0..400).filter(|v| v % 3 != 2).collect();
    for order in [Order::Forward, Order::Reverse, Order::Shuffle(3)] {
        let device = Device::Gpu(Gpu::new(HostDriver::new(order)));
        let gpu = graph(&device);
        for (hop, k) in [(0, 1), (1, 3), (0, 4), (2, 10), (1, 700), (0, 5000)] {
            let random = Philox::new(0x1234_5678_9ABC, 77 << 30);
            let want = draw(&cpu, &Device::Cpu, &heads, k, random, hop).unwrap();
            assert_eq!(draw(&gpu, &device, &heads, k, random, hop).unwrap(), want, "{k} edges, {order:?}");
        }
        assert!(draw(&gpu, &device, &[], 3, Philox::new(1, 1), 0).unwrap().edge.is_empty());
        let none = draw(&gpu, &device, &[0, 13], 3, Philox::new(1, 1), 0).unwrap();
        assert_eq!((none.edge, none.offsets), (vec![], vec![0, 0, 0]));
    }
}

#[test]
fn draws_are_keyed_by_seed_stream_hop_and_node() {
    let graph = graph(&Device::Cpu);
    let of = |heads: &[u32], seed, stream, hop| {
        draw(&graph, &Device::Cpu, heads, 10, Philox::new(seed, stream), hop).unwrap().edge
    };
    let own = of(&[7], 1, 2, 0);
    assert_eq!(own, of(&[3, 7, 200], 1, 2, 0)[3..13], "whoever else is drawn for");
    for other in [of(&[7], 2, 2, 0), of(&[7], 1, 3, 0), of(&[7], 1, 2, 1)] {
        assert_ne!(own, other);
    }
}

#[test]
fn blocks_are_rows_of_the_graph_for_any_number_of_threads() {
    let full = graph(&Device::Cpu);
    let (nodes, extra) = ([399, 7, 7, 0, 31, 200], [5, 12, 13]);
    let sample = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Blocks::sample(&full, &Device::Cpu, &nodes, &extra, &[4, 100, 3], Philox::new(5, 6)).unwrap())
    };
    let (one, two) = (sample(1), sample(2));
    assert_eq!(one.levels[0].ids(), [0, 7, 31, 200, 399]);
    assert_eq!((one.levels.len(), one.blocks.len()), (4, 3));
    for h in 0..3 {
        let (block, heads, tails) = (&one.blocks[h], &one.levels[h], &one.levels[h + 1]);
        let local = &block.graph;
        assert_eq!(block.edge, two.blocks[h].edge);
        assert_eq!(local.src.host(), two.blocks[h].graph.src.host());
        assert_eq!((local.num_dst, local.num_src), (heads.len(), tails.len()));
        assert!(heads.ids().iter().all(|&v| tails.ids()[tails.place(v) as usize] == v), "levels nest");
        for v in 0..local.num_dst {
            let degree = full.row(heads.ids()[v] as usize).len();
            let (row, k) = (local.row(v), [4, 100, 3][h]);
            assert_eq!(row.len(), degree.min(k));
            if degree <= k {
                assert!(full.row(heads.ids()[v] as usize).eq(row.clone().map(|e| block.edge[e] as usize)));
            }
            for e in row {
                let whole = block.edge[e] as usize;
                assert!(full.row(heads.ids()[v] as usize).contains(&whole));
                assert_eq!(tails.ids()[local.src.host()[e] as usize], full.src.host()[whole]);
                assert_eq!(local.bucket.host()[e], full.bucket.host()[whole]);
                let relation = |g: &Graph, e: usize| g.groups.relation.host()[g.group.host()[e] as usize];
                assert_eq!(relation(local, e), relation(&full, whole));
            }
            let each = if degree == 0 { 1.0 } else { degree as f32 / degree.min(k) as f32 };
            assert_eq!(block.stands_for[v], each);
        }
    }
    assert!(extra.iter().all(|v| one.nodes().ids().contains(v)));
    assert!(Blocks::sample(&full, &Device::Cpu, &[400], &[], &[2], Philox::new(1, 1)).is_err());
    let alone = Blocks::sample(&full, &Device::Cpu, &[3], &[9], &[], Philox::new(1, 1)).unwrap();
    assert_eq!(alone.nodes().ids(), [3, 9]);
}

/// Every edge is drawn k / d times in expectation, hubs included.
#[test]
fn every_edge_is_drawn_equally_often() {
    let graph = graph(&Device::Cpu);
    const TRIALS: u64 = 20_000;
    for (v, k) in [(7u32, 10usize), (200, 7), (12, 10), (11, 3)] {
        let row = graph.row(v as usize);
        let mut counts = vec![0u32; row.len()];
        for t in 0..TRIALS {
            for e in draw(&graph, &Device::Cpu, &[v], k, Philox::new(9, t), 0).unwrap().edge {
                counts[e as usize - row.start] += 1;
            }
        }
        // A count is a sum of at most two kinds of coin tosses: its variance is at most its mean. With Bonferroni
        // over 3,000 edges, five and a half standard deviations are passed by chance in one of 10,000 such tests.
        let mean = TRIALS as f64 * k as f64 / row.len() as f64;
        let worst = counts.iter().map(|&c| (c as f64 - mean).abs() / mean.sqrt()).fold(0.0, f64::max);
        assert!(worst < 5.5, "node {v}, {k} of {} edges: {worst} standard deviations", row.len());
    }
}

/// The mean of sampled sums under given weights is the full sum.
#[test]
fn sampled_aggregation_has_no_bias() {
    const TRIALS: usize = 4000;
    let cpu = Device::Cpu;
    let graph = std::sync::Arc::new(graph(&cpu));
    let weights = laplacian_weights(&graph);
    // One column, so that a head is one number.
    let random = Philox::new(3, 3);
    let x: Vec<f32> = (0..graph.num_src as u64).map(|i| 1.0 + random.normal_at(i) as f32).collect();
    let aggregate = |graph: &std::sync::Arc<Graph>, weights: &[f32], x: &[f32]| {
        let mut tape = Tape::inference();
        let weights = tape.constant(Tensor::new(&cpu, weights.len(), 1, weights).unwrap());
        let x = tape.constant(Tensor::new(&cpu, x.len(), 1, x).unwrap());
        let out = tape.apply(Aggregate::new(graph.clone()), &[weights, x]).unwrap();
        tape.value(out).to_f64().unwrap()
    };
    let full = aggregate(&graph, &weights, &x);
    let heads: Vec<u32> = (0..graph.num_dst as u32).collect();
    let mut moments = vec![(0.0, 0.0); graph.num_dst];
    for t in 0..TRIALS as u64 {
        let blocks = Blocks::sample(&graph, &cpu, &heads, &[], &[5], Philox::new(21, t)).unwrap();
        let block = &blocks.blocks[0];
        let each = block.graph.dst.host().iter().map(|&v| block.stands_for[v as usize]);
        let own = block.edge.iter().zip(each).map(|(&e, n)| weights[e as usize] * n);
        let sampled = aggregate(&block.graph, &own.collect::<Vec<_>>(), &x);
        for ((sum, squares), y) in moments.iter_mut().zip(sampled) {
            *sum += y;
            *squares += y * y;
        }
    }
    let mut worst: f64 = 0.0;
    for (v, (sum, squares)) in moments.into_iter().enumerate() {
        let mean = sum / TRIALS as f64;
        let error = ((squares / TRIALS as f64 - mean * mean).max(0.0) / TRIALS as f64).sqrt();
        let degree = graph.row(v).len();
        if degree <= 5 {
            assert!((mean - full[v]).abs() < 1e-5 * (1.0 + full[v].abs()), "node {v} takes all its edges");
        } else {
            assert!(error > 0.0, "node {v} is sampled");
            worst = worst.max((mean - full[v]).abs() / error);
        }
    }
    // 400 means: four and a half standard errors are passed by chance in one of 350 such tests; the seed is fixed.
    assert!(worst < 4.5, "{worst} standard errors");
}

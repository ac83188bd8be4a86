//! Offsets beyond 32 bits, as far.rs has it, of the ops on graphs and triples: nodes of 4,100 columns, so that a
//! million of them pass 2^32 elements. Node i hears itself and node N - 1 - i; both are among the nodes that are compared.

use std::sync::Arc;

use waata::engine::{Backward, Device, Op, Tensor};
use waata::graph::{Edge, Graph};
use waata::ops::{
    Aggregate, LogitKind, Query, RelationAttention, RelationMix, TransD, TransDLoss, TransDOptions, Triples,
};

use crate::far::{Far, Spread, close, draw};

const NODES: usize = (1 << 20) + 2;
const COLS: usize = 4100;

fn graph(device: &Device, nodes: usize) -> Arc<Graph> {
    let edge = |head: usize, tail: usize| Edge { dst: head as u32, relation: 0, src: tail as u32, bucket: 0 };
    let edges: Vec<Edge> = (0..nodes).flat_map(|i| [edge(i, i), edge(i, nodes - 1 - i)]).collect();
    Arc::new(Graph::new(device, nodes, nodes, 1, &edges).unwrap())
}

/// What an input has a row for; a node is also a group, of the one relation.
#[derive(Clone, Copy)]
enum Per {
    Node,
    Edge,
    /// Not spread out, and without a gradient: its own is a sum over all nodes.
    Whole(usize),
}

impl Per {
    fn spread(self) -> Spread {
        let nodes = Spread::ends(NODES);
        match self {
            Per::Node => nodes,
            Per::Edge => Spread { rows: 2 * NODES, seen: nodes.seen.iter().flat_map(|i| [2 * i, 2 * i + 1]).collect() },
            Per::Whole(rows) => Spread { rows, seen: (0..rows).collect() },
        }
    }
}

/// `close`, relative to the largest magnitude: sums of 4,100 products.
#[track_caller]
fn relatively_close(what: &str, got: &[f32], want: &[f32]) {
    let scale = want.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let scaled = |values: &[f32]| values.iter().map(|x| x / scale).collect::<Vec<f32>>();
    close(what, &scaled(got), &scaled(want));
}

/// The op on a graph of many nodes against the CPU's on the six that are seen. The first output has rows of the last
/// number of columns.
fn over<O: Op>(make: impl Fn(Arc<Graph>) -> O, inputs: &[(Per, usize)], (per, cols): (Per, usize)) {
    let far = Far::new();
    let (mut far_op, mut near_op) = (make(graph(&far.device, NODES)), make(graph(&Device::Cpu, 6)));
    let name = far_op.name();
    let (mut x_far, mut x_near) = (vec![], vec![]);
    for (i, &(per, cols)) in (0..).zip(inputs) {
        let spread = per.spread();
        let values = draw(40 + i, spread.seen.len() * cols);
        x_far.push(far.spread(&spread, cols, &values).0);
        x_near.push(Tensor::new(&Device::Cpu, spread.seen.len(), cols, &values).unwrap());
    }
    let (x_far, x_near): (Vec<_>, Vec<_>) = (x_far.iter().collect(), x_near.iter().collect());
    let y_far = far_op.forward(&x_far).unwrap();
    let y_near = near_op.forward(&x_near).unwrap();
    let spread = per.spread();
    let got = far.seen(&spread, far.newest(spread.rows, cols), cols);
    relatively_close(&format!("{name}: output"), &got, y_near[0].host());

    let upstream = draw(20, spread.seen.len() * cols);
    let dy_far = far.spread(&spread, cols, &upstream).0;
    let dy_near = Tensor::new(&Device::Cpu, spread.seen.len(), cols, &upstream).unwrap();
    let (mut dx_far, mut dx_near, mut addresses) = (vec![], vec![], vec![]);
    for (&(per, cols), x) in inputs.iter().zip(&x_near) {
        let wanted = !matches!(per, Per::Whole(_));
        let zeros = wanted.then(|| far.spread(&per.spread(), cols, &vec![0.0; x.len()]));
        addresses.push(zeros.as_ref().map(|(_, address)| *address));
        dx_far.push(zeros.map(|(tensor, _)| tensor));
        dx_near.push(wanted.then(|| x.zeros_like().unwrap()));
    }
    let upstreams = |dy| std::iter::once(Some(dy)).chain(vec![None; y_near.len() - 1]).collect::<Vec<_>>();
    near_op
        .backward(Backward {
            x: &x_near,
            y: &y_near.iter().collect::<Vec<_>>(),
            dy: &upstreams(&dy_near),
            dx: &mut dx_near,
        })
        .unwrap();
    far_op
        .backward(Backward {
            x: &x_far,
            y: &y_far.iter().collect::<Vec<_>>(),
            dy: &upstreams(&dy_far),
            dx: &mut dx_far,
        })
        .unwrap();
    for (i, &(per, cols)) in inputs.iter().enumerate() {
        let (Some(address), Some(want)) = (addresses[i], &dx_near[i]) else { continue };
        relatively_close(&format!("{name}: gradient {i}"), &far.seen(&per.spread(), address, cols), want.host());
    }
}

#[test]
fn attention_beyond_32_bits() {
    let (r_p, bias) = ((Per::Whole(1), COLS), (Per::Whole(1), 1));
    let inputs = [(Per::Node, COLS), (Per::Node, 1), (Per::Node, COLS), (Per::Node, COLS), r_p, bias];
    let attend = |graph| RelationAttention::new(graph, LogitKind::Gat { slope: 0.2 }, 200.0);
    over(attend, &inputs, (Per::Node, COLS));
    let inputs = [(Per::Node, COLS), (Per::Node, COLS), r_p, r_p];
    over(|graph| Query::new(graph, LogitKind::Dot), &inputs, (Per::Node, COLS));
}

#[test]
fn segments_beyond_32_bits() {
    over(Aggregate::new, &[(Per::Edge, 1), (Per::Node, COLS)], (Per::Node, COLS));
    over(RelationMix::new, &[(Per::Edge, 1), (Per::Node, 1), (Per::Whole(1), COLS)], (Per::Node, COLS));
}

#[test]
fn transd_beyond_32_bits() {
    let options = TransDOptions { loss: TransDLoss::Margin { gamma: 1e6 }, ..TransDOptions::default() };
    let far = Far::new();
    let spread = Spread::ends(NODES);
    // Each entity is a head, a tail or a corrupted one.
    let (heads, tails) = ([0, 5, 3, 4], [1, 2, 4, 0]);
    let (negative_heads, negative_tails) = ([0, 5, 5, 3], [4, 3, 4, 0]);
    let op = |device: &Device, entities: usize, place: &dyn Fn(usize) -> u32| {
        let [h, t, nh, nt] = [heads, tails, negative_heads, negative_tails].map(|ids| ids.map(place));
        let triples = Triples::new(device, (entities, 2), (&h, &[0, 1, 1, 0], &t), (&nh, &nt)).unwrap();
        TransD::new(options, triples)
    };
    let mut far_op = op(&far.device, NODES, &|i| spread.seen[i] as u32);
    let mut near_op = op(&Device::Cpu, 6, &|i| i as u32);
    let values: Vec<Vec<f32>> = [6, 6, 2, 2].iter().zip(0..).map(|(rows, i)| draw(i, rows * COLS)).collect();
    let whole = |device: &Device, rows, values: &[f32]| Tensor::new(device, rows, COLS, values).unwrap();
    let near: Vec<Tensor> = values.iter().map(|v| whole(&Device::Cpu, v.len() / COLS, v)).collect();
    let mut far_x: Vec<Tensor> = values[..2].iter().map(|v| far.spread(&spread, COLS, v).0).collect();
    far_x.extend(values[2..].iter().map(|v| whole(&far.device, 2, v)));
    let (x_far, x_near): (Vec<_>, Vec<_>) = (far_x.iter().collect(), near.iter().collect());
    let (y_far, y_near) = (far_op.forward(&x_far).unwrap(), near_op.forward(&x_near).unwrap());
    relatively_close("transd: loss", &y_far[0].to_vec().unwrap(), y_near[0].host());

    let one = |device: &Device| Tensor::new(device, 1, 1, &[1.0]).unwrap();
    let mut dx_near: Vec<_> = near.iter().map(|x| Some(x.zeros_like().unwrap())).collect();
    near_op
        .backward(Backward { x: &x_near, y: &[&y_near[0]], dy: &[Some(&one(&Device::Cpu))], dx: &mut dx_near })
        .unwrap();
    let tables: Vec<_> = (0..2).map(|_| far.spread(&spread, COLS, &vec![0.0; 6 * COLS])).collect();
    let addresses: Vec<u64> = tables.iter().map(|(_, address)| *address).collect();
    let mut dx_far: Vec<_> = tables.into_iter().map(|(tensor, _)| Some(tensor)).collect();
    dx_far.extend(far_x[2..].iter().map(|x| Some(x.zeros_like().unwrap())));
    far_op.backward(Backward { x: &x_far, y: &[&y_far[0]], dy: &[Some(&one(&far.device))], dx: &mut dx_far }).unwrap();
    for (i, &address) in addresses.iter().enumerate() {
        let want = dx_near[i].as_ref().unwrap();
        relatively_close(&format!("transd: gradient {i}"), &far.seen(&spread, address, COLS), want.host());
    }
}

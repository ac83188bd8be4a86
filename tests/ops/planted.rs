//! The op table finds what is wrong: kernels with a planted fault, and every kernel with one barrier left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use waata::engine::{Device, Gpu};

use crate::common::{Barriers, HostDriver, Order};
use crate::harness::{Case, passes};

/// The cases of every op whose kernels have barriers.
fn tables() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("attend", crate::attend::cases()),
        ("bce", crate::bce::cases()),
        ("bpr", crate::bpr::cases()),
        ("linear", crate::linear::cases()),
        ("orthogonality", crate::orthogonality::cases()),
        ("penalty", crate::penalty::cases()),
        ("softmax_loss", crate::softmax_loss::cases()),
        ("transd", crate::transd::cases()),
    ]
}

fn executor(order: Order, barriers: &Arc<Barriers>) -> Device {
    Device::Gpu(Gpu::new(HostDriver::new(order).with_barriers(barriers.clone())))
}

#[test]
fn every_barrier_is_needed() {
    let tables = tables();
    let (mut known, mut missed) = (BTreeSet::new(), BTreeSet::new());
    for (name, cases) in &tables {
        let recorder = Arc::new(Barriers::default());
        let device = executor(Order::Forward, &recorder);
        cases.iter().for_each(|case| passes(case, &device).unwrap());
        let met = recorder.met.lock().unwrap().clone();
        for site in met {
            if known.contains(&site) {
                continue;
            }
            let barriers = Arc::new(Barriers { without: Some(site.clone()), ..Default::default() });
            let devices = [Order::Forward, Order::Reverse].map(|order| executor(order, &barriers));
            let found = cases.iter().find_map(|case| devices.iter().find_map(|d| passes(case, d).err()));
            match found {
                Some(why) => {
                    println!("{name} without {site}: {why}");
                    missed.remove(&site);
                    known.insert(site);
                }
                None => _ = missed.insert(site),
            }
        }
    }
    assert!(missed.is_empty(), "nothing fails without the barriers at {missed:?}");
    assert!(known.len() >= 10, "only {known:?} were met");
}

/// A kernel, what runs in its place, and the cases that must fail then.
#[test]
fn a_wrong_index_and_a_dropped_term_fail_the_op_table() {
    for (kernel, fault, cases, what) in [
        ("scale_rows_fwd", "fault_scale_rows_wrong_index", crate::scale_rows::cases(), "output 0"),
        ("scale_rows_bwd", "fault_scale_rows_dropped_power", crate::scale_rows::cases(), "d input 1"),
        ("bpr_bwd", "fault_bpr_dropped_decay", crate::bpr::cases(), "d input 1"),
        ("normalize_bwd", "fault_normalize_dropped_projection", crate::normalize::cases(), "d input 0"),
    ] {
        for order in [Order::Forward, Order::Reverse, Order::Shuffle(7)] {
            let device = Device::Gpu(Gpu::new(HostDriver::new(order).replacing(kernel, fault)));
            let failures: Vec<String> = cases.iter().filter_map(|case| passes(case, &device).err()).collect();
            assert!(failures.iter().any(|why| why.contains(what)), "{fault}, {order:?}: {failures:?}");
        }
    }
}

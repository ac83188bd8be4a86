//! The op table finds what is wrong: kernels with a planted fault, and every kernel with one barrier left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use waata::engine::{Device, Gpu, MathMode};

use crate::common::{Barriers, HostDriver, Order};
use crate::harness::{Case, passes, passes_roughly};

type Check = Box<dyn Fn(&Device) -> Result<(), String>>;

/// Checks of kernels, and how they are launched.
struct Table {
    name: &'static str,
    checks: Vec<Check>,
    unit: MathMode,
    /// Most blocks of the ranking kernels, which have barriers between the learners that a block takes one by one.
    blocks: u32,
}

impl Table {
    fn new(name: &'static str, cases: Vec<Case>) -> Table {
        let check = |case| Box::new(move |device: &Device| passes(&case, device)) as Check;
        let checks = cases.into_iter().map(check).collect();
        Table { name, checks, unit: MathMode::F32, blocks: u32::MAX }
    }

    fn ranking(name: &'static str, checks: Vec<Check>) -> Table {
        Table { name, checks, unit: MathMode::F32, blocks: 1 }
    }

    /// On the matrix units, whose rounding is far below what a missing barrier does.
    fn rough(name: &'static str, unit: MathMode, cases: Vec<Case>) -> Table {
        let check = |case| Box::new(move |device: &Device| passes_roughly(&case, device, 3e-2)) as Check;
        let checks = cases.into_iter().map(check).collect();
        Table { name, checks, unit, blocks: u32::MAX }
    }

    fn device(&self, order: Order, barriers: &Arc<Barriers>) -> Device {
        let driver = HostDriver::new(order).with_barriers(barriers.clone()).with_blocks("topk_", self.blocks);
        let gpu = Gpu::new(driver);
        gpu.set_matrix_unit(self.unit);
        Device::Gpu(gpu)
    }
}

/// The checks of every op whose kernels have barriers, in groups: within a group, a barrier that several kernels share
/// is shown to be needed once.
fn groups() -> Vec<Vec<Table>> {
    let (linear, grouped) = (crate::linear::smooth_cases, crate::grouped_mlp::smooth_cases);
    vec![
        vec![
            Table::new("relation_attention", crate::relation_attention::cases()),
            Table::new("bce", crate::bce::cases()),
            Table::new("bpr", crate::bpr::cases()),
            Table::new("linear", crate::linear::cases()),
            Table::new("orthogonality", crate::orthogonality::cases()),
            Table::new("reduce", crate::reduce::cases()),
            Table::new("softmax_loss", crate::softmax_loss::cases()),
            Table::new("transd", crate::transd::cases()),
        ],
        vec![Table::rough("linear, tf32", MathMode::Tf32, linear())],
        vec![Table::rough("linear, bf16", MathMode::Bf16, linear())],
        vec![Table::new("grouped_mlp", crate::grouped_mlp::cases())],
        vec![Table::rough("grouped_mlp, tf32", MathMode::Tf32, grouped())],
        vec![Table::rough("grouped_mlp, bf16", MathMode::Bf16, grouped())],
        vec![Table::ranking("ranking", crate::topk::match_checks())],
        vec![Table::ranking("ranking through the head", crate::topk::head_checks())],
    ]
}

#[test]
fn every_barrier_is_needed() {
    let mut count = 0;
    for tables in groups() {
        let (mut known, mut missed) = (BTreeSet::new(), BTreeSet::new());
        for table in &tables {
            let recorder = Arc::new(Barriers::default());
            let device = table.device(Order::Forward, &recorder);
            table.checks.iter().for_each(|check| check(&device).unwrap());
            let met = recorder.met.lock().unwrap().clone();
            for site in met {
                if known.contains(&site) {
                    continue;
                }
                let barriers = Arc::new(Barriers { without: Some(site.clone()), ..Default::default() });
                let devices = [Order::Forward, Order::Reverse].map(|order| table.device(order, &barriers));
                let found = table.checks.iter().find_map(|check| devices.iter().find_map(|d| check(d).err()));
                match found {
                    Some(why) => {
                        println!("{} without {site}: {why:.200}", table.name);
                        missed.remove(&site);
                        known.insert(site);
                    }
                    None => _ = missed.insert(site),
                }
            }
        }
        let of: Vec<_> = tables.iter().map(|table| table.name).collect();
        assert!(missed.is_empty(), "{of:?}: nothing fails without the barriers at {missed:?}");
        assert!(!known.is_empty(), "{of:?} met no barrier");
        count += known.len();
    }
    assert!(count >= 10, "only {count} barriers were met");
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

/// The cases of an operation, by the name that the list of mutants has.
fn checks_of(cases: &str) -> Vec<Check> {
    let table = |cases| Table::new("", cases).checks;
    match cases {
        "aggregate" => table(crate::aggregate::cases()),
        "grouped_mlp" => table(crate::grouped_mlp::cases()),
        "relation_attention" => table(crate::relation_attention::cases()),
        "bce" => table(crate::bce::cases()),
        "bi_interaction" => table(crate::bi_interaction::cases()),
        "pair_features" => table(crate::pair_features::cases()),
        "bpr" => table(crate::bpr::cases()),
        "concat" => table(crate::concat::cases()),
        "dropout" => table(crate::dropout::cases()),
        "gate" => table(crate::gate::cases()),
        "gather" => table(crate::gather::cases()),
        "linear" => table(crate::linear::cases()),
        "softmax_mixture" => table(crate::softmax_mixture::cases()),
        "normalize" => table(crate::normalize::cases()),
        "orthogonality" => table(crate::orthogonality::cases()),
        "reduce" => table(crate::reduce::cases()),
        "query" => table(crate::query::cases()),
        "topk_head" => crate::topk::head_checks(),
        "topk_dot" => crate::topk::match_checks(),
        "scale_rows" => table(crate::scale_rows::cases()),
        "softmax_loss" => table(crate::softmax_loss::cases()),
        "transd" => table(crate::transd::cases()),
        other => panic!("mutants.txt: no cases of {other}"),
    }
}

#[test]
fn a_change_to_any_kernel_fails_its_cases() {
    let mut unnoticed = vec![];
    for line in include_str!("../host/faults/mutants.txt").lines().filter(|line| !line.starts_with('#')) {
        let (cases, rest) = line.split_once(": ").unwrap();
        let checks = checks_of(cases);
        for kernel in rest.split_once(" | ").unwrap().0.split(' ') {
            let driver = HostDriver::new(Order::Forward).replacing(kernel, &format!("mutant_{kernel}"));
            let device = Device::Gpu(Gpu::new(driver));
            match checks.iter().find_map(|check| check(&device).err()) {
                Some(why) => println!("{kernel}: {why:.200}"),
                None => unnoticed.push(line),
            }
        }
    }
    assert!(unnoticed.is_empty(), "no case fails with, or kernels/ has not once:\n{}", unnoticed.join("\n"));
}

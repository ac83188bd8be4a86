use waata::ops::{Gather, Rows};

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    let mut add = |name: &str, n: usize, d: usize, ids: Vec<u32>| {
        let make = move |device: &_| Gather::new(Rows::new(device, ids.clone(), n).unwrap());
        cases.push(Case::new(name, make).input(n, d));
    };
    add("none", 4, 3, vec![]);
    add("one", 1, 1, vec![0]);
    add("repeats", 7, 5, vec![6, 0, 6, 3, 6, 0]);
    add("aligned rows", 9, 64, (0..40).map(|i| i * i % 9).collect());
    add("a hot row", 5, 4, (0..900).map(|i| if i % 5 < 4 { 2 } else { i % 5 }).collect());
    add("wide rows", 3, 70, vec![2, 1, 2]);
    cases
}

crate::op_tests!(cases);

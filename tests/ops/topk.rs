//! The ranking kernel against the CPU's.

use waata::engine::{Device, Gpu, Index, Philox, Tensor};
use waata::eval::top_k;
use waata::graph::IdSets;

use crate::common::{HostDriver, Order};

fn devices() -> Vec<Device> {
    let mut devices: Vec<Device> = [Order::Forward, Order::Reverse, Order::Shuffle(7)]
        .map(|order| Device::Gpu(Gpu::new(HostDriver::new(order))))
        .into();
    if let Ok(device @ Device::Gpu(_)) = Device::parse("auto") {
        devices.push(device);
    }
    devices
}

#[test]
fn kernel_agrees_with_the_cpu() {
    let random = Philox::new(8, 8);
    for (rows, courses, k) in [(1usize, 1usize, 3usize), (5, 300, 10), (3, 700, 128), (0, 4, 1), (2, 40, 40)]
    {
        let mut values: Vec<f32> =
            (0..rows * courses).map(|i| random.below_at(i as u64, 50) as f32 - 25.0).collect();
        if let Some(first) = values.first_mut() {
            *first = f32::NEG_INFINITY;
        }
        let seen: Vec<Vec<u32>> =
            (0..rows as u32).map(|b| (0..courses as u32).filter(|c| (c + b) % 4 == 1).collect()).collect();
        let some: Vec<u32> = (0..courses as u32).filter(|c| c % 3 != 2).collect();
        for candidates in [None, Some(some)] {
            let run = |device: &Device| {
                let scores = Tensor::new(device, rows, courses, &values).unwrap();
                let seen = IdSets::new(device, &seen, courses).unwrap();
                let candidates = candidates.as_ref().map(|c| Index::new(device, c.clone()).unwrap());
                top_k(&scores, &seen, candidates.as_ref(), k).unwrap()
            };
            let want = run(&Device::Cpu);
            for device in devices() {
                assert_eq!(run(&device), want, "{rows}x{courses} k {k} on {}", device.name());
            }
        }
    }
}

#[test]
fn a_nan_is_named_by_its_row() {
    for device in devices() {
        let scores = Tensor::new(&device, 2, 3, &[0.0, 1.0, -0.0, 1.0, f32::NAN, 0.0]).unwrap();
        let seen = IdSets::none(&device, 2, 3).unwrap();
        let error = top_k(&scores, &seen, None, 2).unwrap_err().to_string();
        assert!(error.contains("row 1"), "{error}");
    }
}

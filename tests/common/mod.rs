//! What several test programs share.

#![allow(dead_code, unused_imports)]

pub mod golden;
mod host_driver;
pub mod tiny;
pub mod whole;

pub use host_driver::{Allocations, Barriers, HostDriver, Order};

use waata::engine::device::{DRIVERS, probe};
use waata::engine::{Device, Gpu};

/// What kernels run on, by name: the host executor in three thread orders, and this machine's card, where it has one,
/// through each driver of the build.
pub fn devices() -> Vec<(String, Device)> {
    let mut devices: Vec<(String, Device)> = [Order::Forward, Order::Reverse, Order::Shuffle(7)]
        .map(|order| (format!("executor {order:?}"), Device::Gpu(Gpu::new(HostDriver::new(order)))))
        .into();
    if probe().usable {
        let card = |driver: &&str| (format!("card, {driver}"), Device::open(driver, 0).unwrap());
        devices.extend(DRIVERS.iter().map(card));
    }
    devices
}

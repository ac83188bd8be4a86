//! What several test programs share.

#![allow(dead_code, unused_imports)]

pub mod golden;
mod host_driver;
pub mod tiny;

pub use host_driver::{Allocations, Barriers, HostDriver, Order};

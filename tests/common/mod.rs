//! What several test programs share.

#![allow(dead_code, unused_imports)]

mod host_driver;

pub use host_driver::{HostDriver, Order};
